"""What a run's own logs and verdicts look like. A small table in, a Figure out."""

import base64

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from curemed_utils import languages, paths
from curemed_utils.paper import style
from curemed_utils.paper.style import BLUE, COLUMN, GREY, PAGE, TIER_COLORS

REWARDS = style.LOOKS["rewards"]
WINDOW = 5  # steps in a moving average
TITLES = paths.beside(__file__, ".yaml")


@style.applied()
def sft_loss(log: pd.DataFrame) -> Figure:
    """Training loss of one SFT run by step; `log` is a checkpoint's log.jsonl."""
    loss = log.dropna(subset=["loss"]).set_index("step")["loss"]
    ends = f"from {loss.iloc[0]:.2f} to {loss.iloc[-1]:.2f}"
    alt = f"Training loss falls {ends} over {loss.index[-1]} steps"
    drawn, (ax,) = style.figure(COLUMN, 2.2, alt)
    ax.plot(loss, color=BLUE, lw=1)
    ax.set(xlabel="step", ylabel="loss per completion token (nats)", ylim=(0, None))
    ax.set_title("Supervised fine-tuning")
    return drawn


def rewards(logs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The rewards of GRPO stages from their logs (stage to log.jsonl).

    Columns: stage, step (from 1), reward, accuracy, language, format; NaN where unknown.
    """
    names = [name for name, *_ in REWARDS.values()]
    stages = {}
    for stage, log in logs.items():
        table = log.reindex(columns=names).dropna(subset="reward")
        table.index = pd.RangeIndex(1, len(table) + 1)
        stages[stage] = table.set_axis(list(REWARDS), axis="columns")
    return pd.concat(stages, names=["stage", "step"]).reset_index()


@style.applied()
def reward_curves(table: pd.DataFrame) -> Figure:
    """The rewards in `rewards`' table (0-1) by step, and the means of WINDOW; a colour a tier."""
    stages = table.groupby("stage", sort=False)
    ends = stages["reward"].agg(["first", "last"]).itertuples()
    told = [f"{stage} from {first:.2f} to {last:.2f}" for stage, first, last in ends]
    alt = "Mean reward of the rollouts by GRPO step: " + ("; ".join(told) or "unknown")
    drawn, (ax,) = style.figure(PAGE, 2.6, alt)
    start = 0
    for stage, part in stages:
        tier, end = languages.STAGES[stage], start + len(part)
        ax.axvspan(start, end, color=TIER_COLORS[tier], alpha=0.18, linewidth=0)
        label = f"stage {stage[5]}: + {tier}"
        ax.text((start + end) / 2, 1.03, label, ha="center", fontsize=7.5)
        for column, (_, color, width, line) in REWARDS.items():
            if part[column].notna().any():
                steps, smooth = start + part["step"], part[column].rolling(WINDOW).mean()
                ax.scatter(steps, part[column], 4 * width, color, alpha=0.35, linewidth=0)
                look = dict(color=color, linewidth=width, label=None if start else column)
                ax.plot(steps, smooth, line, **look)
        start = end
    ax.set(xlabel="GRPO step", ylabel=f"step (dots), mean of {WINDOW} (lines)")
    ax.set(ylim=(0, 1.1), xlim=(0, max(start, 1)))
    if start:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        _note(ax, "the reward of no step is known")
    return drawn


@style.applied()
def validation(log: pd.DataFrame) -> Figure:
    """The reward of held-out rows in a stage's log beside the rollouts'."""
    drawn, (ax,) = style.figure(COLUMN, 2.2, "Reward of rollouts and of held-out rows by step")
    for column in ("reward", "eval_reward"):
        sns.lineplot(log, x="step", y=column, label=column, marker="o", ax=ax)
    ax.set(ylim=(0, 1.1))
    return drawn


@style.applied()
def watched(logs: dict[str, pd.DataFrame]) -> Figure:
    """Moving averages of entropy, length and KL in GRPO logs (name to log.jsonl)."""
    alt = f"Entropy, length and KL to the start by GRPO step: {', '.join(logs)}"
    drawn, axes = style.figure(PAGE, 2.4, alt, 3)
    for ax, (column, title) in zip(axes, TITLES["watched"].items(), strict=True):
        for name, log in logs.items():
            smooth = log.reindex(columns=[column]).rolling(WINDOW, 1).mean()
            ax.plot(log["step"], smooth, label=name)
        ax.set(xlabel="step", title=title)
    axes[0].legend()
    return drawn


def _note(ax, text):
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def _level(value):
    return "unknown" if pd.isna(value) else f"{value:.2f}"


def live(records: list[dict], name: str) -> str:
    """HTML of a stage at work from its records: a bar, alarms, the loss or the reward so far."""
    log, last, alarms = pd.DataFrame(records), records[-1], ""
    measure = "reward" if "reward" in log else "loss"
    curve = log.set_index("step").reindex(columns=[measure])[measure].dropna()
    newest = f"{curve.iloc[-1]:.3f}" if len(curve) else "–"
    picture = f"<br>{_small(curve, last['of'], name)}" if len(curve) > 1 else ""
    for record in records:
        if "alarms" in record:
            alarms = f"<br>step {record['step']}: {'; '.join(record['alarms'])}"
    step, of = last["step"], last["of"]
    bar = f'<progress value="{step}" max="{of}" style="width: 20em"></progress>'
    return f"<div>{name} {bar} step {step} of {of}, {measure} {newest}{picture}{alarms}</div>"


@style.applied()
def _small(curve, of, name):
    drawn, (ax,) = style.figure(COLUMN, 1.2, f"{curve.name} of {name} by step")
    ax.plot(curve, color=BLUE, linewidth=1)
    ax.set(xlim=(1, of), xlabel="step", ylabel=curve.name)
    png, look = style.as_png(drawn)
    src = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<img alt="{drawn.alt}" width="{look["width"]}" src="{src}">'


def levels(lab: pd.DataFrame) -> pd.DataFrame:
    """The rewards of `curricula.lab` (its index reset): models as rows, tiers as columns."""
    table = lab.pivot(index="model", columns="tier", values="reward")
    return table.reindex(index=lab["model"].unique(), columns=list(languages.TIERS))


@style.applied()
def forgetting_curves(lab: pd.DataFrame) -> Figure:
    """The mean reward of each checkpoint, a panel a tier, from `curricula.lab` (index reset).

    A band is the tier's `noise`, where known: two runs of one checkpoint differ by less.
    """
    known = levels(lab)
    told = [f"{tier} {', '.join(map(_level, values))}" for tier, values in known.items()]
    alt = f"Mean reward of {', '.join(known.index)} on each tier: {'; '.join(told)}"
    drawn, axes = style.figure(PAGE, 2.3, alt, len(told), sharey=True)
    names = [name.replace("_", "\n") for name in known.index]
    for ax, (tier, values) in zip(axes, known.items(), strict=True):
        places, color = range(len(values)), TIER_COLORS[tier]
        if "noise" in lab:
            noise = lab.groupby("tier")["noise"].first()[tier]
            ax.fill_between(places, values - noise, values + noise, color=color, alpha=0.3, lw=0)
        ax.plot(places, values, color=color, marker="o", markersize=4)
        for place, value in zip(places, values, strict=True):
            y = 0 if pd.isna(value) else value
            style.note(ax, _level(value), (place, y), (0, 5))
        ax.set_xticks(places, names, fontsize=7)
        ax.set(title=f"prompts of the {tier} tier", ylim=(0, 1.1), xlim=(-0.5, len(values) - 0.5))
    axes[0].set_ylabel("mean reward")
    return drawn


@style.applied()
def checkpoints(table: pd.DataFrame) -> Figure:
    """How each checkpoint answers trained and held-out prompts.

    `table` is `evaluation.table(verdicts, ['model', 'set'])`. A dagger marks a checkpoint with too
    many faults of the harness.
    """
    marked = table["marked"].groupby("model").any()
    models = [name for name in languages.CHECKPOINTS if name in marked]
    names = [name.replace("_", "\n") + (" †" if marked[name] else "") for name in models]
    shown = pd.MultiIndex.from_product([TITLES["measures"], ("train", "test")])
    known = table.unstack("set").reindex(models, columns=shown)
    levels = known["reward", "train"].map(_level).items()
    alt = style.alt("checkpoints", rewards=", ".join(f"{name} {level}" for name, level in levels))
    drawn, axes = style.figure(PAGE, 2.4, alt, 4, sharey=True)
    for ax, (column, title) in zip(axes, TITLES["measures"].items(), strict=True):
        for name, label, color, marker in style.LOOKS["sets"]:
            values = known[column, name].to_numpy() * (100 if column == "reward" else 1)
            ax.plot(values, color=color, marker=marker, markersize=4, label=label)
        if known[column].isna().all(axis=None):
            _note(ax, "not measured:\nneeds a judge")
        ax.set_xticks(range(len(models)), names, rotation=60, fontsize=7)
        ax.set(title=title, ylim=(-4, 104))
        ax.grid(axis="y")
    axes[0].set_ylabel("%")
    axes[0].legend(loc="upper left")
    return drawn
