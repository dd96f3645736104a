"""Tables 1-12 of the paper as a notebook shows them and as LaTeX.

They are rebuilt from `figures/source_data`; a run's rows or columns stand after the paper's.
"""

from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from curemed_utils import languages, paper
from curemed_utils.paper import beside

VARIANTS = {
    "base": "base",
    "naive_sft": "naive SFT",
    "codeswitch_sft": "CURE-MED (SFT only)",
    "naive_rft": "naive RFT",
    "codeswitch_sft_curriculum_rl": "CURE-MED",
    "cure-med": "CURE-MED",
}
TITLES = {"lc": "consistency (LC, %)", "la": "accuracy (LA, %)"}
OF_A_RUN = " This run: its own held-out prompts."


def table(number: int, scores: pd.DataFrame | None = None) -> Styler:
    """Table `number` (1-12), its best values bold and, in Table 2, the best baselines in italics.

    `scores` (of `measured.results_of`) adds a run to Tables 2 and 6-10. ValueError for any other
    number.
    """
    if number not in MAKERS:
        raise ValueError(f"the paper has tables 1 to 12, no table {number}")
    source = paper.published(f"table{number:02d}")
    return MAKERS[number](number, source.drop(columns="source"), scores)


def latex(styler: Styler, label: str) -> str:
    """A table for `booktabs` with its caption and `label`; bold and italics stay."""
    text = styler.to_latex(
        column_format="l" * styler.index.nlevels + "r" * len(styler.columns),
        position_float="centering",
        multicol_align="c",
        hrules=True,
        convert_css=True,
        caption=styler.caption.replace("%", r"\%"),
        label=label,
    )
    return text.replace("±", r"$\pm$").replace("Δ", r"$\Delta$")


def write(folder: str | Path, scores: pd.DataFrame | None = None) -> list[Path]:
    """Writes `<folder>/table01.tex` … `table12.tex`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in MAKERS:
        file = folder / f"table{number:02d}.tex"
        text = latex(table(number, scores), f"tab:curemed-{number:02d}")
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files


def _styled(frame: pd.DataFrame, caption: str) -> Styler:
    """`frame` with `caption`; decimals have two digits, and LaTeX's characters are escaped."""
    no_name = {"index": [None] * frame.index.nlevels, "columns": [None] * frame.columns.nlevels}
    styler = frame.map(_written).rename_axis(**no_name).style.format(escape="latex")
    styler = styler.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    return styler.set_caption(caption)


def _written(value) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _mark(styler: Styler, cells: pd.DataFrame, css: str = "font-weight: bold") -> Styler:
    """`styler` with `css` where the booleans `cells`, of the same shape, are True."""
    return styler.apply(lambda _: cells.map(lambda yes: css if yes else ""), axis=None)


def _datasets(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    rows["size"] = [f"{float(size):,.0f}" for size in rows["size"]]
    frame = rows.set_index("dataset").rename(columns=lambda name: name.replace("_", " "))
    return _styled(frame, "Table 1: medical benchmarks compared.")


def _main(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    caption = "Table 2: mean and standard deviation over three runs. Bold: best of all; "
    caption += "italics: best baseline."
    lines = []
    for row in rows.itertuples():
        line = {"model": row.model, "size": row.size_class, "parameters (B)": f"{row.params_b:g}"}
        line[TITLES["lc"]] = f"{row.lc_mean:.2f} ± {row.lc_std:.2f}"
        line[TITLES["la"]] = f"{row.la_mean:.2f} ± {row.la_std:.2f}"
        lines.append(line)
    if scores is not None:
        caption += OF_A_RUN
        for row in beside.overall_scores(scores).itertuples():
            size = f"{row.params_b:.2g}"
            line = {"model": row.model, "size": "this run", "parameters (B)": size}
            line[TITLES["lc"]], line[TITLES["la"]] = row.lc, row.la
            lines.append(line)
    frame = pd.DataFrame(lines).set_index("model")
    best = pd.DataFrame(False, frame.index, frame.columns)
    best_baseline = best.copy()
    baselines = rows[rows["kind"].eq("baseline")]
    for metric, title in TITLES.items():
        column = frame.columns.get_loc(title)
        best.iloc[rows[f"{metric}_mean"].argmax(), column] = True
        best_baseline.iloc[baselines[f"{metric}_mean"].idxmax(), column] = True
    styler = _mark(_styled(frame, caption), best)
    return _mark(styler, best_baseline, "font-style: italic")


def _ablation(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    rows["metric"] = rows["metric"].str.upper()
    rows["variant"] = rows["variant"].map(VARIANTS)
    rows["cell"] = [f"{row.mean:.2f} ± {row.std:.2f}" for row in rows.itertuples()]
    keys = ["metric", "model_size"]
    index = rows.set_index(keys).index.unique()
    order = [name for name in dict.fromkeys(VARIANTS.values()) if name in set(rows["variant"])]
    cells = rows.pivot(index=keys, columns="variant", values="cell").loc[index, order]
    means = rows.pivot(index=keys, columns="variant", values="mean").loc[index, order]
    caption = "Table 3: ablation, mean and standard deviation over three runs."
    return _mark(_styled(cells, caption), means.eq(means.max(axis=1), axis=0))


def _ood(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    rows["variant"] = rows["variant"].map(VARIANTS)
    keys = ["model_size", "variant"]
    index = rows.set_index(keys).index.unique()
    frame = rows.pivot(index=keys, columns="language", values="accuracy")
    frame = frame.loc[index, rows["language"].unique()]
    best = frame.eq(frame.groupby(level="model_size").transform("max"))
    benchmark = rows["benchmark"].iloc[0]
    caption = f"Table {number}: accuracy (%) on {benchmark}, out of distribution."
    return _mark(_styled(frame, caption), best)


def _ratings(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    frame = rows.set_index("language").rename(columns=lambda name: name.replace("_", " "))
    return _styled(frame, "Table 5: mean ratings (1-5) by two groups of raters.")


def _per_language(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    size = {6: "7B", 7: "3B"}[number]
    caption = f"Table {number}: per language, {size}; LA and LC in %, Δ in points."
    parts = {"base": "base", "cure_med": "CURE-MED", "delta": "Δ"}
    frame = rows.set_index("language")
    columns = [(name[:2].upper(), parts[name[3:]]) for name in frame.columns]
    frame.columns = pd.MultiIndex.from_tuples(columns)
    for (model, metric), part in beside.last_scores(scores).groupby(["model", "metric"]):
        frame[metric.upper(), f"this run: {model}"] = part.set_index("language")["value"]
    frame = frame.reindex(columns=["LA", "LC"], level=0)
    return _styled(frame, caption if scores is None else caption + OF_A_RUN)


def _overall(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    caption = "Table 8: proprietary models, micro average over all questions (%)."
    if scores is not None:
        caption += OF_A_RUN
        models = beside.overall_scores(scores)
        models["model"] = "this run: " + models["model"]
        rows = pd.concat([rows, models[["model", "lc", "la"]]])
    frame = rows.set_index("model")[["lc", "la"]].rename(columns=str.upper)
    return _styled(frame, caption)


def _models(number: int, rows: pd.DataFrame, scores: pd.DataFrame | None) -> Styler:
    metric = {9: "la", 10: "lc"}[number]
    caption = f"Table {number}: {metric.upper()} (%) of proprietary models, per language."
    frame = rows.pivot(index="language", columns="model", values=metric)
    frame = frame.loc[list(languages.PUBLISHED), rows["model"].unique()]
    last = beside.last_scores(scores)
    for model, part in last[last["metric"].eq(metric)].groupby("model"):
        frame[f"this run: {model}"] = part.set_index("language")["value"]
    return _styled(frame, caption if scores is None else caption + OF_A_RUN)


MAKERS = {
    1: _datasets,
    2: _main,
    3: _ablation,
    4: _ood,
    5: _ratings,
    6: _per_language,
    7: _per_language,
    8: _overall,
    9: _models,
    10: _models,
    11: _ood,
    12: _ood,
}
