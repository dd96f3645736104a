"""The composite reward (Section 3.3): 0.65 accuracy + 0.30 language + 0.05 format.

Each part returns a number in 0-1, or None where it can't be known; None is never turned into 0.
"""

import math
import re

import regex

from curemed_utils import data, language_id

WEIGHTS = {"accuracy": 0.65, "language": 0.30, "format": 0.05}  # Eq. 4 and Appendix B.1

_STRICT = regex.compile(
    r"\s*<thinking>\s*(?:<step(\d+)>(?!\s*</step)((?:(?!</?step\d|</?thinking>|</?answer>).)+)</step(\d+)>\s*)+</thinking>"
    r"\s*<answer>(?!\s*</answer>)((?:(?!</?answer>|</?thinking>|</?step\d).)+)</answer>\s*",
    regex.DOTALL,
)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def answer_of(text: str) -> str | None:
    """What stands in the only `<answer>` block of `text`, stripped; None if there is no such block or more than one."""
    found = _ANSWER.findall(text)
    return found[0].strip() if len(found) == 1 else None


def format_reward(text: str, strict: bool = True) -> float:
    """1.0 if `text` has the required structure, else 0.0.

    `strict` (Eq. 3): one thinking block of one or more steps numbered 1 to n, each closed and not empty, then one answer that
    is not empty, and nothing else. Otherwise (Appendix B.3.2): exactly one thinking block and one answer block.
    """
    if not strict:
        blocks = (re.findall(rf"<{tag}>.*?</{tag}>", text, re.DOTALL) for tag in ("thinking", "answer"))
        return float(all(len(found) == 1 for found in blocks))
    match = _STRICT.fullmatch(text)
    if not match:
        return 0.0
    numbers = [str(n) for n in range(1, len(match.captures(1)) + 1)]
    return float(match.captures(1) == numbers == match.captures(3))


def language_reward(text: str, language: str) -> float | None:
    """Eq. 2 by the offline check: 1.0 if the answer is in `language`, 0.0 if it is not or there is none, None if undecided.

    Only the answer is judged. The reasoning is code-switched on purpose, so a check of the whole response, as one of the
    paper's two prompts asks, would punish what SFT teaches.
    """
    verdict = language_id.check_language(answer_of(text) or "", language).verdict
    return None if verdict is None else float(verdict)


def accuracy_reward(text: str, accepted: list[str], reference: str) -> float | None:
    """Eq. 1 for items with a closed list of answers: 1.0 if the answer is one of `accepted` or `reference`, else 0.0.

    Equal means equal after case, width, white space and punctuation at the ends are set aside; a longer text that merely
    contains an accepted answer is not equal. Without `accepted` the result is None: then only a judge can tell.
    """
    if not accepted:
        return None
    answer = answer_of(text)
    right = {_bare(form) for form in [*accepted, answer_of(reference) or reference]}
    return float(answer is not None and _bare(answer) in right)


def _bare(text: str) -> str:
    folded = data.normalize(text).replace("i\u0307", "i")  # case folding splits the Turkish İ in two
    return regex.sub(r"^[\p{P}\p{Z}]+|[\p{P}\p{Z}]+$", "", folded)


def composite(scores: dict[str, float | None], weights: dict[str, float] = WEIGHTS) -> float:
    """Eq. 4: the weighted sum of the parts that are known; NaN if none is.

    A part that is None is left out and the sum stays smaller, as in TRL, so composites are compared only over equal parts.
    """
    known = {name: score for name, score in scores.items() if score is not None}
    return sum(weights[name] * score for name, score in known.items()) if known else math.nan


def score(text: str, row: data.Row) -> dict[str, float | None]:
    """The three parts for one response to `row`, as {'accuracy', 'language', 'format'}."""
    return {
        "accuracy": accuracy_reward(text, row.accepted, row.answer),
        "language": language_reward(text, row.language),
        "format": format_reward(text),
    }


# What TRL calls: a list of completions and the dataset's columns in, a list of scores out --------------------------


def accuracy(completions: list, accepted: list[list[str]], answer: list[str], **_) -> list[float | None]:
    """`accuracy_reward` of each completion (TRL reward function)."""
    return [accuracy_reward(_text(c), forms, reference) for c, forms, reference in zip(completions, accepted, answer, strict=True)]


def language(completions: list, language: list[str], **_) -> list[float | None]:
    """`language_reward` of each completion (TRL reward function)."""
    return [language_reward(_text(c), name) for c, name in zip(completions, language, strict=True)]


def format(completions: list, **_) -> list[float]:
    """`format_reward`, strict, of each completion (TRL reward function)."""
    return [format_reward(_text(c)) for c in completions]


def _text(completion: str | list[dict[str, str]]) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
