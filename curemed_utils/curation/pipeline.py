"""From health topics to open questions (Section 3.1, Appendix D): compose, two filters, convert; every item accounted for.

All answers come through `llm.Client` and its file of stored answers, and nothing else is kept between runs: after a crash, or
once a batch's answers have been stored, `curate` finds its way again and pays for nothing twice. `items` has the requests.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import regex
from pydantic_core import from_json

from curemed_utils import audit, data, paths, prompts, rewards
from curemed_utils.curation import items
from curemed_utils.curation.items import DEFAULT, Item, Requests, Settings, at
from curemed_utils.data import DataError, Row
from curemed_utils.judge import client as llm
from curemed_utils.judge.cache import Cache, Totals
from curemed_utils.language_id import check_language

if TYPE_CHECKING:
    from curemed_utils.curation.medlineplus import Topic

Clients = llm.Client | dict[str, llm.Client]
REPLIES = paths.SAMPLE / "recorded" / "replies.jsonl"
RECORDED = Settings(composer="recorded", compact=("recorded-1", "recorded-2", "recorded-3"), judge="recorded", converter="recorded")
RECORDED_TOPICS = ("sample-asthma", "sample-malaria", "sample-rabies", "sample-stroke")


class Curated(NamedTuple):
    """`rows`: what was kept. `items`: a line for every item that was to be made, with the `stage` it reached, `outcome`, `reason` and
    `votes`; kept, dropped and set aside add up to what was composed, and 'never came' are the languages that no reply held."""

    rows: list[Row]
    items: pd.DataFrame


class Pending(NamedTuple):
    """Requests to one model that have no stored answer yet."""

    stage: str
    model: str
    requests: Requests | list[dict]


def curate(
    topics: Iterable["Topic"],
    languages: Iterable[str],
    clients: Clients,
    settings: Settings = DEFAULT,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Curated:
    """Takes every item through the four stages; `folder` gets `rows.jsonl` and `items.jsonl`.

    `clients` is one client or {model: client}; composing 13 languages takes a model minutes, so give it `timeout=300`. What could
    not be asked (spend cap, server down) is set aside with that reason, and taken up by the next run. Raises DataError
    where a client has no server and its file lacks an answer, llm.Refused if a server takes no such requests.
    """
    planned, by_model = items.plan(topics, languages, settings), _by_model(clients, settings)

    def ask(stage: str, model: str, requests: Requests, parse: Callable[[str], Any]) -> list[llm.Reply]:
        replies = by_model[model].ask(requests, parse, f"{stage}, {model}" if progress else "")
        unasked = [reply for reply in replies if reply.text is None]
        if unasked and by_model[model].server is None:
            raise DataError(f"stage {stage}, model {model!r}: {len(unasked)} of {len(replies)} answers are {unasked[0].error}")
        return replies

    _run(planned, ask, settings)
    rows, records = [item.row for item in planned if item.outcome == "kept"], [_record(item) for item in planned]
    if folder is not None:
        data.write_jsonl(rows, Path(folder) / "rows.jsonl")
        data.write_jsonl(records, Path(folder) / "items.jsonl")
    return Curated(rows, pd.DataFrame(records))


def pending(topics: Iterable["Topic"], languages: Iterable[str], clients: Clients, settings: Settings = DEFAULT) -> Pending | None:
    """The next requests without a stored answer, for a batch file; None once `curate` has nothing left to ask.

    Each stage needs the answers of the one before: store a batch's answers, then call again. A stored answer that can't
    be read is asked for again here and now.
    """
    by_model = _by_model(clients, settings)

    def ask(stage: str, model: str, requests: Requests, parse: Callable[[str], Any]) -> list[llm.Reply]:
        client = by_model[model]
        if n := client.quote(requests).requests:
            unsent = requests if n == len(requests) else [request for request in requests if client.quote([request]).requests]
            raise _Unsent(Pending(stage, model, unsent))
        return client.ask(requests, parse)

    try:
        _run(items.plan(topics, languages, settings), ask, settings)
    except _Unsent as unsent:
        return unsent.pending
    return None


def estimate(topics: Iterable["Topic"], languages: Iterable[str], clients: Clients, settings: Settings = DEFAULT) -> dict[str, Totals]:
    """Requests, tokens and price of each stage and of 'all', before anything is sent: an upper bound of a run without repeats.

    Composing is quoted on its real requests, less those already stored. The later stages are counted as if no item were dropped and
    every question and reply were as long as its cap allows. Repeats for missing languages and failed checks come on top.
    """
    planned, by_model = items.plan(topics, languages, settings), _by_model(clients, settings)
    group, n = next(items.parallel(planned)), len(planned)
    long = {"question": "x" * 3 * settings.compose_tokens, "options": dict.fromkeys(items.LETTERS, ""), "key": "A"}
    longest = [Item(item.topic, 0, item.language, **long) for item in group]

    def quote(model: str, requests: Requests, times: int) -> Totals:
        return _total([by_model[model].quote(requests)], times)

    votes = [quote(model, items.vote_requests(longest[:1], model, settings), n) for model in settings.compact]
    verdicts = [
        quote(settings.judge, items.judge_requests(longest[:1], settings), n),
        quote(settings.judge, items.consistency_requests(longest, settings), n // len(group)),
    ]
    stages = {
        "compose": quote(settings.composer, items.compose_requests(planned, settings), 1),
        "difficulty": _total(votes),
        "ambiguity": _total(verdicts),
        "convert": quote(settings.converter, items.convert_requests(longest[:1], settings), n),
    }
    return stages | {"all": _total(list(stages.values()))}


def recorded(path: str | Path) -> Path:
    """Puts the sample's recorded replies into the file of stored answers at `path`: `llm.Client(path, offline=True)` replays
    them, for the settings RECORDED and the sample's topics RECORDED_TOPICS.

    The recorded models don't exist: their texts are the sample's, their votes and verdicts invented for teaching.
    """
    cache, attempts = Cache(path), Counter()
    for line in REPLIES.read_bytes().splitlines():
        record = from_json(line)
        cache.store(record["key"], attempts[record["key"]], "recorded", "recorded", record["text"], "stop", 0, 0, None)
        attempts[record["key"]] += 1
    cache.close()
    return Path(path)


class _Unsent(Exception):
    def __init__(self, pending: Pending):
        self.pending = pending


def _by_model(clients: Clients, settings: Settings) -> dict[str, llm.Client]:
    by_model = clients if isinstance(clients, dict) else dict.fromkeys(settings.models(), clients)
    if missing := [model for model in settings.models() if model not in by_model]:
        raise ValueError(f"no client for {', '.join(missing)}: give one for each of {', '.join(settings.models())}")
    return by_model


def _total(parts: list[Totals], times: int = 1) -> Totals:
    usd = None if any(part.usd is None for part in parts) else sum(part.usd for part in parts) * times
    return Totals(*(sum(part[n] for part in parts) * times for n in range(3)), usd)


def _record(item: Item) -> dict:
    about = {"id": item.id, "topic": item.topic.id, "number": item.number, "language": item.language}
    return about | {name: getattr(item, name) for name in ("stage", "outcome", "reason", "question", "options", "key", "votes")}


# The stages ---------------------------------------------------------------------------------------------------------


def _run(planned: list[Item], ask: Callable, settings: Settings) -> None:
    _compose(planned, ask, settings)
    _filter_easy(at(planned, "difficulty"), ask, settings)
    _filter_ambiguous(at(planned, "ambiguity"), ask, settings)
    _convert(at(planned, "convert"), ask, settings)


def _compose(planned: list[Item], ask: Callable, settings: Settings) -> None:
    for _ in range(settings.rounds):
        requests = items.compose_requests(planned, settings)
        for group, reply in zip(requests.over, ask("compose", settings.composer, requests, items.parse_cut), strict=True):
            for item in at(group, "compose"):
                item.fault, item.tries = _take(item, reply), item.tries + 1
                if not item.fault:
                    item.stage, item.tries = "difficulty", 0
                elif reply.text is None:
                    item.end("set aside" if item.question else "never came", item.fault)
    for item in at(planned, "compose"):
        item.end("set aside" if item.question else "never came", f"{settings.rounds} requests, then: {item.fault}")


def _take(item: Item, reply: llm.Reply) -> str:
    """Gives `item` what a composed reply holds in its language; says what is wrong with it, or nothing."""
    if reply.value is None:
        return reply.error
    if not (entry := reply.value.get(item.language) or reply.value.get(item.code)):
        return "the reply lacks this language"
    try:
        composed = items.validated(items.Composed, entry)
    except ValueError as error:
        item.question = item.question or str(entry)
        return str(error)
    item.question, item.options, item.key = composed.question, composed.options, composed.key
    check = check_language(f"{item.question} {', '.join(item.options.values())}", item.language)
    return f"not in {item.language}: {check.reason}" if check.verdict is False else ""


def _filter_easy(planned: list[Item], ask: Callable, settings: Settings) -> None:
    """Drops what all compact models answer rightly. A vote that can't be read counts for neither side: such an item can't be called
    easy, and stays with that remark. One that could not be asked for sets it aside, unless another model is wrong already."""
    unasked = {}
    for model in settings.compact:
        replies = ask("difficulty", model, items.vote_requests(planned, model, settings), items.parse_letter)
        for item, reply in zip(planned, replies, strict=True):
            order = items.shuffled(item, model, settings.seed)
            vote = order[items.LETTERS.index(reply.value)] if reply.value else ""
            item.vote("difficulty", model, vote, vote == item.key if vote else None, reply.error or "", order)
            if reply.text is None:
                unasked[item.id] = reply.error
    for item in planned:
        agree = [vote["agrees"] for vote in item.votes]
        if all(agree):
            item.end("dropped", f"easy: all {len(agree)} compact models answer it rightly")
        elif False not in agree and item.id in unasked:
            item.end("set aside", unasked[item.id])
        else:
            silent = [vote["model"] for vote in item.votes if vote["agrees"] is None]
            item.stage, item.reason = "ambiguity", f"no usable vote of {', '.join(silent)}" if silent else ""


def _filter_ambiguous(planned: list[Item], ask: Callable, settings: Settings) -> None:
    """Drops what has not exactly one defensible answer, the keyed one, and what is keyed otherwise than most languages of its topic
    and number. Without a verdict an item is set aside: it is not known to be clear."""
    replies = ask("ambiguity", settings.judge, items.judge_requests(planned, settings), items.read_as(items.Judged))
    for item, reply in zip(planned, replies, strict=True):
        item.vote("ambiguity", settings.judge, *_clear(item, reply))
    requests = items.consistency_requests(planned, settings)
    for group, reply in zip(requests.over, ask("ambiguity", settings.judge, requests, items.read_as(items.Alike)), strict=True):
        for item in group:
            item.vote("consistency", settings.judge, *_alike(item.language, [other.language for other in group], reply))
    for item in planned:
        verdicts = [vote for vote in item.votes if vote["stage"] != "difficulty"]
        if wrong := [vote["reason"] for vote in verdicts if vote["agrees"] is False]:
            item.end("dropped", "; ".join(wrong))
        elif missing := [vote["reason"] for vote in verdicts if vote["agrees"] is None]:
            item.end("set aside", f"no verdict: {'; '.join(missing)}")
        else:
            item.stage = "convert"


def _clear(item: Item, reply: llm.Reply) -> tuple[str, bool | None, str]:
    """Vote, whether it agrees with the key, and the reason."""
    if reply.value is None:
        return "", None, reply.error
    letters, answer = sorted(set(reply.value.defensible)), reply.value.answer
    said = f" ({reply.value.reason})" if reply.value.reason else ""
    if len(letters) > 1:
        return answer, False, f"more than one defensible option, {' and '.join(letters)}{said}"
    if answer != item.key or letters != [item.key]:
        return answer, False, f"the judge answers {answer or 'none of them'}, the key is {item.key}{said}"
    return answer, True, reply.value.reason


def _alike(language: str, asked: list[str], reply: llm.Reply) -> tuple[str, bool | None, str]:
    """The languages whose answers mean the same as this one's, whether they are most of those asked about, and the reason."""
    if reply.value is None:
        return "", None, reply.error
    mine = next(([name for name in group if name in asked] for group in reply.value.groups if language in group), [])
    if not mine:
        return "", None, f"the verdict on the languages leaves out {language}"
    agrees, said = 2 * len(mine) > len(asked), f" ({reply.value.reason})" if reply.value.reason else ""
    return ", ".join(mine), agrees, reply.value.reason if agrees else f"answer differs from that of most languages{said}"


def _convert(planned: list[Item], ask: Callable, settings: Settings) -> None:
    models = settings.model_dump(mode="json", include={"composer", "compact", "judge", "converter"})
    texts = prompts.curation(settings.prompts)
    lineage = {"models": models, "prompts": prompts.curation_fingerprint(texts), "seed": settings.seed}
    for _ in range(settings.rounds):
        requests = items.convert_requests(at(planned, "convert"), settings)
        for item, reply in zip(requests.over, ask("convert", settings.converter, requests, items.read_as(items.Converted)), strict=True):
            if reply.text is None:
                item.end("set aside", reply.error)
                continue
            row = reply.value and _row(item, reply.value, lineage)
            item.reply, item.fault, item.tries = reply.text, conversion_fault(row) if row else reply.error, item.tries + 1
            if not item.fault:
                item.row, item.outcome = row, "kept"
    for item in at(planned, "convert"):
        item.end("set aside", f"{settings.rounds} conversions failed, the last: {item.fault}")


def _row(item: Item, converted: items.Converted, lineage: dict) -> Row:
    topic, steps = item.topic, "".join(f"<step{n}>{step}</step{n}>" for n, step in enumerate(converted.steps, 1))
    source = {name: str(getattr(topic, name)) for name in ("title", "date", "snapshot", "url", "attribution", "licence")}
    return Row(
        id=item.id,
        language=item.language,
        question=converted.question,
        answer=f"<answer>{converted.answer}</answer>",
        reasoning=f"<thinking>{steps}</thinking>",
        topic=topic.key,
        accepted=converted.accepted,
        mcq_question=item.question,
        options=item.options,
        key=item.key,
        source=f"curated-{item.code}",
        lineage={"topic": topic.id} | source | lineage | {"votes": item.votes, "remark": item.reason, "edits": []},
    )


def conversion_fault(row: Row) -> str:
    """What is wrong with a converted item, as its next request names it; empty if nothing is.

    Checked: the strict format (Eq. 3), no options left in the question, every accepted answer in the answer and none in the question,
    and the offline language check of question and answer.
    """
    answer, well_formed = rewards.answer_of(row.answer) or "", rewards.format_reward(f"{row.reasoning}\n{row.answer}")
    absent = [form for form in row.accepted if data.normalize(form) not in data.normalize(answer)]
    given = _standing_in(row.question, row.accepted)
    faults = {
        "steps and answer must be plain text without tags, and none may be empty": not well_formed,
        "the question still offers options": audit.lists_options(row.question) or len(_standing_in(row.question, row.options.values())) > 1,
        f"these accepted answers don't stand in the answer: {', '.join(absent)}": absent,
        f"the question gives away the answer: {', '.join(given)}": given,
    }
    for part, text in {"question": row.question, "answer": answer}.items():
        check = check_language(text, row.language)
        faults[f"the {part} is not in {row.language}: {check.reason}"] = check.verdict is False
    return "; ".join(fault for fault, found in faults.items() if found)


def _standing_in(question: str, forms: Iterable[str]) -> list[str]:
    """The forms that occur in `question`; bare numbers say nothing."""
    return [form for form in forms if regex.search(r"\p{L}", form) and data.normalize(form) in data.normalize(question)]
