"""The paper's published numbers: small committed tables whose rows are sealed."""

import hashlib
import json

import pandas as pd

from curemed_utils import languages, paths
from curemed_utils.data.files import write_whole

SEALS = "seals.json"  # beside the tables: a digest of every row that was proofread
HOW_TO_SEAL = "python -c 'from curemed_utils import paper; paper.seal()'"


class SourceChanged(ValueError):
    """A row of `figures/source_data` is not what was proofread; the message names file and row."""


def published(name: str) -> pd.DataFrame:
    """The table `figures/source_data/<name>*.csv`, such as 'table02'; else FileNotFoundError."""
    files = sorted(paths.SOURCE_DATA.glob("*.csv"))
    matches = [file for file in files if file.stem.startswith(name)]
    if len(matches) != 1:
        folder = paths.show(paths.SOURCE_DATA)
        tables = ", ".join(file.stem for file in files)
        raise FileNotFoundError(f"no single table {name!r} in {folder}; there are {tables}")
    return pd.read_csv(matches[0])


def proprietary_scores() -> pd.DataFrame:
    """Tables 8-10 in the columns of `evaluation.score_release`.

    Columns: model, metric, language ('all' for Table 8), value in percent.
    """
    keys = ["model", "language"]
    each = published("table09").merge(published("table10"), on=keys)
    both = pd.concat([published("table08").assign(language="all"), each])
    return both.melt(keys, ["la", "lc"], "metric")[["model", "metric", "language", "value"]]


def benchmarks() -> pd.DataFrame:
    """Tables 4, 11 and 12."""
    return pd.concat([published(name) for name in ("table04", "table11", "table12")])


def other_benchmarks(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Tables 4, 11 and 12 in columns like '7B cure-med', beside `benchmarks.accuracy_table`'s.

    A language that one side lacks is NaN there.
    """
    printed = benchmarks()
    printed["name"] = printed["model_size"] + " " + printed["variant"]
    keys = ["benchmark", "language"]
    wide = printed.pivot_table("accuracy", keys, "name", sort=False)
    wide = wide.reset_index().rename_axis(columns=None)
    return wide.merge(accuracies, on=keys, how="outer")


def per_tier(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Table 6 or 7 by tier: 'LA' and 'LC' to the means (%) of base and CURE-MED (rows).

    Macro averages: each language counts once, however many questions it has.
    """
    tier_of = published("figure08").set_index("language")["tier"]
    rows = table.set_index("language").drop(columns="source")
    means = rows.groupby(tier_of).mean().loc[list(languages.TIERS)]
    levels = {}
    for metric in ("la", "lc"):
        columns = [f"{metric}_base", f"{metric}_cure_med"]
        levels[metric.upper()] = means[columns].T.set_axis(["base", "CURE-MED"])
    return levels


def check_sources() -> None:
    """Raises SourceChanged that names every row that differs from what was proofread."""
    sealed = json.loads((paths.SOURCE_DATA / SEALS).read_bytes())
    present = _digests()
    faults = []
    for name in sorted(sealed.keys() | present.keys()):
        if name not in sealed:
            faults.append(f"{name}: not sealed")
        elif name not in present:
            faults.append(f"{name}: missing")
        elif sealed[name] != present[name]:
            faults += _changed_rows(name, sealed[name], present[name])
    if faults:
        advice = f"put the number back, or, where the change is meant and proofread: {HOW_TO_SEAL}"
        raise SourceChanged("\n".join(["the source data of the figures changed", *faults, advice]))


def _changed_rows(name, sealed, present):
    lines = (paths.SOURCE_DATA / name).read_text(encoding="utf-8").splitlines()
    faults = []
    for number, (line, digest) in enumerate(zip(lines, present, strict=True), 1):
        if digest not in sealed:
            faults.append(f"{name}, line {number}: {line}")
    return faults or [f"{name}: rows are missing, doubled or in another order"]


def seal() -> None:
    """Declares `figures/source_data` as it is now to be proofread."""
    write_whole(paths.SOURCE_DATA / SEALS, json.dumps(_digests(), indent=0) + "\n")


def _digests():
    digests = {}
    for file in sorted(paths.SOURCE_DATA.glob("*.csv")):
        lines = file.read_bytes().splitlines()
        digests[file.name] = [hashlib.sha256(line).hexdigest()[:10] for line in lines]
    return digests
