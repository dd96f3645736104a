"""A client of any OpenAI-compatible server that pays for every answer once.

An answer is stored the moment it arrives. Asked again, by this process or another, the same request
is answered from the file. Without a server the file alone answers: so a recorded run is replayed.
"""

import asyncio
import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from curemed_utils import paths
from curemed_utils.judge import wire
from curemed_utils.judge.cache import Cache, Totals
from curemed_utils.judge.wire import Answer, Reply

FAILURES = 3  # requests that fail with no answer in between: the others will fail too
POLL = 0.05  # seconds between two looks at a request that somebody else is sending


class Refused(RuntimeError):
    """The server takes no requests like these. The message says what to fix."""


class NoAnswer(Exception):
    """A request that was not sent, or sent in vain. The message is the item's error."""


@dataclass
class Call:
    """One call of `ask`, and what it has seen of the server."""

    parse: Callable[[str], Any]
    answered_at: float = 0.0
    failures: int = 0  # with no answer in between
    down: str = ""  # the error after which nobody is asked


class Client:
    """Asks an OpenAI-compatible server, at most `max_concurrency` requests at a time.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY. With neither, or with
    `offline`, only `cache` answers. `requests_per_minute` counts no retries and is shared by the
    ranks of a distributed run (WORLD_SIZE). `timeout` is in seconds. `price` is USD per million
    prompt and completion tokens; `max_usd` caps the cost of all answers in the file. Its thread of
    its own makes it work in scripts, notebooks and event loops alike.
    """

    def __init__(
        self,
        cache: str | Path,
        base_url: str | None = None,
        api_key: str | None = None,
        max_concurrency: int = 64,
        requests_per_minute: float | None = None,
        timeout: float = 60.0,
        price: tuple[float, float] | None = None,
        max_usd: float | None = None,
        offline: bool = False,
    ):
        limits = {"max_concurrency": max_concurrency, "timeout": timeout}
        limits |= {"requests_per_minute": requests_per_minute}
        for name, limit in limits.items():
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} must be more than 0, not {limit}")
        if max_usd is not None and price is None:
            ways = "give price=(USD, USD) per million tokens, or add the model to"
            raise ValueError(f"max_usd needs a price: {ways} {paths.show(wire.PRICES)}")
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key holds characters that no key has: copy it again")
        self.server = self._openai = None
        if (key or url) and not offline:
            url = url or wire.OPENAI
            self.server = wire.address(url)
            self._openai = wire.connect(url, key or "none", max_concurrency, timeout)
        self._key, self._price, self._max_usd = key, price, max_usd
        self._cache = Cache(cache)
        self._totals = Totals(0, 0, 0, price and 0.0)
        self._spent = self._reserved = 0.0
        self._spent_read_at = float("-inf")
        self._slots = asyncio.Semaphore(max_concurrency)
        self._limiter = wire.limiter(requests_per_minute)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def ask(
        self, requests: Iterable[dict], parse: Callable[[str], Any] = str, progress: str = ""
    ) -> list[Reply]:
        """A reply to each request (the fields of a chat completion), in order.

        `parse` makes a value of an answer's text, or raises ValueError: then the model is asked
        again, up to `wire.ATTEMPTS` answers. An item that fails has the value None and its error.
        `progress` names a progress bar. Raises Refused if the server takes no such requests.
        """
        future = self._submit(self._ask(requests, parse, progress))
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    async def ask_async(
        self, requests: Iterable[dict], parse: Callable[[str], Any] = str, progress: str = ""
    ) -> list[Reply]:
        """`ask` for callers that have an event loop of their own."""
        return await asyncio.wrap_future(self._submit(self._ask(requests, parse, progress)))

    def quote(self, requests: Iterable[dict]) -> Totals:
        """What `ask` would still pay for, with the longest answers allowed. Nobody is asked."""
        total = Totals(0, 0, 0, self._price and 0.0)
        for _key, request, answers in self._cache.look_up(requests, self.server):
            if not answers:
                tokens = wire.tokens_of(request)
                total = total.plus(Totals(1, *tokens, wire.usd(self._price, tokens)))
        return total

    def totals(self) -> Totals:
        """What this client has asked the server for. Stored answers cost nothing."""
        return self._totals

    def close(self) -> None:
        """Ends the client's thread and what it is asking. Stored answers stay."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._submit(self._cancel_all()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._cache.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _submit(self, coroutine):
        if not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError("this client was closed, or made before a fork: make another one")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    # From here on in the client's thread

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._openai:
            await self._openai.close()

    async def _ask(self, requests: Iterable[dict], parse: Callable, progress: str) -> list[Reply]:
        call = Call(parse)
        replies: list[Reply | asyncio.Task] = []
        try:
            with progress_bar(progress, requests) as bar:
                async with asyncio.TaskGroup() as group:
                    for key, request, answers in self._cache.look_up(requests, self.server):
                        reply = wire.reply_from(answers, parse)
                        if reply:
                            bar.update()
                        else:
                            await self._slots.acquire()
                            reply = group.create_task(self._reply(key, request, call))
                            reply.add_done_callback(lambda _: self._slots.release())
                            reply.add_done_callback(lambda _: bar.update())
                        replies.append(reply)
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return [reply.result() if isinstance(reply, asyncio.Task) else reply for reply in replies]

    async def _reply(self, key: str, request: dict, call: Call) -> Reply:
        """The reply to one request: from stored answers, else from new ones."""
        answers = self._cache.find([key], self.server)[key]  # another may have asked meanwhile
        reply = wire.reply_from(answers, call.parse)
        cached = reply is not None
        while reply is None:
            answer = asyncio.create_task(self._answer(key, len(answers), request, call))
            try:
                # Whoever stops waiting does not end the request: its answer is paid for.
                answers.append(await asyncio.shield(answer))
            except NoAnswer as problem:
                return Reply(None, str(problem))
            reply = wire.reply_from(answers, call.parse)
        return reply._replace(cached=cached)

    async def _answer(self, key: str, attempt: int, request: dict, call: Call) -> Answer:
        """An answer to a request that had `attempt` answers: of whoever was first, stored."""
        if self._cache.read_only or not self._openai:
            reason = "no server to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL without a key"
            if self._cache.read_only:
                reason = "that file is read-only"
            raise NoAnswer(f"not in {paths.show(self._cache.path)}, and {reason}")
        if self._limiter:
            await self._limiter.acquire()
        while not self._cache.claim(key, attempt):
            await asyncio.sleep(POLL)
        try:
            answers = self._cache.find([key], self.server)[key]
            if len(answers) > attempt:
                return answers[attempt]
            if call.down:
                raise NoAnswer(f"not asked, the server had stopped answering: {call.down}")
            with self._reservation(request):
                answer = await self._send(request, call)
                self._store(key, attempt, request, answer)
            return answer
        finally:
            self._cache.release(key, attempt)

    async def _send(self, request: dict, call: Call) -> Answer:
        """One request over the wire. openai sends it again where a fault may pass: 408, 409, 429,
        5xx, a lost connection, no answer in time."""
        from aiohttp import ClientError
        from openai import APIConnectionError, APIStatusError

        began, status, send = time.monotonic(), 0, self._openai.post
        try:
            response = await send("/chat/completions", cast_to=httpx2.Response, body=request)
            call.answered_at, call.failures = time.monotonic(), 0
            text, reason, *tokens, served = wire.read_answer(response.json())
            return Answer(self._hide(text), self._hide(reason), *tokens, self._hide(served))
        except APIStatusError as problem:
            status = problem.status_code
            kind = "not a chat completion" if status == wire.NO_COMPLETION else f"HTTP {status}"
            error = f"{kind}: {problem.response.text}"
        except (APIConnectionError, ClientError, httpx2.HTTPError) as problem:
            error = f"connection failed: {problem.__cause__ or problem}"
        except UnicodeEncodeError as problem:
            raise NoAnswer(f"the request is no valid text: {problem}") from None
        # Raised out here, where it does not carry the server's words, which may hold the key.
        error = f"{self._hide(error)[:300]} (after {time.monotonic() - began:.0f} s)"
        raise self._failure(status, error, began, str(request.get("model")), call)

    def _failure(self, status: int, error: str, began: float, model: str, call: Call) -> Exception:
        """Refused where all other requests would fail too, else the item's own error."""
        remedy = wire.REMEDY.get(status)
        if status == 429 and "insufficient_quota" in error:
            remedy = "the account has no quota left"
        if call.answered_at <= began:
            call.failures += 1
        if call.failures >= FAILURES and status in wire.BAD_REQUEST:
            if not call.answered_at and not self._cache.has_answers(self.server, model):
                remedy = "the server takes no such request; check the options"
        elif call.failures >= FAILURES:
            call.down = error
        if remedy:
            return Refused(f"{self.server} refused model {model!r}: {remedy}. It said: {error}")
        return NoAnswer(error)

    def _store(self, key: str, attempt: int, request: dict, answer: Answer) -> None:
        tokens = answer.prompt_tokens, answer.completion_tokens
        # Where the server reports no tokens the estimate counts, or no cap would hold.
        usd = wire.usd(self._price, tokens if any(tokens) else wire.tokens_of(request))
        self._cache.store(key, attempt, self.server, answer, usd)
        self._spent += usd or 0.0
        self._totals = self._totals.plus(Totals(1, *tokens, usd))

    @contextmanager
    def _reservation(self, request: dict):
        """Holds back the price of a request in flight, so that the cap holds while many are."""
        usd = wire.usd(self._price, wire.tokens_of(request)) or 0.0
        if self._max_usd is not None:
            if time.monotonic() - self._spent_read_at > 1:  # what other processes have spent
                self._spent, self._spent_read_at = self._cache.totals().usd or 0.0, time.monotonic()
            if self._spent + self._reserved + usd > self._max_usd:
                cap = f"{self._max_usd:g} USD for {paths.show(self._cache.path)}"
                raise NoAnswer(f"not asked: the spend cap of {cap} is reached")
        self._reserved += usd
        try:
            yield
        finally:
            self._reserved -= usd

    def _hide(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._key, "***") if len(self._key) > 4 else text


def progress_bar(progress: str, items: Iterable):
    """A bar called `progress` (empty: none), as plain text on standard output: unlike a widget it
    is still right in an executed notebook that is read later."""
    from tqdm import tqdm

    total = len(items) if hasattr(items, "__len__") else None
    return tqdm(total=total, desc=progress, disable=not progress, file=sys.stdout)
