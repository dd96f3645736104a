"""Verdicts of a judge: True or False for evaluation (Appendix A), 0 to 1 as a reward (B.3)."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from curemed_utils import prompts
from curemed_utils.judge.cache import Totals
from curemed_utils.judge.client import Client
from curemed_utils.judge.wire import Reply, Requests, price_of

TASKS = tuple(prompts.JUDGE)


class Verdict(NamedTuple):
    """`value`: True or False (logic, language), 0 to 1 (rewards), or None where the judge failed;
    then `error` says why. `reply` is what the judge wrote; `cached`: nobody was asked."""

    value: bool | float | None
    error: str | None = None
    reply: str | None = None
    cached: bool = False


class Judge:
    """One judge model behind an OpenAI-compatible server.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY. With neither, verdicts
    come from `cache` alone. `options` are further fields of the request beside the paper's
    temperature 0 and 10 tokens; None takes a field out, as reasoning models want it:
    {'max_tokens': None, 'temperature': None, 'max_completion_tokens': 2000}. `limits` go to
    `Client`: timeout, max_usd, and price where `prices.yaml` does not list the model.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        cache: str | Path = "judge.sqlite",
        max_concurrency: int = 64,
        requests_per_minute: float | None = None,
        options: dict[str, Any] | None = None,
        **limits,
    ):
        if not model:
            raise ValueError("a judge needs a model name, e.g. gpt-4.1, or what a server calls one")
        fields = {"model": model, "temperature": 0.0, "max_tokens": 10} | (options or {})
        self.model = model
        self._fields = {name: value for name, value in fields.items() if value is not None}
        limits = {"price": price_of(model)} | limits
        self.client = Client(
            cache, base_url, api_key, max_concurrency, requests_per_minute, **limits
        )

    def score(self, task: str, items: Iterable[dict], progress: str = "") -> list[Verdict]:
        """A verdict on each item, in order. An item is a dict with question, reference, response
        and language, as far as the task needs them.

        Every verdict is kept the moment it arrives: a call cut short goes on where it stopped.
        Raises ValueError for an unknown task or an item without a field, Refused if the server
        takes no such requests.
        """
        items = _checked(task, items)
        replies = self.client.ask(self.requests(task, items), PARSE[task], progress)
        return _verdicts(items, replies, task)

    async def score_async(
        self, task: str, items: Iterable[dict], progress: str = ""
    ) -> list[Verdict]:
        """`score` inside an event loop, as TRL's asynchronous reward functions need it."""
        items = _checked(task, items)
        replies = await self.client.ask_async(self.requests(task, items), PARSE[task], progress)
        return _verdicts(items, replies, task)

    def quote(self, task: str, items: Iterable[dict]) -> Totals:
        """Requests, tokens and price that `score` would still need, with the longest replies.
        Nobody is asked. A reply that can't be read is asked for again, which comes on top."""
        return self.client.quote(self.requests(task, items))

    def requests(self, task: str, items: Iterable[dict]) -> Requests:
        """What `score` would send. `batch.submit` takes it, with PARSE[task]."""

        def make(item: dict) -> dict:
            return self._fields | {"messages": prompts.judge_messages(task, item)}

        return Requests(make, [item for item in _checked(task, items) if _has_text(item)])

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _checked(task: str, items: Iterable[dict]) -> list[dict]:
    if task not in TASKS:
        near = get_close_matches(str(task), TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}{hint}")
    items = list(items)
    for n, item in enumerate(items):
        for name in prompts.JUDGE_SEES[task]:
            no_response = name == "response" and item.get(name, "") is None
            if not isinstance(item.get(name), str) and not no_response:
                needs = f"no text under {name!r}, which task {task!r} needs"
                raise ValueError(f"item {n} has {needs}; it has {sorted(item)}")
    return items


def _has_text(item: dict) -> bool:
    return bool((item["response"] or "").strip())


def _verdicts(items: list[dict], replies: list[Reply], task: str) -> list[Verdict]:
    """Replies beside their items. No response has no verdict; an empty one fails unasked."""
    verdicts = []
    left = iter(replies)
    for item in items:
        if item["response"] is None:
            verdicts.append(Verdict(None, "no response to judge"))
        elif not _has_text(item):
            verdicts.append(Verdict(False if PARSE[task] is parse_truth else 0.0))
        else:
            reply = next(left)
            verdicts.append(Verdict(reply.value, reply.error, reply.text, reply.cached))
    return verdicts


def parse_truth(reply: str) -> bool:
    """True or False, if that word is all that `reply` says; else ValueError."""
    if reply.strip() not in ("True", "False"):
        raise ValueError(f"expected True or False, got {reply[:80]!r}")
    return reply.strip() == "True"


def parse_score(reply: str) -> float:
    """The one number from 0 to 1 that `reply` consists of; else ValueError."""
    if not re.fullmatch(r"\s*(?:0(?:\.\d+)?|1(?:\.0+)?|\.\d+)\s*", reply, re.ASCII):
        raise ValueError(f"expected a number from 0.0 to 1.0, got {reply[:80]!r}")
    return float(reply)


PARSE = {
    "logic": parse_truth,
    "language": parse_truth,
    "reward_accuracy": parse_score,
    "reward_language": parse_score,
}


class Panel(NamedTuple):
    """`values`: what most judges say of each item, None without a majority. `kappa`: Fleiss' kappa
    over the `n_rated` items that every judge rated; NaN where it is not defined."""

    values: list[bool | None]
    kappa: float
    n_rated: int


def majority(verdicts: list[list[Verdict]]) -> Panel:
    """Joins True/False verdicts on the same items, one list for each judge.

    A majority is of the judges who gave a verdict. A tie, or nobody, is None.
    """
    lengths = [len(judge) for judge in verdicts]
    if len(set(lengths)) != 1 or len(verdicts) < 2:
        raise ValueError(f"majority needs two or more lists of equal length, not lengths {lengths}")
    values, full = [], []
    for item in zip(*verdicts, strict=True):
        votes = [verdict.value for verdict in item]
        if any(vote not in (True, False, None) or isinstance(vote, float) for vote in votes):
            raise ValueError("majority joins True/False verdicts (logic, language), not scores")
        n_true, n_false = votes.count(True), votes.count(False)
        values.append(None if n_true == n_false else n_true > n_false)
        if None not in votes:
            full.append([n_true, n_false])
    return Panel(values, _fleiss(full), len(full))


def _fleiss(counts: list[list[int]]) -> float:
    from statsmodels.stats.inter_rater import fleiss_kappa

    if any(sum(column) == 0 for column in zip(*counts, strict=True)) or not counts:
        return float("nan")
    return float(fleiss_kappa(counts))
