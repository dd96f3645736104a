"""Labels by native speakers: a sheet drawn, read back and weighed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from curemed_utils import data, paths
from curemed_utils.ratings import sheets

LABELS = ("in_language", "complete", "correct")
VALUES = ("yes", "no", "unsure")
TEXTS = ("language", "question", "reference", "response")
COLUMNS = ("id", *TEXTS, *LABELS, "labeller", "note")
CHOSEN = "chosen by hand"  # begins a label's note
_CHOICES = dict.fromkeys(LABELS, VALUES)


def draw_sheet(judged: pd.DataFrame, path: Path, per_language: int, seed: int = 0) -> Path:
    """Writes a sheet with `per_language` responses of each language, for native speakers.

    They come in equal parts from each offline outcome. FileExistsError where there is a sheet.
    """
    if path.exists():
        raise FileExistsError(f"{paths.show(path)} may hold labels; move it away")
    if judged.empty or per_language < 1:
        raise data.DataError("no responses to label: give judged ones, and 1 or more a language")
    table = judged.assign(id=response_ids(judged), outcome=offline_outcomes(judged))
    drawn = []
    for _, group in table.groupby("language"):
        mixed = group.sample(frac=1, random_state=seed)
        turn = mixed.groupby("outcome").cumcount()
        part = mixed.iloc[np.argsort(turn, kind="stable")[:per_language]]
        drawn += part.sort_values("id")[["id", *TEXTS]].to_dict("records")
    return sheets.write_sheet(path, COLUMNS, drawn, _CHOICES)


def read_labels(path: Path) -> pd.DataFrame:
    """The cells of a sheet as text, more columns too; DataError names slips by file and row."""
    lines, slips = sheets.read_sheet(path, COLUMNS, _CHOICES)
    if slips:
        raise data.DataError(data.listed([str(slip) for slip in slips]))
    return pd.DataFrame([line.cells for line in lines], columns=None if lines else COLUMNS)


def response_ids(outputs: pd.DataFrame) -> list[str]:
    """An id for each response that gives neither model nor row away."""
    keys = outputs[["model", "language", "row", "response"]].astype(str).agg("\0".join, axis=1)
    return ["r" + hashlib.sha256(key.encode()).hexdigest()[:12] for key in keys]


def offline_outcomes(judged: pd.DataFrame) -> list[str]:
    """'accepted', 'cut off', 'other language' or 'undecided', by our checks."""
    language, complete = judged["in_language"], judged["complete"]
    cases = [~language, language & complete, language & ~complete]
    names = ["other language", "accepted", "cut off"]
    return np.select([case.fillna(False) for case in cases], names, "undecided").tolist()


def weigh(judged: pd.DataFrame, labels: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of `judged` with a label `name` (yes or no), as verdict, truth and weight.

    `weight` is how many rows a label stands for. Undecided rows and labels chosen by hand are out.
    """
    if judged.empty or labels.empty:
        raise data.DataError(f"no {'responses' if judged.empty else 'labels'} to weigh")
    drawn = labels[~labels["note"].str.startswith(CHOSEN)].set_index("id")
    rows = judged.assign(id=response_ids(judged), outcome=offline_outcomes(judged))
    strange = drawn.index.difference(rows["id"])
    if len(strange):
        some = f"{len(strange)} labelled ids, such as {strange[0]!r}"
        raise data.DataError(f"{some}, are not in the table")
    truths = drawn[name].map({"yes": True, "no": False})
    rows = rows.assign(verdict=judged[name], truth=rows["id"].map(truths)).dropna(subset="verdict")
    groups = rows.groupby(["language", "outcome", "verdict"])["truth"]
    rows["weight"] = groups.transform("size") / groups.transform("count")
    sizes = rows["verdict"].value_counts().astype(float)
    rows = rows.dropna(subset="truth").astype({"verdict": bool, "truth": bool})
    weights = rows.groupby("verdict")["weight"].transform("sum")
    rows["weight"] *= rows["verdict"].map(sizes) / weights
    return rows
