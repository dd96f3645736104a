"""Right short answers that score 0 and wrong ones that pass, by the lists of the sample.

`python benchmarks/short_answers.py` reads benchmarks/data/short_answers.csv: three right and two
wrong answers to each question by panels that had seen no list. A language model wrote them all.
Two panels were looked at afterwards to mend lists: one gave plain answers, one descriptive ones.
The third is held out. 'before' is plain equality with the lists of accepted_before.json, as they
were while accepted forms had to stand in the answer.
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
    """Misses in percent and wrong answers that pass, by panel; printed by language."""
    results = {}
    for panel, table in scored(read_answers()).groupby("panel", sort=False):
        missed = misses(table)
        shares = 100 * missed[["before", "today"]]
        print(f"\n{panel}\n{missed[['right']].join(shares).round(1).to_string()}")
        wrong = passing(table)
        print(f"{len(wrong)} of {(~table['right']).sum()} wrong answers pass", *wrong["answer"])
        results[panel] = shares.loc["all"].round(1).to_dict()
        results[panel] |= {"right": int(missed.loc["all", "right"]), "wrong that pass": len(wrong)}
    return results


if __name__ == "__main__":
    measure()
