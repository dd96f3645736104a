"""Which options of a multiple-choice question a response chooses: by letter, or by their texts."""

import unicodedata

import regex

from curemed_utils import data, trace

_LOOK_ALIKE = str.maketrans("АВСЕ", "ABCE")  # Cyrillic letters that stand for Latin ones
_ALONE = regex.compile(r"(?<![\p{L}\p{N}])[АВСЕ](?![\p{L}\p{N}])")
_LATEX = regex.compile(r"\\[a-zA-Z]+(?=\s*\{)")  # \boxed{B}


def _any(words: str) -> str:
    return "|".join(words.split())


# English, Spanish, French, Italian and Russian; then scripts that put no space between words
_AND = _any("and or y o et ou e и или")
_CUE = _any(
    r"answers? respuestas? réponses? rispost[ae] ответы? correct[aeo]?s? corrett[aeo]"
    r" правильн\w+ верн\w+"
)
_CUE_UNSPACED = _any("答案 正解 回答 答え 解答 正确 正確 正しい 选 選")
_LINK = _any(
    "is are be would the options? choice letter es son las? opción opciones letra est sont les?"
    r" lettre sono è il lettera opzione correct[ao]? corrett[ao] вариант\w* буква это ответ"
    " 答案 选项 選項 选择 選択肢 選択 项 項 应 應 该 該 为 為 是 は が 的"
)
_REASON = _any(
    "because since as due for is porque ya debido es car parce puisque est perché poiché è"
    r" потому так поскольку является правильн\w* верн\w* correct\w* right"
)
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"

_OPEN, _CLOSE = r"[(\[{*_\"'“«「【$]*", r"[)\]}*_\"'”»」】$]*"
_LETTER = rf"{_OPEN}(?P<letter>[A-H]){_CLOSE}"
_MORE = rf"(?:\s*[,、;/&+]\s*(?:(?:{_AND})\s+)?|\s+(?:{_AND})\s+|\s*[和与與と或及]\s*)"
_LIST = rf"{_LETTER}(?:{_MORE}{_LETTER})*"
_LINKED = rf"(?:[^\p{{L}}\p{{N}}\n.]{{0,5}}(?:{_LINK})){{0,5}}[^\p{{L}}\p{{N}}\n.]{{0,8}}"
# "A beta blocker", "C. difficile" and "D-dimer" hold no letter; "C because …" does.
_END = (
    rf"(?![\p{{L}}\p{{N}}--[{_UNSPACED}]])(?!['’‘-]\w)(?!\.\s?\p{{Ll}})"
    rf"(?!\s+(?!(?:{_REASON})\b)[\p{{L}}--[{_UNSPACED}]])"
)


def _compiled(pattern: str) -> regex.Pattern:
    return regex.compile(pattern, regex.V1 | regex.M)


_WHOLE = _compiled(rf"\s*(?:[Oo]ption\s+)?{_LIST}[\s.。:,]*")
_JOINED = _compiled(r"\s*(?P<letter>[A-H]){2,}[\s.。]*")
_DECLARED = _compiled(
    rf"(?i:(?:(?<!\p{{L}})(?:{_CUE})|{_CUE_UNSPACED}){_LINKED}){_LETTER}(?:{_MORE}?{_LETTER})*{_END}"
)
_LEADING = _compiled(
    rf"^\s*(?:[-•]\s+)?{_OPEN}(?P<letter>[A-H])"
    rf"(?:[)\]}}*_」】]+[.:]?|[.:、。](?!\s?\p{{Ll}})|\s+[-–—]\s){_CLOSE}"
)
_MENTIONED = _compiled(
    rf"(?i:\b(?:option|choice|opción|opzione|вариант)\s+|选项|選項|選択肢){_LETTER}{_END}"
    r"|[(【「]\s*(?P<letter>[A-H])\s*[)】」]"
    r"|(?<![\p{L}\p{N}])(?P<letter>[B-H])\s*(?:[がは是]?(?:正|对|對)|(?i:is|es|est|è|является)\s+"
    r"(?i:(?:the|la|le|il)\s+)?(?i:correct|right|best|answer|правильн|верн))"
)


def given_answers(text: str) -> list[str]:
    """The answer blocks of a response, the last of which may be cut off.

    Where there is none, all but the thinking.
    """
    parts = trace.blocks(text, "answer", cut_off=True)
    if not parts:
        parts = [trace.without_blocks(trace.without_blocks(text, "thinking"), "think")]
    return [part.strip() for part in parts if part.strip()]


def by_letter(text: str, options: dict[str, str]) -> set[str] | str:
    """The letters that the answer in `text` declares, else why none can be read.

    Read are, in this order: an answer of nothing but letters, as our prompts ask for it; the last
    "answer is B", in seven languages; lines that begin "B."; a last line of letters; a single
    letter in brackets or after "option". Letters inside an option's text ("Vitamin C") don't
    count. Of several answer blocks all letters are taken.
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

    Texts are normalised and stand as whole words. A text inside a longer one that stands there
    ("pneumonia" in "viral pneumonia") doesn't count. Options of an equal text count together.
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
    """`option` where no word goes on at its ends; words of unspaced scripts have no such ends."""
    spaced = rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]"
    first = rf"(?<!{spaced})" if _compiled(spaced).match(option[:1]) else ""
    last = rf"(?!{spaced})" if _compiled(spaced).match(option[-1:]) else ""
    pattern = f"{first}{regex.escape(option, special_only=True)}{last}"
    return regex.compile(pattern, regex.V1 | regex.I)
