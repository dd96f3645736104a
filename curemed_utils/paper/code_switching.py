"""Where a code-switched text is English and where not: for colouring, not for scoring."""

import regex

from curemed_utils import languages
from curemed_utils.language_id import FUNCTION_WORDS, WORD, bare, evidence, own_letters

SWITCH = 5.0  # nats that a change of language must bring, so that doubtful words don't flicker
SURE = 2 * SWITCH
ARGUMENT = "means mean makes suggests indicates points explains shows fits low high likely acute"
ENGLISH = frozenset(ARGUMENT.split())  # besides the function words
ROLES = ("english", "target")


def spans(text: str, language: str, in_language: str = "") -> list[tuple[str, str]]:
    """`text` cut where it changes between English and `language`, white space collapsed.

    Gives (stretch, 'english' or 'target'), by script or else by the likeliest course of the two
    languages. Words of `in_language`, such as the question, count as the language's. Single terms
    close to English (hemoglobina) may be missed.
    """
    words = text.split()
    target = languages.get(language)
    if target.script == "Latin":
        for_target = _by_word(words, target.code, in_language)
    else:
        for_target = _by_script(words, target.script)
    stretches: list[tuple[str, str]] = []
    for word, role in zip(words, _course(for_target), strict=True):
        if stretches and stretches[-1][1] == role:
            word = f"{stretches.pop()[0]} {word}"
        stretches.append((word, role))
    return stretches


def _by_script(words: list[str], script: str) -> list[float]:
    for_target = []
    for word in words:
        if own_letters(script).search(word):
            for_target.append(SURE)
        else:
            for_target.append(-SURE if regex.search(r"\p{Latin}", word) else 0.0)
    return for_target


def _by_word(words: list[str], code: str, in_language: str) -> list[float]:
    """What each word says for the language and against English, in nats."""
    if not words:
        return []
    for_english = evidence([word.lower() for word in words], code)[:, 0].tolist()
    of_target = {bare(word) for word in in_language.split()} - FUNCTION_WORDS
    for_target = []
    for word, value in zip(map(bare, words), for_english, strict=True):
        if word in of_target:
            for_target.append(SURE)
        elif word in ENGLISH or (word in FUNCTION_WORDS and value > -WORD / 2):
            for_target.append(-2 * WORD)
        else:
            for_target.append(-value)
    return for_target


def _course(for_target: list[float]) -> list[str]:
    """The likeliest sequence of the two languages (Viterbi)."""
    scores, origins = [0.0, 0.0], []
    for value in for_target:
        stay_english = scores[0] >= scores[1] - SWITCH
        stay_target = scores[1] >= scores[0] - SWITCH
        origins.append((0 if stay_english else 1, 1 if stay_target else 0))
        scores = [
            max(scores[0], scores[1] - SWITCH) - value,
            max(scores[1], scores[0] - SWITCH) + value,
        ]
    state, course = int(scores[1] > scores[0]), []
    for origin in reversed(origins):
        course.append(ROLES[state])
        state = origin[state]
    return course[::-1]
