"""Is a text in the language it should be in? Offline, with three answers: yes, no, undecided."""

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pycld2
import regex
import yaml
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curemed_utils import languages

SHORT = 20  # letters under which none can tell
QUOTING = 0.1  # least share of own letters in a text that quotes
MANY = 60  # letters from which a text must be mostly in its own script
LONG = 40  # letters from which a detector may name a language outside the 13
WORD = 4.0  # nats: the most that one word can say for a foreign language or against it
PASSAGE = 4 * WORD  # more than this in one stretch is no longer a term
GRAM = 6  # bytes in the longest sequence that the second detector knows

_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
FUNCTION_WORDS = frozenset(_DATA["function_words"].split())
_SHARED = ("Arabic", "Cyrillic", "Devanagari")  # by many languages: letters alone can't tell
_CODES = [language.code for language in languages.ALL] + ["en"]
_LATIN = [language.code for language in languages.ALL if language.script == "Latin"]
_FOREIGN = list(dict.fromkeys(_DATA["foreign"] + _LATIN))  # English first
_LETTERS = {language.script: rf"\p{{{language.script}}}" for language in languages.ALL}
_LETTERS["Japanese"] = r"\p{Han}\p{Hiragana}\p{Katakana}ー々〆"
_NOISE = re.compile(  # tags, addresses, LaTeX, Markdown
    r"</?\w+>|https?://\S+|\$[^$]*\$|\\[a-zA-Z]+|[*_#`|~\x00-\x1f\x7f-\x9f]+"
)
_NOT_LETTERS = regex.compile(r"[^\p{L}\p{M}]+")  # vowel signs are marks
_UNIT = r"(?:[mk]g|[md]l|[ck]?mm?|mmol|mmHg|mcg|IU)(?!\p{Latin})"
_LATIN_WORD = regex.compile(
    rf"(?<!\p{{Latin}})(?!{_UNIT})\p{{Latin}}[\p{{Latin}}\p{{M}}'’-]+", regex.IGNORECASE
)
_GLOSS = re.compile(r"[(（](?:[^\s()（）]+\s){0,3}[^\s()（）]+[)）]")
_NOT_JAPANESE = re.compile("|".join(_DATA["not_japanese"]))
_PUNCTUATION = ".,;:!?()[]'’\"“”"


class Check(NamedTuple):
    """`verdict` is None where the text is too short to tell; `reason` says why."""

    verdict: bool | None
    reason: str


def check_language(text: str, language: str, quotes: bool = False) -> Check:
    """Whether `text` is in `language`, as language consistency asks (Section 4.1).

    Foreign terms and units may stand in a sentence; passages only if the text `quotes`.
    """
    target = languages.get(language)
    text = _cleared(text)
    if not text:
        return Check(False, "empty")
    n_letters = _n_letters(text)
    if not n_letters:
        return Check(None, "no letters")
    stray = _stray(target.script).search(text)
    if stray:
        return Check(False, f"letter of another script: {stray.group()}")
    if target.script != "Latin":
        check = _own_script(text, target, n_letters, quotes)
        if check.verdict is not True or target.script not in _SHARED:
            return check
    return _detected(text, target, n_letters, quotes)


def foreign_letter(text: str, language: str) -> str:
    """The first letter neither of `language` nor Latin or Greek; empty for none."""
    stray = _stray(languages.get(language).script)
    letter = stray.search(text) and stray.search(_cleared(text))
    return letter.group() if letter else ""


def named_by_both(text: str) -> str:
    """The language of the 13 that both detectors name, even for a short text, or empty."""
    text = _cleared(text)
    code = _cld2(text)[0]
    for language in languages.ALL:
        if language.code == code and _identifier().rank(text)[0][0] == code:
            return language.name
    return ""


def bare(word: str) -> str:
    """The word in lower case, without punctuation around it."""
    return word.strip(_PUNCTUATION).lower()


def _cleared(text: str) -> str:
    return _NOISE.sub(" ", unicodedata.normalize("NFC", text)).strip()


def _n_letters(text: str) -> int:
    """The letters of `text`, or of a long text's beginning."""
    n = len(_NOT_LETTERS.sub("", text[: 2 * MANY]))
    return n if n >= MANY else len(_NOT_LETTERS.sub("", text))


@cache
def own_letters(script: str) -> regex.Pattern:
    """Matches a stretch of letters of a `script`."""
    return regex.compile(f"[{_LETTERS[script]}]+")


@cache
def _stray(script: str) -> regex.Pattern:
    allowed = rf"{_LETTERS[script]}\p{{Latin}}\p{{Greek}}\p{{Common}}\p{{Inherited}}"
    return regex.compile(rf"(?V1)[\p{{L}}--[{allowed}]]")


def _own_script(text: str, target: languages.Language, n_letters: int, quotes: bool) -> Check:
    letters = "".join(own_letters(target.script).findall(text))
    if target.code == "ja":
        if not _in_japanese_use(letters):
            return Check(False, "Chinese characters that Japanese does not use")
        if len(letters) >= SHORT and not regex.search(r"[\p{Hiragana}\p{Katakana}]", letters):
            return Check(False, "Han characters without kana")
    if not letters:
        if n_letters < SHORT:
            return Check(None, "a short Latin term")
        return Check(False, f"no {target.script} letter")
    words = _latin_words(_GLOSS.sub(" ", text))
    n_latin = sum(len(word) for word in words if len(word) > 2)
    share = len(letters) / (len(letters) + n_latin)
    least = QUOTING if quotes else 0.5 if n_letters >= MANY else 0.3
    if share < least:
        return Check(False, f"only {share:.0%} {target.script} letters")
    stretches = [] if quotes or len(words) <= 2 else own_letters(target.script).split(text)
    if any(map(_is_latin_passage, stretches)):
        return Check(False, "a passage in Latin letters")
    return Check(True, f"{share:.0%} {target.script} letters")


def _in_japanese_use(letters: str) -> bool:
    try:
        letters.encode("cp932")
    except UnicodeEncodeError:
        return False
    return not _NOT_JAPANESE.search(letters)


def _latin_words(text: str) -> list[str]:
    """Words in Latin letters but for units and abbreviations in capitals."""
    return [word for word in _LATIN_WORD.findall(text) if not word.isupper()]


def _is_latin_passage(stretch: str) -> bool:
    """Whether a stretch is more than a term or a list of terms."""
    items = [_latin_words(item) for item in stretch.split(",")]
    words = [word.lower() for item in items for word in item]
    n_function = len([word for word in words if word in FUNCTION_WORDS])
    if not n_function and all(len(item) <= 2 for item in items):
        return False
    return (len(words) + n_function) * WORD > PASSAGE


def _detected(text: str, target: languages.Language, n_letters: int, quotes: bool) -> Check:
    if n_letters < SHORT:
        return Check(None, "too short to tell")
    code, sure = _cld2(text)
    if code != target.code:
        ranked = [code for code, _ in _identifier().rank(text)]
        if sure and n_letters >= LONG and code not in (*_CODES, "un") and ranked[0] == code:
            return Check(False, f"reads as {code}")
        second = next(code for code in ranked if code in _CODES)
        if second != target.code:
            return Check(False, f"reads as {'/'.join(sorted({code, second}))}")
    if target.script == "Latin" and not quotes:
        foreign = _passage(text, target.code, suspect=code)
        if foreign:
            return Check(False, f"a passage in {foreign}")
    return Check(True, f"reads as {target.code}")


def _cld2(text: str) -> tuple[str, bool]:
    try:
        sure, _, detected = pycld2.detect(text, bestEffort=True)
    except (pycld2.error, UnicodeEncodeError):
        return "un", False
    return detected[0][1], sure


def _passage(text: str, code: str, suspect: str) -> str:
    """The foreign language of the clearest passage against `code`, empty for none.

    The largest sum of `evidence` over consecutive words counts, doubled for the `suspect` that
    the first detector named.
    """
    words = _GLOSS.sub(" ", text).split()
    if not words:
        return ""
    against = evidence(words, code)
    for i in np.flatnonzero(against[:, 0] > -WORD / 2):
        if bare(words[i]) in FUNCTION_WORDS:
            against[i, 0] += WORD
    in_list = [word.endswith(",") and word[:-1].lower() not in FUNCTION_WORDS for word in words]
    against[in_list] -= WORD
    total = np.zeros((len(words) + 1, len(_FOREIGN)), np.float32)
    against.cumsum(0, out=total[1:])
    risen = total - np.minimum.accumulate(total)
    if suspect != code and suspect in _FOREIGN:
        risen[:, _FOREIGN.index(suspect)] *= 2
    elif code == "fr":  # shares so many words with English that each of them says less
        risen[:, 0] += WORD
    best = risen.argmax()
    return _FOREIGN[best % len(_FOREIGN)] if risen.flat[best] > PASSAGE else ""


def evidence(words: list[str], code: str) -> np.ndarray:
    """What each word says for other languages against `code` (Latin letters), in nats, to ±WORD.

    One row a word, one column a language, English first: log-likelihood ratios of the second
    detector's byte sequences.
    """
    following, row, feature, table = _model()
    letters = np.frombuffer(f" {' '.join(words)} ".encode(errors="replace"), np.uint8)
    state = following[row[0] + letters]
    # a state depends on the last few bytes alone, so all positions advance at once
    for _ in range(GRAM - 1):
        state[1:] = following[row[state[:-1]] + letters[1:]]
    spaces = np.flatnonzero(letters == ord(" "))
    likelihood = np.add.reduceat(table[feature[state]], spaces[:-1] + 1)
    ratio = likelihood - likelihood[:, _FOREIGN.index(code), None]
    return np.minimum(np.maximum(ratio, -WORD), WORD)


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


@cache
def _model() -> tuple[np.ndarray, ...]:
    """Next states, their rows, features of states, likelihoods."""
    model = _identifier()
    columns = [model.nb_classes.index(code) for code in _FOREIGN]
    table = np.zeros((len(model.nb_ptc) + 1, len(_FOREIGN)), np.float32)
    table[:-1] = model.nb_ptc[:, columns]  # the last row stands for no feature, which is -1
    rows = np.array(model.tk_row, np.intp) << 8
    return np.asarray(model.tk_nextmove), rows, np.array(model.tk_output), table
