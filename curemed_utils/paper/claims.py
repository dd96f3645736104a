"""The paper as a test: published numbers recomputed from others."""

import pandas as pd

from curemed_utils.paper import tables
from curemed_utils.paper.sources import benchmarks, published

COLUMNS = ["kind", "claim", "published", "recomputed", "rule", "tolerance", "source"]
PAPER = "arXiv:2601.13262"
NAIVE = {"codeswitch_sft": "naive_sft", "codeswitch_sft_curriculum_rl": "naive_rft"}
MACRO = "macro average"  # our hypothesis, which the paper doesn't state


def recompute() -> pd.DataFrame:
    """One row a claim: a published number, what it should be, and whether it is.

    Columns: kind, claim, published, recomputed, difference (recomputed minus published; points
    for rates), agrees (within half of the last digit printed, one unit where both sides were
    rounded, or what one of three runs can differ from their mean), rule, source.
    """
    rows = [*_text(), *_main(), *_gains(), *_bars(), *_per_language(), *_proprietary(), *_sizes()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    difference = table["recomputed"] - table["published"]
    table.insert(4, "difference", difference)
    table.insert(5, "agrees", difference.abs() <= table["tolerance"] + 1e-9)
    return table.drop(columns="tolerance")


def _text():
    for row in published("text_claims").itertuples():
        values = published(row.table).query(row.rows)[row.column]
        rule = f"{row.column} in {row.table}"
        if row.how == "value":
            value = values.item()
        else:  # max or count
            value, rule = values.agg(row.how), f"{row.how} of {rule}"
        yield "text", row.claim, row.value, float(value), rule, 0, row.source
    ratings = published("table05")[["medical_correctness", "language_quality"]]
    mean, rule = ratings.to_numpy().mean(), "mean of both columns of table05"
    yield "text", "mean rating", 4.89, mean, rule, 0.005, f"{PAPER} Section 3.1"


def _main():
    """Table 2's numbers that stand in Table 3 (base and full CURE-MED) and in Figure 5 as well."""
    main = published("table02").set_index("model")
    names = {"base": "Qwen2.5-Instruct", "codeswitch_sft_curriculum_rl": "CURE-MED-Qwen2.5"}
    rows = published("table03")
    for row in rows[rows["variant"].isin(names)].itertuples():
        model = f"{names[row.variant]}-{row.model_size}"
        for part in ("mean", "std"):
            value = main.loc[model, f"{row.metric}_{part}"]
            claim = f"Table 3: {row.metric.upper()} {part} of {row.variant}, {row.model_size}"
            yield "same number", claim, getattr(row, part), value, "table02", 0.005, row.source
    for row in published("figure05").itertuples():
        value = main.loc[row.model, f"{row.metric}_mean"]
        claim = f"Figure 5: {row.metric.upper()} of {row.model}"
        yield "same number", claim, row.label, value, "table02, one decimal", 0.05, row.source


def _gains():
    rows = published("table03")
    means = rows.set_index(["metric", "model_size", "variant"])["mean"]
    for row in rows.dropna(subset="gain").itertuples():
        naive = NAIVE[row.variant]
        value = row.mean - means[row.metric, row.model_size, naive]
        claim = f"Table 3: {row.metric.upper()} gain of {row.variant}, {row.model_size}"
        yield "gain", claim, row.gain, value, f"less {naive} in the same row", 0.01, row.source


def _bars():
    main = published("table02").set_index("model")
    ood = benchmarks().query("variant == 'cure-med'")
    means = ood.groupby(["benchmark", "model_size"])["accuracy"].mean()
    names = tables.TEXTS["figure06"]
    for row in published("figure06").itertuples():
        if row.benchmark == "CUREMED-BENCH":
            value = main.loc[names.get(row.model, row.model), "la_mean"]
            rule = "la_mean in table02"
        elif row.model.startswith("CURE-MED"):
            value = means[row.benchmark, row.model.removeprefix("CURE-MED-")]
            rule = "mean over languages of table04, 11 or 12"
        else:
            continue
        claim = f"Figure 6: {row.model} on {row.benchmark}"
        yield "bar", claim, row.accuracy, value, rule, 0.005, row.source


def _per_language():
    """Tables 6 and 7: gains from their parts, cells as whole counts, averages against Table 2."""
    main = published("table02").set_index("model")
    for name, size in (("table06", "7B"), ("table07", "3B")):
        table = published(name).set_index("language")
        source = table["source"].iloc[0]
        models = {"base": f"Qwen2.5-Instruct-{size}", "cure_med": f"CURE-MED-Qwen2.5-{size}"}
        for metric in ("la", "lc"):
            where = f"Table {name[-1]}: {metric.upper()}"
            for language, row in table.iterrows():
                gain = row[f"{metric}_cure_med"] - row[f"{metric}_base"]
                claim, printed = f"{where} gain, {language}", row[f"{metric}_delta"]
                yield "gain", claim, printed, gain, "less base in the same row", 0.01, source
            for part, model in models.items():
                cells = table[f"{metric}_{part}"]
                yield from _whole(f"{where} of {part}", cells, source)
                claim = f"Table 2: {metric.upper()} of {model}, as micro average"
                mean, deviation = main.loc[model, [f"{metric}_mean", f"{metric}_std"]]
                near = 0.01 + 2 / 3**0.5 * deviation  # one run of three lies so near their mean
                rule = f"of {name}, a single run"
                yield "micro average", claim, mean, _micro(cells), rule, near, source


def _questions():
    return published("figure08").set_index("language")["n_test"]


def _whole(where, cells, source):
    """A single run's rate is a whole number of right answers over the language's questions."""
    n = _questions()
    for language, value in cells.items():
        count = round(value * n[language] / 100)
        rule = f"{count} of {n[language]} questions: a single run"
        rate = 100 * count / n[language]
        yield "whole count", f"{where}, {language}", value, rate, rule, 0.005, source


def _micro(cells):
    n = _questions()[cells.index]
    return (cells * n).sum() / n.sum()


def _proprietary():
    """Table 8 as averages of Tables 9 and 10, whose cells are whole counts."""
    overall = published("table08").set_index("model")
    for name, metric in (("table09", "la"), ("table10", "lc")):
        for model, part in published(name).groupby("model", sort=False):
            cells = part.set_index("language")[metric]
            of = f"{metric.upper()} of {model}"
            yield from _whole(f"Table {int(name[-2:])}: {of}", cells, part["source"].iloc[0])
            printed, source = overall.loc[model, [metric, "source"]]
            for kind, value in (("micro average", _micro(cells)), (MACRO, cells.mean())):
                claim = f"Table 8: {of}, as {kind}"
                yield kind, claim, printed, value, f"of {name}", 0.01, source


def _sizes():
    rows = published("figure08")
    n = rows[["n_sft", "n_rft", "n_test"]].sum(axis=1).set_axis(rows["language"])
    source, kind = f"{PAPER} Section 3.1 and Appendix C", "released files"
    rule = "rows, duplicates included"
    yield kind, "instances of CUREMED-BENCH", 15774, n.sum(), rule, 0, source
    for language, share in (("French", 13.5), ("Bengali", 2.9)):
        value = 100 * n[language] / n.sum()
        yield kind, f"share of {language}", share, value, f"of all {rule}", 0.05, source
