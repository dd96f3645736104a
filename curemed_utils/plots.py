"""One function a figure: a small table in, a matplotlib Figure out; `save` writes it the same on every run."""

import base64
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from adjustText import adjust_text
from matplotlib.figure import Figure

from curemed_utils import curricula, evaluation, languages

# Okabe and Ito's palette: distinct under every common colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F"
TIER_COLORS = {"high": SKY, "medium": ORANGE, "low": PURPLE}
COLUMN, PAGE = 3.4, 7.0  # inches: one column, both columns

STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}


def save(figure: Figure, name: str, folder: str | Path) -> list[Path]:
    """Writes `<folder>/<name>.pdf` and `.png` (200 dpi) without dates, so that the same data give the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
    figure.savefig(pdf, metadata={"CreationDate": None, "ModDate": None})
    figure.savefig(png, dpi=200, metadata={"Software": None})
    return [pdf, png]


def _figure(width: float, height: float, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """An empty figure in the workbook's style, kept out of pyplot so that a notebook shows it once."""
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        return figure, figure.subplots(1, columns, squeeze=False, **options)[0]


def tradeoff(table: pd.DataFrame) -> Figure:
    """Figure 4: language consistency against logical accuracy of every model of Table 2, bubble area by parameters."""
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(PAGE, 4.6)
        ours = table["kind"].eq("cure-med")
        for mask, marker, color, label in ((~ours, "o", BLUE, "baseline"), (ours, "*", RED, "CURE-MED")):
            part = table[mask]
            scale = 14 if marker == "*" else 5
            ax.scatter(
                part["lc_mean"], part["la_mean"], s=30 + scale * part["params_b"], marker=marker, color=color,
                alpha=0.75, edgecolor="white", linewidth=0.5, label=label, zorder=3,
            )  # fmt: skip
        colors = {"cure-med": RED, "baseline": "black"}
        labels = [
            ax.text(row.lc_mean, row.la_mean, row.model.replace("-Qwen2.5", ""), fontsize=7, color=colors[row.kind])
            for row in table.itertuples()
        ]
        ax.set(xlabel="Language consistency (%)", ylabel="Logical accuracy (%)", xlim=(-4, 104), ylim=(-4, 76))
        ax.grid(alpha=0.25)
        legend = ax.legend(loc="upper left", title="bubble area: parameters")
        legend.get_title().set_fontsize(7.5)
        for handle in legend.legend_handles:
            handle.set_sizes([60])
        adjust_text(labels, ax=ax, iter_lim=400, arrowprops=dict(arrowstyle="-", color=GREY, lw=0.4))
    return figure


def scaling(table: pd.DataFrame) -> Figure:
    """Figure 5: base and CURE-MED over the five Qwen2.5 sizes of Table 2; bands are one standard deviation over runs."""
    with plt.rc_context(STYLE):
        figure, axes = _figure(PAGE, 2.6, 2)
        lines = {
            "Qwen2.5-Instruct": (table[table["model"].str.match(r"Qwen2\.5-Instruct-(1\.5|3|7|14|32)B$")], BLUE, "--", "o"),
            "CURE-MED": (table[table["kind"].eq("cure-med")], RED, "-", "*"),
        }
        for ax, metric, title in zip(axes, ("lc", "la"), ("Language consistency", "Logical accuracy"), strict=True):
            for name, (part, color, style, marker) in lines.items():
                part = part.sort_values("params_b")
                x, mean, std = range(len(part)), part[f"{metric}_mean"], part[f"{metric}_std"]
                ax.plot(x, mean, style, color=color, marker=marker, markersize=8 if marker == "*" else 4, label=name)
                ax.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
                for i, value in enumerate(mean):
                    ax.annotate(f"{value:.1f}", (i, value), (0, 6), textcoords="offset points", ha="center", fontsize=7, color=color)
                ax.set_xticks(list(x), [f"{size:g}B" for size in part["params_b"]])
            ax.set(title=title, xlabel="Parameters", ylabel="%", ylim=(0, 108))
            ax.grid(axis="y", alpha=0.25)
        axes[0].legend(loc="upper left")
    return figure


def medical_baselines(table: pd.DataFrame) -> Figure:
    """Figure 6: logical accuracy of CURE-MED and of medical models on four benchmarks."""
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(PAGE, 2.8)
        palette = ["#BBBBBB", SKY, GREEN, ORANGE, "#F4A582", RED]
        sns.barplot(table, x="benchmark", y="accuracy", hue="model", palette=palette, edgecolor="black", linewidth=0.4, saturation=1, ax=ax)
        for bars in ax.containers:
            ax.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
        ax.set(xlabel="", ylabel="Logical accuracy (%)", ylim=(0, 95))
        ax.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.14), columnspacing=1, handlelength=1)
    return figure


def composition(table: pd.DataFrame) -> Figure:
    """Figure 8: rows per language, and the languages by family; counted in the authors' released files."""
    with plt.rc_context(STYLE):
        figure, (left, right) = _figure(PAGE, 3.2, 2)
        total = table[["n_sft", "n_rft", "n_test"]].sum(axis=1)
        by_size = table.assign(n=total).sort_values("n")
        start = np.zeros(len(by_size))
        for column, label, color in (("n_sft", "SFT", BLUE), ("n_rft", "RFT", SKY), ("n_test", "test", ORANGE)):
            left.barh(by_size["language"], by_size[column], left=start, color=color, label=label)
            start += by_size[column].to_numpy()
        for y, n in enumerate(by_size["n"]):
            left.text(n + 20, y, f"{n:,} ({100 * n / total.sum():.1f}%)", va="center", fontsize=7)
        left.set(title="Rows per language", xlabel="rows", xlim=(0, 1.3 * by_size["n"].max()))
        left.legend(loc="lower right")
        families = by_size.groupby("family").agg(n=("n", "sum"), names=("language", ", ".join)).sort_values("n")
        right.barh(families.index, families["n"], color=GREEN)
        for y, row in enumerate(families.itertuples()):
            right.text(row.n + 60, y, row.names, va="center", fontsize=7)
        right.set(title="Languages in eight families", xlabel="rows", xlim=(0, 1.75 * families["n"].max()))
    return figure


def human_ratings(table: pd.DataFrame) -> Figure:
    """Table 5 as a picture: mean ratings (1-5) by medical professionals and by native speakers, per language."""
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(COLUMN, 3.2)
        table = table.sort_values("medical_correctness", ascending=False).reset_index(drop=True)
        ax.hlines(table.index, table["medical_correctness"], table["language_quality"], color=GREY, linewidth=1)
        ax.plot(table["medical_correctness"], table.index, "o", color=BLUE, label="medical correctness")
        ax.plot(table["language_quality"], table.index, "D", color=ORANGE, markersize=4, label="language quality")
        ax.set_yticks(table.index, table["language"])
        ax.set(xlabel="mean rating (1-5)", xlim=(4.35, 5.05), title="Published human verification")
        ax.legend(loc="lower left")
    return figure


def sft_loss(log: pd.DataFrame) -> Figure:
    """Training loss of one SFT run by step."""
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(COLUMN, 2.2)
        part = log.dropna(subset=["loss"])
        ax.plot(part["step"], part["loss"], color=BLUE, linewidth=1)
        ax.set(xlabel="step", ylabel="loss per completion token (nats)", ylim=(0, None), title="Supervised fine-tuning")
    return figure


def reward_curves(logs: dict[str, pd.DataFrame], window: int = 5) -> Figure:
    """Mean reward and its parts over the GRPO stages of a run, one band of colour a tier; moving averages over `window` steps."""
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(PAGE, 2.8)
        columns = {
            "reward": ("composite", "black", 1.8),
            "rewards/accuracy/mean": ("accuracy", BLUE, 1),
            "rewards/language/mean": ("language", GREEN, 1),
            "rewards/format/mean": ("format", ORANGE, 1),
        }
        start = 0
        for stage, log in logs.items():
            part = log.dropna(subset=["reward"])
            ax.axvspan(start, start + len(part), color=TIER_COLORS[languages.STAGES[stage]], alpha=0.18, linewidth=0)
            ax.text(start + len(part) / 2, 1.03, f"stage {stage[5]}: + {languages.STAGES[stage]}", ha="center", fontsize=7.5)
            for column, (label, color, width) in columns.items():
                if column in part and part[column].notna().any():
                    smooth = part[column].rolling(window, min_periods=1).mean()
                    ax.plot(start + np.arange(1, len(part) + 1), smooth, color=color, linewidth=width, label=label if start == 0 else None)
            start += len(part)
        ax.set(xlabel="GRPO step", ylabel="mean over rollouts", ylim=(0, 1.1), xlim=(0, max(start, 1)))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def live(records: list[dict], name: str) -> str:
    """HTML that shows a stage at work: a bar of its steps, and the loss or the reward so far. `records` are log records of training."""
    log, last = pd.DataFrame(records), records[-1]
    measure = "reward" if "reward" in log else "loss"
    picture = ""
    if measure in log and log[measure].notna().sum() > 1:
        with plt.rc_context(STYLE):
            figure, (ax,) = _figure(COLUMN, 1.2)
            curve = log.dropna(subset=[measure])
            ax.plot(curve["step"], curve[measure], color=BLUE, linewidth=1)
            ax.set(xlim=(1, last["of"]), xlabel="step", ylabel=measure)
            raw = io.BytesIO()
            figure.savefig(raw, format="png", dpi=110)
        picture = f'<br><img alt="{measure} of {name} by step" src="data:image/png;base64,{base64.b64encode(raw.getvalue()).decode()}">'
    newest = log[measure].dropna().iloc[-1] if measure in log else float("nan")
    bar = f'<progress value="{last["step"]}" max="{last["of"]}" style="width: 20em"></progress>'
    return f"<div>{name} {bar} step {last['step']} of {last['of']}, {measure} {newest:.3f}{picture}</div>"


def forgetting(levels: pd.DataFrame) -> Figure:
    """The level of each checkpoint (rows, in order of training) on each tier (columns), as numbers on a grey scale, and the change
    from the best earlier level under each."""
    change = -curricula.forgetting(levels).reindex(levels.index)
    labels = [
        [f"{level:.2f}" + (f"\n({delta:+.2f})" if delta == delta else "") for level, delta in zip(*rows, strict=True)]
        for rows in zip(levels.to_numpy(), change.to_numpy(), strict=True)
    ]
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(COLUMN, 0.5 + 0.45 * len(levels))
        scale = dict(vmin=0, vmax=1.8, cmap="Greys", cbar=False, linewidths=1)
        sns.heatmap(levels.astype(float), annot=np.array(labels), fmt="", ax=ax, annot_kws={"fontsize": 7.5}, **scale)
        ax.set(xlabel="tier of the prompts", ylabel="")
    return figure


def checkpoints(table: pd.DataFrame) -> Figure:
    """The run's own learning: reward, LA, LC and well-formed share of each checkpoint, on trained and on held-out prompts.

    `table` is `evaluation.table(verdicts, ['model', 'set'])`; a measure that nobody could take stays empty and says so.
    """
    with plt.rc_context(STYLE):
        figure, axes = _figure(PAGE, 2.4, 4, sharey=True)
        measures = {"reward": "Mean reward x 100", "la": "Logical accuracy", "lc": "Language consistency", "well_formed": "Well-formed"}
        models = [model for model in evaluation.MODELS if model in table.index.get_level_values("model")]
        for ax, (column, title) in zip(axes, measures.items(), strict=True):
            for name, label, color, marker in (("train", "trained on", BLUE, "o"), ("test", "held out", ORANGE, "s")):
                values = table[column].xs(name, level="set").reindex(models) * (100 if column == "reward" else 1)
                ax.plot(range(len(models)), values, color=color, marker=marker, markersize=4, label=label)
            if table[column].isna().all():
                ax.text(0.5, 0.5, "not measured:\nneeds a judge", transform=ax.transAxes, ha="center", va="center", color=GREY)
            ax.set_xticks(range(len(models)), [model.replace("_", "\n") for model in models], rotation=60, fontsize=7)
            ax.set(title=title, ylim=(-4, 104))
            ax.grid(axis="y", alpha=0.25)
        axes[0].set_ylabel("%")
        axes[0].legend(loc="upper left")
    return figure


def lc_decomposition(table: pd.DataFrame) -> Figure:
    """Published language consistency of each model and what its failures are; `table` is `calibration.decompose`'s, in percent.

    A diamond marks the consistency over complete answers alone.
    """
    parts = {
        "lc": ("consistent, as published", BLUE),
        "cut_only": ("only cut off", "#BBBBBB"),
        "both": ("cut off and other language", GREY),
        "language_only": ("only other language", ORANGE),
        "neither": ("unexplained", RED),
        "undecided": ("check undecided", "#E5E5E5"),
        "blank": ("no verdict", "black"),
    }
    with plt.rc_context(STYLE):
        figure, (ax,) = _figure(PAGE, 1.7 + 0.32 * len(table))
        table = table.sort_values("lc")
        start = np.zeros(len(table))
        for column, (label, color) in parts.items():
            if table[column].any():
                ax.barh(table.index, table[column], left=start, color=color, label=label, height=0.62)
            start += table[column].to_numpy()
        ax.plot(table["lc_complete"], table.index, "D", color="white", markeredgecolor="black", markersize=6, label="over complete answers")
        ax.set(xlabel="share of all responses (%)", xlim=(0, 100), title="What published language consistency measures")
        figure.legend(loc="outside lower center", ncols=4)
    return figure
