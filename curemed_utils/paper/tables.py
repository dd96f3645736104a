"""Tables 1-12 of the paper, rebuilt from `figures/source_data`, for a notebook and as LaTeX."""

from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from curemed_utils import paper, paths
from curemed_utils.data.files import write_whole

TEXTS = paths.beside(__file__, "tables.yaml")
VARIANTS = TEXTS["variants"]
TITLES = TEXTS["titles"]


def numbered(number: int) -> Styler:
    """Table `number` (1-12)."""
    source = paper.published(f"table{number:02d}")
    caption = f"Table {number}: {TEXTS['captions'][number]}"
    return MAKERS[number - 1](source.drop(columns="source")).set_caption(caption)


def latex(styler: Styler, label: str) -> str:
    """A table for `booktabs` with its caption and `label`."""
    for axis in (0, 1):
        styler = styler.format_index(escape="latex", axis=axis)
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


def write(folder: str | Path) -> list[Path]:
    """Writes `<folder>/table01.tex` … `table12.tex`."""
    files = []
    for number in range(1, 13):
        text = latex(numbered(number), f"tab:curemed-{number:02d}")
        files.append(write_whole(Path(folder) / f"table{number:02d}.tex", text))
    return files


def _styled(frame):
    no_name = {"index": [None] * frame.index.nlevels, "columns": [None] * frame.columns.nlevels}
    return frame.rename_axis(**no_name).style.format(precision=2, na_rep="")


def _mark(styler, cells, css="font-weight: bold"):
    return styler.apply(lambda _: cells.map(lambda yes: css if yes else ""), axis=None)


def _with_deviation(rows, measure=""):
    columns = zip(rows[f"{measure}mean"], rows[f"{measure}std"], strict=True)
    return [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in columns]


def _as_it_is(rows):
    if "size" in rows:
        rows["size"] = [f"{float(size):,.0f}" for size in rows["size"]]
    frame = rows.set_index(rows.columns[0])
    return _styled(frame.rename(columns=lambda name: name.replace("_", " ")))


def _main(rows):
    rows = rows.set_index("model")
    sizes = rows["params_b"].map("{:g}".format)
    frame = pd.DataFrame({"size": rows["size_class"], "parameters (B)": sizes})
    best = pd.DataFrame(False, frame.index, [*frame.columns, *TITLES.values()])
    best_baseline = best.copy()
    baselines = rows[rows["kind"].eq("baseline")]
    for metric, title in TITLES.items():
        frame[title] = _with_deviation(rows, f"{metric}_")
        best.loc[rows[f"{metric}_mean"].idxmax(), title] = True
        best_baseline.loc[baselines[f"{metric}_mean"].idxmax(), title] = True
    return _mark(_mark(_styled(frame), best), best_baseline, "font-style: italic")


def _ablation(rows):
    rows["metric"] = rows["metric"].str.upper()
    rows["variant"] = rows["variant"].map(VARIANTS)
    rows["cell"] = _with_deviation(rows)
    place = dict(index=["metric", "model_size"], columns="variant", sort=False)
    means = rows.pivot_table("mean", **place)
    cells = rows.pivot_table("cell", aggfunc="first", **place)
    return _mark(_styled(cells), means.eq(means.max(axis=1), axis=0))


def _ood(rows):
    rows["variant"] = rows["variant"].map(VARIANTS)
    frame = rows.pivot_table("accuracy", ["model_size", "variant"], "language", sort=False)
    return _mark(_styled(frame), frame.eq(frame.groupby(level="model_size").transform("max")))


def _per_language(rows):
    parts = {"base": "base", "cure_med": "CURE-MED", "delta": "Δ"}
    frame = rows.set_index("language")
    columns = [(name[:2].upper(), parts[name[3:]]) for name in frame.columns]
    frame.columns = pd.MultiIndex.from_tuples(columns)
    return _styled(frame)


def _overall(rows):
    return _styled(rows.set_index("model")[["lc", "la"]].rename(columns=str.upper))


def _models(rows):
    metric = "la" if "la" in rows else "lc"
    return _styled(rows.pivot_table(metric, "language", "model", sort=False))


MAKERS = (_as_it_is, _main, _ablation, _ood, _as_it_is, _per_language)
MAKERS += (_per_language, _overall, _models, _models, _ood, _ood)
