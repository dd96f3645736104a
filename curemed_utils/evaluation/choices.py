"""Which options of a multiple-choice question a response chooses, by letter or by text."""

import unicodedata
from pathlib import Path

import regex
import yaml

from curemed_utils import data, trace

_LOOK_ALIKE = str.maketrans("АВСЕ", "ABCE")  # Cyrillic letters that stand for Latin ones
_ALONE = regex.compile(r"(?<![\p{L}\p{N}])[АВСЕ](?![\p{L}\p{N}])")
_LATEX = regex.compile(r"\\[a-zA-Z]+(?=\s*\{)")  # \boxed{B}
_WORDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _any(kind: str) -> str:
    words = []
    for language in _WORDS.values():
        words += language.get(kind, "").split()
    return f"(?:{'|'.join(words)})"


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
_WORD = rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]"
_OPEN, _CLOSE = r"[(\[{*_\"'“«「【$]*", r"[)\]}*_\"'”»」】$]*"
_LETTER = rf"{_OPEN}(?P<letter>[A-H]){_CLOSE}"
_AND = rf"{_any('and')}\s+"
_MORE = rf"(?:\s*[,、;/&+]\s*(?:{_AND})?|\s+{_AND}|\s*[和与與と或及]\s*)"
_LINKED = rf"(?:[^\p{{L}}\p{{N}}\n.]{{0,5}}{_any('link')}){{0,5}}[^\p{{L}}\p{{N}}\n.]{{0,8}}"
# "A beta blocker", "C. difficile" and "D-dimer" hold no letter; "C because …" does.
_END = (
    rf"(?!{_WORD})(?!['’‘-]\w)(?!\.\s?\p{{Ll}})"
    rf"(?!\s+(?!{_any('reason')}\b)[\p{{L}}--[{_UNSPACED}]])"
)


def _compiled(pattern: str) -> regex.Pattern:
    return regex.compile(pattern, regex.V1 | regex.M)


_WHOLE = _compiled(rf"\s*(?:[Oo]ption\s+)?{_LETTER}(?:{_MORE}{_LETTER})*[\s.。:,]*")
_JOINED = _compiled(r"\s*(?P<letter>[A-H]){2,}[\s.。]*")
_DECLARED = _compiled(
    rf"(?i:(?:(?<!\p{{L}}){_any('cue')}|{_any('cue_unspaced')}){_LINKED})"
    rf"{_LETTER}(?:{_MORE}?{_LETTER})*{_END}"
)
_LEADING = _compiled(
    rf"^\s*(?:[-•]\s+)?{_OPEN}(?P<letter>[A-H])"
    rf"(?:[)\]}}*_」】]+[.:]?|[.:、。](?!\s?\p{{Ll}})|\s+[-–—]\s){_CLOSE}"
)
_MENTIONED = _compiled(
    rf"(?i:\b{_any('option')}\s+|{_any('option_unspaced')}){_LETTER}{_END}"
    r"|[(【「]\s*(?P<letter>[A-H])\s*[)】」]"
    r"|(?<![\p{L}\p{N}])(?P<letter>[B-H])\s*(?:[がは是]?(?:正|对|對)"
    rf"|(?i:{_any('is')}\s+(?:{_any('the')}\s+)?{_any('right')}))"
)


def given_answers(text: str) -> list[str]:
    """Answer blocks of a response (the last may be cut off), else all but thinking."""
    parts = trace.blocks(text, "answer", cut_off=True)
    if not parts:
        parts = [trace.without_blocks(trace.without_blocks(text, "thinking"), "think")]
    return [part.strip() for part in parts if part.strip()]


def by_letter(text: str, options: dict[str, str]) -> set[str] | str:
    """The letters that the answer in `text` declares, else why none can be read.

    In this order: an answer of nothing but letters; the last "answer is B", in seven languages;
    lines that begin "B."; a last line of letters; a single letter in brackets or after "option".
    Letters inside an option's text ("Vitamin C") don't count.
    """
    letters, fault = set(), ""
    for part in given_answers(text):
        declared = _letters(part, options)
        if isinstance(declared, set):
            letters |= declared
        else:
            fault = fault or declared
    return letters or fault or "no answer"


def _letters(part: str, options: dict[str, str]) -> set[str] | str:
    part = unicodedata.normalize("NFKC", _LATEX.sub("", part))
    part = _ALONE.sub(lambda letter: letter[0].translate(_LOOK_ALIKE), part)
    texts = {unicodedata.normalize("NFKC", option).strip() for option in options.values()}
    for option in sorted(texts, key=len, reverse=True):
        if len(option) > 2:
            part = _standing(option).sub(" … ", part)
    part = part.strip()
    declared = [set(match.captures("letter")) for match in _DECLARED.finditer(part)]
    letters = _whole(part) or (declared[-1] if declared else set())
    if letters:
        return letters
    leading, mentioned = _all(_LEADING, part), _all(_MENTIONED, part)
    if leading and leading != set(options) and mentioned <= leading:
        return leading
    last_line = _whole(part.rpartition("\n")[2])
    if last_line:
        return last_line
    if len(leading | mentioned) > 1:
        return "several letters, none declared the answer"
    return mentioned or "no letter"


def _whole(part: str) -> set[str]:
    joined = _JOINED.fullmatch(part)
    if joined and joined.captures("letter") == sorted(set(joined.captures("letter"))):
        return set(joined.captures("letter"))
    match = _WHOLE.fullmatch(part) or _WHOLE.fullmatch(part.upper())
    return set(match.captures("letter")) if match else set()


def _all(pattern: regex.Pattern, part: str) -> set[str]:
    letters = set()
    for match in pattern.finditer(part):
        letters.update(match.captures("letter"))
    return letters


def by_text(text: str, options: dict[str, str]) -> set[str] | str:
    """The letters of the options whose text stands in the answer, else why none can be read.

    Texts are normalised and stand as whole words, not within a longer option. Options of equal
    text count together.
    """
    part = data.normalize("\n".join(given_answers(text)))
    if not part:
        return "no answer"
    letters_of: dict[str, set[str]] = {}
    for letter, option in options.items():
        letters_of.setdefault(data.normalize(option).strip(" .。;,"), set()).add(letter)
    letters = set()
    for option in sorted(filter(None, letters_of), key=len, reverse=True):
        part, times = _standing(option).subn(" … ", part)
        if times:
            letters |= letters_of[option]
    return letters or "no option's text"


def _standing(option: str) -> regex.Pattern:
    """`option` where no word goes on at its ends."""
    first = rf"(?<!{_WORD})" if _compiled(_WORD).match(option[:1]) else ""
    last = rf"(?!{_WORD})" if _compiled(_WORD).match(option[-1:]) else ""
    pattern = f"{first}{regex.escape(option, special_only=True)}{last}"
    return regex.compile(pattern, regex.V1 | regex.I)
