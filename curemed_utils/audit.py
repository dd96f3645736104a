"""What is wrong with rows: duplicates, overlap between splits, malformed step traces, left-over options."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import regex

from curemed_utils import data

CHECKS = {
    "duplicates_sft": "question occurred earlier in SFT, in the same language",
    "duplicates_rft": "question occurred earlier in RFT, in the same language",
    "rft_in_sft": "RFT question that SFT holds as well",
    "test_in_train": "test question that SFT or RFT holds",
    "malformed_steps": "opening and closing step tags don't carry the numbers 1 to n in order",
    "multiple_choice_questions": "question still lists options A, B and C",
}


@dataclass(frozen=True)
class Audit:
    """`counts` by check; `rows` has one line a finding: split, language, row (from 0, within its file), check, detail."""

    counts: dict[str, int]
    rows: pd.DataFrame = field(repr=False)


def audit(root: str | Path | None = None) -> Audit:
    """Audits the released data under `root` (or `CUREMED_RELEASE`)."""
    return audit_splits(data.read_release(root))


def audit_splits(splits: dict[str, list[data.Row]]) -> Audit:
    """Audits {'sft', 'rft', 'test'} of any source. Questions are compared within a language, by `data.normalize`."""
    findings = []
    questions = {name: {(r.language, data.normalize(r.question)) for r in splits[name]} for name in data.SPLITS}
    train = questions["sft"] | questions["rft"]
    for name, rows in splits.items():
        seen, position = {}, Counter()
        for row in rows:
            number = position[row.language]
            position[row.language] += 1
            key = (row.language, data.normalize(row.question))
            found = _row_findings(row)
            if key in seen and name != "test":
                found.append((f"duplicates_{name}", f"as row {seen[key]}"))
            seen.setdefault(key, number)
            if name == "rft" and key in questions["sft"]:
                found.append(("rft_in_sft", row.question[:80]))
            if name == "test" and key in train:
                found.append(("test_in_train", row.question[:80]))
            findings += [(name, row.language, number, check, detail) for check, detail in found]
    table = pd.DataFrame(findings, columns=["split", "language", "row", "check", "detail"])
    counts = table["check"].value_counts()
    return Audit({check: int(counts.get(check, 0)) for check in CHECKS}, table)


def _row_findings(row: data.Row) -> list[tuple[str, str]]:
    found = []
    if row.reasoning and (fault := step_fault(row.reasoning)):
        found.append(("malformed_steps", fault))
    if lists_options(row.question):
        found.append(("multiple_choice_questions", row.question[:80]))
    return found


def lists_options(question: str) -> bool:
    """Whether A, B and C each start a line of `question`, as `A.`, `A)`, `A:` or `(A)`."""
    return all(regex.search(rf"^\s*\(?{letter}[.):]", question, regex.MULTILINE) for letter in "ABC")


def step_fault(reasoning: str) -> str:
    """What is wrong with a trace's step tags; empty where opening and closing tags both run 1 to n."""
    opened, closed = regex.findall(r"<step(\d+)>", reasoning), regex.findall(r"</step(\d+)>", reasoning)
    if opened == closed == [str(n) for n in range(1, len(opened) + 1)] and opened:
        return ""
    kind = "counts" if len(opened) != len(closed) else "numbers"
    return f"{kind}: opened {' '.join(opened) or 'none'}, closed {' '.join(closed) or 'none'}"
