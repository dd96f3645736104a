"""From health topics to open questions (Section 3.1, Appendix D): compose, two filters, convert."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic_core import from_json

from curemed_utils import data, paths
from curemed_utils.curation import items, stages
from curemed_utils.curation.items import Settings, at
from curemed_utils.curation.medlineplus import Topic
from curemed_utils.judge.cache import Cache, Totals
from curemed_utils.judge.client import Client
from curemed_utils.judge.wire import Answer

Clients = Client | dict[str, Client]
REPLIES = paths.SAMPLE / "recorded/replies.jsonl"
_RECORDED = paths.beside(__file__, "recorded.yaml")
RECORDED, RECORDED_TOPICS = Settings(**_RECORDED["settings"]), _RECORDED["topics"]
RECORD = ("number", "language", "stage", "outcome", "reason", "question", "options", "key", "votes")


class Curated(NamedTuple):
    """`rows` that were kept, and every item that was to be made: id, topic, columns of RECORD."""

    rows: list[data.Row]
    items: pd.DataFrame


class Unanswered(data.DataError):
    """A client has no server, and its file lacks answers."""


def curate(
    topics: list[Topic],
    languages: Iterable[str],
    clients: Clients,
    settings: Settings,
    folder: str | Path | None = None,
) -> Curated:
    """Takes every item through the four stages; `folder` gets `rows.jsonl` and `items.jsonl`.

    `clients` is one client or {model: client}; composing takes minutes: give it `timeout=300`. What
    could not be asked is set aside, and taken up by the next run, which pays for nothing twice.
    Raises Unanswered, and `judge.client.Refused` if a server takes no such requests.
    """
    planned = items.plan(topics, languages, settings)
    by_model = _by_model(clients, settings)

    def ask(stage, model, requests, parse):
        client = by_model[model]
        replies = client.ask(requests, parse)
        lacking = [reply.error for reply in replies if reply.text is None]
        if lacking and client.server is None:
            fault = f"{len(lacking)} of {len(replies)} answers are {lacking[0]}"
            raise Unanswered(f"stage {stage}, model {model!r}: {fault}")
        return replies

    stages.compose(planned, ask, settings)
    stages.filter_easy(at(planned, "difficulty"), ask, settings)
    stages.filter_ambiguous(at(planned, "ambiguity"), ask, settings)
    stages.convert(at(planned, "convert"), ask, settings)
    rows = [item.row for item in planned if item.outcome == "kept"]
    records = []
    for item in planned:
        record = {"id": item.id, "topic": item.topic.id}
        records.append(record | {name: getattr(item, name) for name in RECORD})
    if folder is not None:
        data.write_jsonl(rows, Path(folder) / "rows.jsonl")
        data.write_jsonl(records, Path(folder) / "items.jsonl")
    return Curated(rows, pd.DataFrame(records))


def quote(
    topics: list[Topic], languages: Iterable[str], clients: Clients, settings: Settings
) -> dict[str, Totals]:
    """Requests, tokens and price of each stage and of 'all', for what is not yet stored.

    Later stages are counted as if no item were dropped and every question as long as its cap
    allows; repeats come on top.
    """
    planned = items.plan(topics, languages, settings)
    by_model = _by_model(clients, settings)
    question, options = "x" * 3 * items.COMPOSE_TOKENS, dict.fromkeys(items.LETTERS, "")
    longest = [replace(item, question=question, options=options, key="A") for item in planned]
    parts = [("compose", settings.composer, items.compose_requests(planned, settings))]
    for model in settings.compact:
        parts.append(("difficulty", model, items.vote_requests(longest, model, settings)))
    parts += [
        ("ambiguity", settings.judge, items.judge_requests(longest, settings)),
        ("ambiguity", settings.judge, items.consistency_requests(longest, settings)),
        ("convert", settings.converter, items.convert_requests(longest, settings)),
    ]
    totals = dict.fromkeys((*items.STAGES, "all"), Totals(0, 0, 0, 0.0))
    for stage, model, requests in parts:
        quote = by_model[model].quote(requests)
        for name in (stage, "all"):
            totals[name] = totals[name].plus(quote)
    return totals


def recorded(path: str | Path) -> Path:
    """Puts recorded replies into the file at `path`, which `Client(path, offline=True)` replays.

    They are for RECORDED and RECORDED_TOPICS. No model wrote them: texts are the sample's, votes
    and verdicts invented.
    """
    cache, attempts, rows = Cache(path), Counter(), []
    for line in REPLIES.read_bytes().splitlines():
        reply = from_json(line)
        key, answer = reply["key"], Answer(reply["text"], "stop", 0, 0, served="")
        rows.append((key, attempts[key], "recorded", answer, None))
        attempts[key] += 1
    cache.store(rows)
    cache.close()
    return Path(path)


def _by_model(clients, settings):
    return clients if isinstance(clients, dict) else dict.fromkeys(settings.models(), clients)
