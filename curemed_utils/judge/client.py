"""A client of any OpenAI-compatible server that pays for every answer once.

The same request, asked again, is answered from the file, without a server too.
"""

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2

from curemed_utils import paths
from curemed_utils.data.scrubbing import hide
from curemed_utils.judge import models, wire
from curemed_utils.judge.cache import CHUNK, Cache, Totals, Writer
from curemed_utils.judge.tally import Call, NoAnswer, Refused, Tallies, progress_bar
from curemed_utils.judge.wire import Answer, Reply

POLL = 0.05  # seconds between two looks at a request of somebody else


class Client(AbstractContextManager):
    """Asks an OpenAI-compatible server, within the `limits` of `models.Limits`.

    `base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY. With neither, or with
    `offline`, only `cache` answers. `price` is in USD per million prompt and completion tokens.
    `max_usd` caps the cost of all answers in the file. `tallies` say which models `served`.
    """

    def __init__(
        self,
        cache: str | Path,
        base_url: str | None = None,
        api_key: str | None = None,
        price: tuple[float, float] | None = None,
        max_usd: float | None = None,
        offline: bool = False,
        **limits,
    ):
        limits = models.Limits(**limits)
        if max_usd is not None and price is None:
            ways = "price=(USD, USD) per million tokens, or add the model to"
            raise ValueError(f"max_usd needs a price: give {ways} {paths.show(models.MODELS)}")
        key = (api_key or os.environ.get("OPENAI_API_KEY", "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key holds characters that no key has: copy it again")
        url = wire.url_of(base_url)
        self.server = self._openai = None
        if (key or url != wire.OPENAI) and not offline:
            self.server = wire.address(url)
            width = limits.max_concurrency
            self._openai = wire.connect(url, key or "none", width, limits.timeout)
        self._hide, self._price, self._max_usd = partial(hide, key=key), price, max_usd
        self._cache = Cache(cache)
        self._totals = Totals(0, 0, 0, price and 0.0)
        self._spent = self._reserved = 0.0
        self._spent_read_at = float("-inf")
        self._wire = asyncio.Semaphore(limits.max_concurrency)
        self._width = limits.max_concurrency + CHUNK  # with those that wait for wire or disk
        self._writer = Writer(self._cache)
        self.tallies = Tallies(self.server, limits.served)
        self.asks_cut_again = self._openai and not self._cache.read_only
        self._asked_again = set()  # keys of what was cut off
        self._pace = wire.Pace(limits.requests_per_minute, limits.tokens_per_minute)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def ask(
        self, requests: Iterable[dict], parse: Callable[[str], Any] = str, progress: str = ""
    ) -> list[Reply]:
        """A reply to each request (the fields of a chat completion), in order.

        `parse` makes a value of an answer's text, or raises ValueError: then the model is asked
        again, up to `wire.ATTEMPTS` answers; what was cut off, once a client. `progress` names a
        bar. Raises Refused if the server takes no such requests.
        """
        future = self._submit(self._ask(requests, parse, progress))
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    async def ask_async(
        self, requests: Iterable[dict], parse: Callable[[str], Any] = str
    ) -> list[Reply]:
        """`ask` for an event loop of your own."""
        return await asyncio.wrap_future(self._submit(self._ask(requests, parse, "")))

    def quote(self, requests: Iterable[dict], parse: Callable[[str], Any] = str) -> Totals:
        """What `ask` would still pay for, with the longest answers. Nobody is asked."""
        total = Totals(0, 0, 0, self._price and 0.0)
        for key, request, answers in self._cache.look_up(requests, self.server):
            if not self._stored(key, answers, parse):
                tokens = wire.tokens_of(request)
                total = total.plus(Totals(1, *tokens, wire.usd(self._price, tokens)))
        return total

    def totals(self) -> Totals:
        """What this client has asked the server for."""
        return self._totals

    def close(self) -> None:
        """Ends what is being asked, and stores what has arrived."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._submit(self._cancel_all()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._writer.close()
            self._cache.close()

    def __exit__(self, *_) -> None:
        self.close()

    def _submit(self, coroutine):
        if not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError("this client was closed, or made before a fork: make another one")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    # From here on in the client's thread

    async def _cancel_all(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._openai:
            await self._openai.close()
        await self._loop.shutdown_default_executor()

    async def _ask(self, requests, parse, progress):
        call = Call(parse, None if self._cache.read_only else self.server)
        room = asyncio.Semaphore(self._width)
        looked_up = self._cache.look_up(requests, self.server)
        replies = []

        def settle(place, task):
            room.release()
            bar.update()
            if not (task.cancelled() or task.exception()):
                replies[place] = task.result()

        try:
            with progress_bar(progress, requests) as bar:
                async with asyncio.TaskGroup() as group:
                    while chunk := await self._writer.read(list, islice(looked_up, CHUNK)):
                        for key, request, answers in chunk:
                            replies.append(reply := self._stored(key, answers, parse))
                            if reply:
                                tally = self.tallies[str(request.get("model"))]
                                tally.answer(reply.answer.served)
                                await tally.check(call)
                                bar.update()
                                continue
                            await room.acquire()
                            task = group.create_task(self._reply(key, request, answers, call))
                            task.add_done_callback(partial(settle, len(replies) - 1))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            call.down = "the call has ended"
        return replies

    def _stored(self, key, answers, parse):
        """What stored answers say. None: ask, for the server may have been mended since."""
        reply = wire.reply_from(answers, parse)
        may_ask = self.asks_cut_again and key not in self._asked_again
        return None if reply and reply.error and reply.answer.is_cut and may_ask else reply

    async def _reply(self, key, request, answers, call):
        reply = None
        while reply is None:
            answer = asyncio.create_task(self._answer(key, len(answers), request, call))
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            try:
                # Whoever stops waiting ends no request: its answer is paid for.
                answers = [*answers, await asyncio.shield(answer)]
            except NoAnswer as problem:
                return problem.args[0]
            if answers[-1].is_cut:
                self._asked_again.add(key)
            reply = wire.reply_from(answers, call.parse)
        return reply._replace(cached=False)

    async def _answer(self, key, attempt, request, call):
        """Answer number `attempt` to a request, of whoever was first, once it is stored."""
        if self._cache.read_only or not self._openai:
            why = "no server to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL without a key"
            if self._cache.read_only:
                why = "that file is read-only"
            raise NoAnswer(Reply(error=f"not in {paths.show(self._cache.path)}, and {why}"))
        while not self._cache.claim(key, attempt):
            await asyncio.sleep(POLL)
        try:
            stored = await self._writer.read(self._cache.find, [key], self.server)
            if len(stored[key]) > attempt:
                return stored[key][attempt]
            tally = self.tallies[str(request.get("model"))]
            async with self._wire:
                await self._pace.wait(request)
                while tally.takes_nothing() and tally.flying:
                    await asyncio.sleep(POLL)  # one of these may be answered
                if call.down:
                    raise NoAnswer(Reply(error=f"not asked, {call.down}"))
                await tally.check(call)
                if tally.takes_nothing():
                    tally.faulty = 0  # the next call tries again
                    remedy = "the server takes no such request; check the options"
                    raise Refused(call.stop(tally, remedy, tally.error))
                async with self._reservation(request):
                    tally.flying += 1
                    try:
                        answer = await self._send(request, call, tally)
                        tally.answer(answer.served)
                    finally:
                        tally.flying -= 1
            await self._store(key, attempt, request, answer)
            await tally.check(call)
            return answer
        finally:
            self._cache.release(key, attempt)

    async def _send(self, request, call, tally):
        """One request over the wire. openai repeats it where a fault may pass. Raises Refused
        where all other requests would fail too."""
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
            raise NoAnswer(Reply(error=f"the request is no valid text: {problem}")) from None
        # Raised out here, where it does not carry the server's words, which may hold the key.
        remedy, about_text = wire.remedy(status, error), wire.about_text(status, error)
        error = f"{self._hide(error)[:300]} (after {time.monotonic() - began:.0f} s)"
        if remedy:
            raise Refused(call.stop(tally, remedy, error))
        if 400 <= status < 500 and status not in wire.BUSY:
            tally.refuse(error, about_text)
        elif call.answered_at <= began:
            call.fail(error)
        refusal = Answer(error, about_text, 0, 0, "") if about_text == "content_filter" else None
        raise NoAnswer(Reply(error=error, answer=refusal))

    async def _store(self, key, attempt, request, answer):
        tokens = answer.prompt_tokens, answer.completion_tokens
        # Where the server reports no tokens, the estimate counts for the cap.
        usd = wire.usd(self._price, tokens if any(tokens) else wire.tokens_of(request))
        self._spent += usd or 0.0
        self._totals = self._totals.plus(Totals(1, *tokens, usd))
        await self._writer.store((key, attempt, self.server, answer, usd))

    @asynccontextmanager
    async def _reservation(self, request):
        """Holds back the price of a request in flight, for the cap."""
        usd = wire.usd(self._price, wire.tokens_of(request)) or 0.0
        if self._max_usd is not None:
            if time.monotonic() - self._spent_read_at > 1:
                self._spent_read_at = time.monotonic()
                self._spent = await self._writer.spent()
            if self._spent + self._reserved + usd > self._max_usd:
                cap = f"{self._max_usd:g} USD for {paths.show(self._cache.path)}"
                raise NoAnswer(Reply(error=f"not asked: the spend cap of {cap} is reached"))
        self._reserved += usd
        try:
            yield
        finally:
            self._reserved -= usd
