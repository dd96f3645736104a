"""A judge's words, read where they leave no doubt."""

import json
import re
import unicodedata

import regex

from curemed_utils import trace

_MARKUP = regex.compile(
    r"<[/|]?\w+[|]?>|\\[a-z]+|[*_`~#\"'“”‘’«»{}$|\p{So}\uFE0F]|^(?:>|[-•](?= [a-z])) ",
    regex.IGNORECASE | regex.MULTILINE,
)
_NAME = (
    r"(?:(?:the|my|is) )?(?:(?:final|overall) )?(?:verdict|answer|result|judge?ment|decision|score"
    r"|rating|value|correct(?:ness)?|conclusion|output|response|evaluation|reward|grade|label"
    r"|classification)"
)
_SCALE = r"(?: \(?0(?:\.0)? ?[-–] ?1(?:\.0)?\)?)?"
_SO = r"(?:(?:so|thus|hence|therefore)(?:[,:] ?| (?=the|my)))"
_LABEL = rf"(?:{_SO}|{_NAME}{_SCALE}(?: is)? ?(?:[:=]|(?<= )[-–—→](?= ))? ?)"
_OPENS = r"[ (\[]{0,4}"
_TRUTH = r"\b(?:true|false)\b"
_OF_ONE = r"(?: ?\(?(?:/|out of|of) ?1(?:[.,]0*)?\)?)?"
_PART = rf"(?:(?!1,\d\d\d)[01](?:[.,]\d*)?|\.\d+){_OF_ONE}"
_NUMBER = rf"(?<![\w.,+\-−])(?:{_PART}|(?:100|\d?\d) ?%)(?![\w/%])"
_THEN = r"[)\] ]*(?:\Z|\n|[.,;:!。](?=\s|\Z)|[(–—]|-(?= )|because\b)"
_DOUBT = re.compile(
    r"\b(?:but|however|actually|although|though|wait|correction|unless|unsure)\b"
    r"|(?:\bnot|n.t|never) (?:true|false)",
    re.IGNORECASE,
)
_DOUBT_AFTER = re.compile(r"\W*(?:no|not|or|\d+)\b", re.IGNORECASE)
_OTHER_NUMBER = re.compile(r"[./,%]\d|\d ?[%/]|\b[01]\b")


def parse_truth(reply: str) -> bool:
    """True or False, as `reply` says without doubt; else ValueError."""
    word, around = _stated(reply, _TRUTH)
    words = {word.lower(), *map(str.lower, re.findall(_TRUTH, around, re.IGNORECASE))}
    if len(words) != 1 or not word:
        raise ValueError(f"expected True or False, got {reply[:80]!r}")
    return word.lower() == "true"


def parse_score(reply: str) -> float:
    """A number from 0 to 1 (`0.8/1`, `0,8` and `80%` too), as `reply` says without doubt; else
    ValueError."""
    stated, around = _stated(reply, _NUMBER)
    number = re.match(r"[\d.,]*", stated)[0].replace(",", ".")
    score = float(number or "nan") / (100 if "%" in stated else 1)
    if not 0 <= score <= 1 or _OTHER_NUMBER.search(around):
        raise ValueError(f"expected a number from 0.0 to 1.0, got {reply[:80]!r}")
    return score


def _stated(reply: str, value: str) -> tuple[str, str]:
    """The value that stands at the head or the end of a reply, and the text around; else ''."""
    text = _plain(_field(trace.visible(trace.final_text(reply))))
    flags = re.IGNORECASE | re.ASCII
    head = re.match(rf"{_OPENS}{_LABEL}{{0,2}}{_OPENS}({value}){_THEN}", text, flags)
    start = rf"(?:(?:\A|\n){_OPENS}|[.,;!?] {_OPENS}(?={_LABEL})){_LABEL}{{0,2}}{_OPENS}"
    stated = head or re.search(rf"{start}({value})[)\] .!]*\Z", text, flags)
    if not stated:
        return "", text
    before, after = text[: stated.start()], text[stated.end(1) :]
    doubted = _DOUBT_AFTER.match(after) or _DOUBT.search(after if head else "")
    return "" if doubted else stated[1], f"{before}\n{after}"


def _field(text: str) -> str:
    """The verdict of a JSON object that names one; else the text."""
    try:
        made = json.loads(text.strip("`\n ").removeprefix("json"))
        names = [name for name in made if re.fullmatch(_NAME, name.replace("_", " "), re.I)]
        return str(made[names[0]]) if len(names) == 1 else text
    except (ValueError, TypeError, AttributeError, RecursionError):
        return text


def _plain(text: str) -> str:
    """In one width and without markup, white space in single ones."""
    text = trace.visible(unicodedata.normalize("NFKC", text))
    text = re.sub(r"[^\S\n]+", " ", _MARKUP.sub(" ", text))
    return re.sub(r" ?\n[ \n]*", "\n", text).strip()
