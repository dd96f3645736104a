"""Which options of a multiple-choice question a response chooses: by letter, or by an option's text."""

import re
import unicodedata

import regex

from curemed_utils import data

_BLOCKS = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL)
_LOOK_ALIKE = str.maketrans("АВСЕ", "ABCE")  # Cyrillic letters that stand for Latin ones where they stand alone
_ALONE = regex.compile(r"(?<![\p{L}\p{N}])[АВСЕ](?![\p{L}\p{N}])")
_COMMAND = re.compile(r"\\[a-zA-Z]+(?=\s*\{)")

_OPEN, _CLOSE = r"[(\[{*_\"'“«「【$]*", r"[)\]}*_\"'”»」】$]*"
_LETTER = rf"{_OPEN}(?P<letter>[A-H]){_CLOSE}"
_MORE = r"(?:\s*[,、;/&+]\s*(?:(?:and|or|y|o|et|ou|e|и|или)\s+)?|\s+(?:and|or|y|o|et|ou|e|и|или)\s+|\s*[和与與と或及]\s*)"
_LIST = rf"{_LETTER}(?:{_MORE}{_LETTER})*"
_REASON = (
    r"because|since|as|due|for|is|porque|ya|debido|es|car|parce|puisque|est|perché|poiché|è|потому|так|поскольку|является|"
    r"правильн\w*|верн\w*|correct\w*|right|reason\w*"
)
# After a letter: the end, punctuation or a word that goes on to argue; "A beta blocker", "C. difficile" and "D-dimer" are no letters.
_END = (
    r"(?![\p{L}\p{N}--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]])(?!['’‘-]\w)(?!\.\s?\p{Ll})"
    rf"(?!\s+(?!(?:{_REASON})\b)[\p{{L}}--[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]])"
)
_CUE = (
    r"(?:(?<!\p{L})(?:answers?|respuestas?|réponses?|rispost[ae]|ответы?|antwort|correct[aeo]?s?|corrett[aeo]|"
    r"правильн\w+|верн\w+)|(?:答案|正解|回答|答え|解答|正确|正確|正しい|选|選))"
)
_LINK = (
    r"(?:[^\p{L}\p{N}\n.]{0,5}(?:is|are|be|would|the|option|options|choice|letter|es|son|la|las|opción|opciones|letra|est|sont|les?|lettre|"
    r"sono|è|il|lettera|opzione|correct[ao]?|corrett[ao]|вариант\w*|буква|это|ответ|答案|选项|選項|选择|選択肢|選択|项|項|应|應|该|該|为|為|是|は|が|的))"
    r"{0,5}[^\p{L}\p{N}\n.]{0,8}"
)


def _compiled(pattern: str, **options) -> regex.Pattern:
    return regex.compile(f"(?V1){pattern}", **options)


_WHOLE = _compiled(rf"\s*(?:[Oo]ption\s+)?{_LIST}[\s.。:,]*")
_WHOLE_SMALL = _compiled(rf"\s*{_OPEN}(?P<letter>[a-h]){_CLOSE}[\s.。:,]*")
_JOINED = _compiled(r"\s*(?P<letter>[A-H])(?P<letter>[A-H])+[\s.。]*")
_DECLARED = _compiled(rf"(?i:{_CUE}{_LINK}){_LETTER}(?:{_MORE}?{_LETTER})*{_END}")
_LEADING = _compiled(
    rf"^\s*(?:[-•]\s+)?(?:{_OPEN}(?P<letter>[A-H])(?:[)\]}}*_」】]+[.:]?|[.:、。](?!\s?\p{{Ll}})|\s+[-–—]\s){_CLOSE})", flags=regex.M
)
_MENTIONED = _compiled(
    rf"(?i:\b(?:option|choice|opción|opzione|вариант)\s+|选项|選項|選択肢){_LETTER}{_END}|[(【「]\s*(?P<letter>[A-H])\s*[)】」]|"
    r"(?<![\p{L}\p{N}])(?P<letter>[B-H])\s*(?:(?i:is|es|est|è|является)\s+(?i:(?:the|la|le|il)\s+)?(?i:correct|right|best|answer|правильн|верн)|"
    r"\s*[がは是]?(?:正|对|對))"
)


def answers(text: str) -> list[str]:
    """What `text` gives as its answer: its `<answer>` blocks, the last of which may be cut off, else all but the thinking."""
    parts = _BLOCKS.findall(text) or [_THINKING.sub("", text)]
    return [part.strip() for part in parts if part.strip()]


def by_letter(text: str, options: dict[str, str]) -> set[str] | str:
    """The letters that the answer in `text` declares, else why none can be read.

    Read are, in this order: an answer of nothing but letters; the last "answer is B", in English, Spanish, French, Italian,
    Russian, Chinese and Japanese; lines that begin "B."; a last line of letters; a single letter in brackets or after "option".
    Letters inside an option's own text ("Vitamin C") don't count. Of several `<answer>` blocks all letters are taken.
    """
    found = [_letters(part, options) for part in answers(text)]
    letters = [one for one in found if isinstance(one, set)]
    return set().union(*letters) if letters else (found or ["no answer"])[0]


def _letters(part: str, options: dict[str, str]) -> set[str] | str:
    part = _ALONE.sub(lambda found: found.group().translate(_LOOK_ALIKE), unicodedata.normalize("NFKC", _COMMAND.sub("", part)))
    texts = {unicodedata.normalize("NFKC", option).strip() for option in options.values()}
    for option in sorted((one for one in texts if len(one) > 2), key=len, reverse=True):
        part = _standing(option).sub(" … ", part)
    part = part.strip()
    if found := _whole(part) or _last(_DECLARED, part):
        return found
    leading, mentioned = _all(_LEADING, part), _all(_MENTIONED, part)
    if leading and leading != set(options) and mentioned <= leading:
        return leading
    if found := _whole(part.rpartition("\n")[2]):
        return found
    return "several letters, none declared the answer" if len(leading | mentioned) > 1 else leading | mentioned or "no letter"


def _whole(part: str) -> set[str]:
    if (joined := _JOINED.fullmatch(part)) and (letters := joined.captures("letter")) == sorted(set(letters)):
        return set(letters)
    match = _WHOLE.fullmatch(part) or _WHOLE_SMALL.fullmatch(part)
    return {letter.upper() for letter in match.captures("letter")} if match else set()


def _all(pattern: regex.Pattern, part: str) -> set[str]:
    return {letter for match in pattern.finditer(part) for letter in match.captures("letter")}


def _last(pattern: regex.Pattern, part: str) -> set[str]:
    found = list(pattern.finditer(part))
    return set(found[-1].captures("letter")) if found else set()


def by_text(text: str, options: dict[str, str]) -> set[str] | str:
    """The letters of the options whose text stands in the answer in `text`, normalised and as whole words, else why none can be read.

    A text inside a longer one that stands there too ("pneumonia" in "viral pneumonia") doesn't count; equal texts count together.
    """
    part = data.normalize("\n".join(answers(text)))
    if not part:
        return "no answer"
    found = set()
    texts = {letter: data.normalize(option).strip(" .。;,") for letter, option in options.items()}
    for option in sorted(set(texts.values()), key=len, reverse=True):
        part, times = _standing(option).subn(" … ", part)
        found |= {letter for letter, one in texts.items() if one == option and times}
    return found or "no option's text"


def same(keys: list[str], options: dict[str, str], rule: str) -> set[str]:
    """The letters that `by_letter` or `by_text` gives if `keys` are chosen: by text also those of options with an equal text."""
    texts = {data.normalize(options[key]) for key in keys}
    return {letter for letter, text in options.items() if letter in keys or (rule == "text" and data.normalize(text) in texts)}


def _standing(option: str) -> regex.Pattern:
    """`option` where no word goes on at its ends; scripts written without spaces have no such ends."""
    spaced = r"[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]"
    first = rf"(?<!{spaced})" if _compiled(spaced).match(option[:1]) else ""
    last = rf"(?!{spaced})" if _compiled(spaced).match(option[-1:]) else ""
    return _compiled(rf"{first}{regex.escape(option, special_only=True)}{last}", flags=regex.I)
