"""The file of answers that were paid for: one SQLite table, a row for each answer."""

import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from curemed_utils import paths
from curemed_utils.judge.wire import Answer, key_of

CHUNK = 256  # requests looked up together
CREATE = (
    "CREATE TABLE IF NOT EXISTS replies (request TEXT, attempt INTEGER, server TEXT, served TEXT,"
    " text TEXT, finish_reason TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, usd REAL,"
    " created TEXT, PRIMARY KEY (request, attempt, server)) WITHOUT ROWID"
)
# Of answers to one request by several servers, MIN(server) takes the same one each time.
FIND = (
    "SELECT request, text, finish_reason, prompt_tokens, completion_tokens, served, MIN(server)"
    " FROM replies WHERE request IN ({marks}) AND server = COALESCE(?, server)"
    " GROUP BY request, attempt ORDER BY request, attempt"
)
NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


class Totals(NamedTuple):
    """`usd` is None without prices. Tokens are those that the server reported."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    def plus(self, other: "Totals") -> "Totals":
        usd = None if None in (self.usd, other.usd) else self.usd + other.usd
        return Totals(*(a + b for a, b in zip(self[:3], other[:3], strict=True)), usd)


class Cache:
    """The file of answers. Many processes of one machine may share it; a network drive is not safe.

    There is no write-ahead log and no wait for the disk: after a kill the file alone holds every
    stored answer. Only a loss of power can damage it; `sqlite3 FILE .recover` then saves the rows.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self.read_only = self.path.exists() and not os.access(self.path, os.W_OK)
        if self.read_only:
            uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
            self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=TRUNCATE")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute(CREATE)
        except sqlite3.DatabaseError as error:
            shown = paths.show(self.path)
            problem = f"cache {shown} is no SQLite file ({error}): name another one"
            raise ValueError(problem) from None
        self._claims = open(f"{self.path}.lock", "ab")  # noqa: SIM115
        self._claimed: set[int] = set()

    def find(self, keys: list[str], server: str | None) -> dict[str, list[Answer]]:
        """Stored answers by key, in the order of their attempts; `server` None: from any server."""
        query = FIND.format(marks=",".join("?" * len(keys)))
        answers = defaultdict(list)
        for key, *fields, _server in self._db.execute(query, [*keys, server]):
            answers[key].append(Answer(*fields))
        return answers

    def look_up(
        self, requests: Iterable[dict], server: str | None
    ) -> Iterator[tuple[str, dict, list[Answer]]]:
        """(key, request, stored answers) for each request."""
        iterator = iter(requests)
        while chunk := list(islice(iterator, CHUNK)):
            keys = [key_of(request) for request in chunk]
            answers = self.find(keys, server)
            for key, request in zip(keys, chunk, strict=True):
                yield key, request, answers.get(key, [])

    def store(
        self, key: str, attempt: int, server: str, answer: Answer, usd: float | None = None
    ) -> None:
        """Adds an answer. One that is there already stays."""
        row = (key, attempt, server, answer.served, *answer[:4], usd)
        self._db.execute(f"INSERT OR IGNORE INTO replies VALUES (?,?,?,?,?,?,?,?,?,{NOW})", row)

    def has_answers(self, server: str, model: str) -> bool:
        """Whether this server has answered as `model` before, or as a dated version of it."""
        query = "SELECT 1 FROM replies WHERE server = ? AND (served = ? OR served GLOB ?) LIMIT 1"
        row = (server, model, f"{model}-20*")
        return self._db.execute(query, row).fetchone() is not None

    def claim(self, key: str, attempt: int) -> bool:
        """Whether nobody else is sending this request, in this process or another. The claims of a
        process end with it: the system keeps them, as locks of single bytes."""
        place = int(key[:15], 16) + attempt  # the byte of the lock file that stands for it
        if place in self._claimed:
            return False
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        self._claimed.add(place)
        return True

    def release(self, key: str, attempt: int) -> None:
        """Ends a claim, whether or not there is an answer now."""
        place = int(key[:15], 16) + attempt
        fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, place)
        self._claimed.remove(place)

    def totals(self) -> Totals:
        """What the file's answers have cost in all, over runs and processes."""
        query = (
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0),"
            " COALESCE(SUM(completion_tokens), 0), SUM(usd) FROM replies"
        )
        return Totals(*self._db.execute(query).fetchone())

    def close(self) -> None:
        self._db.close()
        if not self.read_only:
            self._claims.close()
