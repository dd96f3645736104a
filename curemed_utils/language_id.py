"""Is a text written in the language it should be? Offline, deterministic, with three answers: yes, no, undecided."""

from functools import cache
from typing import NamedTuple

import pycld2
import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curemed_utils import languages

SHORT = 20  # letters under which a detector's opinion is worth nothing
LONG = 40  # letters from which one sentence can condemn a text
FOREIGN_RUN = 5  # consecutive Latin words that make a foreign passage in a text of another script

_CODES = [language.code for language in languages.ALL] + ["en"]
_SCRIPTS = {"Japanese": r"[\p{Han}\p{Hiragana}\p{Katakana}ー々〆]", "Ethiopic": r"\p{Ethiopic}"}
_NOISE = regex.compile(r"</?\w+>|https?://\S+|\$[^$]*\$|\\[a-zA-Z]+|[*_#`|~]|\p{Cc}")
_LETTER = regex.compile(r"[\p{L}\p{M}]")  # vowel signs are marks
_LATIN_WORD = regex.compile(r"\b\p{Latin}{3,}\b")
_SENTENCE = regex.compile(r"(?<=[.!?。！？।።])\s*|\n+")


class Check(NamedTuple):
    """`verdict` is True, False, or None where the text is too short to tell; `reason` says why in a few words."""

    verdict: bool | None
    reason: str


def check_language(text: str, language: str) -> Check:
    """Whether `text` is written in `language` (a name out of the 13), as language consistency asks (Section 4.1).

    English terms and units are tolerated inside a sentence of the language; passages of another language are not.
    """
    target = languages.get(language)
    text = regex.sub(r"\s+", " ", _NOISE.sub(" ", text)).strip()
    if not text:
        return Check(False, "empty")
    letters = _LETTER.findall(text)
    if not letters:
        return Check(None, "no letters")
    stray = _stray(target.script).search(text)
    if stray:
        return Check(False, f"letter of another script: {stray.group()}")
    if target.script != "Latin":
        check = _own_script(text, target, len(letters))
        if check.verdict is not True or target.code != "hi":
            return check
    return _detected(text, target, len(letters))


@cache
def _own(script: str) -> regex.Pattern:
    return regex.compile(_SCRIPTS.get(script, rf"\p{{{script}}}"))


@cache
def _stray(script: str) -> regex.Pattern:
    own = _SCRIPTS.get(script, rf"\p{{{script}}}")
    return regex.compile(rf"(?V1)[\p{{L}}--[{own}\p{{Latin}}\p{{Greek}}\p{{Common}}\p{{Inherited}}]]")


def _own_script(text: str, target: languages.Language, n_letters: int) -> Check:
    own = _own(target.script).findall(text)
    words = [word for word in _LATIN_WORD.findall(text) if not word.isupper()]
    if target.code == "ja":
        if any(not _in_japanese_use(c) for c in own):
            return Check(False, "Chinese characters that Japanese does not use")
        if len(own) >= SHORT and not regex.search(r"[\p{Hiragana}\p{Katakana}]", text):
            return Check(False, "Han characters without kana")
    if not own:
        return Check(None, "a short Latin term") if n_letters < SHORT else Check(False, f"no {target.script} letter")
    share = len(own) / (len(own) + sum(map(len, words)))
    if share < (0.6 if n_letters >= 60 else 0.3):
        return Check(False, f"only {share:.0%} {target.script} letters")
    if regex.search(rf"(?:\b[\p{{Latin}}'’-]+\b[\s,;:]*){{{FOREIGN_RUN},}}", text):
        return Check(False, "a passage in Latin letters")
    return Check(True, f"{share:.0%} {target.script} letters")


def _in_japanese_use(char: str) -> bool:
    try:
        char.encode("cp932")
    except UnicodeEncodeError:
        return False
    return True


def _detected(text: str, target: languages.Language, n_letters: int) -> Check:
    if n_letters < SHORT:
        return Check(None, "too short to tell")
    code, sure = _cld2(text)
    if sure and n_letters >= LONG and code not in (*_CODES, "un") and _langid(text, any_language=True) == code:
        return Check(False, f"reads as {code}")
    named = {code, _langid(text)}
    if target.code not in named:
        return Check(False, f"reads as {'/'.join(sorted(named))}")
    for sentence in _SENTENCE.split(text):
        if len(_LETTER.findall(sentence)) >= LONG:
            code, sure = _cld2(sentence)
            if sure and code not in (target.code, "un") and _langid(sentence) == code:
                return Check(False, f"a sentence in {code}")
    return Check(True, f"reads as {target.code}")


def _cld2(text: str) -> tuple[str, bool]:
    try:
        sure, _, found = pycld2.detect(text, bestEffort=True)
    except pycld2.error:
        return "un", False
    return found[0][1], sure


@cache
def _identifier(any_language: bool) -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if not any_language:
        identifier.set_languages(_CODES)
    return identifier


def _langid(text: str, any_language: bool = False) -> str:
    """The second detector's best guess among the 13 languages and English, or among all that it knows."""
    return _identifier(any_language).classify(text)[0]
