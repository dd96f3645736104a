"""When two texts are the same, for comparing short answers."""

import unicodedata
from functools import lru_cache

import regex

from curemed_utils import paths, trace

_DATA = paths.beside(__file__, ".yaml")
_PATTERN = {name: regex.compile(of) for name, of in _DATA["patterns"].items()}
_TYPOGRAPHY = {}
for _plain, _signs in _DATA["typography"].items():
    _TYPOGRAPHY |= dict.fromkeys(map(ord, _signs), _plain)


def normalize(text: str) -> str:
    """Text for comparison: without case, width, invisible characters, typography of quotes and
    dashes; digits are 0-9, white space is one space (Unicode's NFKC_Casefold, and a little more).
    """
    text = unicodedata.normalize("NFC", trace.visible(text)).translate(_TYPOGRAPHY)
    text = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    text = unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHY)
    text = _PATTERN["digit"].sub(lambda digit: str(unicodedata.decimal(digit[0], digit[0])), text)
    return " ".join(text.split())


@lru_cache(maxsize=10_000)
def forms_of(answer: str) -> frozenset[str]:
    """What a short answer is compared by: two answers are the same if they share a form.

    Beside what `normalize` levels, quotes and punctuation at the ends don't count; signs, percent,
    degrees and the decimal sign do. There is one form for each reading of a capital I, which is ı
    in Turkish; none without a letter or number.
    """
    text = unicodedata.normalize("NFC", trace.visible(answer))
    text = _PATTERN["fraction"].sub(" ", _PATTERN["power"].sub("^", text))
    return frozenset(filter(None, map(_form, (text, text.replace("I", "ı")))))


def _form(answer):
    text = " ".join(_PATTERN["quotes"].sub("", normalize(answer)).split())
    text = _PATTERN["bullet"].sub("", _PATTERN["ends"].sub("", text))
    form = _PATTERN["around_signs"].sub(r"\1", _PATTERN["ends"].sub("", text))
    return form if regex.search(r"[\p{L}\p{N}]", form) else ""
