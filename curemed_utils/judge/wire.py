"""Requests and replies: what goes over the wire to a model, what comes back, what it costs."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import yaml

from curemed_utils import paths

OPENAI = "https://api.openai.com/v1"
ATTEMPTS = 3  # answers asked for while none can be parsed
RETRIES = 7  # of one request, while the server is busy, broken or slow
NO_COMPLETION = 599  # a status of our own, for a body that is no chat completion
BAD_REQUEST = (400, 413, 422)
REMEDY = {
    401: "check OPENAI_API_KEY",
    403: "this key may not use that model or server",
    404: "check model and OPENAI_BASE_URL",
}
PRICES = Path(__file__).with_name("prices.yaml")


class Answer(NamedTuple):
    """What a server sent, in its own words; tokens are 0 where it reported none."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    served: str


class Reply(NamedTuple):
    """`value` is what a parser made of `text`, or None; then `error` says why. `cached`: nobody was
    asked. `answer`: the first one, as it came."""

    value: Any = None
    error: str | None = None
    text: str | None = None
    cached: bool = False
    answer: Answer | None = None


class Requests:
    """`make(thing)` for each thing of `over`: requests never lie in memory together."""

    def __init__(self, make: Callable[[Any], dict], over: list):
        self.make, self.over = make, over

    def __len__(self) -> int:
        return len(self.over)

    def __iter__(self) -> Iterator[dict]:
        return map(self.make, self.over)


def key_of(request: dict) -> str:
    """A digest of all fields of a request."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def reply_from(answers: list[Answer], parse: Callable[[str], Any]) -> Reply | None:
    """The first answer that can be parsed, or an error after `ATTEMPTS` that can't. None: ask."""
    reply = None
    for number, answer in enumerate(answers[:ATTEMPTS], 1):
        try:
            return Reply(parse(answer.text), None, answer.text, True, answers[0])
        except ValueError as problem:
            if number == ATTEMPTS:
                error = f"{ATTEMPTS} answers that can't be read, the last: {problem}"
                reply = Reply(None, error, answer.text, True, answers[0])
    return reply


def read_answer(body: Any) -> Answer:
    """The one choice of a chat completion. Raises ValueError for anything else."""
    try:
        choice = body["choices"][0]
        text = choice["message"].get("content")
        usage = body.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        words = str(text or ""), str(choice.get("finish_reason")), str(body.get("model"))
    except (LookupError, TypeError, AttributeError, OverflowError) as problem:
        raise ValueError(type(problem).__name__) from None
    # No file takes halves of characters.
    text, finish_reason, served = (word.encode(errors="replace").decode() for word in words)
    return Answer(text, finish_reason, *tokens, served)


def tokens_of(request: dict) -> tuple[int, int]:
    """An estimate of prompt and longest completion: a token is three bytes of UTF-8."""
    texts = [str(message["content"]) for message in request["messages"]]
    size = len("".join(texts).encode(errors="replace"))
    return size // 3 + 8, request.get("max_completion_tokens") or request.get("max_tokens") or 1024


def price_of(model: str) -> tuple[float, float] | None:
    """USD per million prompt and completion tokens from `prices.yaml`; None if not listed."""
    prices = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    if model not in prices:
        return None
    try:
        prompt, completion = map(float, prices[model])
    except (TypeError, ValueError):
        needs = "needs two numbers, USD per million prompt and completion tokens"
        raise ValueError(f"{paths.show(PRICES)}: {model!r} {needs}") from None
    return prompt, completion


def usd(price: tuple[float, float] | None, tokens: tuple[int, int]) -> float | None:
    """What prompt and completion tokens cost; None without a price."""
    return price and (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6


def limiter(requests_per_minute: float | None):
    from aiolimiter import AsyncLimiter

    if requests_per_minute is None:
        return None
    per_second = requests_per_minute / 60 / int(os.environ.get("WORLD_SIZE") or 1)
    return AsyncLimiter(max(1.0, per_second), max(1.0, 1 / per_second))


def connect(url: str, key: str, max_concurrency: int, timeout: float):
    """openai over aiohttp, where many connections cost little."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    limits = httpx2.Limits(max_connections=max_concurrency)
    hooks = {"response": [_show_in_status]}
    http = DefaultAioHttpClient(timeout=timeout, limits=limits, event_hooks=hooks)
    return AsyncOpenAI(api_key=key, base_url=url, max_retries=RETRIES, http_client=http)


async def _show_in_status(response: httpx2.Response) -> None:
    """Says in status and header, by which openai decides, what only the body says."""
    await response.aread()
    if response.status_code == 429 and b"insufficient_quota" in response.content:
        response.headers["x-should-retry"] = "false"
    if response.status_code == 200:
        try:
            read_answer(response.json())
        except (ValueError, RecursionError):
            response.status_code = NO_COMPLETION


def address(url: str) -> str:
    """The address as files and messages name it. Raises ValueError if it holds a secret."""
    parts = urlsplit(url)
    odd = parts.scheme not in ("http", "https") or not parts.hostname
    if odd or "@" in parts.netloc or parts.query:
        shown = url.split("@")[-1].split("?")[0]
        raise ValueError(f"base_url {shown!r} must look like http://host:port/v1")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
