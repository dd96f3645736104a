"""Verdicts from an LLM: correctness and language, binary for evaluation (Appendix A), 0-1 as a reward (Appendix B.3)."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from curemed_utils import prompts
from curemed_utils.judge import client

TASKS = tuple(prompts.JUDGE)


class Verdict(NamedTuple):
    """`value`: True or False (logic, language), 0-1 (rewards), None where the judge failed; then `error` says why.
    `reply` is what the judge wrote; `cached` means that nobody was asked."""

    value: bool | float | None
    error: str | None = None
    reply: str | None = None
    cached: bool = False


class Judge:
    """One judge model behind an OpenAI-compatible server.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY; with neither, verdicts come from `cache` alone.
    `options` are further fields of the request: the paper's temperature 0 and 10 tokens unless given, None takes a field out
    (reasoning models want {'max_tokens': None, 'temperature': None, 'max_completion_tokens': 2000}). `limits` go to
    `llm.Client`: tokens_per_minute, timeout, max_usd, and price where `prices.yaml` does not know the model.
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
            raise ValueError("a judge needs a model name, e.g. gpt-4.1, or the name under which a local server serves one")
        fields = {"model": model, "temperature": 0.0, "max_tokens": 10} | (options or {})
        self.model, self._fields = model, {name: value for name, value in fields.items() if value is not None}
        limits = {"price": client.price_of(model)} | limits
        self.client = client.Client(cache, base_url, api_key, max_concurrency, requests_per_minute, **limits)

    def score(self, task: str, items: Iterable[dict], progress: str = "") -> list[Verdict]:
        """A verdict per item, in order. An item is a dict with question, reference, response and language, as the task needs.

        Every verdict is kept the moment it arrives: a call cut short goes on where it stopped. Raises ValueError for an
        unknown task or an item without a field, llm.Refused if the server takes no such requests.
        """
        items = _checked(task, items)
        return _verdicts(items, self.client.ask(self._requests(task, items), PARSE[task], progress), task)

    async def score_async(self, task: str, items: Iterable[dict], progress: str = "") -> list[Verdict]:
        """`score` inside an event loop, as TRL's asynchronous reward functions need it."""
        items = _checked(task, items)
        return _verdicts(items, await self.client.ask_async(self._requests(task, items), PARSE[task], progress), task)

    def quote(self, task: str, items: Iterable[dict]) -> client.Totals:
        """Requests, tokens and price that `score` would still need, with the longest replies; nobody is asked. A reply that
        can't be read is asked for again, which comes on top."""
        return self.client.quote(self.requests(task, items))

    def requests(self, task: str, items: Iterable[dict]) -> "_Requests":
        """What `score` would send, for `batch.write` with PARSE[task]: a batch's answers, once collected, are `score`'s."""
        return self._requests(task, _checked(task, items))

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _requests(self, task: str, items: list[dict]) -> "_Requests":
        return _Requests(self._fields, task, [item for item in items if _asks(item)])


class _Requests:
    """Requests made one at a time, so that ten thousand prompts never lie in memory together."""

    def __init__(self, fields: dict, task: str, items: list[dict]):
        self.fields, self.task, self.items = fields, task, items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self):
        return (self.fields | {"messages": prompts.judge_messages(self.task, item)} for item in self.items)


def _checked(task: str, items: Iterable[dict]) -> list[dict]:
    if task not in TASKS:
        near = difflib.get_close_matches(str(task), TASKS, n=1)
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    items = list(items)
    for n, item in enumerate(items):
        for name in prompts.JUDGE_SEES[task]:
            if name not in item or not (isinstance(item[name], str) or (name == "response" and item[name] is None)):
                raise ValueError(f"item {n} has no text under {name!r}, which task {task!r} needs; it has {sorted(item)}")
    return items


def _asks(item: dict) -> bool:
    return bool(item["response"] and item["response"].strip())


def _verdicts(items: list[dict], replies: list[client.Reply], task: str) -> list[Verdict]:
    """Replies put beside their items; a response that is not there has no verdict, an empty one fails without a call."""
    left = iter(replies)
    failed = False if task in ("logic", "language") else 0.0
    unasked = {True: Verdict(None, "no response to judge"), False: Verdict(failed)}
    return [Verdict(*next(left)) if _asks(item) else unasked[item["response"] is None] for item in items]


# Reading replies ----------------------------------------------------------------------------------------------------


def parse_truth(reply: str) -> bool:
    """True or False, if that word is all that `reply` says; else ValueError."""
    if reply.strip() not in ("True", "False"):
        raise ValueError(f"expected True or False, got {reply[:80]!r}")
    return reply.strip() == "True"


def parse_score(reply: str) -> float:
    """The one number in 0-1 that `reply` consists of; else ValueError."""
    if not re.fullmatch(r"\s*(?:0(?:\.\d+)?|1(?:\.0+)?|\.\d+)\s*", reply, re.ASCII):
        raise ValueError(f"expected a number from 0.0 to 1.0, got {reply[:80]!r}")
    return float(reply)


PARSE = {"logic": parse_truth, "language": parse_truth, "reward_accuracy": parse_score, "reward_language": parse_score}


# Several judges -----------------------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """`values`: what most judges say per item, None without a majority. `kappa`: Fleiss' kappa over `n_rated` items that every
    judge rated; NaN where it is not defined."""

    values: list[bool | None]
    kappa: float
    n_rated: int


def majority(verdicts: list[list[Verdict]]) -> Panel:
    """Joins the True/False verdicts of several judges on the same items, one list a judge.

    A majority is of the judges who gave a verdict; a tie, or nobody, is None.
    """
    if len({len(judge) for judge in verdicts}) != 1 or len(verdicts) < 2:
        raise ValueError(f"majority needs two or more lists of equal length, not lengths {[len(judge) for judge in verdicts]}")
    items = [[v.value for v in item] for item in zip(*verdicts, strict=True)]
    if any(value is not None and not isinstance(value, bool) for item in items for value in item):
        raise ValueError("majority joins True/False verdicts (tasks logic and language), not scores")
    balance = [item.count(True) - item.count(False) for item in items]
    full = [item for item in items if None not in item]
    return Panel([None if b == 0 else b > 0 for b in balance], _fleiss(full), len(full))


def _fleiss(items: list[list[bool]]) -> float:
    from statsmodels.stats.inter_rater import fleiss_kappa

    if len({value for item in items for value in item}) < 2:
        return float("nan")
    return float(fleiss_kappa([[item.count(True), item.count(False)] for item in items]))
