"""The paper as a test: every published number that can be recomputed from other published numbers or from the released files."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from curemed_utils import paper

COLUMNS = ("claim", "published", "recomputed", "rule", "tolerance", "source")
FIGURE06 = {  # Figure 6's names of models -> Table 2's
    "Meditron-70B": "Meditron-70B",
    "MMed-LLaMA-70B": "MMed-LLaMA-3.1-70B",
    "OpenBioLLM-70B": "OpenBioLLM-Llama3-70B",
    "HuatuoGPT-70B": "HuatuoGPT-o1-70B",
    "CURE-MED-14B": "CURE-MED-Qwen2.5-14B",
    "CURE-MED-32B": "CURE-MED-Qwen2.5-32B",
}


def check(root: str | Path | None = None) -> pd.DataFrame:
    """One row a published number: claim, published, recomputed, difference, agrees, rule, source.

    `agrees` means that the recomputed value gives the published one when rounded as published: a difference of at most half of the
    last digit printed (one whole unit where both sides were rounded). Differences are recomputed minus published, in the number's
    own unit, percentage points for rates. With `root` or `CUREMED_RELEASE` the released files are recomputed as well.
    """
    table = pd.DataFrame([*_text(), *_ablation(), *_figures(), *_per_language(), *_proprietary(), *_released(root)], columns=COLUMNS)
    table["difference"] = table["recomputed"] - table["published"]
    table["agrees"] = table["difference"].abs() <= table["tolerance"] + 1e-9
    return table[["claim", "published", "recomputed", "difference", "agrees", "rule", "source"]]


def _text() -> Iterator[tuple]:
    """Numbers in the text, looked up in the tables they sum up."""
    for row in paper.published("text_claims").itertuples():
        found = paper.published(row.table).query(row.rows)[row.column]
        value = {"value": found.squeeze, "max": found.max, "count": found.count}[row.how]()
        rule = f"{row.how} of {row.column} in {row.table}" if row.how != "value" else f"{row.column} in {row.table}"
        yield f"{row.claim} (text)", row.value, float(value), rule, 0, row.source
    ratings = paper.published("table05")[["medical_correctness", "language_quality"]]
    yield "mean rating (text)", 4.89, ratings.to_numpy().mean(), "mean of both columns of table05", 0.005, "arXiv:2601.13262 Section 3.1"


def _ablation() -> Iterator[tuple]:
    """Table 3's base and full CURE-MED columns are rows of Table 2."""
    main = paper.published("table02").set_index("model")
    names = {"base": "Qwen2.5-Instruct", "codeswitch_sft_curriculum_rl": "CURE-MED-Qwen2.5"}
    for row in paper.published("table03").itertuples():
        if row.variant in names:
            for part in ("mean", "std"):
                other = main.loc[f"{names[row.variant]}-{row.model_size}", f"{row.metric}_{part}"]
                claim = f"Table 3: {row.metric.upper()} {part} of {row.variant}, {row.model_size}"
                yield claim, getattr(row, part), other, "the same number in table02", 0.005, row.source


def _figures() -> Iterator[tuple]:
    """Labels of Figure 5 from Table 2; bars of Figure 6 from Tables 2, 4, 11 and 12; shares of Figure 8 from the counted rows."""
    main = paper.published("table02").set_index("model")
    for row in paper.published("figure05").itertuples():
        value = main.loc[row.model, f"{row.metric}_mean"]
        yield f"Figure 5: {row.metric.upper()} of {row.model}", row.label, value, "table02, one decimal", 0.05, row.source
    ood = pd.concat([paper.published(name) for name in ("table04", "table11", "table12")])
    means = ood[ood["variant"].eq("cure-med")].groupby(["benchmark", "model_size"])["accuracy"].mean()
    for row in paper.published("figure06").itertuples():
        if row.benchmark == "CUREMED-BENCH":
            value, rule = main.loc[FIGURE06[row.model], "la_mean"], "la_mean in table02"
        elif row.model.startswith("CURE-MED"):
            value, rule = means[row.benchmark, row.model.removeprefix("CURE-MED-")], "mean over languages of table04, 11 or 12"
        else:
            continue
        yield f"Figure 6: {row.model} on {row.benchmark}", row.accuracy, value, rule, 0.005, row.source


def _per_language() -> Iterator[tuple]:
    """Tables 6 and 7: gains from their parts, cells as whole counts, and averages against Table 2."""
    n = paper.published("figure08").set_index("language")["n_test"]
    main = paper.published("table02").set_index("model")
    for name, size in (("table06", "7B"), ("table07", "3B")):
        table = paper.published(name).set_index("language")
        source = table["source"].iloc[0]
        for metric in ("la", "lc"):
            for language, row in table.iterrows():
                gain = row[f"{metric}_cure_med"] - row[f"{metric}_base"]
                where = f"Table {name[-1]}: {metric.upper()}"
                yield f"{where} gain, {language}", row[f"{metric}_delta"], gain, "CURE-MED less base in the same row", 0.01, source
            for part, model in (("base", f"Qwen2.5-Instruct-{size}"), ("cure_med", f"CURE-MED-Qwen2.5-{size}")):
                cells = table[f"{metric}_{part}"]
                yield from _whole(f"Table {name[-1]}: {metric.upper()} of {part}", cells, n, source)
                where = f"Table 2: {metric.upper()} of {model}"
                expected = main.loc[model, f"{metric}_mean"], main.loc[model, "source"]
                yield from _averages(where, expected, cells, n, f"{name}, a single run")


def _whole(where: str, cells: pd.Series, n: pd.Series, source: str) -> Iterator[tuple]:
    """A single run's rate is a whole number of right answers over the language's questions; a mean of three runs seldom is."""
    for language, value in cells.items():
        count = round(value * n[language] / 100)
        yield f"{where}, {language}", value, 100 * count / n[language], f"{count} of {n[language]} questions: a single run", 0.005, source


def _averages(where: str, expected: tuple[float, str], cells: pd.Series, n: pd.Series, of: str) -> Iterator[tuple]:
    published, source = expected
    weights = n.reindex(cells.index)
    yield f"{where}, as micro average", published, (cells * weights).sum() / weights.sum(), f"micro average of {of}", 0.01, source
    yield f"{where}, as macro average", published, cells.mean(), f"macro average of {of}", 0.01, source


def _proprietary() -> Iterator[tuple]:
    """Table 8 as micro and as macro average of Tables 9 and 10, whose cells are whole counts."""
    n = paper.published("figure08").set_index("language")["n_test"]
    overall = paper.published("table08").set_index("model")
    for name, metric in (("table09", "la"), ("table10", "lc")):
        for model, part in paper.published(name).groupby("model", sort=False):
            cells = part.set_index("language")[metric]
            yield from _whole(f"Table {int(name[-2:])}: {metric.upper()} of {model}", cells, n, part["source"].iloc[0])
            expected = overall.loc[model, metric], overall.loc[model, "source"]
            yield from _averages(f"Table 8: {metric.upper()} of {model}", expected, cells, n, name)


def _released(root: str | Path | None) -> Iterator[tuple]:
    """Against the released files: sizes and shares of Section 3.1 and Figure 8; with the files at hand, Tables 8-10 from their verdicts."""
    from curemed_utils import evaluation

    rows = paper.published("figure08")
    n = rows[["n_sft", "n_rft", "n_test"]].sum(axis=1).set_axis(rows["language"])
    source = "arXiv:2601.13262 Section 3.1 and Appendix C"
    yield "instances of CUREMED-BENCH", 15774, n.sum(), "rows in the released files, duplicates included", 0, source
    for language, share in (("French", 13.5), ("Bengali", 2.9)):
        yield f"share of {language}", share, 100 * n[language] / n.sum(), "of the rows in the released files", 0.05, source
    try:
        scores = evaluation.score_release(root)
    except FileNotFoundError:
        return
    both = scores.merge(paper.proprietary(), on=["model", "metric", "language"], suffixes=("", "_published"))
    for row in both.itertuples():
        claim = f"Tables 8-10: {row.metric.upper()} of {row.model}, {row.language}"
        yield claim, row.value_published, row.value, f"published verdicts, {row.n} rows", 0.005, "arXiv:2601.13262 Tables 8-10"
