"""The file of answers that were paid for: one SQLite table, a row for each answer."""

import asyncio
import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from curemed_utils import paths
from curemed_utils.judge.wire import Answer, key_of

CHUNK = 256  # requests looked up together
SQL = paths.beside(__file__, ".yaml")


class Totals(NamedTuple):
    """`usd` is None without prices; tokens are those that the server reported."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    def plus(self, other: "Totals") -> "Totals":
        usd = None if None in (self.usd, other.usd) else self.usd + other.usd
        return Totals(*map(sum, zip(self[:3], other[:3], strict=True)), usd)


class Cache:
    """The file of answers. Many processes of one machine may share it; a network drive is not safe.

    What is stored outlives a kill, in the file alone, and a loss of power; docs/judge.md says more.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        places = (self.path, self.path.parent) if self.path.exists() else ()
        self.read_only = not all(os.access(place, os.W_OK) for place in places)
        try:
            self._db = self._open_read_only() if self.read_only else self._open()
        except sqlite3.DatabaseError as error:
            shown = paths.show(self.path)
            raise ValueError(f"cache {shown} is no SQLite file of answers: {error}") from None
        if self.read_only:
            return
        self._claims = open(f"{self.path}.lock", "ab")  # noqa: SIM115
        self._claimed = set()

    def _open(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=TRUNCATE")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(SQL["create"])
        return db

    def _open_read_only(self):
        address = f"{self.path.resolve().as_uri()}?immutable=1"
        db = sqlite3.connect(address, uri=True, check_same_thread=False)
        db.execute("SELECT 1 FROM replies LIMIT 1")
        return db

    def find(self, keys: list[str], server: str | None) -> dict[str, list[Answer]]:
        """Stored answers by key, in the order of attempts; `server` None: of any server."""
        query = SQL["find"].format(marks=",".join("?" * len(keys)))
        answers = defaultdict(list)
        for key, *fields, _server in self._db.execute(query, [*keys, server]):
            answers[key].append(Answer(*fields))
        return answers

    def look_up(
        self, requests: Iterable[dict], server: str | None
    ) -> Iterator[tuple[str, dict, list[Answer]]]:
        """(key, request, stored answers) for each request."""
        requests = iter(requests)
        while chunk := list(islice(requests, CHUNK)):
            keys = [key_of(request) for request in chunk]
            answers = self.find(keys, server)
            for key, request in zip(keys, chunk, strict=True):
                yield key, request, answers[key]

    def store(self, rows: list[tuple[str, int, str, Answer, float | None]]) -> None:
        """Adds answers: (key, attempt, server, answer, usd). One that is there already stays."""
        rows = [(*row[:3], row[3].served, *row[3][:4], row[4]) for row in rows]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(SQL["insert"], rows)

    def claim(self, key: str, attempt: int) -> bool:
        """Whether nobody else is sending this request. A claim is the lock of one byte, and ends
        with its process."""
        place = int(key[:15], 16) + attempt
        if place in self._claimed:
            return False
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        self._claimed.add(place)
        return True

    def release(self, key: str, attempt: int) -> None:
        place = int(key[:15], 16) + attempt
        fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, place)
        self._claimed.remove(place)

    def totals(self) -> Totals:
        """What the file's answers have cost in all."""
        n, *tokens, usd = self._db.execute(SQL["totals"]).fetchone()
        return Totals(n, *map(int, tokens), usd)

    def close(self) -> None:
        self._db.close()
        if not self.read_only:
            self._claims.close()


class Writer:
    """Stores in another thread, so that an event loop goes on meanwhile."""

    def __init__(self, cache: Cache):
        self._cache = cache
        self._commit = asyncio.Lock()
        self._waiting = []

    async def read(self, work: Callable, *arguments):
        """Done at once, but never while answers are being stored."""
        async with self._commit:
            return work(*arguments)

    async def store(self, row: tuple) -> None:
        """Answers that arrive while others are being stored are stored together by the next."""
        self._waiting.append(row)
        async with self._commit:
            if row in self._waiting:  # else the commit before took it along
                rows = list(self._waiting)
                await asyncio.to_thread(self._cache.store, rows)
                del self._waiting[: len(rows)]

    async def spent(self) -> float:
        """USD of all answers in the file, or on their way to it."""
        async with self._commit:
            waiting = sum(row[-1] or 0.0 for row in self._waiting)
            return waiting + (self._cache.totals().usd or 0.0)

    def close(self) -> None:
        if self._waiting:
            self._cache.store(self._waiting)
