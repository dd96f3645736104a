"""Whether a short answer is one of a row's accepted names, by the tables in matching.yaml."""

import unicodedata
from collections import defaultdict
from functools import cache, lru_cache
from typing import NamedTuple

import regex

from curemed_utils import paths
from curemed_utils.data.normal import forms_of, normalize

LONGEST = 300  # characters of an answer that is taken apart
_TABLES = paths.beside(__file__, ".yaml")
_PATTERN = {name: regex.compile(of) for name, of in _TABLES.pop("patterns").items()}


class Names(NamedTuple):
    """Names that make an answer right, and what may stand beside one: second names, details."""

    right: frozenset[str]
    second: frozenset[str]
    is_vietnamese: bool  # where every mark counts


def is_accepted(answer: str, accepted: list[str], reference: str) -> bool:
    """Whether `answer` is the reference, or holds names of the row only, one of them accepted.

    Names stand between brackets, slashes, commas, colons and or-words. An entry of `accepted` may
    have in brackets what may stand beside any of its row's names and makes nothing right by itself:
    a second name, or a detail of the case.
    """
    names = _names(tuple(accepted), reference)
    if len(answer) > LONGEST:
        return bool(_readings(answer, names.is_vietnamese) & names.right)
    whole = _readings(_PATTERN["brackets"].sub(" ", answer), names.is_vietnamese)
    texts = _readings(answer, names.is_vietnamese) | whole
    if _without_details(texts, names.second) & names.right:
        return True
    return any(_consists_of(text, names) for text in texts)


def _consists_of(text, names):
    has_right = False
    for part in _separators(names.is_vietnamese).split(text)[::2]:
        readings = _without_details(_readings(part, names.is_vietnamese), names.second)
        if readings and not readings & (names.right | names.second | {""}):
            return False
        has_right |= bool(readings & names.right)
    return has_right


def _without_details(texts, details):
    """`texts`, and what is left of each without details at its start and end."""
    left = set()
    for text in texts:
        joints = [joint.span() for joint in _PATTERN["joint"].finditer(text)]
        starts, ends = [0], [len(text)]
        for end, start in joints:
            starts += [start] * any(text[first:end] in details for first in starts)
        for end, start in reversed(joints):
            ends += [end] * any(text[start:last] in details for last in ends)
        left |= {text[start:end] for start in starts for end in ends}
    return left


@lru_cache(maxsize=10_000)
def _names(accepted, reference):
    texts, second = [*accepted, reference], set()
    written = unicodedata.normalize("NFD", " ".join(texts).casefold())
    is_vietnamese = bool(_PATTERN["vietnamese"].search(written))
    for form in accepted:
        if two := _PATTERN["second_name"].fullmatch(form):
            texts.append(two[1])
            second |= _readings(two[2], is_vietnamese, is_listed=True)
    right = [_readings(text, is_vietnamese, is_listed=True) for text in texts]
    second |= {_fold(normalize(link), is_vietnamese) for link in _merged(is_vietnamese)["link"]}
    return Names(frozenset().union(*right), frozenset(second), is_vietnamese)


@lru_cache(maxsize=10_000)
def _readings(text, is_vietnamese, is_listed=False):
    """A name for comparison: as it is written, and without what may stand around it.

    Of a name that `is_listed` with a word for a disease the rest, which may be an organ, is none:
    it has a mark, as it has in an answer that has such a word, too.
    """
    written = {_fold(form, is_vietnamese) for form in forms_of(_PATTERN["hyphen"].sub(" ", text))}
    if len(text) > LONGEST:
        return frozenset(written)
    written |= _stripped(written, _edges(is_vietnamese, False))
    rest = _stripped(written, _edges(is_vietnamese, True))
    if is_listed:
        return frozenset(written | {f"{name}*" for name in rest})
    return frozenset(written | rest | {f"{name}*" for name in rest - written})


def _stripped(texts, edges):
    before, after = edges
    return {after.sub("", before.sub("", text)) for text in texts} - {""}


def _fold(text, is_vietnamese):
    """`text` without marks that may be missing, and with one letter for a sound."""
    tables = _merged(is_vietnamese)
    for pattern, written in tables["spelling"]:
        text = regex.sub(pattern, written, text)
    text = unicodedata.normalize("NFD", text).translate(tables["marks"])
    return unicodedata.normalize("NFC", text).translate(tables["same"])


@cache
def _merged(is_vietnamese):
    """The tables of Vietnamese, or of all other languages, one behind the other."""
    merged = defaultdict(list)
    for name, table in _TABLES.items():
        if name == "any" or (name == "Vietnamese") == is_vietnamese:
            for part, entries in table.items():
                merged[part] += entries.split() if part == "same" else entries
    merged["same"] = str.maketrans(dict(merged["same"]))
    merged["marks"] = dict.fromkeys(map(ord, merged["marks"]))
    return merged


@cache
def _edges(is_vietnamese, with_disease):
    tables = _merged(is_vietnamese)
    disease = tables["disease"] if with_disease else []
    before = [word for word in tables["before"] + disease if word[0] != "-"]
    after = [word for word in tables["after"] + disease if word[-1] != "-"]
    first = _any_of(before, is_vietnamese, "", "(?=[ :=])")
    last = _any_of(after, is_vietnamese, " ", "")
    return regex.compile(rf"^(?:(?:{first})[ :=]*)+(?=.)"), regex.compile(rf"(?<=.)(?:{last})+$")


@cache
def _separators(is_vietnamese):
    words = _any_of(_merged(is_vietnamese)["or"], is_vietnamese, " ", " ")
    return regex.compile(rf"([()\[\]【】、;]|(?<!\d)[/,:=]|[/,:=](?!\d)|{words})")


def _any_of(words, is_vietnamese, start, end):
    """A pattern of words that stand between `start` and `end`, but for a hyphen there."""
    patterns = set()
    for word in words:
        text = regex.escape(_fold(normalize(word.strip("-")), is_vietnamese))
        patterns.add(start * (word[0] != "-") + text + end * (word[-1] != "-"))
    return "|".join(sorted(patterns, key=len, reverse=True))
