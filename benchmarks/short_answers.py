"""Right short answers that score 0 and wrong ones that pass, by the lists of the sample.

`python benchmarks/short_answers.py` reads benchmarks/data/short_answers.csv: answers that a panel
wrote which had not seen the lists. 'before' is plain equality with the lists of
accepted_before.json, as they were while accepted forms had to stand in the answer.
"""

import json
from pathlib import Path

import pandas as pd

from curemed_utils import data, paths, rewards, trace
from curemed_utils.data.normal import forms_of

DATA = Path(__file__).with_name("data")
ANSWERS = DATA / "short_answers.csv"
BEFORE = DATA / "accepted_before.json"
COLUMNS = ["language", "topic", "answer", "right", "panel"]


def read_answers(path: Path = ANSWERS) -> pd.DataFrame:
    """The panel's answers; ValueError for other columns, no verdict or an unknown row."""
    table = pd.read_csv(path, keep_default_na=False)
    if list(table) != COLUMNS:
        raise ValueError(f"{path.name} has the columns {list(table)}, not {COLUMNS}")
    verdicts = table["right"].astype(str)
    if not set(verdicts) <= {"True", "False"}:
        raise ValueError(f"{path.name}: right must be True or False")
    known = {(row.language, row.topic) for row in data.read_folder(paths.SAMPLE, "sample")}
    unknown = set(zip(table["language"], table["topic"], strict=True)) - known
    if unknown:
        raise ValueError(f"{path.name}: the sample has no {min(unknown)}")
    return table.assign(right=verdicts == "True")


def scored(answers: pd.DataFrame) -> pd.DataFrame:
    """`answers` with what they earn: `before` and `today`, each True or False."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    rows = {(row.language, row.topic): row for row in data.read_folder(paths.SAMPLE, "sample")}
    plain, passed = [], []
    for line in answers.itertuples():
        row = rows[line.language, line.topic]
        listed = [*before[row.id]["accepted"], before[row.id]["reference"]]
        plain.append(any(forms_of(line.answer) & forms_of(form) for form in listed))
        text = trace.render_answer(line.answer)
        passed.append(rewards.accuracy_reward(text, row.accepted, row.answer) == 1.0)
    return answers.assign(before=plain, today=passed)


def misses(table: pd.DataFrame) -> pd.DataFrame:
    """By language and overall: right answers, and the share of them that scored 0."""
    right = table[table["right"]]
    shares = pd.concat([right, right.assign(language="all")]).groupby("language", sort=False)
    missed = 1 - shares[["before", "today"]].mean()
    return missed.assign(right=shares.size())


def passing(table: pd.DataFrame) -> pd.DataFrame:
    """Wrong answers that pass today."""
    return table[~table["right"] & table["today"]]


def measure() -> dict:
    """Misses and passes in percent and counts, printed; empty while the panel's file is."""
    answers = read_answers()
    if answers.empty:
        print(f"{ANSWERS.name} has no rows yet")
        return {}
    table = scored(answers)
    missed = misses(table)
    print((missed[["right"]].join(100 * missed[["before", "today"]])).round(1).to_string())
    wrong = table[~table["right"]]
    print(f"{len(passing(table))} of {len(wrong)} wrong answers pass")
    for line in passing(table).itertuples():
        print(f"  {line.language}, {line.topic}: {line.answer}")
    return {
        "missed, percent": (100 * missed.loc["all", ["before", "today"]]).round(1).to_dict(),
        "right": int(missed.loc["all", "right"]),
        "wrong that pass": len(passing(table)),
    }


if __name__ == "__main__":
    measure()
