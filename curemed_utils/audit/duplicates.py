"""Questions that occur again, exactly or nearly, within a split, between splits and in other sets."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex
from rensa import RMinHash, RMinHashLSH

from curemed_utils import data
from curemed_utils.data import Row

GRAM = 5  # characters, white space among them, so that scripts without spaces are served alike
THRESHOLD = 0.5  # of the Jaccard index; questions that are near by it share most of their words
PERMUTATIONS, BANDS = 256, 64  # a pair at the threshold escapes in 1 of 60 cases, at 0.6 in 1 of 7,000
MARGIN = 0.12  # below the threshold an estimate isn't verified: four standard errors of one from 256 values
N_DIGITS = 7  # the fewest, in different numbers together, by which a case is known again

_NUMBER = regex.compile(r"\p{Nd}+(?:[.,٫٬]\p{Nd}+)*")


def grams(text: str) -> set[str]:
    """The sequences of GRAM characters in a normalized text; the text itself where it is shorter."""
    return {text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    """Shared elements as a share of all, 0-1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def numbers(text: str) -> tuple[str, ...]:
    """The multiset of numbers in `text`, sorted, in ASCII digits; empty where different ones have fewer than N_DIGITS together.

    Signs between digits are left out, because 38.5 is 38,5 elsewhere and 1,000 is 1.000.
    """
    found = sorted("".join(str(int(sign)) for sign in number if sign.isdecimal()) for number in _NUMBER.findall(text))
    return tuple(found) if sum(map(len, set(found))) >= N_DIGITS else ()


class Sketch(NamedTuple):
    """A normalized text, its MinHash and its numbers."""

    text: str
    minhash: RMinHash
    numbers: tuple[str, ...]


def sketch(text: str) -> Sketch:
    """What `Index` takes; the same on every machine."""
    text = data.normalize(text)
    minhash = RMinHash(PERMUTATIONS, 0)
    minhash.update(list(grams(text)))
    return Sketch(text, minhash, numbers(text))


class Index:
    """Texts with a label of any kind, among which near ones are found without comparing all pairs: MinHash candidates, verified exactly.

    A text of language '' is compared with those of every language.
    """

    def __init__(self):
        self._lsh = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
        self._entries: list[tuple[Sketch, str, Any]] = []
        self._by_numbers: dict[tuple[str, ...], list[tuple[str, Any]]] = defaultdict(list)

    def add(self, item: Sketch, language: str, label: Any) -> None:
        self._lsh.insert(len(self._entries), item.minhash)
        self._entries.append((item, language, label))
        if item.numbers:
            self._by_numbers[item.numbers].append((language, label))

    def near(self, item: Sketch, language: str) -> list[tuple[Any, float]]:
        """Labels and Jaccard indices above THRESHOLD, nearest first."""
        found = [self._entries[key] for key in sorted(self._lsh.query(item.minhash))]
        found = [(other, label) for other, its_language, label in found if its_language in (language, "")]
        found = [(other.text, label) for other, label in found if item.minhash.jaccard(other.minhash) > THRESHOLD - MARGIN]
        own = grams(item.text) if found else set()
        scored = [(label, jaccard(own, grams(text))) for text, label in found]
        return sorted((pair for pair in scored if pair[1] > THRESHOLD), key=lambda pair: -pair[1])

    def same_numbers(self, item: Sketch, language: str) -> list[Any]:
        """Labels of the texts in other languages that hold the same numbers, enough of them to be telling."""
        return [label for its_language, label in self._by_numbers.get(item.numbers, ()) if its_language != language]


# Rows against rows --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Place:
    """A row and where it stands: `number` counts from 0 within the split's rows of the language."""

    split: str
    number: int
    row: Row

    def __str__(self) -> str:
        return f"{self.split} {self.row.language} {self.number}"


def places(splits: dict[str, list[Row]]) -> list[Place]:
    """All rows of {'sft', 'rft', 'test'} in this order; ValueError for a split of another name."""
    if unknown := [name for name in splits if name not in data.SPLITS]:
        raise ValueError(f"unknown split {unknown[0]!r}; splits are {', '.join(data.SPLITS)}, further evaluation sets go into `against`")
    found = []
    for split in data.SPLITS:
        position = Counter()
        for row in splits.get(split) or ():
            found.append(Place(split, position[row.language], row))
            position[row.language] += 1
    return found


def between_rows(rows: list[Place], against: dict[str, list[Row | str]]) -> dict[Place, list[tuple[str, str]]]:
    """By place the checks of `audit.CHECKS` that need more than one row, each with a detail. See `audit.audit_splits`."""
    findings = defaultdict(list)
    held = _evaluation_sets([place for place in rows if place.split == "test"], against, findings)
    seen, first = Index(), {"sft": {}, "rft": {}}
    for place in rows:
        if place.split == "test":
            continue
        item, language = sketch(place.row.question), place.row.language
        key = (language, item.text)
        if not any(key in its for its in first.values()):
            if near := seen.near(item, language):
                findings[place].append(("near_duplicates", _as(*near[0])))
            else:
                seen.add(item, language, place)
        if key in first[place.split]:
            findings[place].append((f"duplicates_{place.split}", f"as row {first[place.split][key].number}"))
        if place.split == "rft" and key in first["sft"]:
            findings[place].append(("rft_in_sft", _as(first["sft"][key])))
        first[place.split].setdefault(key, place)
        if near := held.near(item, language):
            findings[place].append(("contaminated", _as(*near[0])))
            for other, similarity in near:
                if isinstance(other, Place) and not any(check == "test_in_train" for check, _ in findings[other]):
                    findings[other].append(("test_in_train", _as(place, similarity)))
        elif others := held.same_numbers(item, language):
            findings[place].append(("same_numbers", _as(others[0])))
    return findings


def _evaluation_sets(test: list[Place], against: dict[str, list[Row | str]], findings: dict) -> Index:
    held, first = Index(), {}
    for place in test:
        item, language = sketch(place.row.question), place.row.language
        if (language, item.text) in first:
            findings[place].append(("duplicates_test", _as(first[language, item.text])))
        elif near := held.near(item, language):
            findings[place].append(("near_duplicates", _as(*near[0])))
        first.setdefault((language, item.text), place)
        held.add(item, language, place)
    for name, texts in against.items():
        for number, text in enumerate(texts):
            question, language = (text.question, text.language) if isinstance(text, Row) else (text, "")
            held.add(sketch(question), language, f"{name} {number}")
    return held


def _as(label: Any, similarity: float = 1.0) -> str:
    return f"as {label}" + (f", Jaccard index {similarity:.2f}" if similarity < 1 else "")
