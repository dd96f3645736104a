"""What a run's own logs and verdicts look like: loss, rewards, forgetting, checkpoints. A small table in, a Figure out."""

import base64
import io

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from curemed_utils import languages
from curemed_utils.paper import style
from curemed_utils.paper.style import BLUE, COLUMN, GREEN, GREY, ORANGE, PAGE, RED, TIER_COLORS
from curemed_utils.training import curricula


def sft_loss(log: pd.DataFrame) -> Figure:
    """Training loss of one SFT run by step; `log` is a checkpoint's log.jsonl."""
    part = log.dropna(subset=["loss"])
    alt = f"Training loss falls from {part['loss'].iloc[0]:.2f} to {part['loss'].iloc[-1]:.2f} over {part['step'].iloc[-1]} steps"
    with style.applied():
        figure, (ax,) = style.figure(COLUMN, 2.2, alt)
        ax.plot(part["step"], part["loss"], color=BLUE, linewidth=1)
        ax.set(xlabel="step", ylabel="loss per completion token (nats)", ylim=(0, None), title="Supervised fine-tuning")
    return figure


def rewards(logs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The rewards of GRPO stages from their logs (stage -> log.jsonl): stage, step (from 1), reward, accuracy, language, format.

    A part that the log lacks, or where nothing could be verified, is NaN.
    """
    names = {"reward": "reward", **{part: f"rewards/{part}/mean" for part in ("accuracy", "language", "format")}}
    stages = []
    for stage, log in logs.items():
        part = log.dropna(subset=["reward"]).reindex(columns=list(names.values())).set_axis(list(names), axis=1)
        stages.append(part.assign(stage=stage, step=range(1, len(part) + 1)))
    return pd.concat(stages, ignore_index=True)[["stage", "step", *names]]


def reward_curves(table: pd.DataFrame, window: int = 5) -> Figure:
    """Mean reward and its parts (0-1) over the GRPO stages of a run, one band of colour a tier; moving averages over `window` steps.

    `table` has the columns of `rewards`.
    """
    curves = {"reward": ("black", 1.8, "-"), "accuracy": (BLUE, 1, "--"), "language": (GREEN, 1, "-."), "format": (RED, 1, ":")}
    stages = list(table["stage"].unique())
    ends = table.groupby("stage", sort=False)["reward"].agg(["first", "last"])
    told = "; ".join(f"{stage} from {row['first']:.2f} to {row['last']:.2f}" for stage, row in ends.iterrows())
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 2.6, f"Mean reward of the rollouts by GRPO step: {told}")
        start = 0
        for stage in stages:
            part = table[table["stage"].eq(stage)]
            ax.axvspan(start, start + len(part), color=TIER_COLORS[languages.STAGES[stage]], alpha=0.18, linewidth=0)
            ax.text(start + len(part) / 2, 1.03, f"stage {stage[5]}: + {languages.STAGES[stage]}", ha="center", fontsize=7.5)
            for name, (color, width, line) in curves.items():
                if part[name].notna().any():
                    smooth = part[name].rolling(window, min_periods=1).mean()
                    label = name if stage == stages[0] else None
                    ax.plot(start + part["step"], smooth, line, color=color, linewidth=width, label=label)
            start += len(part)
        ax.set(xlabel="GRPO step", ylabel=f"mean over rollouts, {window} steps", ylim=(0, 1.1), xlim=(0, max(start, 1)))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def live(records: list[dict], name: str) -> str:
    """HTML that shows a stage at work: a bar of its steps, and the loss or the reward so far. `records` are log records of training."""
    log, last = pd.DataFrame(records), records[-1]
    measure = "reward" if "reward" in log else "loss"
    picture = ""
    if measure in log and log[measure].notna().sum() > 1:
        with style.applied():
            figure, (ax,) = style.figure(COLUMN, 1.2, f"{measure} of {name} by step")
            curve = log.dropna(subset=[measure])
            ax.plot(curve["step"], curve[measure], color=BLUE, linewidth=1)
            ax.set(xlim=(1, last["of"]), xlabel="step", ylabel=measure)
            raw = io.BytesIO()
            figure.savefig(raw, format="png", dpi=110)
        picture = f'<br><img alt="{figure.alt}" src="data:image/png;base64,{base64.b64encode(raw.getvalue()).decode()}">'
    newest = log[measure].dropna().iloc[-1] if measure in log else float("nan")
    bar = f'<progress value="{last["step"]}" max="{last["of"]}" style="width: 20em"></progress>'
    return f"<div>{name} {bar} step {last['step']} of {last['of']}, {measure} {newest:.3f}{picture}</div>"


def levels(lab: pd.DataFrame, measure: str = "reward") -> pd.DataFrame:
    """One measure of `curricula.lab`'s table with its index reset: models in order of training as rows, tiers as columns."""
    return lab.pivot(index="model", columns="tier", values=measure).reindex(index=lab["model"].unique(), columns=list(languages.TIERS))


def forgetting(levels: pd.DataFrame) -> Figure:
    """The level of each checkpoint (rows, in order of training) on each tier (columns), as numbers on a grey scale, and the change
    from the best earlier level under each."""
    change = -curricula.forgetting(levels).reindex(levels.index)
    labels = [
        [f"{level:.2f}" + (f"\n({delta:+.2f})" if delta == delta else "") for level, delta in zip(*rows, strict=True)]
        for rows in zip(levels.to_numpy(), change.to_numpy(), strict=True)
    ]
    alt = "Mean reward of each checkpoint on each tier: " + "; ".join(
        f"{name} " + ", ".join(f"{tier} {value:.2f}" for tier, value in row.items()) for name, row in levels.iterrows()
    )
    with style.applied():
        figure, (ax,) = style.figure(COLUMN, 0.5 + 0.45 * len(levels), alt)
        scale = dict(vmin=0, vmax=1.8, cmap="Greys", cbar=False, linewidths=1)
        sns.heatmap(levels.astype(float), annot=np.array(labels), fmt="", ax=ax, annot_kws={"fontsize": 7.5, "color": "black"}, **scale)
        ax.set(xlabel="tier of the prompts", ylabel="")
        ax.tick_params(axis="y", rotation=0)
    return figure


def checkpoints(table: pd.DataFrame) -> Figure:
    """The run's own learning: reward, LA, LC and well-formed share of each checkpoint, on trained and on held-out prompts.

    `table` is `evaluation.table(verdicts, ['model', 'set'])`; a measure that nobody could take stays empty and says so. A checkpoint
    has a dagger where over 5% of its responses in a set are faults of the harness.
    """
    models = [model for model in languages.CHECKPOINTS if model in table.index.get_level_values("model")]
    marked = table["marked"] if "marked" in table else pd.Series(False, table.index)
    dagger = {model: " †" * bool(marked.xs(model, level="model").any()) for model in models}
    trained = table["reward"].xs("train", level="set").reindex(models) if "train" in table.index.get_level_values("set") else None
    alt = "Reward, logical accuracy, language consistency and well-formed share of each checkpoint, on trained and held-out prompts"
    if trained is not None:
        alt += "; reward on trained prompts: " + ", ".join(f"{model} {value:.2f}" for model, value in trained.items())
    with style.applied():
        figure, axes = style.figure(PAGE, 2.4, alt, 4, sharey=True)
        measures = {"reward": "Mean reward x 100", "la": "Logical accuracy", "lc": "Language consistency", "well_formed": "Well-formed"}
        for ax, (column, title) in zip(axes, measures.items(), strict=True):
            for name, label, color, marker in (("train", "trained on", BLUE, "o"), ("test", "held out", ORANGE, "s")):
                values = table[column].xs(name, level="set").reindex(models) * (100 if column == "reward" else 1)
                ax.plot(range(len(models)), values, color=color, marker=marker, markersize=4, label=label)
            if table[column].isna().all():
                ax.text(0.5, 0.5, "not measured:\nneeds a judge", transform=ax.transAxes, ha="center", va="center", color=GREY)
            ax.set_xticks(range(len(models)), [model.replace("_", "\n") + dagger[model] for model in models], rotation=60, fontsize=7)
            ax.set(title=title, ylim=(-4, 104))
            ax.grid(axis="y")
        axes[0].set_ylabel("%")
        axes[0].legend(loc="upper left")
    return figure
