"""The composite reward (Section 3.3): 0.65 accuracy + 0.30 language + 0.05 format.

Each part is a number in 0-1, or None where it can't be known; None is never turned into 0.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from curemed_utils import data, language_id, languages, trace
from curemed_utils.data import matching
from curemed_utils.trace import answer_of

WEIGHTS = {"accuracy": 0.65, "language": 0.30, "format": 0.05}  # Eq. 4 and Appendix B.1
PAID = tuple(f"paid_{name}" for name in WEIGHTS)  # columns of verdicts: a part times its weight
CHOICES = {
    "accuracy_by": ("accepted", "judge"),
    "language_by": ("offline", "judge"),
    "language_over": ("answer", "response"),
}


def accuracy_reward(text: str, accepted: list[str], reference: str) -> float | None:
    """Eq. 1 for a closed list: 1.0 for one of `accepted` or `reference`, else 0.0, by `matching`.

    None without `accepted`.
    """
    if not accepted:
        return None
    answer, right = answer_of(text) or "", answer_of(reference) or reference
    return float(matching.is_accepted(answer, accepted, right))


def language_reward(text: str, language: str, over: str = "answer") -> float | None:
    """Eq. 2 by the offline check: 1.0 if the answer is in `language`, else 0.0; None if undecided.

    `over` is 'answer' or 'response', since the paper has both: its definition and stages 2 and 3
    judge the answer; stage 1's prompt and Appendix B.3.1 the whole response, which punishes the
    code-switched reasoning that SFT teaches.
    """
    verdict = language_id.check_language(_judged_part(text, over), language).verdict
    return None if verdict is None else float(verdict)


def _judged_part(text, over):
    return text if over == "response" else answer_of(text) or ""


def format_reward(text: str, strict: bool = True) -> float:
    """1.0 if `text` has the required structure, else 0.0.

    `strict` (Eq. 3): a thinking block of steps 1 to n, then an answer; none empty, nothing around.
    Otherwise (Appendix B.3.2): exactly one thinking block and one answer block.
    """
    if strict:
        return float(not trace.form_fault(text))
    counts = [len(trace.blocks(text, name)) for name in ("thinking", "answer")]
    return float(counts == [1, 1])


def composite(scores: dict[str, float | None], weights: dict[str, float] = WEIGHTS) -> float:
    """Eq. 4 for one response; unknown parts scale up the others' weights, as in `filled`."""
    parts = np.array([scores[name] for name in weights], float)
    worth = list(weights.values())
    return float((filled(parts[None, None], worth) @ worth)[0, 0])


def filled(parts: np.ndarray, weights: list[float]) -> np.ndarray:
    """The parts of rollouts, each unknown one (NaN) worth what neither pays nor punishes.

    `parts` has the shape (groups, rollouts, parts); a group answers one prompt. An unknown part
    takes the group's mean of that part, so that it adds nothing to the advantage. One that the
    whole group lacks takes each rollout's weighted mean of the other parts, which scales up their
    weights. A rollout of which nothing is known that has a weight is NaN in all parts.
    """
    known = np.ma.masked_invalid(np.array(parts, float))
    weights = np.broadcast_to(weights, known.shape)
    left_out = np.ma.getmaskarray(np.ma.average(known, axis=2, weights=weights))
    whole = np.ma.where(known.mask, known.mean(axis=1, keepdims=True), known)
    of_others = np.ma.average(whole, axis=2, weights=weights, keepdims=True)
    whole = np.ma.where(whole.mask, of_others, whole).filled(np.nan)
    whole[left_out] = np.nan
    return whole


def mean_paid(verdicts: pd.DataFrame, by: list[str]) -> pd.Series:
    """The mean reward of each group of `by` in a table of verdicts, from what the parts paid.

    An unknown part has its group's mean, as in `filled`; NaN where a whole group lacks a part.
    """
    groups = verdicts.reindex(columns=[*by, *PAID]).groupby(by, sort=False, dropna=False)
    return groups.mean().sum(axis=1, skipna=False)


def score(text: str, row: data.Row) -> dict[str, float | None]:
    """The parts of one response by the default rules of `Rewards`, which ask no judge."""
    return Rewards().unjudged(text, dict(row))


@dataclass(eq=False)
class Rewards:
    """The reward by the rules that a run chose, for training (TRL's batches) and evaluation.

    With `accuracy_by` 'judge' what is no exact match gets partial credit. A `judge` that is only a
    model's name is not asked: its parts stay unknown.
    """

    accuracy_by: str = "accepted"
    language_by: str = "offline"
    language_over: str = "answer"
    strict_format: bool = True
    judge: object = None
    weights: dict[str, float] = field(default_factory=WEIGHTS.copy)

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}")
        if self.judge is None and "judge" in (self.accuracy_by, self.language_by):
            raise ValueError("accuracy_by or language_by is 'judge' without one: set judge_model")
        self._batch = (None, None)  # the completions scored last, and the task that scores them

    def __str__(self):
        rules = {name: getattr(self, name) for name in (*CHOICES, "strict_format")} | self.weights
        if self.judge:
            rules["judge"] = getattr(self.judge, "model", f"{self.judge}, not asked")
        return ", ".join(f"{name} {value}" for name, value in rules.items())

    def unjudged(self, text: str, item: dict) -> dict[str, float | None]:
        """The three parts of one response as far as they are known without a judge.

        An accepted answer is in the language of its question, however short. Outside the 13
        languages 'language' is None.
        """
        accepted, in_language = item["accepted"], None
        if self.accuracy_by == "judge":  # the reference alone is right without asking
            accepted = accepted or [item["answer"]]
        accuracy = accuracy_reward(text, accepted, item["answer"])
        if self.language_by == "offline" and item["language"] in languages.BY_NAME:
            in_language = 1.0
            if accuracy != 1.0 or self.language_over == "response":
                in_language = language_reward(text, item["language"], self.language_over)
        if self.accuracy_by == "judge" and isinstance(self.judge, str):
            accuracy = None  # exact matches alone would tell of right answers only
        return {
            "accuracy": accuracy,
            "language": in_language,
            "format": format_reward(text, self.strict_format),
        }

    async def score(self, texts: list[str], items: list[dict]) -> list[dict[str, float | None]]:
        """The three parts of every text; an item has question, answer, accepted and language.

        A text on which the judge failed gets None in all parts; RuntimeError where most failed.
        """
        parts, accuracy, language, errors = [], {}, {}, {}  # by place in the batch
        for place, (text, item) in enumerate(zip(texts, items, strict=True)):
            parts.append(self.unjudged(text, item))
            question = item | {"reference": answer_of(item["answer"]) or item["answer"]}
            if self.accuracy_by == "judge" and parts[place]["accuracy"] != 1.0:
                accuracy[place] = question | {"response": text}
            if self.language_by == "judge":
                seen = _judged_part(text, self.language_over)
                language[place] = question | {"response": seen}
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

    def score_at_once(self, texts: list[str], items: list[dict]) -> list[dict[str, float | None]]:
        """`score` where no event loop may be started, as in a notebook."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self.score(texts, items)).result()

    async def _ask(self, name, questions, parts, errors):
        if not questions or isinstance(self.judge, str):
            return
        verdicts = await self.judge.score_async(f"reward_{name}", questions.values())
        for place, verdict in zip(questions, verdicts, strict=True):
            parts[place][name] = verdict.value
            if verdict.error:
                errors.setdefault(place, verdict.error)

    def functions(self) -> list:
        """TRL's reward functions, in the order of WEIGHTS.

        TRL calls all with the same list of completions: the first has it scored, the others wait.
        """
        return [self._function(name) for name in WEIGHTS]

    def _function(self, name):
        async def reward(completions, **columns):
            if self._batch[0] is not completions:
                scoring = asyncio.ensure_future(self._score_columns(completions, columns))
                self._batch = (completions, scoring)
            return [scores[name] for scores in await self._batch[1]]

        reward.__name__ = name  # TRL logs a part under it
        return reward

    async def _score_columns(self, completions, columns):
        if log := columns.get("log_extra"):
            log("id", columns["id"])
            log("prompt_language", columns["language"])
        fields = ["question", "answer", "accepted", "language"]
        items = pd.DataFrame({name: columns[name] for name in fields}).to_dict("records")
        return await self.score([messages[-1]["content"] for messages in completions], items)
