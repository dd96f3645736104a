"""Where a code-switched text is English and where not: for colouring, not for scoring."""

import regex

from curemed_utils import languages
from curemed_utils.language_id import FUNCTION_WORDS, WORD, bare, evidence, own_letters

SURE = 2.0  # nats from which a word tells its language; others go with the word before
ARGUMENT = "means mean makes suggests indicates points explains shows fits low high likely acute"
ENGLISH = frozenset(ARGUMENT.split())  # besides the function words


def spans(text: str, language: str, in_language: str = "") -> list[tuple[str, str]]:
    """`text` cut where it changes between English and `language`, white space collapsed.

    Gives (stretch, 'english' or 'target'), by script or else by `language_id.evidence`. Words of
    `in_language`, such as the question, count as the language's. Single terms close to English
    (hemoglobina) may be missed.
    """
    words = text.split()
    target = languages.get(language)
    if target.script == "Latin":
        roles = _by_word(words, target.code, in_language)
    else:
        roles = [_by_script(word, target.script) for word in words]
    role = next(filter(None, roles), "english")
    stretches = []
    for word, sure in zip(words, roles, strict=True):
        role = sure or role
        if stretches and stretches[-1][1] == role:
            word = f"{stretches.pop()[0]} {word}"
        stretches.append((word, role))
    return stretches


def _by_script(word, script):
    if own_letters(script).search(word):
        return "target"
    return "english" if regex.search(r"\p{Latin}", word) else ""


def _by_word(words, code, in_language):
    """'target', 'english', or '' where a word may be of both."""
    if not words:
        return []
    for_english = evidence([word.lower() for word in words], code)[:, 0]
    of_target = {bare(word) for word in in_language.split()} - FUNCTION_WORDS
    roles = []
    for word, value in zip(map(bare, words), for_english, strict=True):
        is_english = word in ENGLISH or (word in FUNCTION_WORDS and value > -WORD / 2)
        if word in of_target or (value <= -SURE and not is_english):
            roles.append("target")
        else:
            roles.append("english" if is_english or value >= SURE else "")
    return roles
