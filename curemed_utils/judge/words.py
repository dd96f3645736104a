"""A judge's words, read where they leave no doubt."""

import json
import re
import unicodedata
from functools import cache

import regex

from curemed_utils import paths, trace

_PATTERNS = paths.beside(__file__, ".yaml")


def _pattern(name, value=""):
    """A pattern of `words.yaml` with each @name filled in; @value is the pattern `value`."""
    text = _PATTERNS[value if name == "value" else name]
    return re.sub(r"@(\w+)", lambda part: _pattern(part[1], value), text)


@cache
def _rule(name, value=""):
    return regex.compile(_pattern(name, value), regex.IGNORECASE)


def parse_truth(reply: str) -> bool:
    """True or False, as `reply` says without doubt; else ValueError."""
    word, around = _stated(reply, "truth")
    words = {word.lower(), *map(str.lower, _rule("truth").findall(around))}
    if len(words) != 1 or not word:
        raise ValueError(f"expected True or False, got {reply[:80]!r}")
    return word.lower() == "true"


def parse_score(reply: str) -> float:
    """A number from 0 to 1 (`0.8/1`, `0,8` and `80%` too), as `reply` says without doubt; else
    ValueError."""
    stated, around = _stated(reply, "number")
    number = re.match(r"[\d.,]*", stated)[0].replace(",", ".")
    score = float(number or "nan") / (100 if "%" in stated else 1)
    if not 0 <= score <= 1 or _rule("other_number").search(around):
        raise ValueError(f"expected a number from 0.0 to 1.0, got {reply[:80]!r}")
    return score


def _stated(reply, value):
    """The value that stands at the head or the end of a reply, and the text around; else ''."""
    text = _plain(_field(trace.visible(trace.final_text(reply))))
    head = _rule("head", value).match(text)
    stated = head or _rule("end", value).search(text)
    if not stated:
        return "", text
    before, after = text[: stated.start()], text[stated.end(1) :]
    doubted = _rule("doubt_after").match(after) or _rule("doubt").search(after if head else "")
    return "" if doubted else stated[1], f"{before}\n{after}"


def _field(text):
    """The verdict of a JSON object that names one; else the text."""
    try:
        made = json.loads(text.strip("`\n ").removeprefix("json"))
        names = [name for name in made if _rule("name").fullmatch(name.replace("_", " "))]
        return str(made[names[0]]) if len(names) == 1 else text
    except (ValueError, TypeError, AttributeError, RecursionError):
        return text


def _plain(text):
    text = trace.visible(unicodedata.normalize("NFKC", text))
    text = re.sub(r"[^\S\n]+", " ", _rule("markup").sub(" ", text))
    return re.sub(r" ?\n[ \n]*", "\n", text).strip()
