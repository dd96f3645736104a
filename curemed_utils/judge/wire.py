"""Requests and replies: what goes over the wire to a model, what comes back, what it costs."""

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from curemed_utils import extras, paths

OPENAI = "https://api.openai.com/v1"
ATTEMPTS = 3  # answers asked for while none can be parsed
RETRIES = 7  # of one request, while the server is busy, broken or slow
NO_COMPLETION = 599  # a status of our own, for a body that is no chat completion
BUSY = (408, 409, 425, 429)  # of the statuses below 500, those that pass
SERVERS = paths.beside(__file__, "servers.yaml")
_NAME = re.compile(SERVERS["name"], re.VERBOSE)


class Answer(NamedTuple):
    """What a server sent, in its own words; tokens are 0 where it reported none. `served` is the
    model that it named."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    served: str

    @property
    def is_cut(self) -> bool:
        """Whether it came to the limit of tokens."""
        return ending(self.finish_reason) == "length"


class Reply(NamedTuple):
    """`value` is what a parser made of `text`, or None; then `error` says why. `cached`: nobody was
    asked. `answer`: the one that was read, or the last."""

    value: Any = None
    error: str | None = None
    text: str | None = None
    cached: bool = False
    answer: Answer | None = None


@dataclass
class Requests:
    """`make(thing)` for each thing of `over`: requests never lie in memory together."""

    make: Callable[[Any], dict]
    over: list

    def __len__(self) -> int:
        return len(self.over)

    def __iter__(self) -> Iterator[dict]:
        return map(self.make, self.over)


def key_of(request: dict) -> str:
    """A digest of all fields of a request."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def reply_from(answers: list[Answer], parse: Callable[[str], Any]) -> Reply | None:
    """The first answer that can be parsed; an error after `ATTEMPTS` that can't, or a final one.
    None: ask."""
    problems, why = [], None
    for answer in answers:
        try:
            return Reply(_value(answer, parse), None, answer.text, True, answer)
        except ValueError as problem:
            problems.append(str(problem))
        why = SERVERS["final"].get(ending(answer.finish_reason))
    if len(answers) >= ATTEMPTS:
        why = why or f"{ATTEMPTS} answers that can't be read"
    error = f"{why}: {'; '.join(dict.fromkeys(problems))}"
    return Reply(None, error, answer.text, True, answer) if why else None


def _value(answer, parse):
    value, end = parse(answer.text), answer.text.rstrip()[-1:]
    may_go_on = type(value) is float and (end.isdigit() or end in ".,")
    if may_go_on and answer.is_cut:
        raise ValueError(f"a number cut off, got {answer.text[-80:]!r}")
    return value


def ending(word: str) -> str:
    """How a reply ended: 'stop', 'length', 'content_filter' (refusals too), 'tool_calls', 'error',
    'unknown' (not said), or a word that we don't know."""
    letters = re.sub(r"[\W\d_]+|^FINISH.?REASON|^REASON", "", word, flags=re.IGNORECASE).lower()
    for name, patterns in SERVERS["endings"].items():
        if _says(letters, patterns):
            return name
    return "unknown" if letters in ("", "none", "null") else word


def _says(text, patterns):
    return bool(re.search("|".join(patterns), text, re.IGNORECASE))


def same_model(asked: str, served: str) -> bool:
    """Whether two names differ at most in provider, case, alias or what one of them lacks (preview,
    date, version, route): gpt-4o and openai/gpt-4o-2024-08-06."""
    (first, *some), (second, *others) = parts_of(asked), parts_of(served)
    return first == second and all(map(lambda a, b: a == b or not (a and b), some, others))


def parts_of(model: str) -> list[str]:
    """Stem, preview, date and version or route of a model's name."""
    name = re.sub(r"([-:@](latest|free|main))+$", "", model.casefold().strip("/ "))
    stem, *others = _NAME.fullmatch(name).groups("")
    return [re.sub(r"[._]", "-", stem), *others]


def read_answer(body: Any) -> Answer:
    """The one choice of a chat completion. Raises ValueError for anything else, an outage too."""
    try:
        choice = body["choices"][0]
        reason, error = choice.get("finish_reason"), body.get("error") or choice.get("error")
        if isinstance(reason, dict):  # {"type": "stop", "matched": …}
            reason = reason.get("type")
        message = choice.get("message")
        if message is None and ending(str(reason)) in SERVERS["final"]:
            message = {}  # nothing was written
        text, refusal = _texts_of(message)
    except (LookupError, TypeError, AttributeError) as problem:
        raise ValueError(type(problem).__name__) from None
    if refusal and not text.strip():
        text, reason = refusal, "refusal"
    if error or ending(str(reason)) == "error":
        raise ValueError("an outage")
    tokens = [_count(body, name) for name in ("prompt_tokens", "completion_tokens")]
    words = text, str(reason), str(body.get("model"))
    # No file takes halves of characters.
    text, finish_reason, served = (word.encode(errors="replace").decode() for word in words)
    return Answer(text, finish_reason, *tokens, served)


def _count(body, name):
    try:  # however it is written; the file takes none greater than 2**63
        return min(max(int(float(body["usage"][name])), 0), 10**12)
    except (LookupError, TypeError, ValueError, OverflowError):
        return 0


def _texts_of(message):
    """Text and refusal of a message, whose content is a text, parts (thoughts too) or null."""
    content, text, refusal = message.get("content"), "", message.get("refusal")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict):
            refusal = part.get("refusal") or refusal
            part = part.get("text") if part.get("type") in (None, "text", "output_text") else ""
        text += "" if part is None else part
    return text, refusal if isinstance(refusal, str) else ""


def tokens_of(request: dict) -> tuple[int, int]:
    """An estimate of prompt and longest completion: a token is three bytes of UTF-8."""
    texts = [str(message["content"]) for message in request["messages"]]
    size = len("".join(texts).encode(errors="replace"))
    return size // 3 + 8, request.get("max_completion_tokens") or request.get("max_tokens") or 1024


def usd(price: tuple[float, float] | None, tokens: tuple[int, int]) -> float | None:
    """What prompt and completion tokens cost; None without a price."""
    return price and (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6


class Pace:
    """Spaces requests by limits a minute, which ranks share; half a second's worth goes at once."""

    # aiolimiter takes no more at once than its burst: small, most requests would count too little.
    def __init__(self, requests: float, tokens: float):
        self._minute = 60 * int(os.environ.get("WORLD_SIZE") or 1)  # seconds of one rank
        self._requests, self._tokens, self._due = requests, tokens, 0.0

    async def wait(self, request: dict) -> None:
        due = max(self._due, time.monotonic() - 0.5)
        share = min(sum(tokens_of(request)) / self._tokens, 1)  # then the server's minute is over
        self._due = due + self._minute * max(1 / self._requests, share)
        await asyncio.sleep(due - time.monotonic())


def connect(url: str, key: str, max_concurrency: int, timeout: float):
    """openai over aiohttp, where many connections cost little."""
    extras.need("judge")
    from openai import AsyncOpenAI, DefaultAioHttpClient

    limits = httpx2.Limits(max_connections=max_concurrency)
    hooks = {"response": [_show_in_status]}
    http = DefaultAioHttpClient(timeout=timeout, limits=limits, event_hooks=hooks)
    return AsyncOpenAI(api_key=key, base_url=url, max_retries=RETRIES, http_client=http)


async def _show_in_status(response):
    """Says in status and header, by which openai decides, what the body says."""
    await response.aread()
    if response.status_code == 200:
        try:
            read_answer(response.json())
        except (ValueError, RecursionError):
            code = re.search(rb'"code":\s*"?([45]\d\d)\b', response.content)
            response.status_code = int(code[1]) if code else NO_COMPLETION
    if response.status_code == 429 and remedy(429, response.text):
        response.headers["x-should-retry"] = "false"


def remedy(status: int, error: str) -> str:
    """What to fix where an error says that all other requests would fail too, else ''."""
    remedies = SERVERS["remedies"]
    if status in (*remedies, 400, 429) and _says(error, SERVERS["money"]):
        return remedies[402]
    return "" if about_text(status, error) else remedies.get(status, "")


def about_text(status: int, error: str) -> str:
    """'content_filter' or 'length' where an error is about one request's text, else ''."""
    if status not in (400, 403, 413, 422):
        return ""
    if _says(error, SERVERS["filtered"]):
        return "content_filter"
    return "length" if status == 413 or _says(error, SERVERS["too_long"]) else ""


def url_of(base_url: str | None) -> str:
    return base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI


def address(url: str) -> str:
    """The address as files and messages name it. ValueError if it holds a secret."""
    parts = urlsplit(url)
    odd = parts.scheme not in ("http", "https") or not parts.hostname
    if odd or "@" in parts.netloc or parts.query:
        shown = url.split("@")[-1].split("?")[0]
        raise ValueError(f"base_url {shown!r} must look like http://host:port/v1")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
