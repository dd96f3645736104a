"""Figures 4 to 6, and Tables 6, 7, 9 and 10 as pictures: how well models answer."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from curemed_utils import languages
from curemed_utils.paper import style
from curemed_utils.paper.style import COLUMN, GREEN, GREY, PAGE, PURPLE, TIER_COLORS
from curemed_utils.paper.words import SIZES

FAR = 60  # points from a mark to its label's middle, from which a line joins them
MARK = {"edgecolor": "white", "linewidth": 0.5, "zorder": 3}
NAMES = {"lc": "Language consistency (%)", "la": "Logical accuracy (%)"}


@style.applied()
def tradeoff(table: pd.DataFrame, run: pd.DataFrame | None = None) -> Figure:
    """Figure 4: language consistency against logical accuracy of every model of Table 2.

    `label_dx` and `label_dy` say where a label's middle lies, in points from its mark.
    `run` (scores of `measured.results_of`) adds models measured on prompts of their own.
    """
    best = table.loc[table["la_mean"].idxmax()]
    alt = style.alt("tradeoff", n=len(table), best=best)
    drawn, (ax,) = style.figure(PAGE, 4.9, alt)
    ax.set(xlabel=NAMES["lc"], ylabel=NAMES["la"], xlim=(-7, 106), ylim=(-7, 78))
    ax.grid()
    for kind, marker, color, label, ink, scale in style.LOOKS["marks"]:
        part = table[table["kind"].eq(kind)].sort_values("params_b", ascending=False)
        area = 22 + 3.2 * scale * part["params_b"]
        look = dict(marker=marker, color=color, label=label, alpha=0.8, **MARK)
        ax.scatter(part["lc_mean"], part["la_mean"], s=area, **look)
        for row, size in zip(part.itertuples(), area, strict=True):
            _label(ax, row, np.sqrt(size) / 2, ink)
    title = "bubble area: parameters"
    if run is not None:
        title += "\nthis run: on its own prompts, area without meaning"
        overall = run[run["language"].eq("all")]
        models = overall.pivot_table("value", "model", "metric", sort=False)
        both = models.reindex(columns=["lc", "la"]).dropna()
        for marker, (name, lc, la) in zip("DsPXv", both.itertuples(), strict=False):
            ax.scatter(lc, la, marker=marker, color=PURPLE, label=f"this run: {name}", **MARK)
        if models.index.str.contains("†").any():
            title += "\n† over 5% not answered, cut off, refused, empty or not judged"
    legend = ax.legend(loc="upper left", title=title)
    for handle in legend.legend_handles:
        handle.set_sizes([50])
    return drawn


def _label(ax, row, radius, color):
    place, offset = (row.lc_mean, row.la_mean), (row.label_dx, row.label_dy)
    look = dict(va="center", color=color)
    if np.hypot(*offset) > FAR:
        line = dict(arrowstyle="-", color=GREY, lw=0.5, relpos=(0, 0.5))
        look["arrowprops"] = dict(**line, shrinkA=0, shrinkB=radius)
    style.note(ax, row.model.replace("-Qwen2.5", ""), place, offset, **look)


@style.applied()
def language_price(table: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """LA against LC by the language's weight with 95% intervals, over models of Table 2."""
    drawn = tradeoff(published)
    (ax,) = drawn.axes
    ax.add_artist(ax.get_legend())
    ax.hlines(table["la"], table["lc_low"], table["lc_high"], GREEN)
    ax.vlines(table["lc"], table["la_low"], table["la_high"], GREEN)
    for mark, (weight, lc, la) in zip("sDo^v", table[["weight", "lc", "la"]].values, strict=False):
        ax.plot(lc, la, mark, color=GREEN, label=weight, mec="white")
        drawn.alt += f"; tiny model, {weight}: LC {lc:.0f}, LA {la:.0f}"
    ax.legend(handles=ax.lines, loc="lower right", title="tiny model, by weight")
    ax.set_ylim(-7, 106)
    return drawn


@style.applied()
def scaling(table: pd.DataFrame) -> Figure:
    """Figure 5: base and CURE-MED over the five Qwen2.5 sizes of Table 2.

    Bands are one standard deviation.
    """
    table = table.sort_values("params_b")
    base = table["model"].isin([f"Qwen2.5-Instruct-{size}" for size in SIZES])
    families = {"Qwen2.5-Instruct": table[base], "CURE-MED": table[table["kind"].eq("cure-med")]}
    told = []
    for name, part in families.items():
        for what, metric in (("consistency", "lc"), ("accuracy", "la")):
            values = ", ".join(f"{value:.1f}" for value in part[f"{metric}_mean"])
            told.append(f"{name}: {what} {values}")
    alt = style.alt("scaling", families="; ".join(told))
    drawn, axes = style.figure(PAGE, 2.7, alt, 2)
    looks = style.LOOKS["lines"]
    for ax, metric in zip(axes, ("lc", "la"), strict=True):
        for (name, part), look, above in zip(families.items(), looks, (-12, 6), strict=True):
            mean, std = part[f"{metric}_mean"].to_numpy(), part[f"{metric}_std"].to_numpy()
            ax.plot(mean, label=name, **look)
            band = dict(color=look["color"], alpha=0.25, linewidth=0)
            ax.fill_between(range(len(mean)), mean - std, mean + std, **band)
            for place in enumerate(mean):
                style.note(ax, f"{place[1]:.1f}", place, (0, above), color=look["color"])
        ax.set_xticks(range(len(SIZES)), SIZES)
        ax.set_title(NAMES[metric].removesuffix(" (%)"))
        ax.set(xlabel="parameters", ylabel="%", ylim=(-8, 108))
        ax.margins(x=0.08)
        ax.grid(axis="y")
    axes[0].legend(loc="upper left")
    return drawn


@style.applied()
def medical_baselines(table: pd.DataFrame) -> Figure:
    """Figure 6: logical accuracy of CURE-MED and of medical models on four benchmarks."""
    best = table.loc[table.groupby("benchmark", sort=False)["accuracy"].idxmax()]
    told = [f"{row.model} with {row.accuracy:.1f}% on {row.benchmark}" for row in best.itertuples()]
    alt = style.alt("medical_baselines", best=", ".join(told))
    drawn, (ax,) = style.figure(PAGE, 2.9, alt)
    colors, hatches = zip(*style.LOOKS["bars"], strict=True)
    look = dict(edgecolor="black", linewidth=0.5, saturation=1)
    sns.barplot(table, x="benchmark", y="accuracy", hue="model", palette=colors, ax=ax, **look)
    handles, names = ax.get_legend_handles_labels()
    for bars, handle, hatch in zip(ax.containers, handles, hatches, strict=True):
        ax.bar_label(bars, fmt="%.1f", fontsize=7, rotation=90, padding=2)
        for patch in (*bars, handle):
            patch.set_hatch(hatch)
    ax.set(xlabel="", ylabel="Logical accuracy (%)", ylim=(0, 90))
    ax.get_legend().remove()
    place = dict(loc="outside upper center", columnspacing=1, handlelength=1.2)
    drawn.legend(handles, names, ncols=6, **place)
    return drawn


def per_language(tables: dict[str, pd.DataFrame]) -> Figure:
    """Heat maps of Tables 6 and 7 (`tables`: size to table): LA and LC before and after."""
    maps = {}
    for metric in ("la", "lc"):
        rows = {}
        for size, table in tables.items():
            table = table.set_index("language")
            rows[f"{size} base"] = table[f"{metric}_base"]
            rows[f"{size} CURE-MED"] = table[f"{metric}_cure_med"]
        maps[metric] = pd.DataFrame(rows).T
    return _heat_maps(maps, "before and after CURE-MED, per language")


def proprietary(la: pd.DataFrame, lc: pd.DataFrame) -> Figure:
    """Heat maps of Tables 9 and 10: LA and LC per language of the five proprietary models."""
    maps = {"la": la, "lc": lc}
    for metric, table in maps.items():
        maps[metric] = table.pivot_table(metric, "model", "language", sort=False)
    return _heat_maps(maps, "of five proprietary models, per language")


def of_a_run(scores: pd.DataFrame) -> Figure:
    """Heat maps of a run's own models on its own held-out prompts (of `measured.results_of`)."""
    maps = {}
    for metric, rows in scores.query("language != 'all'").groupby("metric"):
        maps[metric] = rows.pivot_table("value", "model", "language", sort=False)
    return _heat_maps(maps, "of a run's models on its own held-out prompts, per language")


@style.applied()
def _heat_maps(maps, about):
    lows = []
    for metric, table in maps.items():
        low = table.min()
        lows.append(f"lowest {NAMES[metric].lower()}: {low.min():.1f} in {low.idxmin()}")
    alt = style.alt("heat_maps", about=about, lows="; ".join(lows))
    rows = max(map(len, maps.values()))
    drawn, axes = style.figure(PAGE, 1.3 + 0.46 * rows, alt, rows=2, sharex=True)
    counts = [len(languages.in_tier(tier)) for tier in languages.TIERS]
    ends = np.cumsum(counts)
    for ax, (metric, table), pad in zip(axes, maps.items(), (15, 5), strict=True):
        style.heat_map(ax, table)
        ax.set_title(NAMES[metric], pad=pad, loc="left")
        for end in ends[:-1]:
            ax.axvline(end, color="white", linewidth=3)
    for tier, count, end in zip(languages.TIERS, counts, ends, strict=True):
        place = (end - count / 2, 0)
        style.note(axes[0], tier, place, (0, 4), fontsize=7.5, fontweight="bold")
    return drawn


@style.applied()
def tier_gap(panels: dict[str, pd.DataFrame]) -> Figure:
    """The level of each tier before and after training, and the gap from high to low tier.

    `panels` maps a title to a table in percent; columns: tiers, rows drawn: first and last.
    """
    ends = {title: table.iloc[[0, -1]] for title, table in panels.items()}
    gaps = {title: (table["high"] - table["low"]).tolist() for title, table in ends.items()}
    told = [f"{title} {gap[0]:.0f} to {gap[1]:.0f} points" for title, gap in gaps.items()]
    alt = style.alt("tier_gap", gaps="; ".join(told))
    width = PAGE if len(panels) > 1 else COLUMN
    drawn, axes = style.figure(width, 2.4, alt, len(panels), sharey=True)
    for ax, (title, table) in zip(axes, ends.items(), strict=True):
        for tier, marker, line in zip(languages.TIERS, "o^s", ("-", "--", ":"), strict=True):
            look = dict(color=TIER_COLORS[tier], marker=marker, markersize=5, linewidth=1.6)
            ax.plot([0, 1], table[tier], line, label=tier, **look)
        for x, gap in enumerate(gaps[title]):
            ax.text(x, -12, f"gap {gap:.0f}", ha="center", fontsize=7.5)
        ax.set_xticks([0, 1], table.index.str.replace("_", " "))
        ax.set(title=title, ylim=(-18, 104), xlim=(-0.4, 1.4))
        ax.grid(axis="y")
    axes[0].set_ylabel("%")
    marks = axes[0].get_legend_handles_labels()
    drawn.legend(*marks, loc="outside upper center", ncols=3)
    return drawn
