"""Which options of a multiple-choice question a response chooses, by letter or by text.

Texts of options become one character each, a mark; letters and marks that the response denies
("not B", "B is wrong") are struck out; what is left is read. Unread is better than guessed.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path

import regex
import yaml

from curemed_utils import trace

_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_LOOK_ALIKE = str.maketrans("АВСЕ", "ABCE")  # Cyrillic letters that stand for Latin ones
_BOXED = {start + n: chr(65 + n) for start in (0x1F150, 0x1F170, 0x1F1E6) for n in range(26)}
_FIRST_MARK = 0xE000
_NUMBER = "(?:1[0-9]|[0-9])"
_NO_LETTERS = {"before": "", "alone": "", "end": "", "together": "(?!)"}


def _expand(patterns: dict[str, str], parts: dict[str, str]) -> dict[str, str]:
    """`parts` and, in their order, these patterns with their @names filled in."""
    parts = dict(parts)
    for name, pattern in patterns.items():
        parts[name] = regex.sub(r"@(\w+)", lambda part: parts[part[1]], pattern)
    return parts


def _names() -> dict[str, str]:
    words: dict[str, list] = {}
    for language in _DATA["words"].values():
        for kind, listed in language.items():
            words.setdefault(kind, []).extend(listed.split())
    parts = _expand(_DATA["patterns"], {"words": "@words"})
    for kind, listed in words.items():
        parts[kind] = parts["any"].replace(
            "@words", "|".join(sorted(set(listed), key=len, reverse=True))
        )
    return _expand(_DATA["names"], parts)


_NAMES = _names()


@lru_cache
def _rules(one: str) -> dict[str, str]:
    """All patterns, where `one` is that of an option: its letter, number or mark."""
    parts = _NAMES | _NO_LETTERS | {"one": one}
    if one != _NAMES["mark"]:
        parts = _expand(_DATA["letters"], parts)
    if one == _NUMBER:
        parts["together"] = _NO_LETTERS["together"]
    return _expand(_DATA["rules"], parts)


@lru_cache
def _rule(name: str, one: str = "") -> regex.Pattern:
    pattern = _rules(one)[name] if one else _NAMES[name]
    return regex.compile(pattern, regex.V1 | regex.M)


# Before reading -----------------------------------------------------------------------------------


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFKC", "\n".join(text.translate(_BOXED).splitlines()))
    text = _rule("field").sub("\nanswer: ", _rule("invisible").sub("", text))
    text = _rule("tag").sub("\n", _rule("form").sub("", text))
    text = regex.sub("[*`]+", "", _rule("emphasised").sub(r" (\1) ", text))
    return _rule("look_alike").sub(lambda letter: letter[0].translate(_LOOK_ALIKE), text).strip()


def given_answers(text: str) -> list[str]:
    """Answer blocks of a response (the last may be cut off), else all but thinking.

    Only up to a next turn, such as "Question 2:".
    """
    text = trace.without_blocks(trace.final_text(text), "thinking").rpartition("</thinking>")[2]
    turns = map(str.strip, _rule("next_turn").split(text))
    first = next(filter(None, turns), "")
    parts = trace.blocks(first, "answer", cut_off=True) or [first]
    return [part.strip() for part in parts if part.strip()]


def unlabelled(options: dict[str, str]) -> dict[str, str]:
    """The options without the letters or numbers ("A. X-ray", "(2) CT") that all of them carry."""
    bare = {}
    for number, (key, text) in enumerate(options.items(), 1):
        label = f"(?:{number}|{regex.escape(str(key))})"
        pattern = rf"\s*(?:\({label}\)|{label}\s?[.):、．：])(?!\d)\s*(?=\S)"
        carried = regex.match(pattern, str(text), regex.I)
        if not carried:
            return options
        bare[key] = str(text)[carried.end() :]
    return bare


def _marked(part: str, options: dict[str, str], shortest: int) -> tuple[str, dict[str, set]]:
    """The cleaned text with marks for options' texts, and the keys of each mark."""
    keys_of: dict[str, set] = {}
    for key, option in unlabelled(options).items():
        text = _clean(str(option)).strip(" .。;,").casefold()
        keys_of.setdefault(text, set()).add(key)
    part, keys_by_mark = _clean(part), {}
    for number, option in enumerate(sorted(keys_of, key=len, reverse=True)):
        if len(option) >= shortest:
            mark = chr(_FIRST_MARK + number)
            part = _standing(option).sub(mark, part)
            keys_by_mark[mark] = keys_of[option]
    return part, keys_by_mark


def _standing(option: str) -> regex.Pattern:
    """`option` where no word goes on at its ends."""
    word = _NAMES["word"]
    first = f"(?<!{word})" if _rule("word").match(option[:1]) else ""
    last = f"(?!{word})" if _rule("word").match(option[-1:]) else ""
    words = r"\s+".join(regex.escape(word) for word in option.split())
    return regex.compile(f"{first}{words}{last}", regex.V1 | regex.I)


# Reading ------------------------------------------------------------------------------------------


def by_letter(text: str, options: dict[str, str]) -> set[str] | str:
    """The keys of the options whose letters the answer in `text` declares, else why none is read.

    An answer of nothing but letters, its first or last line of that kind, and its last "answer is
    B" (or field "answer" of JSON, or box) must agree; a later "answer is" corrects an earlier one.
    Else a letter that begins the answer, or the only one in brackets, after "option" or before "is
    right". Letters inside an option's text ("Vitamin C") don't count, nor do denied ones.
    """
    keys = {str(key).strip().upper(): key for key in options}
    letters = [key for key in keys if regex.fullmatch("[A-Z]", key)]
    one = f"[A-{max(['H', *letters])}]"
    if all(regex.fullmatch(_NUMBER, key) for key in keys):
        one = _NUMBER

    def read(part: str) -> set[str] | str:
        marked, keys_by_mark = _marked(part, options, shortest=2)
        marked = _undenied(marked, one)
        letters = _letters(marked, one)
        if isinstance(letters, str):
            return letters
        if not letters <= keys.keys():
            return f"no option is {', '.join(sorted(letters - keys.keys()))}"
        for match in _rule("beside", one).finditer(marked):
            if keys.get(match["token"]) not in keys_by_mark[match["text"]]:
                return f"letter {match['token']} beside the text of another option"
        return {keys[letter] for letter in letters}

    return _agreed([read(part) for part in given_answers(text)])


def by_text(text: str, options: dict[str, str]) -> set[str] | str:
    """The keys of the options whose texts the answer gives, else why none is read.

    Texts stand as whole words, not within a longer option, and are not denied; those of the last
    "answer is …", else all. Options of equal text count together.
    """
    one = _NAMES["mark"]

    def read(part: str) -> set[str] | str:
        marked, keys_by_mark = _marked(part, options, shortest=1)
        marked = _undenied(marked, one)
        if _rule("alternatives", one).search(marked):
            return "alternatives, none chosen"
        declared = [_named(match) for match in _rule("declared", one).finditer(marked)]
        marks = declared[-1] if declared else regex.findall(one, marked)
        return set().union(*(keys_by_mark[mark] for mark in marks)) or "no option's text"

    return _agreed([read(part) for part in given_answers(text)])


def _undenied(part: str, one: str) -> str:
    return _rule("denied", one).sub("…", _rule("struck", one).sub("…", part)).strip()


def _agreed(readings: list[set[str] | str]) -> set[str] | str:
    chosen = [reading for reading in readings if isinstance(reading, set)]
    if any(reading != chosen[0] for reading in chosen):
        return "several answers that differ"
    return next(iter(chosen + readings), "no answer")


def _named(match: regex.Match | None) -> set[str] | None:
    """The letters of a match; empty where they are alternatives; None for a word like "CBC"."""
    if not match:
        return None
    if match.captures("or"):
        return set()
    joined = list("".join(match.captures("joined"))) if "joined" in match.re.groupindex else []
    if joined != sorted(set(joined)):
        return None
    return {letter.upper() for letter in [*match.captures("token"), *joined]}


def _letters(part: str, one: str) -> set[str] | str:
    """The letters that a cleaned answer with marks declares, else why there are none."""
    lines = [line for line in part.split("\n") if line.strip()] or [""]
    whole = [_named(_rule("whole", one).fullmatch(line)) for line in lines]
    if len(lines) > 1 and None not in whole and all(_rule("mark").search(line) for line in lines):
        return set().union(*whole)
    declared = [_named(match) for match in _rule("declared", one).finditer(part)]
    stated = [whole[0], whole[-1], *declared[-1:]]
    stated = [letters for letters in stated if letters is not None]
    if stated:
        if any(letters != stated[0] for letters in stated):
            return "several answers that differ"
        return stated[0] or "alternatives, none chosen"
    leading = [_rule("leading", one).match(line) for line in lines]
    rule = "right_one" if "…" in part else "mentioned"  # beside a denied letter, none that is bare
    mentioned = {match["token"] for match in _rule(rule, one).finditer(part)}
    named = mentioned.union(match["token"] for match in leading if match)
    if len(named) > 1:
        return "several letters, none declared the answer"
    return named if mentioned or leading[0] else "no letter"
