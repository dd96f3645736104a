"""The file of answers that were paid for: one SQLite table, written the moment an answer arrives."""

import hashlib
import json
import os
import sqlite3
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from curemed_utils import paths


class Totals(NamedTuple):
    """`usd` is None without prices. Tokens are those the server reported."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


class About(NamedTuple):
    """How an answer ended, in the server's word, and the tokens it reported (0 where it didn't)."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def key_of(request: dict) -> str:
    """A digest of everything in a request that shapes its answer; the server's address is kept beside it."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


class Cache:
    """The file of answers. Many processes of one machine may share it; a network drive is not safe for that."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self.read_only = self.path.exists() and not os.access(self.path, os.W_OK)
        if self.read_only:
            self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            try:
                self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.DatabaseError as error:
                raise ValueError(f"cache {paths.show(self.path)} is no SQLite file ({error}): name another one") from None
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (request TEXT, attempt INTEGER, server TEXT, served TEXT, text TEXT,"
                " finish_reason TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, usd REAL, created TEXT,"
                " PRIMARY KEY (request, attempt, server)) WITHOUT ROWID"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS claims (request TEXT, attempt INTEGER, server TEXT, owner TEXT, until REAL,"
                " PRIMARY KEY (request, attempt, server)) WITHOUT ROWID"
            )
        self._owner = f"{os.getpid()}:{uuid.uuid4().hex}"

    def find(self, keys: list[str], server: str | None) -> dict[tuple[str, int], str]:
        """Stored texts of `keys` as {(key, attempt): text}; `server` None takes any server's."""
        marks = ",".join("?" * len(keys))
        where, values = ("", keys) if server is None else (" AND server = ?", [*keys, server])
        found = self._db.execute(
            f"SELECT request, attempt, text FROM replies WHERE request IN ({marks}){where} ORDER BY server DESC", values
        )
        return {(key, attempt): text for key, attempt, text in found}

    def about(self, keys: list[str], server: str | None) -> dict[str, About]:
        """What is stored besides the text of each key's first answer; `server` as in `find`."""
        marks = ",".join("?" * len(keys))
        where, values = ("", keys) if server is None else (" AND server = ?", [*keys, server])
        columns = "request, finish_reason, prompt_tokens, completion_tokens"
        found = self._db.execute(
            f"SELECT {columns} FROM replies WHERE attempt = 0 AND request IN ({marks}){where} ORDER BY server DESC", values
        )
        return {key: About(*rest) for key, *rest in found}

    def store(self, *row) -> None:
        """One line of the table, `created` left to the clock; a line already there stays."""
        self._db.execute("INSERT OR IGNORE INTO replies VALUES (?,?,?,?,?,?,?,?,?,strftime('%Y-%m-%dT%H:%M:%SZ','now'))", row)

    def claim(self, key: str, attempt: int, server: str, seconds: float) -> bool:
        """Whether the caller may send this request: no other process is at it, or the one that was is gone or overdue."""
        now, place = time.time(), (key, attempt, server)
        taken = self._db.execute(
            "INSERT INTO claims VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET owner = excluded.owner, until = excluded.until"
            " WHERE owner = excluded.owner OR until < ?",
            (*place, self._owner, now + seconds, now),
        )
        if taken.rowcount:
            return True
        other = self._db.execute("SELECT owner FROM claims WHERE request = ? AND attempt = ? AND server = ?", place).fetchone()
        if other is None or not _is_alive(int(other[0].split(":")[0])):
            self._db.execute(
                "DELETE FROM claims WHERE request = ? AND attempt = ? AND server = ? AND owner = ?", (*place, *(other or [""]))
            )
            return self.claim(key, attempt, server, seconds)
        return False

    def release(self, key: str, attempt: int, server: str) -> None:
        """Ends a claim of the caller's, whether or not there is an answer now."""
        self._db.execute(
            "DELETE FROM claims WHERE request = ? AND attempt = ? AND server = ? AND owner = ?", (key, attempt, server, self._owner)
        )

    def totals(self) -> Totals:
        """What the file's answers have cost in all, over runs and processes."""
        query = "SELECT COUNT(*), COALESCE(SUM(prompt_tokens),0), COALESCE(SUM(completion_tokens),0), SUM(usd) FROM replies"
        return Totals(*self._db.execute(query).fetchone())

    def close(self) -> None:
        self._db.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
