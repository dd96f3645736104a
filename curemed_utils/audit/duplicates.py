"""Questions that occur again, exactly or nearly, in the splits and in other sets."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex
from rensa import RMinHash, RMinHashLSH

from curemed_utils import data
from curemed_utils.data import Row

GRAM = 5  # characters, so that scripts without spaces are served alike
THRESHOLD = 0.5  # of the Jaccard index
PERMUTATIONS, BANDS = 256, 64  # a pair at the threshold escapes in 1 of 60 cases
MARGIN = 0.12  # four standard errors: an estimate further below isn't verified
N_DIGITS = 7  # the fewest, in all different numbers, by which a case is known again

_NUMBER = regex.compile(r"\p{Nd}+(?:[.,٫٬]\p{Nd}+)*")


def grams(text: str) -> set[str]:
    """The sequences of GRAM characters in a text; the text itself where shorter."""
    return {text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers in `text`, sorted, as digits without signs; empty where too few to tell."""
    values = []
    for number in _NUMBER.findall(text):
        values.append("".join(str(int(sign)) for sign in number if sign.isdecimal()))
    return tuple(sorted(values)) if sum(map(len, set(values))) >= N_DIGITS else ()


class Sketch(NamedTuple):
    text: str  # normalized
    minhash: RMinHash
    numbers: tuple[str, ...]


def sketch(text: str) -> Sketch:
    text = data.normalize(text)
    minhash = RMinHash(PERMUTATIONS, 0)
    minhash.update(list(grams(text)))
    return Sketch(text, minhash, numbers(text))


class Index:
    """Labelled texts; near ones are verified exactly. Language '' stands for every language."""

    def __init__(self):
        self._lsh = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
        self._entries = []
        self._by_numbers = defaultdict(list)

    def add(self, item: Sketch, language: str, label: Any) -> None:
        self._lsh.insert(len(self._entries), item.minhash)
        self._entries.append((item, language, label))
        if item.numbers:
            self._by_numbers[item.numbers].append((language, label))

    def near(self, item: Sketch, language: str) -> list[tuple[Any, float]]:
        """Labels and Jaccard indices above THRESHOLD, nearest first."""
        pairs = []
        for key in sorted(self._lsh.query(item.minhash)):
            other, other_language, label = self._entries[key]
            if other_language not in (language, ""):
                continue
            if item.minhash.jaccard(other.minhash) > THRESHOLD - MARGIN:
                similarity = jaccard(grams(item.text), grams(other.text))
                if similarity > THRESHOLD:
                    pairs.append((label, similarity))
        return sorted(pairs, key=lambda pair: -pair[1])

    def same_numbers(self, item: Sketch, language: str) -> list[Any]:
        """Labels of the texts in other languages with the same numbers."""
        entries = self._by_numbers.get(item.numbers, ())
        return [label for other_language, label in entries if other_language != language]


@dataclass(frozen=True, eq=False)  # told apart by identity
class Place:
    """Where a row stands: `number` counts from 0 within the split's rows of the language."""

    split: str
    number: int
    row: Row

    def __str__(self) -> str:
        return f"{self.split} {self.row.language} {self.number}"


def places(splits: dict[str, list[Row]]) -> list[Place]:
    """All rows in the order of SPLITS; ValueError for another split."""
    unknown = [split for split in splits if split not in data.SPLITS]
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}; splits are {', '.join(data.SPLITS)}")
    listed = []
    for split in data.SPLITS:
        position = Counter()
        for row in splits.get(split) or ():
            listed.append(Place(split, position[row.language], row))
            position[row.language] += 1
    return listed


def between_rows(
    rows: list[Place], against: dict[str, list[Row | str]]
) -> dict[Place, list[tuple[str, str]]]:
    """The checks that rows fail beside others; see `audit_splits`."""
    findings = defaultdict(list)
    held = _evaluation_sets(rows, against, findings)
    seen, first = Index(), defaultdict(dict)
    for place in rows:
        if place.split != "test":
            item = sketch(place.row.question)
            findings[place] += _repeats(place, item, seen, first)
            findings[place] += _leaks(place, item, held, findings)
    return {place: checks for place, checks in findings.items() if checks}


def _evaluation_sets(rows, against, findings):
    """All that training is compared with; adds findings among test rows."""
    held, first = Index(), {}
    for place in rows:
        if place.split != "test":
            continue
        item, language = sketch(place.row.question), place.row.language
        earlier = first.setdefault((language, item.text), place)
        if earlier is not place:
            findings[place].append(("duplicates_test", _as(earlier)))
        elif near := held.near(item, language):
            findings[place].append(("near_duplicates", _as(*near[0])))
        held.add(item, language, place)
    for name, questions in against.items():
        for number, of in enumerate(questions):
            text, language = (of.question, of.language) if isinstance(of, Row) else (of, "")
            held.add(sketch(text), language, f"{name} {number}")
    return held


def _repeats(place, item, seen, first):
    """A training row against those before it, which it then joins."""
    checks, split, language = [], place.split, place.row.language
    equal = first[language, item.text]  # the first by split
    if not equal:
        if near := seen.near(item, language):
            checks.append(("near_duplicates", _as(*near[0])))
        else:
            seen.add(item, language, place)
    if split in equal:
        checks.append((f"duplicates_{split}", f"as row {equal[split].number}"))
    if split == "rft" and "sft" in equal:
        checks.append(("rft_in_sft", _as(equal["sft"])))
    equal.setdefault(split, place)
    return checks


def _leaks(place, item, held, findings):
    """A training row against what evaluates; the test row is told as well."""
    near = held.near(item, place.row.language)
    if not near:
        others = held.same_numbers(item, place.row.language)
        return [("same_numbers", _as(others[0]))] if others else []
    for other, similarity in near:
        if isinstance(other, Place) and "test_in_train" not in dict(findings[other]):
            findings[other].append(("test_in_train", _as(place, similarity)))
    return [("contaminated", _as(*near[0]))]


def _as(label, similarity=1.0):
    return f"as {label}" + (f", Jaccard index {similarity:.2f}" if similarity < 1 else "")
