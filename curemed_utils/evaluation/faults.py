"""Faults of verdicts: wrong answers apart from what the harness did, and verdicts of other rows."""

import pandas as pd

from curemed_utils import data
from curemed_utils.evaluation.verdicts import HARNESS, MAX_FAULTS, OUTCOMES, outcomes


def counts(
    verdicts: pd.DataFrame, by: tuple[str, ...] = ("model",), metric: str = "la_paper"
) -> pd.DataFrame:
    """Wrong answers and faults of the harness apart, for each group of `by`.

    n responses, the count of each of OUTCOMES and its percentage (`<outcome>_share`), `faults`
    (truncated, empty and judge_failed together, percent) and `marked` (over 5%).
    """
    keys = [verdicts[name] for name in by]
    of_outcome = outcomes(verdicts, metric).groupby(keys, sort=False).value_counts()
    table = of_outcome.unstack(fill_value=0).reindex(columns=OUTCOMES, fill_value=0)
    n = table.sum(axis=1)
    shares = 100 * table.div(n, axis=0)
    table.insert(0, "n", n)
    table = table.join(shares.add_suffix("_share")).rename_axis(columns=None)
    table["faults"] = shares[list(HARNESS)].sum(axis=1)
    table["marked"] = table["faults"] > MAX_FAULTS
    return table


def dagger(table: pd.DataFrame, column: str = "model") -> pd.DataFrame:
    """`table` for display: † behind the names in `column` whose line is `marked`."""
    shown = table if column in table else table.reset_index()
    marks = shown["marked"].map({True: " †", False: ""})
    return shown.assign(**{column: shown[column].astype(str) + marks})


def check(verdicts: pd.DataFrame, rows: list[data.Row]) -> None:
    """Raises DataError unless every model answered each of the test `rows` once a run.

    A run is a seed and a sample. All responses must say why they ended. Each fault is a line:
    another test set, a model twice, a language or items missing, no finish reason.
    Verdicts of several sets are to be checked set by set.
    """
    languages = {row.id: row.language for row in rows}
    run = [name for name in ("seed", "sample") if name in verdicts]
    faults = []
    for model, part in verdicts.groupby("model", sort=False):
        faults += [f"model {model!r}: {fault}" for fault in _faults_of(part, languages, run)]
    if faults:
        raise data.DataError(data.listed(faults))


def _faults_of(part: pd.DataFrame, languages: dict[str, str], run: list[str]) -> list[str]:
    """The faults of one model's verdicts; `languages` by id, `run` the columns that tell a run."""
    foreign = part.loc[part["id"].map(languages) != part["language"], "id"].unique()
    if len(foreign):
        why = f"unknown among the {len(languages)} test rows, or of another language there"
        return [f"verdicts of another test set? {_some(foreign)} {why}"]
    faults = []
    repeated = part.loc[part.duplicated(["id", *run]), "id"].unique()
    if len(repeated):
        same = " and ".join(run) or "model"
        faults.append(
            f"is there twice: {_some(repeated)} answered more than once by the same {same}"
        )
    reasons = part.get("finish_reason", pd.Series(None, part.index, dtype=object))
    silent = part.loc[reasons.isna() | reasons.isin(["", "None"]), "id"].unique()
    if len(silent):
        faults.append(f"no finish reason, so truncation can't be told: {_some(silent)}")
    missing_languages = sorted(set(languages.values()) - set(part["language"]))
    if missing_languages:
        faults.append(f"no response in {', '.join(missing_languages)}")
    wanted = {id for id, name in languages.items() if name not in missing_languages}
    for key, answered in part.groupby(run) if run else [((), part)]:
        missing = sorted(wanted - set(answered["id"]))
        if missing:
            where = ", ".join(f"{name} {value}" for name, value in zip(run, key, strict=True))
            where = f" ({where})" if where else ""
            faults.append(f"{_some(missing)} of {len(wanted)} not answered{where}")
    return faults


def _some(ids) -> str:
    return f"{len(ids)} ids, such as {ids[0]!r}," if len(ids) > 1 else f"id {ids[0]!r}"
