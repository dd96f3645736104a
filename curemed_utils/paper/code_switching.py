"""Where a code-switched text is English and where it is in its language: for colouring, not for scoring."""

import pandas as pd
import regex

from curemed_utils import languages
from curemed_utils.language_id import FUNCTION_WORDS, WORD, bare, evidence, own_letters

_ARGUES = {"means", "mean", "makes", "suggests", "indicates", "points", "explains", "shows", "fits", "low", "high", "likely", "acute"}
SWITCH = 5.0  # nats that a change of language must bring, so that single words of doubt don't flicker


def spans(text: str, language: str, known: str = "") -> list[tuple[str, str]]:
    """`text` cut where it changes between English and `language`: (stretch, 'english' | 'target'), white space collapsed.

    By letters where the language has a script of its own; else word by word with `language_id`'s second detector, taking the
    course of languages that explains the words best when each change costs `SWITCH`. Words of `known`, a text in the language such
    as the question, are taken for the language's. Single terms close to English (hemoglobina) may be missed.
    """
    words = text.split()
    if not words:
        return []
    target = languages.get(language)
    if target.script == "Latin":
        for_target = _by_word(words, target.code, known)
    else:
        for_target = _by_script(words, target)
    cut: list[tuple[str, str]] = []
    for word, role in zip(words, _course(for_target), strict=True):
        if cut and cut[-1][1] == role:
            cut[-1] = (f"{cut[-1][0]} {word}", role)
        else:
            cut.append((word, role))
    return cut


def _by_script(words: list[str], target: languages.Language) -> list[float]:
    own, latin = own_letters(target.script), regex.compile(r"\p{Latin}")
    return [2 * SWITCH if own.search(word) else -2 * SWITCH if latin.search(word) else 0.0 for word in words]


def _by_word(words: list[str], code: str, known: str) -> list[float]:
    """What each word says for the language and against English, in nats; a detector's word is bounded by ±WORD."""
    for_english = evidence([word.lower() for word in words], code)[:, 0]
    own = {bare(word) for word in known.split()} - FUNCTION_WORDS
    for_target = []
    for word, value in zip(map(bare, words), (-for_english).tolist(), strict=True):
        english = word in _ARGUES or (word in FUNCTION_WORDS and value < WORD / 2)
        for_target.append(2 * SWITCH if word in own else -2 * WORD if english else value)
    return for_target


def _course(evidence: list[float]) -> list[str]:
    """The likeliest sequence of two languages (Viterbi)."""
    names = ("english", "target")
    score, came = [0.0, 0.0], []
    for value in evidence:
        step = []
        for state, gain in enumerate((-value, value)):
            stay, change = score[state], score[1 - state] - SWITCH
            step.append((max(stay, change) + gain, state if stay >= change else 1 - state))
        score, came = [total for total, _ in step], [*came, [origin for _, origin in step]]
    state, course = int(score[1] > score[0]), []
    for origins in reversed(came):
        course.append(names[state])
        state = origins[state]
    return course[::-1]


def example(question: str, response: str, language: str, correct: bool | None = None) -> pd.DataFrame:
    """A response in the columns of Figures 2 and 3: part (question, step1 …, answer, or response without tags), role and text.

    The answer's role is right or wrong where `correct` says so; all other text is cut into English and the language by `spans`.
    """
    answers = " ".join(regex.findall(r"<answer>(.*?)</answer>", response, regex.DOTALL))
    known = f"{question} {answers}"
    parts = [("question", question)]
    parts += [(name, text) for name, text in regex.findall(r"<(step\d+|answer)>(.*?)</\1>", response, regex.DOTALL)]
    if len(parts) == 1:
        parts.append(("response", response))
    rows = []
    for part, text in parts:
        judged = part == "answer" and correct is not None
        roles = [(" ".join(text.split()), "right" if correct else "wrong")] if judged else spans(text, language, known)
        rows += [(part, role, stretch) for stretch, role in roles]
    return pd.DataFrame(rows, columns=["part", "role", "text"])
