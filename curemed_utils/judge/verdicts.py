"""Verdicts of a judge: True or False for evaluation (Appendix A), 0 to 1 as a reward (B.3)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any, NamedTuple

from curemed_utils import languages, prompts
from curemed_utils.judge import models
from curemed_utils.judge.cache import Totals
from curemed_utils.judge.client import Client
from curemed_utils.judge.wire import Requests
from curemed_utils.judge.words import parse_score, parse_truth

PARSE = {task: parse_score if "reward" in task else parse_truth for task in prompts.JUDGE}
TASKS = tuple(PARSE)


class Verdict(NamedTuple):
    """`value`: True or False (logic, language), 0 to 1 (rewards), or None where the judge failed;
    then `error` says why. `reply` is the judge's text; `cached`: nobody was asked."""

    value: bool | float | None
    error: str | None = None
    reply: str | None = None
    cached: bool = False


class Judge(AbstractContextManager):
    """One judge model behind an OpenAI-compatible server.

    `base_url`, `api_key`, `cache` and `limits` (max_concurrency, max_usd, …) are those of `Client`;
    `options` are `models.Options`. Price and fields of a request are those of `models.yaml` before
    the paper's temperature 0 and 10 tokens.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        cache: str | PathLike = "judge.sqlite",
        options: dict[str, Any] | None = None,
        **limits,
    ):
        if not model:
            raise ValueError("a judge needs a model name, e.g. gpt-4.1")
        chosen = models.Options.model_validate(options or {})
        fields = {"model": model, "temperature": 0.0, "max_tokens": 10}
        fields |= models.request_of(model, chosen)
        self.model = model
        self.fields = {name: value for name, value in fields.items() if value is not None}
        limits = {"price": models.price_of(model)} | chosen.limits() | limits
        self.client = Client(cache, base_url, api_key, **limits)

    def score(self, task: str, items: Iterable[dict], progress: str = "") -> list[Verdict]:
        """A verdict on each item, in order: a dict with question, reference, response and
        language, as far as the task needs them.

        Raises ValueError for an unknown task or an item without a field, and Refused.
        """
        items = list(items)
        replies = self.client.ask(self.requests(task, items), PARSE[task], progress)
        return _verdicts(items, replies, task)

    async def score_async(self, task: str, items: Iterable[dict]) -> list[Verdict]:
        """`score` inside an event loop, for TRL's asynchronous rewards."""
        items = list(items)
        replies = await self.client.ask_async(self.requests(task, items), PARSE[task])
        return _verdicts(items, replies, task)

    def quote(self, task: str, items: Iterable[dict]) -> Totals:
        """Requests, tokens and price that `score` would still need, with the longest replies."""
        return self.client.quote(self.requests(task, items), PARSE[task])

    def requests(self, task: str, items: Iterable[dict]) -> Requests:
        """What `score` would send."""

        def make(item):
            return self.fields | {"messages": prompts.judge_messages(task, item)}

        items = list(items)
        _check(task, items)
        return Requests(make, [item for item in items if _has_text(item)])

    def close(self) -> None:
        self.client.close()

    def __exit__(self, *_) -> None:
        self.close()


def _check(task, items):
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}{languages.nearest(task, TASKS)}")
    for n, item in enumerate(items):
        for name in prompts.JUDGE_SEES[task]:
            kinds = (str, type(None)) if name == "response" else str
            if not isinstance(item.get(name, 0), kinds):
                needs = f"no text under {name!r}, which task {task!r} needs"
                raise ValueError(f"item {n} has {needs}; it has {sorted(item)}")


def _has_text(item):
    return bool((item["response"] or "").strip())


def _verdicts(items, replies, task):
    """No response has no verdict; an empty one fails unasked."""
    verdicts, left = [], iter(replies)
    for item in items:
        if item["response"] is None:
            verdicts.append(Verdict(None, "no response to judge"))
        elif not _has_text(item):
            verdicts.append(Verdict(False if PARSE[task] is parse_truth else 0.0))
        else:
            verdicts.append(Verdict(*next(left)[:4]))
    return verdicts


def majority(verdicts: list[list[Verdict]]) -> list[bool | None]:
    """What most of two or more judges say of each item, one list of verdicts for each judge.

    A judge that failed has no vote; a tie is None. ValueError for scores.
    """
    values = []
    for item in zip(*verdicts, strict=True):
        votes = [verdict.value for verdict in item]
        if not {*map(type, votes)} <= {bool, type(None)}:
            raise ValueError("majority joins True/False verdicts (logic, language), not scores")
        n_true, n_false = votes.count(True), votes.count(False)
        values.append(None if n_true == n_false else n_true > n_false)
    return values
