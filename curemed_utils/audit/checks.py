"""What is wrong with rows (duplicates, overlap, language, traces, left-over options), and the set without it."""

import gc
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pandas as pd
import regex

from curemed_utils import data, language_id, paths, rewards
from curemed_utils.audit import duplicates
from curemed_utils.data import Row
from curemed_utils.data.sources import release_file

CHECKS = {
    "duplicates_sft": "question occurred earlier in SFT, in the same language",
    "duplicates_rft": "question occurred earlier in RFT, in the same language",
    "rft_in_sft": "RFT question that SFT holds as well",
    "test_in_train": "test question that SFT or RFT holds, exactly or nearly",
    "malformed_steps": "opening and closing step tags don't carry the numbers 1 to n in order",
    "multiple_choice_questions": "question still lists options A, B and C",
    "duplicates_test": "question occurred earlier in test, in the same language",
    "near_duplicates": "question nearly the same as an earlier one of its language, in training or in test",
    "contaminated": "training question that test or another evaluation set holds, exactly or nearly",
    "question_language": "question as a whole in another language, or with letters of a foreign script",
    "answer_language": "answer in another language, or with a foreign passage or script that the question doesn't have",
    "reasoning_script": "reasoning with letters of a script that neither its language nor English uses",
    "translator_talk": "answer that talks about its own translation",
    "same_numbers": "training question with the same numbers as an evaluation question in another language: perhaps the same case",
    "answers_with_option_letter": "answer that starts with an option's letter",
    "short_answers": "answer of 3 characters or fewer",
    "long_questions": "question of more than 2,000 characters",
}
ADVISORY = ("same_numbers", "answers_with_option_letter", "short_answers", "long_questions")  # to look at, not wrong in themselves
DEFECTS = tuple(check for check in CHECKS if check not in (*ADVISORY, "test_in_train"))  # leaks go from training, as contaminated

_OPTIONS = [regex.compile(rf"^\s*\(?{letter}[.):]", regex.MULTILINE) for letter in "ABC"]
_OPTION_LETTER = regex.compile(r"\(?[A-E][.)]")
_STEP_TAG = regex.compile(r"<(/?)step(\d+)>")
_LATIN_WORD = regex.compile(r"\p{Latin}{2,}")
_TRANSLATOR = regex.compile(
    r"\btranslat\w*\b.{0,200}?\b(?:accura\w+|attempt|equivalents?|literal\w*|meaning|notes?|terms?)\b|\b(?:exact|literal\w*) translat\w*",
    regex.IGNORECASE | regex.DOTALL,
)


@dataclass(frozen=True)
class Audit:
    """`counts` by check; `rows` has one line a finding: split, language, row (from 0, within its file), check, detail, file."""

    counts: dict[str, int]
    rows: pd.DataFrame = field(repr=False)


def audit(root: str | Path | None = None, against: dict[str, list[Row | str]] | None = None) -> Audit:
    """Audits the released data under `root` (or `CUREMED_RELEASE`); `against` as in `audit_splits`."""
    root = paths.release(root)
    found = audit_splits(data.read_release(root), against)
    keys = list(zip(found.rows["split"], found.rows["language"], strict=True))
    files = {key: str(release_file(root, *key).relative_to(root)) for key in set(keys)}
    return Audit(found.counts, found.rows.assign(file=[files[key] for key in keys]))


def audit_splits(splits: dict[str, list[Row]], against: dict[str, list[Row | str]] | None = None) -> Audit:
    """Audits {'sft', 'rft', 'test'} of any source, each of which may be absent or empty.

    `against` holds further evaluation sets by name, as rows or as texts of any language; training is compared with them as with
    test. Questions are compared within a language, by `data.normalize`; near means more than half of all different sequences of
    five characters shared. In `rows`, `file` is the row's source. Raises ValueError for a split of another name.
    """
    places = duplicates.places(splits)
    rows, counts = [], Counter()
    with _uncollected():
        findings = duplicates.between_rows(places, against or {})
        for place in places:
            for check, detail in [*_own_findings(place.row), *findings.get(place, ())]:
                counts[check] += 1
                rows.append((place.split, place.row.language, place.number, check, detail, place.row.source))
    table = pd.DataFrame(rows, columns=["split", "language", "row", "check", "detail", "file"])
    return Audit({check: counts[check] for check in CHECKS}, table)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pauses the collector of cyclic garbage, which would look through all rows again and again and make large sets cost more a row."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# One row ------------------------------------------------------------------------------------------------------------


def _own_findings(row: Row) -> Iterator[tuple[str, str]]:
    answer = rewards.answer_of(row.answer) or row.answer
    if row.reasoning and (fault := step_fault(row.reasoning)):
        yield "malformed_steps", fault
    if lists_options(row.question):
        yield "multiple_choice_questions", row.question[:80]
    check = language_id.check_language(row.question, row.language, quotes=True)
    if check.verdict is False:
        yield "question_language", check.reason
    if fault := _language_fault(answer, row):
        yield "answer_language", fault
    if letter := language_id.foreign_letter(row.reasoning, row.language):
        yield "reasoning_script", f"letter of another script: {letter}"
    if talk := _TRANSLATOR.search(answer):
        yield "translator_talk", talk.group()[:80]
    if _OPTION_LETTER.match(answer):
        yield "answers_with_option_letter", answer[:80]
    if len(answer) <= 3:
        yield "short_answers", answer
    if len(row.question) > 2000:
        yield "long_questions", f"{len(row.question):,} characters"


def _language_fault(answer: str, row: Row) -> str:
    """Why the answer is not in the row's language; empty if it is, if none can tell, or if it repeats the question's Latin words."""
    verdict, reason = language_id.check_language(answer, row.language)
    if verdict is None and (named := language_id.named_by_both(answer)) not in ("", row.language):
        verdict, reason = False, f"short, and reads as {named}"
    if verdict is not False or (not language_id.foreign_letter(answer, row.language) and _is_quote(answer, row.question)):
        return ""
    return reason


def _is_quote(answer: str, question: str) -> bool:
    """Whether the question has all Latin words of the answer, as where it asks to choose, to sort or to complete them."""
    words = set(_LATIN_WORD.findall(answer.casefold()))
    return bool(words) and words <= set(_LATIN_WORD.findall(question.casefold()))


def lists_options(question: str) -> bool:
    """Whether A, B and C each start a line of `question`, as `A.`, `A)`, `A:` or `(A)`."""
    return all(option.search(question) for option in _OPTIONS)


def step_fault(reasoning: str) -> str:
    """What is wrong with a trace's step tags; empty where opening and closing tags both run 1 to n."""
    tags = _STEP_TAG.findall(reasoning)
    opened, closed = ([number for its_slash, number in tags if its_slash == slash] for slash in ("", "/"))
    if opened == closed == [str(n) for n in range(1, len(opened) + 1)] and opened:
        return ""
    kind = "counts" if len(opened) != len(closed) else "numbers"
    return f"{kind}: opened {' '.join(opened) or 'none'}, closed {' '.join(closed) or 'none'}"


# The set without it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cleaned:
    """`splits` as they remain, and `log`, one line a changed row: split, language, row, id, action, reason, detail.

    The action is 'renumbered' or 'dropped'. A row with several defects goes by the first of them in CHECKS; `detail` has all.
    """

    splits: dict[str, list[Row]]
    log: pd.DataFrame = field(repr=False)

    @property
    def counts(self) -> pd.DataFrame:
        """Rows by action and reason (index), and split (columns), with their sum under 'all'."""
        table = self.log.groupby(["action", "reason", "split"], sort=False).size().unstack(fill_value=0)
        return table.reindex(columns=data.SPLITS, fill_value=0).assign(all=lambda t: t.sum(axis=1)).sort_values("all", ascending=False)

    def write(self, folder: str | Path) -> Path:
        """Writes `<split>.jsonl` and the log as `changes.csv`, whole or not at all each."""
        folder = Path(folder)
        for split, rows in self.splits.items():
            data.write_jsonl(rows, folder / f"{split}.jsonl")
        self.log.to_csv(folder / "changes.csv", index=False)
        return folder


def clean(splits: dict[str, list[Row]], against: dict[str, list[Row | str]] | None = None, drop: Collection[str] = DEFECTS) -> Cleaned:
    """The rows that have none of the defects in `drop`, step tags renumbered where only the numbers are wrong.

    Rows go by what is wrong with themselves first. Of equal and near questions among the others the first stays, in SFT before
    RFT, so a good copy survives a bad one; training questions that test or `against` hold go from training. Every change is in
    the log, and ids stay.
    """
    unknown = [check for check in drop if check not in CHECKS]
    if unknown:
        raise ValueError(f"drop: no check is called {unknown[0]!r}; audit.CHECKS lists them")
    kept, changes = {}, {}
    places = duplicates.places(splits)
    for place in places:
        row = renumbered(place.row) if "malformed_steps" in drop else place.row
        found = [finding for finding in _own_findings(row) if finding[0] in drop]
        if found:
            changes[place] = ("dropped", found)
            continue
        kept[place] = row
        if row is not place.row:
            changes[place] = ("renumbered", [("malformed_steps", step_fault(place.row.reasoning))])
    for place, findings in duplicates.between_rows(list(kept), against or {}).items():
        if found := [finding for finding in findings if finding[0] in drop]:
            del kept[place]
            changes[place] = ("dropped", found)
    log = []
    for place in places:
        if place in changes:
            action, found = changes[place]
            found.sort(key=lambda finding: list(CHECKS).index(finding[0]))
            detail = "; ".join(f"{check}: {detail}" for check, detail in found)
            log.append((place.split, place.row.language, place.number, place.row.id, action, found[0][0], detail))
    remaining = {split: [row for place, row in kept.items() if place.split == split] for split in splits}
    return Cleaned(remaining, pd.DataFrame(log, columns=["split", "language", "row", "id", "action", "reason", "detail"]))


def renumbered(row: Row) -> Row:
    """The row with its steps numbered 1 to n, if each opening tag is followed by its closing tag; else the row itself."""
    slashes = [slash for slash, _ in _STEP_TAG.findall(row.reasoning)]
    if not slashes or slashes != ["", "/"] * (len(slashes) // 2) or not step_fault(row.reasoning):
        return row
    number = count(2)
    return row.model_copy(update={"reasoning": _STEP_TAG.sub(lambda tag: f"<{tag[1]}step{next(number) // 2}>", row.reasoning)})
