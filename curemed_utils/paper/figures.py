"""The paper's figures and what its numbers show beside them: one function a figure, small tables in, a matplotlib Figure out.

Tables are those of `figures/source_data`; every plotted mark is a cell of one of their rows. Where a function takes `own`, the
scores of a run (`paper.own`) are drawn into the figure.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from curemed_utils import languages
from curemed_utils.paper import style
from curemed_utils.paper.style import BLUE, COLUMN, GREEN, GREY, ORANGE, PAGE, PURPLE, RED, SKY, TIER_COLORS, YELLOW
from curemed_utils.training import curricula

SIZES = ("1.5B", "3B", "7B", "14B", "32B")
PURE, BOLD = {"color": "black"}, {"color": "black", "fontweight": "bold"}
ROLES = {  # how the text of Figures 2 and 3 looks: by colour, and by slant or weight for those who see no colour
    "target": {"color": BLUE, "fontstyle": "italic"},
    "english": PURE,
    "wrong": {"color": "#A33B00"},
    "right": {"color": "#00694C", "fontweight": "bold"},
}


# The method ---------------------------------------------------------------------------------------------------------


def pipeline(composition: pd.DataFrame) -> Figure:
    """Figure 1: from health topics to a model in three steps; the row counts are those of the authors' released files."""
    n = composition[["n_sft", "n_rft", "n_test"]].sum()
    stages = [
        f"stage {i}: {'+ ' * (i > 1)}{tier}-resource tier\n{', '.join(languages.in_tier(tier))}"
        for i, tier in enumerate(languages.TIERS, 1)
    ]
    alt = (
        "The CURE-MED pipeline in three panels. A, data: MedlinePlus topics become multiple-choice questions, are filtered, turned into "
        "open questions with code-switched reasoning, and rated by humans. B: supervised fine-tuning of Qwen2.5-Instruct on these traces. "
        "C: GRPO in three stages, from high- over medium- to low-resource languages."
    )
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 3.05, alt)
        ax.set(xlim=(0, 100), ylim=(0, 43))
        ax.axis("off")
        panels = ((0, 31, "A  Data", SKY), (34.5, 26, "B  Cold start: SFT", ORANGE), (64, 36, "C  Curriculum: GRPO", PURPLE))
        for x, width, title, color in panels:
            _box(ax, x, 0, width, 42.5, color, 0.13)
            ax.text(x + 1.5, 39.2, title, fontsize=9, fontweight="bold", va="center")
        _chain(
            ax, 1.5, 28, SKY,
            ["MedlinePlus health topics", "multiple-choice questions, composed\nin each of 13 languages",
             "filters: too easy for three small\nmodels, or ambiguous", "open question, code-switched\nreasoning, one short answer",
             "ratings by clinicians and\nnative speakers"],
        )  # fmt: skip
        _chain(
            ax, 36, 23, ORANGE,
            ["Qwen2.5-Instruct", f"{n['n_sft']:,} code-switched traces:\nEnglish argument, clinical terms\nof the language",
             "loss on reasoning and answer:\n$-\\log p_\\theta(\\mathbf{r}, y^* | x)$",
             "a model that reasons in steps\nand answers in the language"],
        )  # fmt: skip
        _chain(
            ax, 65.5, 33, PURPLE,
            [f"{n['n_rft']:,} questions, a group of rollouts each", "$R = 0.65\\,R_{acc} + 0.30\\,R_{lang} + 0.05\\,R_{fmt}$",
             *stages],
        )  # fmt: skip
        for start, end in ((31, 34.5), (60.5, 64)):
            ax.annotate("", (end, 21), (start, 21), arrowprops=dict(arrowstyle="-|>", color="black", linewidth=1.4, shrinkA=0, shrinkB=0))
    return figure


def _box(ax: Axes, x: float, y: float, width: float, height: float, color: str, alpha: float) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", linewidth=0)
    shape.set(facecolor=color, alpha=alpha)
    ax.add_patch(shape)


def _chain(ax: Axes, x: float, width: float, color: str, texts: list[str]) -> None:
    """Boxes from the top down, each as high as its lines need, an arrow from one to the next."""
    lines = [text.count("\n") + 1 for text in texts]
    free = 35.5 - sum(1.6 + 2.5 * k for k in lines)
    gap, top = free / (len(texts) - 1), 36.8
    for i, (text, k) in enumerate(zip(texts, lines, strict=True)):
        height = 1.6 + 2.5 * k
        _box(ax, x, top - height, width, height, "white", 1)
        _box(ax, x, top - height, width, height, color, 0.35)
        ax.text(x + width / 2, top - height / 2, text, ha="center", va="center", fontsize=7, linespacing=1.15)
        if i < len(texts) - 1:
            arrow = dict(arrowstyle="-|>", color="black", linewidth=0.8, shrinkA=0, shrinkB=0, mutation_scale=6)
            ax.annotate("", (x + width / 2, top - height - gap), (x + width / 2, top - height), arrowprops=arrow)
        top -= height + gap


def _broken(text: str, width: int) -> str:
    """`text` in lines of at most `width` characters."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(line.strip() for line in lines)


def code_switched(example: pd.DataFrame, language: str = "French") -> Figure:
    """Figure 2 with an example of our own: a question, its code-switched reasoning and its answer, the language apart from English.

    `example` has part (question, step1 …, answer), role (english | target) and text, in reading order.
    """
    text = " ".join(example["text"])
    families = style.fonts(text)

    def write(ax: Axes, top: float) -> float:
        top = style.flow(ax, [(f"Code-switched reasoning ({language})", BOLD | {"fontsize": 9})], 4, top, 232) - 3
        return _parts(ax, example, 4, top, 232, families)

    return _written(write, COLUMN, f"A code-switched example in {language}, {language} in blue italics: {text}")


def side_by_side(
    example: pd.DataFrame, language: str = "Spanish", titles: tuple[str, str] = ("Fluent, and wrong", "Code-switched, and right")
) -> Figure:
    """Figure 3 with an example of our own: one question, a fluent wrong response and a code-switched right one.

    `example` has response (both | untrained | trained), part, role (english | target | wrong | right) and text.
    """
    text = " ".join(example["text"])
    families = style.fonts(text)

    def write(ax: Axes, top: float) -> float:
        top = _parts(ax, example[example["response"].eq("both")], 4, top, 490, families) - 4
        ends = []
        for x, name, title in ((4, "untrained", titles[0]), (258, "trained", titles[1])):
            below = style.flow(ax, [(title, BOLD | {"fontsize": 8.5})], x, top, 236) - 2
            ends.append(_parts(ax, example[example["response"].eq(name)], x, below, 236, families))
        return min(ends)

    return _written(write, PAGE, f"Two responses to one question in {language}, {' | '.join(titles)}: {text}")


def _written(write: Callable[[Axes, float], float], width: float, alt: str) -> Figure:
    """A page of text as high as what `write` needs: it is tried on a long page first."""
    height = 10.0
    for _ in range(2):
        with style.applied():
            figure, (ax,) = style.figure(width, height, alt)
            figure.set_layout_engine("none")
            ax.set_position([0, 0, 1, 1])
            ax.axis("off")
            height -= (write(ax, 72 * height - 5) - 2) / 72
    return figure


def _parts(ax: Axes, example: pd.DataFrame, x: float, top: float, width: float, families: list[str]) -> float:
    for part, rows in example.groupby("part", sort=False):
        head = part.capitalize() if not part.startswith("step") else f"<{part}>"
        spans = [(head, BOLD | {"fontsize": 7.5})]
        spans += [(text, ROLES[role] | {"fontfamily": families}) for role, text in zip(rows["role"], rows["text"], strict=True)]
        top = style.flow(ax, spans, x, top, width) - 2.5
    return top


# Main results -------------------------------------------------------------------------------------------------------


def tradeoff(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Figure:
    """Figure 4: language consistency against logical accuracy of every model of Table 2, bubble area by parameters."""
    best = table.loc[table["la_mean"].idxmax()]
    alt = (
        f"Scatter of {len(table)} models: language consistency across, logical accuracy up. Models that answer more rightly also keep the "
        f"language better; {best['model']} lies highest with {best['la_mean']:.1f}% and {best['lc_mean']:.1f}%"
    )
    points = table.rename(columns={"lc_mean": "lc", "la_mean": "la"})[["model", "kind", "params_b", "lc", "la"]]
    if own is not None:
        points = pd.concat([points, _overall(own).assign(kind="own")], ignore_index=True)
    kinds = {"baseline": ("o", BLUE, "baseline"), "cure-med": ("*", RED, "CURE-MED"), "own": ("D", PURPLE, "this run")}
    if own is not None and own["model"].str.contains("†").any():
        kinds["own"] = ("D", PURPLE, "this run († over 5% cut off, empty or not judged)")
    area = 22 + 3.2 * points["params_b"] * points["kind"].map({"cure-med": 3}).fillna(1)
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 4.9, alt)
        ax.set(xlabel="Language consistency (%)", ylabel="Logical accuracy (%)", xlim=(-7, 106), ylim=(-7, 78))
        ax.grid()
        for kind, (marker, color, label) in kinds.items():
            part = points[points["kind"].eq(kind)].sort_values("params_b", ascending=False)
            if len(part):
                look = dict(marker=marker, color=color, edgecolor="white", linewidth=0.5, alpha=0.8, zorder=3)
                ax.scatter(part["lc"], part["la"], s=area[part.index], label=label, **look)
        legend = ax.legend(loc="upper left", title="bubble area: parameters")
        for handle in legend.legend_handles:
            handle.set_sizes([50])
        names = points["model"].str.replace("-Qwen2.5", "").tolist()
        colors = points["kind"].map({"baseline": "black", "cure-med": "#A33B00", "own": "#8A3D68"}).tolist()
        style.place_labels(ax, points[["lc", "la"]].to_numpy(float), np.sqrt(area) / 2, names, colors)
    return figure


def _overall(own: pd.DataFrame) -> pd.DataFrame:
    """A run's models with their overall la and lc; those that lack one of the two are left out."""
    overall = own[own["language"].eq("all")]
    wide = overall.pivot_table(index=["model", "params_b"], columns="metric", values="value", sort=False).reindex(columns=["la", "lc"])
    return wide.dropna().reset_index()


def scaling(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Figure:
    """Figure 5: base and CURE-MED over the five Qwen2.5 sizes of Table 2; bands are one standard deviation over three runs."""
    lines = {
        "Qwen2.5-Instruct": (table[table["model"].isin([f"Qwen2.5-Instruct-{size}" for size in SIZES])], BLUE, "--", "o", -12),
        "CURE-MED": (table[table["kind"].eq("cure-med")], RED, "-", "*", 6),
    }
    lines = {name: (part.sort_values("params_b"), *look) for name, (part, *look) in lines.items()}
    alt = "Two line charts over five model sizes, language consistency and logical accuracy. " + "; ".join(
        f"{name}: {what} {', '.join(f'{value:.1f}' for value in part[column])}"
        for name, (part, *_) in lines.items()
        for what, column in (("consistency", "lc_mean"), ("accuracy", "la_mean"))
    )
    with style.applied():
        figure, axes = style.figure(PAGE, 2.7, alt, 2)
        for ax, metric, title in zip(axes, ("lc", "la"), ("Language consistency", "Logical accuracy"), strict=True):
            for name, (part, color, line, marker, above) in lines.items():
                x, mean, std = np.arange(len(part)), part[f"{metric}_mean"], part[f"{metric}_std"]
                ax.plot(x, mean, line, color=color, marker=marker, markersize=8 if marker == "*" else 4, label=name)
                ax.fill_between(x, mean - std, mean + std, color=color, alpha=0.25, linewidth=0)
                for i, value in enumerate(mean):
                    ax.annotate(f"{value:.1f}", (i, value), (0, above), textcoords="offset points", ha="center", fontsize=7, color=color)
            ax.set_xticks(range(len(SIZES)), SIZES)
            if own is not None:
                _beside(ax, own, metric)
            ax.set(title=title, xlabel="parameters", ylabel="%", ylim=(-8, 108))
            ax.margins(x=0.08)
            ax.grid(axis="y")
        axes[0].legend(loc="upper left")
    return figure


def _beside(ax: Axes, own: pd.DataFrame, metric: str) -> None:
    """A run's first and last model as an arrow left of the published sizes."""
    values = own[own["language"].eq("all") & own["metric"].eq(metric)]["value"].to_numpy()
    if len(values):
        ax.plot([-1] * len(values[[0, -1]]), values[[0, -1]], "D:", color=PURPLE, markersize=4, label="this run")
        ax.set_xticks(range(-1, len(SIZES)), ["this run", *SIZES])


def medical_baselines(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Figure:
    """Figure 6: logical accuracy of CURE-MED and of medical models on four benchmarks."""
    if own is not None and len(last := own[own["metric"].eq("la") & own["language"].eq("all")].tail(1)):
        mine = dict(model=f"this run: {last['model'].item()}", benchmark="CUREMED-BENCH", accuracy=last["value"].item())
        table = pd.concat([table, pd.DataFrame([mine])], ignore_index=True)
    best = table.loc[table.groupby("benchmark", sort=False)["accuracy"].idxmax()]
    alt = "Bars of logical accuracy of medical models on four benchmarks; the best: " + ", ".join(
        f"{row.model} with {row.accuracy:.1f}% on {row.benchmark}" for row in best.itertuples()
    )
    looks = [("#EDEDED", ""), ("#C8C8C8", ""), ("#A0A0A0", ""), ("#4D4D4D", ""), ("#F4B183", "////"), (RED, ""), (PURPLE, "....")]
    models = list(table["model"].unique())
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 2.9, alt)
        palette = [color for color, _ in looks[: len(models)]]
        sns.barplot(table, x="benchmark", y="accuracy", hue="model", palette=palette, edgecolor="black", linewidth=0.5, saturation=1, ax=ax)
        handles, names = ax.get_legend_handles_labels()
        for bars, handle, (_, hatch) in zip(ax.containers, handles, looks, strict=False):
            ax.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
            for patch in (*bars, handle):
                patch.set_hatch(hatch)
        ax.set(xlabel="", ylabel="Logical accuracy (%)", ylim=(0, 90))
        ax.get_legend().remove()
        figure.legend(handles, names, ncols=4 if len(names) > 6 else 6, loc="outside upper center", columnspacing=1, handlelength=1.2)
    return figure


# Data ---------------------------------------------------------------------------------------------------------------


def composition(table: pd.DataFrame) -> Figure:
    """Figure 8: rows per language, and the languages by family. `table` is counted in the authors' released files or in a run's."""
    table = table.assign(n=table[["n_sft", "n_rft", "n_test"]].sum(axis=1)).sort_values("n")
    total = table["n"].sum()
    families = table.groupby("family").agg(n=("n", "sum"), names=("language", ", ".join)).sort_values("n")
    alt = f"Left: rows of {len(table)} languages, from {table['language'].iloc[-1]} ({table['n'].iloc[-1]:,}) down to "
    alt += f"{table['language'].iloc[0]} ({table['n'].iloc[0]:,}). Right: the languages by family: "
    alt += "; ".join(f"{family}: {row.names}" for family, row in families.iloc[::-1].iterrows())
    with style.applied():
        figure, (left, right) = style.figure(PAGE, 3.3, alt, 2)
        start = np.zeros(len(table))
        for column, label, color in (("n_sft", "SFT", BLUE), ("n_rft", "RFT", SKY), ("n_test", "test", YELLOW)):
            left.barh(table["language"], table[column], left=start, color=color, edgecolor="white", linewidth=0.4, label=label)
            start += table[column].to_numpy()
        for y, n in enumerate(table["n"]):
            left.text(n + 0.01 * table["n"].max(), y, f"{n:,} ({100 * n / total:.1f}%)", va="center", fontsize=7)
        left.set(title="Rows per language", xlim=(0, 1.42 * table["n"].max()))
        left.legend(loc="upper center", bbox_to_anchor=(0.45, -0.08), ncols=3)
        right.barh(families.index, families["n"], color=GREEN)
        for y, row in enumerate(families.itertuples()):
            right.text(row.n + 0.01 * families["n"].max(), y, _broken(row.names, 26), va="center", fontsize=7, linespacing=1.05)
        right.set(title=f"Languages in {len(families)} families", xlabel="rows", xlim=(0, 1.85 * families["n"].max()))
    return figure


def human_ratings(table: pd.DataFrame) -> Figure:
    """Table 5 as a picture: mean ratings (1-5) by medical professionals and by native speakers, per language."""
    table = table.sort_values(["medical_correctness", "language"], ascending=False).reset_index(drop=True)
    means = table[["medical_correctness", "language_quality"]].mean()
    alt = f"Mean ratings of {len(table)} languages; over all {means.iloc[0]:.2f} for medicine, {means.iloc[1]:.2f} for language; lowest"
    alt += f" {table['language'].iloc[-1]} with {table['medical_correctness'].iloc[-1]:.2f}"
    with style.applied():
        figure, (ax,) = style.figure(COLUMN, 3.2, alt)
        ax.hlines(table.index, table["medical_correctness"], table["language_quality"], color=GREY, linewidth=1)
        ring = dict(color=BLUE, markerfacecolor="none", markersize=8)
        ax.plot(table["medical_correctness"], table.index, "o", label="medical correctness", **ring)
        ax.plot(table["language_quality"], table.index, "D", color=ORANGE, markersize=3.5, label="language quality")
        ax.set_yticks(table.index, table["language"])
        low = min(4.35, table[["medical_correctness", "language_quality"]].min().min() - 0.1)
        ax.set(xlabel="mean rating (1-5)", xlim=(low, 5.05))
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def rating_intervals(table: pd.DataFrame) -> Figure:
    """One's own mean ratings with their 95% intervals beside the published ones; `table` is `agreement.beside_published`'s."""
    measures = list(table["measure"].unique())
    ours = table.dropna(subset="mean")
    alt = "Own mean ratings with intervals beside Table 5: " + "; ".join(
        f"{measure.replace('_', ' ')} {part['mean'].min():.2f} to {part['mean'].max():.2f} over {len(part)} languages"
        for measure, part in ours.groupby("measure", sort=False)
    )
    order = sorted(table["language"].unique(), reverse=True)
    low = min(4.3, ours["low"].fillna(ours["mean"]).min() - 0.1)
    with style.applied():
        figure, axes = style.figure(PAGE, 3.1, alt, len(measures), sharey=True)
        for ax, measure in zip(axes, measures, strict=True):
            part = table[table["measure"].eq(measure)].set_index("language").loc[order]
            y = np.arange(len(order))
            ax.plot(part["published"], y, "o", color=BLUE, markerfacecolor="none", markersize=8, label="published, no interval")
            ax.hlines(y, part["low"], part["high"], color=RED, linewidth=1)
            ax.plot(part["mean"], y, "D", color=RED, markersize=4, label="these ratings")
            ax.set(title=measure.replace("_", " "), xlabel="mean rating (1-5)", xlim=(low, 5.1))
            ax.set_yticks(y, order)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def audit_findings(rows: pd.DataFrame, sizes: dict[str, int]) -> Figure:
    """Findings of each check in each language as a share of the language's rows; `rows` is an audit's, `sizes` counts rows by language.

    Checks that found nothing are left out.
    """
    counts = pd.crosstab(rows["check"], rows["language"]).reindex(columns=list(languages.NAMES), fill_value=0)
    counts = counts.loc[rows["check"].value_counts().index]
    shares = 100 * counts / pd.Series(sizes).reindex(counts.columns).clip(lower=1)
    top = "; ".join(f"{check} {n:,}" for check, n in counts.sum(axis=1).head(4).items())
    with style.applied():
        figure, (ax,) = style.figure(
            PAGE, 1.0 + 0.24 * max(len(shares), 1), f"Findings of the audit by check and language; most: {top or 'none'}"
        )
        if len(shares):
            look = dict(cmap="Greys", vmin=0, vmax=45, cbar=False, linewidths=0.5, annot_kws={"fontsize": 7, "color": "black"})
            sns.heatmap(np.sqrt(10 * shares), annot=counts.to_numpy(), fmt="d", ax=ax, **look)
        ax.set(xlabel="", ylabel="", title="Findings (number), shaded by share of the language's rows")
        ax.set_xticks(np.arange(len(languages.NAMES)) + 0.5, languages.NAMES, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(np.arange(len(shares)) + 0.5, [check.replace("_", " ") for check in shares.index], rotation=0)
        ax.tick_params(axis="both", length=0)
    return figure


# Per language -------------------------------------------------------------------------------------------------------


def per_language(tables: dict[str, pd.DataFrame], own: pd.DataFrame | None = None) -> Figure:
    """Heat maps of Tables 6 and 7: LA and LC per language of each base model and its CURE-MED variant.

    `tables` maps a size to its table. Languages stand by tier, as the curriculum takes them.
    """
    order = [name for tier in languages.TIERS for name in languages.in_tier(tier)]
    maps = {
        title: pd.DataFrame({f"{size} {label}": table.set_index("language")[f"{metric}_{part}"]
                             for size, table in tables.items() for part, label in (("base", "base"), ("cure_med", "CURE-MED"))}).T
        for metric, title in (("la", "Logical accuracy (%)"), ("lc", "Language consistency (%)"))
    }  # fmt: skip
    return _heat_maps(maps, order, own, "before and after CURE-MED, per language")


def proprietary(la: pd.DataFrame, lc: pd.DataFrame, own: pd.DataFrame | None = None) -> Figure:
    """Heat maps of Tables 9 and 10: LA and LC per language of the five proprietary models."""
    order = [name for tier in languages.TIERS for name in languages.in_tier(tier)]
    titles = {"la": "Logical accuracy (%)", "lc": "Language consistency (%)"}
    maps = {
        titles[name]: table.pivot(index="model", columns="language", values=name).loc[table["model"].unique()]
        for name, table in (("la", la), ("lc", lc))
    }
    return _heat_maps(maps, order, own, "of five proprietary models, per language")


def _heat_maps(maps: dict[str, pd.DataFrame], order: list[str], own: pd.DataFrame | None, about: str) -> Figure:
    if own is not None:
        each = own[~own["language"].eq("all")]
        last = each[each["model"].eq(each["model"].iloc[-1])] if len(each) else each
        for (title, table), metric in zip(maps.items(), ("la", "lc"), strict=True):
            row = last[last["metric"].eq(metric)].set_index("language")["value"]
            maps[title] = pd.concat([table, row.rename(f"this run: {last['model'].iloc[0]}").to_frame().T]) if len(row) else table
    lows = "; ".join(f"lowest {title.lower()}: {table.min(axis=1).min():.1f} in {table.min().idxmin()}" for title, table in maps.items())
    rows = max(map(len, maps.values()))
    with style.applied():
        figure, _ = style.figure(PAGE, 1.3 + 0.46 * rows, f"Heat maps of logical accuracy and language consistency {about}; {lows}")
        figure.clear()
        axes = figure.subplots(2, 1, sharex=True)
        for ax, table in zip(axes, maps.values(), strict=True):
            _heat_map(ax, table.reindex(columns=order))
            ax.set(xlabel="", ylabel="")
            ax.tick_params(axis="y", rotation=0, length=0)
            ax.tick_params(axis="x", length=0)
            for edge in np.cumsum([len(languages.in_tier(tier)) for tier in languages.TIERS])[:-1]:
                ax.axvline(edge, color="white", linewidth=3)
        axes[-1].set_xticks(np.arange(len(order)) + 0.5, order, rotation=45, ha="right", rotation_mode="anchor")
        middle = 0
        for tier in languages.TIERS:
            n = len(languages.in_tier(tier))
            axes[0].annotate(tier, (middle + n / 2, 0), (0, 4), textcoords="offset points", ha="center", fontsize=7.5, fontweight="bold")
            middle += n
        for ax, title in zip(axes, maps, strict=True):
            ax.set_title(title, pad=15 if ax is axes[0] else 5, loc="left")
    return figure


def _heat_map(ax: Axes, values: pd.DataFrame) -> None:
    """Percentages as numbers on cividis: white ones on its dark half, black ones on its light half."""
    look = dict(cmap="cividis", vmin=0, vmax=100, cbar=False, linewidths=0.5)
    sns.heatmap(values.astype(float), annot=True, fmt=".0f", annot_kws={"fontsize": 7}, ax=ax, **look)
    for text, value in zip(ax.texts, values.stack().to_numpy(float), strict=True):
        text.set_color("black" if value > 48 else "white")


def tier_gap(panels: dict[str, pd.DataFrame]) -> Figure:
    """The level of each tier before and after training, in percent, and the gap from the high to the low tier.

    `panels` maps a title to a table with tiers as columns and at least two rows, of which the first and the last are drawn.
    """
    ends = {title: table.iloc[[0, -1]] for title, table in panels.items()}
    gaps = {title: curricula.gap(table).tolist() for title, table in ends.items()}
    alt = "Levels of the three tiers before and after; the gap from high to low: "
    alt += "; ".join(f"{title} {before:.0f} to {after:.0f} points" for title, (before, after) in gaps.items())
    with style.applied():
        figure, axes = style.figure(PAGE if len(panels) > 1 else COLUMN, 2.4, alt, len(panels), sharey=True)
        for ax, (title, table) in zip(axes, ends.items(), strict=True):
            for tier, marker, line in zip(languages.TIERS, "o^s", ("-", "--", ":"), strict=True):
                ax.plot([0, 1], table[tier], line, color=TIER_COLORS[tier], marker=marker, markersize=5, linewidth=1.6, label=tier)
            for x, gap in enumerate(gaps[title]):
                ax.text(x, -12, f"gap {gap:.0f}", ha="center", fontsize=7.5)
            ax.set_xticks([0, 1], [str(name).replace("_", " ") for name in table.index])
            ax.set(title=title, ylim=(-18, 104), xlim=(-0.4, 1.4))
            ax.grid(axis="y")
        axes[0].set_ylabel("%")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


# Verifiers ----------------------------------------------------------------------------------------------------------


def lc_decomposition(table: pd.DataFrame) -> Figure:
    """Published language consistency of each model and what its failures are; `table` is `calibration.decompose`'s with its index
    reset, in percent. A diamond marks the consistency over complete answers alone."""
    parts = {
        "lc": ("consistent, as published", BLUE, ""),
        "cut_only": ("only cut off", "#C8C8C8", ""),
        "both": ("cut off and other language", "#8C8C8C", "////"),
        "language_only": ("only other language", ORANGE, "\\\\\\\\"),
        "neither": ("unexplained", RED, "xxxx"),
        "undecided": ("check undecided", "#EDEDED", ""),
        "blank": ("no verdict", "black", ""),
    }
    table = table.sort_values("lc")
    alt = "Published language consistency and what its failures are: " + "; ".join(
        f"{row.model} {row.lc:.1f}% consistent, {row.cut_only:.1f}% only cut off, {row.lc_complete:.1f}% consistent among complete answers"
        for row in table.iloc[::-1].itertuples()
    )
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 1.7 + 0.32 * len(table), alt)
        start = np.zeros(len(table))
        for column, (label, color, hatch) in parts.items():
            if table[column].any():
                look = dict(color=color, hatch=hatch, edgecolor="white", linewidth=0.3, height=0.62)
                ax.barh(table["model"], table[column], left=start, label=label, **look)
            start += table[column].to_numpy()
        diamond = dict(color="white", markeredgecolor="black", markersize=6)
        ax.plot(table["lc_complete"], table["model"], "D", label="over complete answers", **diamond)
        ax.set(xlabel="share of all responses (%)", xlim=(0, 101), title="What published language consistency measures")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def verifier_agreement(table: pd.DataFrame) -> Figure:
    """Agreement (%) of the offline language and completeness checks with the published GPT-4o verdicts, per language and model.

    `table` is `calibration.compare(…, ['model', 'language'])` with its index reset.
    """
    mean = np.average(table["agreement"], weights=table["n_scored"])
    values = table.pivot(index="model", columns="language", values="agreement").loc[table["model"].unique()]
    worst = table.loc[table["agreement"].idxmin()]
    alt = f"Agreement of the offline check with GPT-4o, {mean:.1f}% over {table['n_scored'].sum():,} responses; "
    alt += f"lowest {worst['agreement']:.0f}% for {worst['model']} in {worst['language']}"
    with style.applied():
        figure, (ax,) = style.figure(PAGE, 0.9 + 0.3 * len(values), alt)
        order = [name for tier in languages.TIERS for name in languages.in_tier(tier)]
        _heat_map(ax, values.reindex(columns=order))
        ax.set(xlabel="", ylabel="", title=f"Agreement with published verdicts (%), {mean:.1f} over all")
        ax.set_xticks(np.arange(len(order)) + 0.5, order, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="both", length=0)
        ax.tick_params(axis="y", rotation=0)
    return figure
