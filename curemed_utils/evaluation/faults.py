"""Faults of verdicts: wrong answers apart from what the harness did, and tables of verdicts that don't fit their test set."""

import pandas as pd

from curemed_utils import data, evaluation
from curemed_utils.evaluation.verdicts import HARNESS, MAX_FAULTS, OUTCOMES


def faults(verdicts: pd.DataFrame, by: tuple[str, ...] = ("model",), metric: str = "la_paper") -> pd.DataFrame:
    """Wrong answers and faults of the harness apart: per group of `by` the n responses, a count of each of `evaluation.OUTCOMES` and its
    percentage (`<outcome>_share`), `faults` (truncated, empty and judge_failed together, percent) and `marked` (over 5%)."""
    names = [verdicts[name] for name in by]
    table = evaluation.outcomes(verdicts, metric).groupby(names, sort=False).value_counts().unstack(fill_value=0)
    table = table.reindex(columns=OUTCOMES, fill_value=0).rename_axis(columns=None)
    shares = 100 * table.div(table.sum(axis=1), axis=0)
    joined = shares.add_suffix("_share").assign(faults=shares[list(HARNESS)].sum(axis=1))
    return pd.concat([table.sum(axis=1).rename("n"), table, joined], axis=1).assign(marked=joined["faults"] > MAX_FAULTS)


def dagger(table: pd.DataFrame, column: str = "model") -> pd.DataFrame:
    """`table` for display: † behind the names in `column` (or the index level) whose line is `marked`, for over 5% of harness faults."""
    shown = table if column in table else table.reset_index()
    return shown.assign(**{column: shown[column].astype(str) + shown["marked"].map({True: " †", False: ""})})


def check(verdicts: pd.DataFrame, rows: list[data.Row]) -> None:
    """Raises DataError unless every model of `verdicts` answered each of the test `rows` once a run (seed and sample), and all
    responses say why they ended. Each fault is a line of its own: another test set, a model twice, a language or items missing, no
    finish reason. Verdicts of several sets are to be checked set by set."""
    language = {row.id: row.language for row in rows}
    run = [name for name in ("seed", "sample") if name in verdicts]
    said = []
    for model, part in verdicts.groupby("model", sort=False):
        said += [f"model {model!r}: {fault}" for fault in _faults_of(part, language, run)]
    if said:
        raise data.DataError("\n".join(said[:10]) + (f"\n… and {len(said) - 10} more" if len(said) > 10 else ""))


def _faults_of(part: pd.DataFrame, language: dict[str, str], run: list[str]) -> list[str]:
    """What `check` finds wrong with one model's verdicts."""
    foreign = part.loc[part["id"].map(language) != part["language"], "id"].unique()
    if len(foreign):
        known = f"unknown among the {len(language)} test rows, or of another language there"
        return [f"verdicts of another test set? {_such(foreign)} {known}; give the rows that were asked"]
    said = []
    twice = part[part.duplicated(["id", *run])]
    if len(twice):
        said.append(f"is there twice: {_such(twice['id'].unique())} answered more than once by the same {' and '.join(run) or 'model'}")
    reasons = part["finish_reason"] if "finish_reason" in part else pd.Series(None, part.index, dtype=object)
    silent = part.loc[reasons.isna() | reasons.isin(["", "None"]), "id"].unique()
    if len(silent):
        said.append(f"no finish reason, so truncation can't be told: {_such(silent)}")
    lacks = sorted(set(language.values()) - set(part["language"]))
    if lacks:
        said.append(f"no response in {', '.join(lacks)}")
    wanted = {i for i, name in language.items() if name not in lacks}
    for key, answered in part.groupby(run) if run else [((), part)]:
        missing = sorted(wanted - set(answered["id"]))
        if missing:
            where = ", ".join(f"{name} {value}" for name, value in zip(run, key, strict=True))
            said.append(f"{_such(missing)} of {len(wanted)} not answered{f' ({where})' if where else ''}; finish the run, or leave it out")
    return said


def _such(ids) -> str:
    return f"{len(ids)} id{'s' if len(ids) > 1 else ''}, such as {ids[0]!r}," if len(ids) > 1 else f"id {ids[0]!r}"
