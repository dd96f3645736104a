"""Figure 8, Table 5 as a picture, how far verdicts can be trusted, and one real model."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from curemed_utils.paper import style
from curemed_utils.paper.style import BLUE, COLUMN, GREEN, GREY, ORANGE, PAGE, RED

RATED = ["medical_correctness", "language_quality"]
RING = {"color": BLUE, "markerfacecolor": "none", "markersize": 8}
SPLITS, SHARES = style.LOOKS["splits"], style.LOOKS["shares"]


@style.applied()
def composition(table: pd.DataFrame) -> Figure:
    """Figure 8: rows per language, and the languages by family (of `measured.count_rows`)."""
    table = table.assign(n=table[list(SPLITS)].sum(axis=1)).sort_values("n")
    total, most = table["n"].sum(), table["n"].max()
    families = table.groupby("family").agg(n=("n", "sum"), names=("language", ", ".join))
    families = families.sort_values("n")
    told = [f"{row.Index}: {row.names}" for row in families.iloc[::-1].itertuples()]
    ends = {"smallest": table.iloc[0], "largest": table.iloc[-1]}
    alt = style.alt("composition", n=len(table), families="; ".join(told), **ends)
    drawn, (left, right) = style.figure(PAGE, 3.3, alt, 2)
    start = np.zeros(len(table))
    for column, (label, color) in SPLITS.items():
        look = dict(color=color, edgecolor="white", linewidth=0.4)
        left.barh(table["language"], table[column], left=start, label=label, **look)
        start += table[column].to_numpy()
    for y, n in enumerate(table["n"]):
        share = f"{n:,} ({100 * n / total:.1f}%)"
        left.text(n + 0.01 * most, y, share, va="center", fontsize=7)
    left.set(title="Rows per language", xlim=(0, 1.42 * most))
    left.legend(loc="upper center", bbox_to_anchor=(0.45, -0.08), ncols=3)
    right.barh(families.index, families["n"], color=GREEN)
    most = families["n"].max()
    for y, row in enumerate(families.itertuples()):
        names = textwrap.fill(row.names, 26)
        right.text(row.n + 0.01 * most, y, names, va="center", fontsize=7, linespacing=1.05)
    right.set(xlabel="rows", xlim=(0, 1.85 * most))
    right.set_title(f"Languages in {len(families)} families")
    return drawn


@style.applied()
def human_ratings(table: pd.DataFrame) -> Figure:
    """Table 5 as a picture: mean ratings (1-5) per language."""
    table = table.sort_values(["medical_correctness", "language"], ascending=False)
    table = table.reset_index(drop=True)
    medical, quality = table[RATED[0]], table[RATED[1]]
    means = {"medical": medical.mean(), "quality": quality.mean()}
    alt = style.alt("human_ratings", n=len(table), lowest=table.iloc[-1], **means)
    drawn, (ax,) = style.figure(COLUMN, 3.2, alt)
    ax.hlines(table.index, medical, quality, color=GREY, linewidth=1)
    ax.plot(medical, table.index, "o", label="medical correctness", **RING)
    ax.plot(quality, table.index, "D", color=ORANGE, markersize=3.5, label="language quality")
    ax.set_yticks(table.index, table["language"])
    ax.set(xlabel="mean rating (1-5)", xlim=(4.35, 5.05))
    drawn.legend(loc="outside upper center", ncols=2)
    return drawn


@style.applied()
def lc_decomposition(table: pd.DataFrame) -> Figure:
    """Published language consistency of each model, and what its failures are, in percent.

    `table` is `calibration.decompose`'s with its index reset.
    """
    table = table.sort_values("lc")
    told = [style.alt("lc of a model", **row) for row in table[::-1].to_dict("records")]
    alt = style.alt("lc_decomposition", models="; ".join(told))
    drawn, (ax,) = style.figure(PAGE, 1.7 + 0.32 * len(table), alt)
    start = np.zeros(len(table))
    for column, (label, color, hatch) in SHARES.items():
        if table[column].any():
            look = dict(color=color, hatch=hatch, edgecolor="white", linewidth=0.3, height=0.62)
            ax.barh(table["model"], table[column], left=start, label=label, **look)
        start += table[column].to_numpy()
    diamond = dict(color="white", markeredgecolor="black", markersize=6)
    ax.plot(table["lc_complete"], table["model"], "D", label="of complete answers", **diamond)
    white = {"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0}
    for y, row in enumerate(table.itertuples()):
        style.note(ax, f"{row.n_complete:,}", (row.lc_complete, y), (0, -11), bbox=white)
    ax.set(xlabel="share of all responses (%); diamond: of so many complete ones", xlim=(0, 101))
    ax.set_title("What published language consistency measures")
    drawn.legend(loc="outside lower center", ncols=4)
    return drawn


@style.applied()
def verifier_agreement(table: pd.DataFrame, whose: str = "the offline check") -> Figure:
    """Cohen's kappa of the offline check, or of `whose`, with the published GPT-4o verdicts.

    `table` is `calibration.compare(…, ['model', 'language'])` with its index reset. Cells of
    fewer than 30 verdicts stay empty.
    """
    kappas = table.set_index(["model", "language"])["kappa"]
    enough = table["n_scored"].ge(30).to_numpy()
    kappas = kappas[enough] if enough.any() else kappas * np.nan
    lowest = "too few verdicts in each language"
    if kappas.notna().any():
        model, language = kappas.idxmin()
        lowest = f"lowest {kappas.min():.2f} for {model} in {language}"
    n = table["n_scored"].sum()
    alt = f"Cohen's kappa of {whose} with GPT-4o over {n:,} responses; {lowest}"
    values = 100 * kappas.unstack(sort=False)
    drawn, (ax,) = style.figure(PAGE, 0.9 + 0.3 * len(values), alt)
    style.heat_map(ax, values)
    ax.set_title("Kappa with published verdicts x 100; empty: too few, or all alike")
    return drawn


@style.applied()
def real_arms(arms: pd.DataFrame, pairs: pd.DataFrame, table03: pd.DataFrame) -> Figure:
    """Language consistency of a real model's arms and pairs (of benchmarks/pretrained.py)."""
    model = arms["source"][0].partition(",")[0]
    arms, pairs = arms.set_index("arm"), pairs.set_index("pair")
    told = pd.concat([arms["lc"], pairs["lc"]]).round(1).to_dict()
    alt = f"Language consistency of {model} in percent: {told}"
    drawn, (top, below) = style.figure(PAGE, 5, alt, rows=2, height_ratios=(9, 5))
    lc = table03.query("metric == 'lc' and model_size == '1.5B'").set_index("variant")["mean"][:3]
    top.plot(lc, "Table 3, 1.5B: " + lc.index.str.replace("_", " "), "o", label="published", **RING)
    below.plot(lc.diff().iloc[-1], "Table 3, 1.5B: traces", "o", **RING)
    size, band = pairs["lc_detectable"], {"color": GREY, "alpha": 0.4, "linewidth": 7}
    top.hlines(arms.index, arms["lc_wrong"], arms["lc_right"], **band)
    below.hlines(pairs.index, -size, size, **band)
    for ax, table in ((top, arms), (below, pairs)):
        ax.hlines(table.index, table["lc_low"], table["lc_high"], color=RED)
        ax.plot(table["lc"], table.index, "D", color=RED, markersize=4, label=model)
        ax.invert_yaxis()
    top.plot(arms["lc_complete"], arms.index, "k|", label="complete answers alone")
    top.legend(loc="upper right")
    top.set(
        xlabel="in the language of the question (%); grey: if all undecided were wrong, or right"
    )
    below.set(xlabel="paired difference (points); grey: too small to be told from 0")
    return drawn
