"""An asynchronous client of any OpenAI-compatible server that pays for every answer once.

Answers live in a SQLite file, stored the moment they arrive; asked again, also by another process or after a crash, a request is
read from there. Without a server (no key, no address) the file alone answers: that is how a recorded run is replayed.
"""

import asyncio
import atexit
import json
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import yaml

from curemed_utils import paths
from curemed_utils.judge.cache import About, Cache, Totals, key_of

OPENAI = "https://api.openai.com/v1"
TRIES = 8  # requests for one answer while the server is busy, broken or slow
DOWN = 3  # requests failed one after the other, without an answer in between, that mean the server is down
ATTEMPTS = 3  # answers asked for while none can be parsed
FIRST_WAIT = 0.5  # seconds before the second try where the server names none; doubled from try to try
POLL = 0.05  # seconds between two looks at a request that another process is sending
LONGEST_WAIT = 60.0  # seconds between two tries, whatever Retry-After says
PRICES = Path(__file__).with_name("prices.yaml")
_CHUNK = 256


class Reply(NamedTuple):
    """`value` is what the caller's parser made of `text`; None together with `error` where there is no usable answer."""

    value: Any = None
    error: str | None = None
    text: str | None = None
    cached: bool = False


class Refused(RuntimeError):
    """The server refuses requests like these (400, 401, 403, 404, no quota); the message says what to fix."""


class _NotAsked(Exception):
    """This request was not sent, or sent in vain; the message is the item's error."""


def price_of(model: str) -> tuple[float, float] | None:
    """USD per million prompt and completion tokens from `prices.yaml`; None for a model that is not listed."""
    listed = yaml.safe_load(PRICES.read_text(encoding="utf-8")).get(model)
    if listed and not (isinstance(listed, list) and len(listed) == 2 and all(isinstance(usd, int | float) for usd in listed)):
        raise ValueError(f"{paths.show(PRICES)}: {model!r} needs two numbers, USD per million prompt and completion tokens, not {listed!r}")
    return tuple(listed) if listed else None


class Client:
    """Asks an OpenAI-compatible server, at most `max_concurrency` requests at a time.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY; with neither, or `offline`, only `cache` answers. Limits
    are per minute and shared evenly by the ranks of a distributed run (WORLD_SIZE). `timeout` is in seconds for a whole answer. `price`
    is (USD per million prompt tokens, USD per million completion tokens); `max_usd` caps what everything in the cache file may
    have cost, over restarts and ranks. The client runs in a thread of its own, so it works in scripts, in a notebook's
    running event loop and in asynchronous reward functions alike.
    """

    def __init__(
        self,
        cache: str | Path,
        base_url: str | None = None,
        api_key: str | None = None,
        max_concurrency: int = 64,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 60.0,
        price: tuple[float, float] | None = None,
        max_usd: float | None = None,
        offline: bool = False,
    ):
        given = dict(
            max_concurrency=max_concurrency, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, timeout=timeout
        )
        for name, value in given.items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
        if max_usd is not None and price is None:
            raise ValueError(f"max_usd needs a price: give price=(USD, USD) per million tokens, or add the model to {paths.show(PRICES)}")
        key, url = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip(), base_url or os.environ.get("OPENAI_BASE_URL")
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key holds characters that no key has: copy it again")
        self.server = address(url or OPENAI) if (key or url) and not offline else None
        self._key, self._url = key or "none", url or OPENAI
        self._max, self._timeout, self._price, self._max_usd = max_concurrency, timeout, price, max_usd
        self._rates = (requests_per_minute, tokens_per_minute)
        self._cache_path = Path(cache).expanduser()
        self._flying: dict[tuple[str, int], asyncio.Task] = {}
        self._asked = Totals(0, 0, 0, 0.0 if price else None)
        self._reserved, self._spent = 0.0, (-1.0, 0.0)
        self._answered_at, self._failures, self._closing = 0.0, 0, False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()
        self._call(self._open())
        atexit.register(_close, weakref.ref(self))

    # From outside: any thread, any event loop

    def ask(self, requests: Iterable[dict], parse: Callable[[str], Any] = str, progress: str = "") -> list[Reply]:
        """A reply per request (keyword arguments of chat.completions.create), in order.

        `parse` turns an answer into a value and raises ValueError where it can't; then the model is asked again, up to
        `ATTEMPTS` answers. An item that fails has a None value and its error. Raises Refused if the server refuses such requests.
        `progress` names a progress bar; empty shows none.
        """
        return self._call(self._ask(requests, parse, progress))

    async def ask_async(self, requests: Iterable[dict], parse: Callable[[str], Any] = str, progress: str = "") -> list[Reply]:
        """`ask` for callers that have an event loop of their own."""
        return await asyncio.wrap_future(self._submit(self._ask(requests, parse, progress)))

    def about(self, requests: Iterable[dict]) -> list[About | None]:
        """What is stored of each request's first answer besides its text; None where there is none. Asks nobody."""
        return self._call(self._about(requests))

    def quote(self, requests: Iterable[dict]) -> Totals:
        """What `ask` would still have to pay for: an estimate with the longest answers allowed, asking nobody."""
        return self._call(self._quote(requests))

    def totals(self) -> Totals:
        """What this client has asked the server for so far; cached answers cost nothing."""
        return self._asked

    def cache_totals(self) -> Totals:
        """What all answers in the cache file have cost."""
        return self._call(self._cache_totals())

    def close(self) -> None:
        """Ends the client's thread and what it is asking; answers stored so far stay."""
        if self._thread.is_alive():
            self._call(self._shut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _submit(self, coroutine):
        if not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError("this client was closed, or made before a fork: make one in each process")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _call(self, coroutine):
        future = self._submit(coroutine)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    # Inside the client's thread

    async def _open(self) -> None:
        from aiolimiter import AsyncLimiter

        self._cache = Cache(self._cache_path)
        self._openai = _openai(self._url, self._key, self._max, self._timeout) if self.server else None
        self._slots = asyncio.Semaphore(self._max)
        ranks = int(os.environ.get("WORLD_SIZE") or 1)
        per_minute, tokens = (rate and rate / ranks for rate in self._rates)
        self._requests_limit = per_minute and AsyncLimiter(max(1.0, per_minute / 60), max(1.0, 60 / per_minute))
        self._tokens_limit = tokens and AsyncLimiter(tokens, 60)

    async def _shut(self) -> None:
        self._closing = True
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._openai is not None:
            await self._openai.close()
        self._cache.close()

    async def _cache_totals(self) -> Totals:
        return self._cache.totals()

    async def _about(self, requests: Iterable[dict]) -> list[About | None]:
        found = ((chunk, self._cache.about([key for key, _ in chunk], self.server)) for chunk in _chunks(requests))
        return [known.get(key) for chunk, known in found for key, _ in chunk]

    async def _quote(self, requests: Iterable[dict]) -> Totals:
        n = prompt = completion = 0
        for chunk in _chunks(requests):
            known = self._cache.find([key for key, _ in chunk], self.server)
            for key, request in chunk:
                if (key, 0) not in known:
                    tokens = _tokens(request)
                    n, prompt, completion = n + 1, prompt + tokens[0], completion + tokens[1]
        return Totals(n, prompt, completion, self._usd(prompt, completion))

    async def _ask(self, requests: Iterable[dict], parse: Callable, progress: str) -> list[Reply]:
        replies: list[Reply | None] = []
        state = {"since": time.monotonic(), "down": None}
        with progress_bar(progress, requests) as bar:
            try:
                async with asyncio.TaskGroup() as group:
                    for chunk in _chunks(requests):
                        known = self._cache.find([key for key, _ in chunk], self.server)
                        for key, request in chunk:
                            position = len(replies)
                            reply = _from_cache(key, known, parse)
                            replies.append(reply)
                            if reply is not None:
                                bar.update()
                                continue
                            await self._slots.acquire()
                            task = group.create_task(self._one(position, key, request, parse, replies, state, bar))
                            task.add_done_callback(lambda _: self._slots.release())  # also of a task cancelled before it began
                        await asyncio.sleep(0)
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
            except asyncio.CancelledError:
                if self._closing:
                    raise RuntimeError("the client was closed while it was asking") from None
                raise
        return replies

    async def _one(self, position, key, request, parse, replies, state, bar) -> None:
        """Fills one place of `replies`: stored answers first, then asks until one can be parsed."""
        try:
            known, asked = self._cache.find([key], self.server), False  # again: another may have asked meanwhile
            while (reply := _from_cache(key, known, parse)) is None:
                attempt = next(n for n in range(ATTEMPTS) if (key, n) not in known)
                known[key, attempt], asked = await self._fetched(key, request, attempt, state), True
            replies[position] = reply._replace(cached=not asked)
        except _NotAsked as problem:
            replies[position] = Reply(None, str(problem))
        finally:
            bar.update()

    async def _fetched(self, key: str, request: dict, attempt: int, state: dict) -> str:
        """The answer from the server; callers who want the same one at the same time share one request."""
        if self.server is None or self._cache.read_only:
            hint = "no server to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys"
            hint = "that file is read-only" if self._cache.read_only else hint
            raise _NotAsked(f"not in {paths.show(self._cache_path)}, and {hint}")
        if state["down"]:
            raise _NotAsked(f"not asked, the server had stopped answering: {state['down']}")
        flying = self._flying.get((key, attempt))
        if flying is None:
            flying = self._flying[key, attempt] = asyncio.create_task(self._fetch(key, request, attempt, state))
            flying.add_done_callback(lambda task: (self._flying.pop((key, attempt), None), task.cancelled() or task.exception()))
        return await asyncio.shield(flying)

    async def _fetch(self, key: str, request: dict, attempt: int, state: dict) -> str:
        from aiohttp import ClientError
        from openai import APIConnectionError, APIStatusError

        started, refusal = time.monotonic(), None
        for trial in range(TRIES):
            await self._within_limits(request)  # before the claim, which would run out in a long queue
            try:
                async with self._claimed(key, attempt) as text:
                    if text is not None:
                        return text
                    with self._reservation(request):
                        return await self._send(key, request, attempt)
            except APIStatusError as problem:
                refusal = self._refusal(problem, request)
                error, wait = f"HTTP {problem.status_code}: {self._said(problem.message)}", _retry_after(problem.response.headers)
            except TimeoutError:
                error, wait = f"no answer in {self._timeout:g} s", None
            except (APIConnectionError, ClientError, httpx2.HTTPError) as problem:
                error, wait = f"connection failed: {self._said(str(problem.__cause__ or problem))}", None
            except _Garbage as problem:
                error, wait = f"not a chat completion: {self._said(str(problem))}", None
            except UnicodeEncodeError as problem:
                raise _NotAsked(f"the request is no valid text: {problem}") from None
            if refusal:  # raised out here, where it does not carry the server's own words, which may hold the key, as its context
                raise refusal
            if trial < TRIES - 1:
                await asyncio.sleep(min(LONGEST_WAIT, wait or random.uniform(0.5, 1) * min(8.0, FIRST_WAIT * 2**trial)))
        error = f"{error} ({TRIES} tries over {time.monotonic() - started:.0f} s)"
        self._failures += 1
        if self._failures >= DOWN and self._answered_at < max(started, state["since"]):
            state["down"] = error
        raise _NotAsked(error)

    async def _within_limits(self, request: dict) -> None:
        if self._requests_limit:
            await self._requests_limit.acquire()
        if self._tokens_limit:
            await self._tokens_limit.acquire(min(sum(_tokens(request)), self._tokens_limit.max_rate))

    @asynccontextmanager
    async def _claimed(self, key: str, attempt: int):
        """Keeps other processes from sending the same request meanwhile; gives their answer if they were first."""
        while not self._cache.claim(key, attempt, self.server, 2 * self._timeout):
            await asyncio.sleep(POLL)
        try:
            yield self._cache.find([key], self.server).get((key, attempt))
        finally:
            self._cache.release(key, attempt, self.server)

    async def _send(self, key: str, request: dict, attempt: int) -> str:
        """One request over the wire; its answer is stored before anyone sees it."""
        async with asyncio.timeout(self._timeout):
            raw = await self._openai.post("/chat/completions", cast_to=httpx2.Response, body=request)
        answer = _read(raw.content)
        self._answered_at, self._failures = time.monotonic(), 0
        text, reason, served = (self._clean(part) for part in (answer.text, answer.finish_reason, answer.served))
        usd = self._usd(*(answer[3:] if any(answer[3:]) else _tokens(request)))  # no usage reported: the estimate, or no cap would hold
        self._cache.store(key, attempt, self.server, served, text, reason, answer.prompt_tokens, answer.completion_tokens, usd)
        n, prompt, completion, total = self._asked
        total = None if usd is None else total + usd
        self._asked = Totals(n + 1, prompt + answer.prompt_tokens, completion + answer.completion_tokens, total)
        return text

    def _refusal(self, problem, request: dict) -> Exception | None:
        """What to raise where asking again, or asking others too, is useless."""
        code, said = problem.status_code, self._said(problem.message)
        fix = {401: "check OPENAI_API_KEY", 403: "this key may not use that model or server", 404: "check model and OPENAI_BASE_URL"}.get(
            code
        )
        if code == 429 and "insufficient_quota" in f"{problem.code} {said}":
            fix = "the account has no quota left"
        if code in (400, 413, 422):
            if self._answered_at or self._cache.totals().requests:
                return _NotAsked(f"HTTP {code}: {said}")
            fix = "the server takes no such request; check the options"
        return Refused(f"{self.server} refused model {request.get('model')!r} with HTTP {code}: {fix}. It said: {said}") if fix else None

    @contextmanager
    def _reservation(self, request: dict):
        """Holds back the price of a request in flight, so that the cap holds while many are."""
        price = self._usd(*_tokens(request)) if self._max_usd is not None else 0.0
        if self._max_usd is not None and self._paid() + self._reserved + price > self._max_usd:
            raise _NotAsked(f"not asked: the spend cap of {self._max_usd:g} USD for {paths.show(self._cache_path)} is reached")
        self._reserved += price
        try:
            yield
        finally:
            self._reserved -= price

    def _paid(self) -> float:
        """USD in the cache file, read again at most once a second besides this client's own spending."""
        at, known = self._spent
        own = self._asked.usd or 0.0
        if time.monotonic() - at > 1 or at < 0:
            self._spent = (time.monotonic(), (self._cache.totals().usd or 0.0) - own)
            known = self._spent[1]
        return known + own

    def _usd(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return None if self._price is None else (prompt_tokens * self._price[0] + completion_tokens * self._price[1]) / 1e6

    def _clean(self, text: str) -> str:
        """`text` without the key, and without halves of characters, which no file takes."""
        text = text.encode(errors="replace").decode()
        return text.replace(self._key, "***") if len(self._key) > 4 else text

    def _said(self, text: str) -> str:
        return self._clean(text)[:300]


def _close(client: weakref.ref) -> None:
    if client() is not None:
        client().close()


class _Garbage(Exception):
    pass


class _Answer(NamedTuple):
    text: str
    finish_reason: str
    served: str
    prompt_tokens: int
    completion_tokens: int


def _read(content: bytes) -> _Answer:
    """The one choice of a chat completion; anything else the server may have sent raises _Garbage."""
    try:
        body = json.loads(content)
        choice, usage = body["choices"][0], body.get("usage") or {}
        text = choice["message"].get("content")
        counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        return _Answer(str(text or ""), str(choice.get("finish_reason")), str(body.get("model")), *counts)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
        raise _Garbage(f"{type(problem).__name__} in {content!r}") from None


def _openai(url: str, key: str, max_concurrency: int, timeout: float):
    """The openai package over aiohttp, which holds many connections at a fraction of the default transport's cost."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    http = DefaultAioHttpClient(timeout=timeout, limits=httpx2.Limits(max_connections=max_concurrency))
    return AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout, http_client=http)


def address(url: str) -> str:
    """The address as files and messages name it, checked to hold nothing secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        shown = url.split("@")[-1].split("?")[0]
        raise ValueError(f"base_url {shown!r} must look like http://host:port/v1, without user, password or query")
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


def _chunks(requests: Iterable[dict]):
    """Lists of (key, request): stored answers are looked up a list at a time."""
    iterator = iter(requests)
    while chunk := [(key_of(request), request) for request in islice(iterator, _CHUNK)]:
        yield chunk


def _from_cache(key: str, known: dict, parse: Callable) -> Reply | None:
    """The reply if stored answers settle it: the first that can be read, or an error once all attempts are used up."""
    for attempt in range(ATTEMPTS):
        if (text := known.get((key, attempt))) is None:
            return None
        try:
            return Reply(parse(text), None, text, True)
        except ValueError as problem:
            error = f"{ATTEMPTS} answers that can't be read, the last: {problem}"
    return Reply(None, error, text, True)


def _tokens(request: dict) -> tuple[int, int]:
    """An estimate of prompt and longest completion, in tokens: three bytes of UTF-8 a token, which is high for English."""
    size = sum(len(str(message["content"]).encode(errors="replace")) for message in request["messages"])
    return size // 3 + 8, request.get("max_completion_tokens") or request.get("max_tokens") or 1024


def _retry_after(headers) -> float | None:
    """Seconds the server asks to wait, from a number or a date; None if it does not say."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def progress_bar(progress: str, items: Iterable):
    """A bar called `progress` (empty: none), as plain text on standard output: unlike a widget it is still right in an executed
    notebook that is read later."""
    from tqdm import tqdm

    total = len(items) if hasattr(items, "__len__") else None
    return tqdm(total=total, desc=progress, disable=not progress, file=sys.stdout, mininterval=0.5)
