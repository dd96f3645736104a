"""Verdicts of other rows than those asked, or that don't say why they ended."""

import pandas as pd

from curemed_utils import data


def check_verdicts(verdicts: pd.DataFrame, rows: list[data.Row]) -> None:
    """DataError unless each model answered every test row once a run, and all say why they ended.

    A run is a seed and a sample. Each fault is a line. Several sets are checked one by one.
    """
    languages = {row.id: row.language for row in rows}
    faults = []
    for model, part in verdicts.groupby("model", sort=False):
        faults += [f"model {model!r}: {fault}" for fault in _faults_of(part, languages)]
    if faults:
        raise data.DataError(data.listed(faults))


def _faults_of(part: pd.DataFrame, languages: dict[str, str]) -> list[str]:
    foreign = part.loc[part["id"].map(languages) != part["language"], "id"].unique()
    if len(foreign):
        why = f"unknown among the {len(languages)} test rows, or of another language there"
        return [f"verdicts of another test set? {_some(foreign)} {why}"]
    faults = []
    repeated = part.loc[part.duplicated(["id", "seed", "sample"]), "id"].unique()
    if len(repeated):
        faults.append(f"is there twice: {_some(repeated)} answered more than once in a run")
    silent = part.loc[part["finish_reason"].isna(), "id"].unique()
    if len(silent):
        faults.append(f"no finish reason, so truncation can't be told: {_some(silent)}")
    absent = sorted(set(languages.values()) - set(part["language"]))
    if absent:
        faults.append(f"no response in {', '.join(absent)}")
    wanted = {id for id, name in languages.items() if name not in absent}
    for (seed, sample), ids in part.groupby(["seed", "sample"])["id"]:
        missing = sorted(wanted - set(ids))
        if missing:
            which = f"{_some(missing)} of {len(wanted)}"
            faults.append(f"{which} not answered (seed {seed}, sample {sample})")
    return faults


def _some(ids) -> str:
    return f"{len(ids)} ids, such as {ids[0]!r}," if len(ids) > 1 else f"id {ids[0]!r}"
