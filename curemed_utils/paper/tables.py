"""Tables 1-12 of the paper as a notebook shows them and as LaTeX, rebuilt from `figures/source_data`, a run's rows below the paper's."""

from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from curemed_utils import languages, paper

VARIANTS = {
    "base": "base", "naive_sft": "naive SFT", "codeswitch_sft": "CURE-MED (SFT only)", "naive_rft": "naive RFT",
    "codeswitch_sft_curriculum_rl": "CURE-MED", "cure-med": "CURE-MED",
}  # fmt: skip
OOD = {4: ("table04", "MMedBench"), 11: ("table11", "MedExpQA"), 12: ("table12", "MedQA")}


def table(number: int, own: pd.DataFrame | None = None) -> Styler:
    """Table `number` (1-12), best values bold and, in Table 2, best baselines in italics; `own` (`paper.Own.scores`) adds a run's rows
    to Tables 2 and 6-10. ValueError for any other number."""
    makers = {1: _datasets, 2: _main, 3: _ablation, 5: _ratings, 6: _per_language, 7: _per_language, 8: _overall, 9: _models, 10: _models}
    if number in OOD:
        return _ood(number)
    if number not in makers:
        raise ValueError(f"the paper has tables 1 to 12, no table {number}")
    return makers[number](number) if number in (1, 3, 5) else makers[number](number, own)


def latex(styler: Styler, label: str) -> str:
    """The LaTeX of a table for `booktabs`, its caption and `label` included; bold and italics are kept."""
    columns = "l" * styler.index.nlevels + "r" * len(styler.columns)
    options = dict(column_format=columns, position_float="centering", multicol_align="c", label=label)
    text = styler.to_latex(hrules=True, convert_css=True, caption=styler.caption.replace("%", r"\%"), **options)
    return text.replace("±", r"$\pm$").replace("Δ", r"$\Delta$")


def write(folder: str | Path, own: pd.DataFrame | None = None) -> list[Path]:
    """Writes `<folder>/table01.tex` … `table12.tex`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"table{n:02d}.tex": latex(table(n, own), f"tab:curemed-{n:02d}") for n in range(1, 13)}
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


def _styled(frame: pd.DataFrame, caption: str, digits: int | None = None) -> Styler:
    """`frame` with `caption`; numbers with `digits` decimals, text as it is, everything escaped for LaTeX."""
    shown = frame if digits is None else frame.map(lambda v: "" if v != v else f"{v:.{digits}f}" if isinstance(v, float) else str(v))
    if "this run" in f"{list(frame.index)} {list(frame.columns)} {frame.get('size')}":
        caption += " This run: its own held-out prompts."
    styler = shown.rename_axis([None] * frame.index.nlevels).style.format(escape="latex").set_caption(caption)
    return styler.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)


def _mark(styler: Styler, cells: pd.DataFrame, css: str = "font-weight: bold") -> Styler:
    """`styler` with `css` where the booleans `cells`, of the same shape, are True."""
    return styler.apply(lambda _: cells.map(lambda yes: css if yes else ""), axis=None)


def _datasets(_: int) -> Styler:
    frame = paper.published("table01").drop(columns="source").set_index("dataset").rename_axis(None)
    frame["size"] = [f"{float(size):,.0f}" for size in frame["size"]]
    return _styled(frame.rename(columns=lambda name: name.replace("_", " ")), "Table 1: medical benchmarks compared.")


def _main(_: int, own: pd.DataFrame | None) -> Styler:
    rows = paper.published("table02").rename(columns={"params_b": "parameters (B)"})
    keys = {"lc": "consistency (LC, %)", "la": "accuracy (LA, %)"}
    for name, title in keys.items():
        rows[title] = [f"{mean:.2f} ± {std:.2f}" for mean, std in zip(rows[f"{name}_mean"], rows[f"{name}_std"], strict=True)]
    best = pd.DataFrame({title: rows[f"{name}_mean"].eq(rows[f"{name}_mean"].max()) for name, title in keys.items()})
    baselines = rows[rows["kind"].eq("baseline")]
    second = pd.DataFrame({title: rows.index == baselines[f"{name}_mean"].idxmax() for name, title in keys.items()})
    frame = rows[["model", "size_class", "parameters (B)", *keys.values()]].rename(columns={"size_class": "size"})
    frame["parameters (B)"] = [f"{size:g}" for size in frame["parameters (B)"]]
    frame = pd.concat([frame, _own_rows(own, keys)], ignore_index=True)
    index = pd.Index(frame.pop("model"), name=None)
    caption = "Table 2: mean and standard deviation over three runs. Bold: best of all; italics: best baseline."
    styler = _styled(frame.set_axis(index), caption)
    for cells, css in ((best, "font-weight: bold"), (second, "font-style: italic")):
        whole = cells.reindex(index=range(len(frame)), fill_value=False).set_axis(index).reindex(columns=frame.columns, fill_value=False)
        _mark(styler, whole, css)
    return styler


def _own_rows(own: pd.DataFrame | None, keys: dict[str, str]) -> pd.DataFrame:
    if own is None:
        return pd.DataFrame()
    overall = own[own["language"].eq("all")].pivot_table(index=["model", "params_b"], columns="metric", values="value", sort=False)
    rows = overall.reset_index().assign(size="this run")
    named = {
        title: [f"{v:.2f}" if v == v else "" for v in rows.get(name, pd.Series(dtype=float))]
        for name, title in keys.items()
        if name in rows
    }
    shown = {"model": rows["model"], "size": rows["size"], "parameters (B)": [f"{size:.2g}" for size in rows["params_b"]]}
    return pd.DataFrame(shown | named).fillna("")


def _ablation(_: int) -> Styler:
    rows = paper.published("table03").assign(metric=lambda t: t["metric"].str.upper(), variant=lambda t: t["variant"].map(VARIANTS))
    rows["shown"] = [f"{row.mean:.2f} ± {row.std:.2f}" for row in rows.itertuples()]
    wide = [rows.pivot(index=["metric", "model_size"], columns="variant", values=values) for values in ("shown", "mean")]
    order = [variant for variant in dict.fromkeys(VARIANTS.values()) if variant in wide[0]]
    order = sorted(order, key=["base", "naive SFT", "CURE-MED (SFT only)", "naive RFT", "CURE-MED"].index)
    index = rows.set_index(["metric", "model_size"]).index.unique()
    frame, means = (part.loc[index, order].rename_axis(columns=None) for part in wide)
    return _mark(_styled(frame, "Table 3: ablation, mean and standard deviation over three runs."), means.eq(means.max(axis=1), axis=0))


def _ood(number: int) -> Styler:
    name, benchmark = OOD[number]
    rows = paper.published(name).assign(variant=lambda t: t["variant"].map(VARIANTS))
    index = rows.set_index(["model_size", "variant"]).index.unique()
    frame = rows.pivot(index=["model_size", "variant"], columns="language", values="accuracy").loc[index, rows["language"].unique()]
    frame = frame.rename_axis(columns=None)
    best = frame.eq(frame.groupby(level="model_size").transform("max"))
    return _mark(_styled(frame, f"Table {number}: accuracy (%) on {benchmark}, out of distribution.", 2), best)


def _ratings(_: int) -> Styler:
    frame = paper.published("table05").drop(columns="source").set_index("language").rename_axis(None)
    return _styled(frame.rename(columns=lambda name: name.replace("_", " ")), "Table 5: mean ratings (1-5) by two groups of raters.", 2)


def _per_language(number: int, own: pd.DataFrame | None) -> Styler:
    size = {6: "7B", 7: "3B"}[number]
    frame = paper.published(f"table{number:02d}").drop(columns="source").set_index("language").rename_axis(None)
    parts = {"base": "base", "cure_med": "CURE-MED", "delta": "Δ"}
    frame.columns = pd.MultiIndex.from_tuples([(name[:2].upper(), parts[name[3:]]) for name in frame.columns])
    for (model, metric), rows in _last(own).groupby(["model", "metric"], sort=False):
        frame[metric.upper(), f"this run: {model}"] = rows.set_index("language")["value"]
    frame = frame.reindex(columns=["LA", "LC"], level=0)
    return _styled(frame, f"Table {number}: per language, {size}; LA and LC in %, Δ in points.", 2)


def _overall(_: int, own: pd.DataFrame | None) -> Styler:
    frame = paper.published("table08").drop(columns="source").set_index("model").rename_axis(None)
    if own is not None:
        overall = own[own["language"].eq("all")].pivot_table(index="model", columns="metric", values="value", sort=False)
        frame = pd.concat([frame, overall.rename(index=lambda name: f"this run: {name}")])[["lc", "la"]]
    return _styled(frame.rename(columns=str.upper), "Table 8: proprietary models, micro average over all questions (%).", 2)


def _models(number: int, own: pd.DataFrame | None) -> Styler:
    metric = {9: "la", 10: "lc"}[number]
    rows = paper.published(f"table{number:02d}")
    frame = rows.pivot(index="language", columns="model", values=metric).loc[list(languages.PUBLISHED), rows["model"].unique()]
    last = _last(own)
    for model, part in last[last["metric"].eq(metric)].groupby("model"):
        frame[f"this run: {model}"] = part.set_index("language")["value"]
    caption = f"Table {number}: {metric.upper()} (%) of proprietary models, per language."
    return _styled(frame.rename_axis(None).rename_axis(columns=None), caption, 2)


def _last(own: pd.DataFrame | None) -> pd.DataFrame:
    """The per-language scores of a run's last model; no rows without a run."""
    if own is None:
        return pd.DataFrame(columns=["model", "metric", "language", "value"])
    return own[own["model"].eq(own["model"].iloc[-1]) & ~own["language"].eq("all")]
