"""The paper as a test: published numbers recomputed from others or from the released files."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from curemed_utils import evaluation, paper
from curemed_utils.paper import beside, tables

COLUMNS = ["claim", "published", "recomputed", "rule", "tolerance", "source"]
PAPER = "arXiv:2601.13262"


def recompute(root: str | Path | None = None) -> pd.DataFrame:
    """One row a published number: what it should be, and whether it is.

    Columns: claim, published, recomputed, difference (recomputed minus published; points for
    rates), agrees (within half of the last digit printed, or one unit where both sides were
    rounded), rule, source. With `root` or `CUREMED_RELEASE` the released files count as well.
    """
    rows = [*_text(), *_main(), *_bars(), *_per_language(), *_proprietary(), *_sizes()]
    table = pd.DataFrame([*rows, *_verdicts(root)], columns=COLUMNS)
    difference = table["recomputed"] - table["published"]
    table.insert(3, "difference", difference)
    table.insert(4, "agrees", difference.abs() <= table["tolerance"] + 1e-9)
    return table.drop(columns="tolerance")


def _text() -> Iterator[tuple]:
    """Numbers in the text, looked up in the tables they sum up."""
    for row in paper.published("text_claims").itertuples():
        values = paper.published(row.table).query(row.rows)[row.column]
        rule = f"{row.column} in {row.table}"
        if row.how == "value":
            value = values.item()
        else:  # max or count
            value, rule = values.agg(row.how), f"{row.how} of {rule}"
        yield f"{row.claim} (text)", row.value, float(value), rule, 0, row.source
    ratings = paper.published("table05")[["medical_correctness", "language_quality"]]
    mean, rule = ratings.to_numpy().mean(), "mean of both columns of table05"
    yield "mean rating (text)", 4.89, mean, rule, 0.005, f"{PAPER} Section 3.1"


def _main() -> Iterator[tuple]:
    """Table 2's numbers that stand in Table 3 (base and full CURE-MED) and in Figure 5 as well."""
    main = paper.published("table02").set_index("model")
    names = {"base": "Qwen2.5-Instruct", "codeswitch_sft_curriculum_rl": "CURE-MED-Qwen2.5"}
    rows = paper.published("table03")
    for row in rows[rows["variant"].isin(names)].itertuples():
        model = f"{names[row.variant]}-{row.model_size}"
        for part in ("mean", "std"):
            value = main.loc[model, f"{row.metric}_{part}"]
            where = f"{row.metric.upper()} {part} of {row.variant}, {row.model_size}"
            claim, rule = f"Table 3: {where}", "the same number in table02"
            yield claim, getattr(row, part), value, rule, 0.005, row.source
    for row in paper.published("figure05").itertuples():
        value = main.loc[row.model, f"{row.metric}_mean"]
        claim = f"Figure 5: {row.metric.upper()} of {row.model}"
        yield claim, row.label, value, "table02, one decimal", 0.05, row.source


def _bars() -> Iterator[tuple]:
    """Bars of Figure 6 from Tables 2, 4, 11 and 12."""
    main = paper.published("table02").set_index("model")
    ood = beside.benchmarks().query("variant == 'cure-med'")
    means = ood.groupby(["benchmark", "model_size"])["accuracy"].mean()
    names = tables.TEXTS["figure06"]
    for row in paper.published("figure06").itertuples():
        if row.benchmark == "CUREMED-BENCH":
            value = main.loc[names.get(row.model, row.model), "la_mean"]
            rule = "la_mean in table02"
        elif row.model.startswith("CURE-MED"):
            value = means[row.benchmark, row.model.removeprefix("CURE-MED-")]
            rule = "mean over languages of table04, 11 or 12"
        else:
            continue
        claim = f"Figure 6: {row.model} on {row.benchmark}"
        yield claim, row.accuracy, value, rule, 0.005, row.source


def _per_language() -> Iterator[tuple]:
    """Tables 6 and 7: gains from their parts, cells as whole counts, averages against Table 2."""
    main = paper.published("table02").set_index("model")
    for name, size in (("table06", "7B"), ("table07", "3B")):
        table = paper.published(name).set_index("language")
        source = table["source"].iloc[0]
        models = {"base": f"Qwen2.5-Instruct-{size}", "cure_med": f"CURE-MED-Qwen2.5-{size}"}
        for metric in ("la", "lc"):
            where = f"Table {name[-1]}: {metric.upper()}"
            for language, row in table.iterrows():
                gain = row[f"{metric}_cure_med"] - row[f"{metric}_base"]
                claim, printed = f"{where} gain, {language}", row[f"{metric}_delta"]
                yield claim, printed, gain, "CURE-MED less base in the same row", 0.01, source
            for part, model in models.items():
                cells = table[f"{metric}_{part}"]
                yield from _whole(f"{where} of {part}", cells, source)
                claim, of = f"Table 2: {metric.upper()} of {model}", f"{name}, a single run"
                yield from _averages(claim, main.loc[model], f"{metric}_mean", cells, of)


def _questions() -> pd.Series:
    return paper.published("figure08").set_index("language")["n_test"]


def _whole(where: str, cells: pd.Series, source: str) -> Iterator[tuple]:
    """A single run's rate is a whole number of right answers over the language's questions."""
    n = _questions()
    for language, value in cells.items():
        count = round(value * n[language] / 100)
        rule = f"{count} of {n[language]} questions: a single run"
        yield f"{where}, {language}", value, 100 * count / n[language], rule, 0.005, source


def _averages(where: str, row: pd.Series, column: str, cells: pd.Series, of: str):
    """A published average as micro average (over questions) and as macro (over languages)."""
    n = _questions()[cells.index]
    averages = {"micro": (cells * n).sum() / n.sum(), "macro": cells.mean()}
    for kind, value in averages.items():
        claim, rule = f"{where}, as {kind} average", f"{kind} average of {of}"
        yield claim, row[column], value, rule, 0.01, row["source"]


def _proprietary() -> Iterator[tuple]:
    """Table 8 as averages of Tables 9 and 10, whose cells are whole counts."""
    overall = paper.published("table08").set_index("model")
    for name, metric in (("table09", "la"), ("table10", "lc")):
        for model, part in paper.published(name).groupby("model", sort=False):
            cells = part.set_index("language")[metric]
            of = f"{metric.upper()} of {model}"
            yield from _whole(f"Table {int(name[-2:])}: {of}", cells, part["source"].iloc[0])
            yield from _averages(f"Table 8: {of}", overall.loc[model], metric, cells, name)


def _sizes() -> Iterator[tuple]:
    """Sizes and shares of Section 3.1 against the rows of the released files."""
    rows = paper.published("figure08")
    n = rows[["n_sft", "n_rft", "n_test"]].sum(axis=1).set_axis(rows["language"])
    source, files = f"{PAPER} Section 3.1 and Appendix C", "rows in the released files"
    rule = f"{files}, duplicates included"
    yield "instances of CUREMED-BENCH", 15774, n.sum(), rule, 0, source
    for language, share in (("French", 13.5), ("Bengali", 2.9)):
        value = 100 * n[language] / n.sum()
        yield f"share of {language}", share, value, f"of the {files}", 0.05, source


def _verdicts(root: str | Path | None) -> Iterator[tuple]:
    """Tables 8-10 from the verdicts in the released files, where these are at hand."""
    try:
        scores = evaluation.score_release(root)
    except FileNotFoundError:
        return
    keys = ["model", "metric", "language"]
    both = scores.merge(paper.proprietary_scores(), on=keys, suffixes=("", "_published"))
    for row in both.itertuples():
        claim = f"Tables 8-10: {row.metric.upper()} of {row.model}, {row.language}"
        rule = f"published verdicts, {row.n} rows"
        yield claim, row.value_published, row.value, rule, 0.005, f"{PAPER} Tables 8-10"
