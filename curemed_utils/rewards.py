"""The composite reward (Section 3.3): 0.65 accuracy + 0.30 language + 0.05 format.

Each part is a number in 0-1, or None where it can't be known; None is never turned into 0.
`score` rates one response without a judge; a training run rates batches by its `Rewards`.
"""

import asyncio
import math
from dataclasses import dataclass

import regex

from curemed_utils import data, language_id, languages, trace
from curemed_utils.trace import answer_of

WEIGHTS = {"accuracy": 0.65, "language": 0.30, "format": 0.05}  # Eq. 4 and Appendix B.1
CHOICES = {
    "accuracy_by": ("accepted", "judge"),
    "language_by": ("offline", "judge"),
    "language_over": ("answer", "response"),
}


# The three parts --------------------------------------------------------------------------------


def accuracy_reward(text: str, accepted: list[str], reference: str) -> float | None:
    """Eq. 1 for a closed list of answers: 1.0 for one of `accepted` or `reference`, else 0.0.

    Equal means equal after case, width, white space and punctuation at the ends are set aside.
    A longer text that merely contains an accepted answer is not equal.
    Without `accepted` the result is None: then only a judge can tell.
    """
    if not accepted:
        return None
    answer = answer_of(text)
    right = {_bare(form) for form in [*accepted, _untagged(reference)]}
    return float(answer is not None and _bare(answer) in right)


def _untagged(answer: str) -> str:
    return answer_of(answer) or answer


def _bare(text: str) -> str:
    # case folding splits the Turkish İ in two
    folded = data.normalize(text).replace("i\u0307", "i")
    return regex.sub(r"^[\p{P}\p{Z}]+|[\p{P}\p{Z}]+$", "", folded)


def language_reward(text: str, language: str, over: str = "answer") -> float | None:
    """Eq. 2 by the offline check: 1.0 if the answer is in `language`, else 0.0.

    No answer is 0.0 as well; None is undecided, for example for a text too short to tell.
    The paper has it both ways. Its definition and stages 2 and 3 judge the answer;
    stage 1's prompt and Appendix B.3.1 judge the whole response. `over` is 'answer' or 'response'.
    The default is the answer, because the reasoning is code-switched on purpose:
    a check of the whole response would punish what SFT teaches.
    """
    verdict = language_id.check_language(_judged_part(text, over), language).verdict
    return None if verdict is None else float(verdict)


def _judged_part(text: str, over: str) -> str:
    return text if over == "response" else answer_of(text) or ""


def format_reward(text: str, strict: bool = True) -> float:
    """1.0 if `text` has the required structure, else 0.0.

    `strict` (Eq. 3): one thinking block of steps numbered 1 to n, then one answer.
    Each is closed and not empty, and nothing else stands around them.
    Otherwise (Appendix B.3.2): exactly one thinking block and one answer block.
    """
    if strict:
        return float(not trace.parse(text).fault)
    counts = [len(trace.blocks(text, name)) for name in ("thinking", "answer")]
    return float(counts == [1, 1])


def composite(scores: dict[str, float | None], weights: dict[str, float] = WEIGHTS) -> float:
    """Eq. 4: the weighted sum of the parts that are known; NaN if none is.

    A part that is None is left out and the sum stays smaller, as in TRL.
    So composites are compared only over equal parts.
    """
    known = [weights[name] * score for name, score in scores.items() if score is not None]
    return sum(known) if known else math.nan


def score(text: str, row: data.Row) -> dict[str, float | None]:
    """The parts of one response by the default rules of `Rewards`, which ask no judge.

    Keys: 'accuracy', 'language', 'format'. Outside the 13 languages 'language' is None.
    """
    return Rewards().unjudged(text, dict(row))


# A run's rules ----------------------------------------------------------------------------------


@dataclass(eq=False)
class Rewards:
    """The reward by the rules that a run chose, for one response or for TRL's batches.

    `accuracy_by`: 'accepted' is an exact match, unknown for items without accepted answers.
    With 'judge', `judge` gives partial credit; an exact match is 1.0 without asking.
    `language_by`: 'offline' or 'judge'; `language_over`: 'answer' or 'response'.
    `strict_format`: Eq. 3, else Appendix B.3.2.

    A rollout whose judge failed gets None in all three parts: TRL then leaves it out,
    while a sum without accuracy would count as a bad answer.
    """

    accuracy_by: str = "accepted"
    language_by: str = "offline"
    language_over: str = "answer"
    strict_format: bool = True
    judge: object = None

    def __post_init__(self):
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} is {value!r}, which is none of {', '.join(choices)}")
        if self.judge is None and "judge" in (self.accuracy_by, self.language_by):
            raise ValueError("accuracy_by or language_by is 'judge' without one: set judge_model")
        self._batch = (None, None)  # the completions scored last, and the task that scores them

    def unjudged(self, text: str, item: dict) -> dict[str, float | None]:
        """The three parts of one response as far as they are known without asking a judge."""
        accepted = item["accepted"]
        if self.accuracy_by == "judge":
            accepted = [*accepted, _untagged(item["answer"])]
        in_language = None
        if self.language_by == "offline" and item["language"] in languages.BY_NAME:
            in_language = language_reward(text, item["language"], self.language_over)
        return {
            "accuracy": accuracy_reward(text, accepted, item["answer"]),
            "language": in_language,
            "format": format_reward(text, self.strict_format),
        }

    async def score(self, texts: list[str], items: list[dict]) -> list[dict[str, float | None]]:
        """The three parts of every text; an item has question, answer, accepted and language.

        Only what the offline rules leave open is asked of the judge, the whole batch at once.
        RuntimeError where most texts get no verdict: steps without rewards cost only time.
        """
        parts, accuracy, language, errors = [], {}, {}, {}  # the last three by place in the batch
        for place, (text, item) in enumerate(zip(texts, items, strict=True)):
            parts.append(self.unjudged(text, item))
            if self.accuracy_by == "judge" and parts[place]["accuracy"] != 1.0:
                question = {"question": item["question"], "reference": _untagged(item["answer"])}
                accuracy[place] = question | {"response": text}
            if self.language_by == "judge":
                part = _judged_part(text, self.language_over)
                language[place] = {"language": item["language"], "response": part}
        await asyncio.gather(
            self._ask("accuracy", accuracy, parts, errors),
            self._ask("language", language, parts, errors),
        )
        for place in errors:
            parts[place] = dict.fromkeys(WEIGHTS)
        if len(errors) > len(texts) / 2:
            told = f"the judge gave no verdict for {len(errors)} of {len(texts)} rollouts"
            raise RuntimeError(f"{told}, e.g.: {errors[min(errors)]}")
        return parts

    async def _ask(self, name: str, questions: dict[int, dict], parts, errors) -> None:
        """Puts the judge's values into `parts` and what failed into `errors`, both by place."""
        if not questions:
            return
        verdicts = await self.judge.score_async(f"reward_{name}", list(questions.values()))
        for place, verdict in zip(questions, verdicts, strict=True):
            parts[place][name] = verdict.value
            if verdict.error:
                errors.setdefault(place, verdict.error)

    def functions(self) -> list:
        """TRL's reward functions `accuracy`, `language` and `format`, in the order of WEIGHTS.

        TRL weighs and logs a part by its function, so there are three. It calls them at once
        with the same list of completions: the first call has the batch scored, the others wait
        for that result, so that no response is judged and paid for three times.
        """
        return [self._function(name) for name in WEIGHTS]

    def _function(self, name: str):
        async def reward(completions, **columns):
            if self._batch[0] is not completions:
                scoring = asyncio.ensure_future(self._score_columns(completions, columns))
                self._batch = (completions, scoring)
            return [scores[name] for scores in await self._batch[1]]

        reward.__name__ = name  # TRL logs a part under it
        return reward

    async def _score_columns(self, completions, columns) -> list[dict[str, float | None]]:
        """Scores a batch as TRL hands it over, its rows' fields as columns."""
        if log := columns.get("log_extra"):
            log("id", columns["id"])
            log("prompt_language", columns["language"])
        items = []
        for place in range(len(completions)):
            fields = ("question", "answer", "accepted", "language")
            items.append({field: columns[field][place] for field in fields})
        return await self.score([_text(completion) for completion in completions], items)


def _text(completion: str | list[dict[str, str]]) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
