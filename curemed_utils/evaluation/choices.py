"""Which options of a multiple-choice question a response chooses, by letter or by text.

Texts of options become one character each, a mark; letters and marks that are denied ("not B",
"B is wrong") are struck out; what is left is read. Unread is better than guessed.
"""

import unicodedata
from functools import lru_cache
from itertools import product

import regex

from curemed_utils import paths, trace

_DATA = paths.beside(__file__, ".yaml")
_CYRILLIC, _LATIN = "АВСЕ", "ABCE"  # look alike
_SIGNS = dict.fromkeys(map(ord, "❌✗✘✖"), " wrong ")
for _start in (0x1F150, 0x1F170, 0x1F1E6):  # letters in circles, boxes and flags
    _SIGNS |= {_start + n: chr(65 + n) for n in range(26)}
_FIRST_MARK = 0xE000


@lru_cache
def _pattern(name, kind):
    """A pattern of `choices.yaml` with its @names filled in, where options are of this kind."""
    patterns = _DATA["patterns"] | _DATA["kinds"][kind]
    if name in patterns:
        return regex.sub(r"@(\w+)", lambda part: _pattern(part[1], kind), patterns[name])
    words = set()
    for language, word in product(_DATA["words"].values(), name.split("_")):
        words.update(language.get(word, "").split())
    words = "|".join(sorted(words, key=len, reverse=True))
    return _pattern("any", kind).replace("WORDS", words)


@lru_cache
def _rule(name, kind="marks"):
    return regex.compile(_pattern(name, kind), regex.V1 | regex.M)


def _clean(text):
    text = unicodedata.normalize("NFKC", "\n".join(text.translate(_SIGNS).splitlines()))
    for name, plain in _DATA["plain"].items():
        text = _rule(name).sub(plain, text)
    return _rule("look_alike").sub(lambda one: _LATIN[_CYRILLIC.index(one[0])], text).strip()


def given_answer(text: str) -> str:
    """Answer blocks of a response, else all but reasoning, up to a next turn ("Question 2:")."""
    turns = _rule("next_turn").split(trace.final_text(text, ours=False))
    first = next(filter(str.strip, turns), "")
    return "\n".join(trace.blocks(first, "answer", cut_off=True) or [first])


def unlabelled(options: dict[str, str]) -> dict[str, str]:
    """The options without the letters or numbers ("A. X-ray", "(2) CT") that all of them carry."""
    bare = {}
    for number, (key, text) in enumerate(options.items(), 1):
        label = f"(?:{number}|{regex.escape(str(key))})"
        pattern = rf"\s*(?:\({label}\)|{label}(?:\s?[.):、．：]|\s\p{{Pd}}\s))(?!\d)\s*(?=\S)"
        carried = regex.match(pattern, str(text), regex.I)
        if not carried:
            return options
        bare[key] = str(text)[carried.end() :]
    return bare


def _marked(text, options, kind):
    """The cleaned answer with marks for options' texts, "…" for what it denies; keys by mark."""
    keys_of = {}
    for key, option in unlabelled(options).items():
        option = _clean(str(option)).strip(" .。;,").casefold()
        keys_of.setdefault(option, set()).add(key)
    part, keys_by_mark = _clean(given_answer(text)), {}
    for number, option in enumerate(sorted(keys_of, key=len, reverse=True)):
        if len(option) > (kind != "marks"):
            mark = chr(_FIRST_MARK + number)
            words = r"\s+".join(map(regex.escape, option.split()))
            standing = _pattern("standing", kind).replace("WORDS", words)
            part = regex.sub(standing, mark, part, flags=regex.V1 | regex.I)
            keys_by_mark[mark] = keys_of[option]
    if part and not _rule("loosely", kind).search(part):
        return "…", {}
    part = _rule("struck", kind).sub("…", part)
    return _rule("denied", kind).sub("…", part).strip(), keys_by_mark


def by_letter(text: str, options: dict[str, str]) -> set[str] | str:
    """The keys of the options whose letters the answer in `text` declares, else why none is read.

    A first or last line of letters alone, JSON fields, and the last "answer is B" (or box), which
    corrects earlier ones, must agree. Else a letter that begins the answer, or the only one in
    brackets, after "option" or before "is right"; else the only one, where it is the last clause.
    Those in an option's text or after "if" don't count.
    """
    keys = {str(key).strip().upper(): key for key in options}
    kind = "letters" if max(keys, default="") <= "H" else "all_letters"
    if all(_rule("one", "numbers").fullmatch(key) for key in keys):
        kind = "numbers"
    part, keys_by_mark = _marked(text, options, kind)
    letters = _letters(part, kind)
    if isinstance(letters, str):
        return letters
    if not letters <= keys.keys():
        return f"no option is {', '.join(sorted(letters - keys.keys()))}"
    for match in _rule("beside", kind).finditer(part):
        beside = [match["token"]] if match["token"] else letters
        if not keys_by_mark[match["text"]].intersection(map(keys.get, beside)):
            return f"letter {', '.join(beside)} beside the text of another option"
    return {keys[letter] for letter in letters}


def by_text(text: str, options: dict[str, str]) -> set[str] | str:
    """The keys of the options whose texts the answer gives, else why none is read.

    Texts stand as whole words, not within a longer option, and are not denied; those of the last
    "answer is …", else all. Options of equal text count together.
    """
    part, keys_by_mark = _marked(text, options, "marks")
    if _rule("alternatives").search(part):
        return "alternatives, none chosen"
    declared = [_named(match) for match in _rule("declared").finditer(part)]
    marks = declared[-1] if declared else _rule("mark").findall(part)
    return set().union(*(keys_by_mark[mark] for mark in marks)) or "no option's text"


def _named(match):
    """The letters of a match; empty where they are alternatives; None for a word like "CBC"."""
    if not match:
        return None
    captured = match.capturesdict()
    if captured.get("or"):
        return set()
    joined = list("".join(captured.get("joined", [])))
    if joined != sorted(set(joined)):
        return None
    return {letter.upper() for letter in [*captured["token"], *joined]}


def _letters(part, kind):
    """The letters that a cleaned answer with marks declares, else why there are none."""
    lines = [line for line in part.split("\n") if line.strip()]
    if not lines:
        return "no answer"
    whole = [_named(_rule("whole", kind).fullmatch(line)) for line in lines]
    if len(lines) > 1 and None not in whole and all(_rule("mark").search(line) for line in lines):
        return set().union(*whole)
    declared = _all("declared", part, kind)
    stated = [whole[0], whole[-1], *_all("in_field", part, kind), *declared[-1:]]
    stated = [letters for letters in stated if letters is not None]
    if stated:
        if any(letters != stated[0] for letters in stated):
            return "several answers that differ"
        return stated[0] or "alternatives, none chosen"
    leading = [_rule("leading", kind).match(line) for line in lines]
    rule = "right_one" if "…" in part else "mentioned"  # beside a denied letter, none that is bare
    mentioned = _all(rule, part, kind)
    if mentioned or leading[0]:
        mentioned += [{match["token"]} for match in leading if match]
    else:
        standing = _all("standing_letter", part, kind)
        mentioned = [letters for letters in _all("closing", part, kind) if standing == [letters]]
    named = set().union(*mentioned)
    if named and named not in mentioned:
        return "several letters, none declared the answer"
    return named or "no letter"


def _all(rule, part, kind):
    return [_named(match) for match in _rule(rule, kind).finditer(part)]
