"""Is a text in the language it should be in? Offline, with three answers: yes, no, undecided."""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import pycld2
import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curemed_utils import languages, paths

SHORT = 20  # letters under which words must be clear
FEW = 6  # characters under which no detector can tell
QUOTING = 0.1  # least share of own letters in a text that quotes
MANY = 60  # letters from which a text must be mostly in its own script
LONG = 40  # letters from which a detector may name a language outside the 13
WORD = 4.0  # nats: the most that one word can say for a foreign language or against it
PASSAGE = 4 * WORD  # more than this in one stretch is no longer a term
TERM = 3  # words in the longest name
GRAM = 6  # bytes in the longest sequence that the second detector knows

_DATA = paths.beside(__file__, ".yaml")
FUNCTION_WORDS = frozenset(_DATA["function_words"].split())
_ENGLISH = frozenset(_DATA["english_words"].split())
_ANY_ENGLISH = [*_ENGLISH, *_DATA["english_elsewhere"].split()]
_ENGLISH_TERM = regex.compile(_DATA["english_term"], words=_ANY_ENGLISH)
_NEIGHBOURS = {name: regex.compile("|".join(of)) for name, of in _DATA["neighbours"].items()}
_OWN = {name: regex.compile(of) for name, of in _DATA["own"].items()}
_SHARED = ("Arabic", "Cyrillic", "Devanagari")  # by many languages: letters alone can't tell
_NAMES = {language.code: language.name for language in languages.ALL} | {"en": "English"}
_LATIN = [language.code for language in languages.ALL if language.script == "Latin"]
_FOREIGN = _DATA["foreign"] + _LATIN  # English first
_LETTERS = {language.script: rf"\p{{{language.script}}}" for language in languages.ALL}
_LETTERS["Japanese"] = r"\p{Han}\p{Hiragana}\p{Katakana}ー々〆"
_PATTERN = {name: regex.compile(of, regex.VERBOSE) for name, of in _DATA["patterns"].items()}
_PUNCTUATION = ".,;:!?()[]'’\"“”"


class Check(NamedTuple):
    """`verdict` is None where nobody can tell from the text; `reason` says why."""

    verdict: bool | None
    reason: str


def check_language(text: str, language: str, quotes: bool = False) -> Check:
    """Whether `text` is in `language`, as language consistency asks (Section 4.1).

    Foreign terms and units may stand in a sentence; passages only if the text `quotes`.
    """
    target, text = languages.get(language), _cleared(text)
    n_letters = len(_PATTERN["not_letters"].sub("", text))
    if not n_letters:
        return Check(None, "no letters") if text else Check(False, "empty")
    stray = foreign_letter(text, language)
    if stray:
        verdict = None if language == "Korean" and _may_be_hanja(text) else False
        return Check(verdict, f"letter of another script: {stray}")
    neighbour = language in _NEIGHBOURS and _NEIGHBOURS[language].search(text)
    if neighbour:
        return Check(False, f"not {language}: {neighbour.group()}")
    if target.script != "Latin":
        check = _own_script(text, target, n_letters, quotes)
        kin = _cld2(text)[0] if n_letters > SHORT / 2 else ""
        if check.verdict and kin in ("as", "ti"):  # Assamese, Tigrinya
            return Check(None if n_letters < LONG else False, f"reads as {kin}")
        if check.verdict is not True or target.script not in _SHARED:
            return check
    return _detected(text, target, n_letters, quotes)


def foreign_letter(text: str, language: str) -> str:
    """The first letter neither of `language` nor Latin, Greek or a hanja gloss, if any."""
    stray = _stray(languages.get(language).script)
    if language == "Korean":
        glosses, text = _PATTERN["hanja_gloss"], _cleared(text)
        text = glosses.sub(lambda gloss: _lacking("euc_kr", gloss.group()), text)
    letter = stray.search(text)
    return letter.group() if letter else ""


def bare(word: str) -> str:
    """The word in lower case, without punctuation around it."""
    return word.strip(_PUNCTUATION).lower()


def _cleared(text):
    if not isinstance(text, str):
        raise ValueError(f"the language check needs a text, not {text!r}")
    text = unicodedata.normalize("NFC", regex.sub(r"\p{Cf}", "", text))
    return _PATTERN["noise"].sub(" ", text).strip()


@cache
def own_letters(script: str) -> regex.Pattern:
    """Matches a stretch of letters of a `script`."""
    return regex.compile(f"[{_LETTERS[script]}]+")


@cache
def _stray(script):
    allowed = rf"{_LETTERS[script]}\p{{Latin}}\p{{Greek}}\p{{Common}}\p{{Inherited}}"
    return regex.compile(rf"(?V1)[\p{{L}}--[{allowed}]]")


def _may_be_hanja(text):
    """Whether only a few of Korea's Chinese characters are foreign in a Korean text."""
    foreign = "".join(_stray("Hangul").findall(text))
    is_few = regex.fullmatch(r"\p{Han}{1,4}", foreign) and own_letters("Hangul").search(text)
    return bool(is_few and not _lacking("euc_kr", foreign))


def _own_script(text, target, n_letters, quotes):
    letters = "".join(own_letters(target.script).findall(text))
    if target.code == "ja":
        if not _in_japanese_use(letters):
            return Check(False, "Chinese characters that Japanese does not use")
        if len(letters) >= SHORT and not regex.search(r"[\p{Hiragana}\p{Katakana}]", letters):
            return Check(False, "Han characters without kana")
    words = _latin_words(_PATTERN["gloss"].sub(" ", text))
    n_latin = sum(len(word) for word in words if len(word) > 2)
    share = len(letters) / max(len(letters) + n_latin, 1)
    least = QUOTING if quotes else 0.5 if n_letters >= MANY else 0.3
    if share < least:
        are_names = n_letters < MANY and _are_names(text, alone=not letters)
        if not letters and _short(text, target).verdict is False:
            are_names = False
        return Check(None if are_names else False, f"only {share:.0%} {target.script} letters")
    stretches = [] if quotes or len(words) <= 2 else own_letters(target.script).split(text)
    if any(map(_is_latin_passage, stretches)):
        return Check(False, "a passage in Latin letters")
    return Check(True, f"{share:.0%} {target.script} letters")


def _in_japanese_use(letters):
    rare = _lacking("cp932", letters)
    short_forms = set(_lacking("big5", rare)) - set(_lacking("gb2312", rare))
    return not short_forms and not _lacking("euc_jis_2004", rare)


def _lacking(code_table, letters):
    kept = set(letters.encode(code_table, "ignore").decode(code_table))
    return "".join(letter for letter in letters if letter not in kept)


def _are_names(text, alone):
    """Whether the Latin words may be names: a few each, and none plain English.

    Beside words of another script, only function words are plain English.
    """
    if text.isupper() and len(text) > 4:  # no abbreviation
        text = text.lower()
    for item in _PATTERN["between_names"].split(text):
        words = _latin_words(item)
        n_long = sum(len(word) > 2 for word in words)  # not de, la
        if n_long > TERM or not FUNCTION_WORDS.isdisjoint(map(str.lower, words)):
            return False
        if alone and _ENGLISH_TERM.search(item):
            return False
    return True


def _latin_words(text):
    return [word for word in _PATTERN["latin_word"].findall(text) if not word.isupper()]


def _is_latin_passage(stretch):
    weights = [1 + (word.lower() in FUNCTION_WORDS) for word in _latin_words(stretch)]
    return sum(weights) * WORD > PASSAGE and not _are_names(stretch, alone=False)


def _detected(text, target, n_letters, quotes):
    if n_letters < SHORT:
        return _short(text, target)
    code, sure = _cld2(text)
    scores = dict(_identifier().rank(text)) if code != target.code else {code: 0.0}  # best first
    first = next(iter(scores))
    if first == "la" and len(text.split()) <= TERM:
        return Check(None, "may be a Latin name")
    nearest = next(code for code in scores if code in _NAMES)
    is_outside = sure and code == first and code not in (*_NAMES, "un")
    if nearest != target.code or (is_outside and n_letters >= LONG):
        return Check(False, f"reads as {'/'.join(sorted({code, nearest}))}")
    if target.script == "Latin" and not quotes:
        foreign = _passage(text, target.code, suspect=code)
        if foreign:
            return Check(False, f"a passage in {foreign}")
    if n_letters < LONG and (is_outside or scores[first] - scores[target.code] > WORD):
        return Check(None, f"may be {first}")
    return Check(True, f"reads as {target.code}")


def _short(text, target):
    """A few words: in the language or another that own letters or both detectors name, or English.

    Undecided where words may be a name, or are of two languages.
    """
    text = _PATTERN["gloss"].sub(" ", text).strip() or text
    if target.script == "Latin" and _is_short_english(text, target.code):
        return Check(False, "plain English")
    may_be_name = all(word.istitle() or len(bare(word)) < 3 for word in text.split())
    names = [name for name, letters in _OWN.items() if letters.search(text)]
    if not names and not may_be_name and len(text) >= FEW:
        (code, first), (_, second) = _identifier().rank(text)[:2]
        if code in _NAMES and code == _cld2(text)[0] and first - second > WORD / 2:
            names = [_NAMES[code]]
    is_own = names == [target.name]
    english = set(map(bare, text.split())) & (FUNCTION_WORDS | _ENGLISH)
    is_mixed = english and names != ["English"]
    if len(names) != 1 or is_mixed or (may_be_name and not is_own):
        return Check(None, "too short to tell")
    return Check(is_own, f"reads as {names[0]}")


def _is_short_english(text, code):
    """Whether words are English and not the language's, and the rest isn't for it."""
    words = text.lower().split()
    english = _ENGLISH.difference(_DATA["shared"].get(code, "").split())
    is_english = [bare(word) in english for word in words]
    for_english = evidence(words, code)[:, 0]
    for_english[is_english] = WORD
    return any(is_english) and for_english.sum() > 0


def _cld2(text):
    try:
        sure, _, detected = pycld2.detect(text, bestEffort=True)
    except (pycld2.error, UnicodeEncodeError):
        return "un", False
    return detected[0][1], sure


def _passage(text, code, suspect):
    """The foreign language of the clearest passage against `code`, empty for none.

    The largest sum of `evidence` over consecutive words counts, doubled for the `suspect` that
    the first detector named.
    """
    words = _PATTERN["gloss"].sub(" ", text).split()
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
def _identifier():
    return LanguageIdentifier.from_model_file(MODEL_FILE)


@cache
def _model():
    """Next states, their rows, features of states, likelihoods."""
    model = _identifier()
    columns = [model.nb_classes.index(code) for code in _FOREIGN]
    table = np.zeros((len(model.nb_ptc) + 1, len(_FOREIGN)), np.float32)
    table[:-1] = model.nb_ptc[:, columns]  # the last row stands for no feature, which is -1
    rows = np.array(model.tk_row, np.intp) << 8
    return np.asarray(model.tk_nextmove), rows, np.array(model.tk_output), table
