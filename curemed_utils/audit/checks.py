"""What is wrong with rows: duplicates, overlap, language, traces, left-over options."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import regex

from curemed_utils import data, language_id, paths, trace
from curemed_utils.audit import duplicates
from curemed_utils.data import Row
from curemed_utils.data.sources import release_file

_TEXTS = paths.beside(__file__, ".yaml")
CHECKS = {**_TEXTS["defects"], **_TEXTS["advisory"]}
# leaks go from training, as contaminated
DEFECTS = tuple(check for check in _TEXTS["defects"] if check != "test_in_train")

_OPTIONS = [regex.compile(rf"^\s*\(?{letter}[.):]", regex.MULTILINE) for letter in "ABC"]
_LATIN_WORDS = regex.compile(r"\p{Latin}{2,}").findall
_PATTERN = {name: regex.compile(of, regex.X) for name, of in _TEXTS["patterns"].items()}


@dataclass(frozen=True)
class Audit:
    """`counts` by check, and `rows`, one line a finding; `row` counts from 0 in its file."""

    counts: dict[str, int]
    rows: pd.DataFrame = field(repr=False)


def audit(root: str | Path | None = None) -> Audit:
    """Audits the released data under `root` (or `CUREMED_RELEASE`)."""
    root = paths.release(root)
    result = audit_splits(data.read_release(root))
    keys = list(zip(result.rows["split"], result.rows["language"], strict=True))
    files = {key: str(release_file(root, *key).relative_to(root)) for key in set(keys)}
    return Audit(result.counts, result.rows.assign(file=[files[key] for key in keys]))


def audit_splits(
    splits: dict[str, list[Row]], against: dict[str, list[Row | str]] | None = None
) -> Audit:
    """Audits {'sft', 'rft', 'test'} of any source; `file` is then the row's source.

    Training is compared with test and with `against`, further sets by name: rows, or texts of any
    language. Near questions share more than half of their sequences of five characters.
    """
    places = duplicates.places(splits)
    between = duplicates.between_rows(places, against or {})
    lines, counts = [], Counter()
    for place in places:
        row = place.row
        for check, detail in [*row_findings(row), *between.get(place, ())]:
            counts[check] += 1
            lines.append((place.split, row.language, place.number, check, detail, row.source))
    columns = ["split", "language", "row", "check", "detail", "file"]
    return Audit({check: counts[check] for check in CHECKS}, pd.DataFrame(lines, columns=columns))


def row_findings(row: Row) -> Iterator[tuple[str, str]]:
    """The checks that a row fails by itself, with details."""
    answer = trace.answer_of(row.answer) or row.answer
    step_fault = trace.step_fault(row.reasoning) if row.reasoning else ""
    if step_fault:
        yield "malformed_steps", step_fault
    if lists_options(row.question):
        yield "multiple_choice_questions", row.question[:80]
    question_check = language_id.check_language(row.question, row.language, quotes=True)
    if question_check.verdict is False:
        yield "question_language", question_check.reason
    language_fault = _answer_language_fault(answer, row)
    if language_fault:
        yield "answer_language", language_fault
    letter = language_id.foreign_letter(row.reasoning, row.language)
    if letter:
        yield "reasoning_script", f"letter of another script: {letter}"
    talk = _PATTERN["translator_talk"].search(answer)
    if talk:
        yield "translator_talk", talk.group()[:80]
    if _PATTERN["option_letter"].match(answer):
        yield "answers_with_option_letter", answer[:80]
    if len(answer) <= 3:
        yield "short_answers", answer
    if len(row.question) > 2000:
        yield "long_questions", f"{len(row.question):,} characters"


def _answer_language_fault(answer, row):
    verdict, reason = language_id.check_language(answer, row.language)
    if verdict is not False:
        return ""
    # an answer may repeat the question's Latin words, say words to sort
    words, asked = map(_LATIN_WORDS, (answer.casefold(), row.question.casefold()))
    is_quote = words and set(words) <= set(asked)
    return "" if is_quote and not language_id.foreign_letter(answer, row.language) else reason


def lists_options(question: str) -> bool:
    """Whether A, B and C each start a line, as `A.`, `A)`, `A:` or `(A)`."""
    return all(option.search(question) for option in _OPTIONS)
