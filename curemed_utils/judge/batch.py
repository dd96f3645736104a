"""OpenAI's Batch API, at half the price within a day: what the cache lacks goes out as files, the answers come back into it.

`write`, then `batch_service.submit` and `collect`, or by hand and `read`; after that `llm.Client.ask` finds every answer in the cache.
What failed or expired is written again by the next `write` with the same requests. `<folder>/batches.json` keeps what was done.
Interface: platform.openai.com/docs/guides/batch.
"""

import base64
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from curemed_utils import paths
from curemed_utils.data import DataError
from curemed_utils.judge import client
from curemed_utils.judge.cache import Cache

LINES, BYTES = 50_000, 200_000_000  # of one input file, at most
PRICE_FACTOR = 0.5
ENDPOINT = "/v1/chat/completions"
_KEY = 43  # characters of a cache key in base64: custom ids of more than 64 are not safe everywhere


@lru_cache  # asked for every line
def price_of(model: str) -> tuple[float, float] | None:
    """`llm.price_of` at the batch price, for a quote: `Client(cache, price=batch.price_of(model)).quote(requests)`."""
    price = client.price_of(model)
    return price and (price[0] * PRICE_FACTOR, price[1] * PRICE_FACTOR)


def write(
    requests: Iterable[dict], cache: str | Path, folder: str | Path, base_url: str | None = None, parse: Callable[[str], Any] = str
) -> list[Path]:
    """Input files, one model each, of the requests that `Client.ask(requests, parse)` would have to send; empty if none.

    Left out: what the cache answers, what waits in an earlier file of the folder, and repetitions. `base_url` defaults to
    OPENAI_BASE_URL. Requests are streamed; about 130 bytes each stay in memory. Raises DataError for a request that can't be sent.
    """
    server, folder, files = client.address(base_url or os.environ.get("OPENAI_BASE_URL") or client.OPENAI), Path(folder), {}
    with locked(folder) as state, closing(Cache(cache)) as stored, ExitStack() as stack:
        seen = {c.rsplit("-", 1)[0] for name, e in state["files"].items() if e["server"] == server for c in _waiting(folder / name, e)}
        current: dict[str, str] = {}  # by model
        for chunk in client._chunks(requests):
            known = stored.find([key for key, _ in chunk], server)
            for key, request in chunk:
                if client._from_cache(key, known, parse) is not None:
                    continue
                attempt = next(n for n in range(client.ATTEMPTS) if (key, n) not in known)
                place = f"{base64.urlsafe_b64encode(bytes.fromhex(key))[:_KEY].decode()}-{attempt}"
                if place in seen:
                    continue
                seen.add(place)
                model = request["model"]
                name = current.get(model)
                line = _line(place, name, request) if name else b""
                if not name or files[name]["requests"] == LINES or files[name]["bytes"] + len(line) > BYTES:
                    name = current[model] = f"batch-{len(state['files']) + len(files) + 1:04}.jsonl"
                    file = stack.enter_context((folder / f"{name}.part").open("wb"))
                    files[name] = {"model": model, "server": server, "requests": 0, "bytes": 0, "failed": {}, "done": False, "file": file}
                    line = _line(place, name, request)
                files[name]["file"].write(line)
                files[name]["requests"] += 1
                files[name]["bytes"] += len(line)
        for name, entry in files.items():
            entry.pop("file").close()
            (folder / f"{name}.part").replace(folder / name)
        state["files"] |= files
        save(folder, state)
    return [folder / name for name in files]


def _line(place: str, name: str, request: dict) -> bytes:
    record = {"custom_id": f"{place}-{int(Path(name).stem[6:])}", "method": "POST", "url": ENDPOINT, "body": request}
    try:
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise DataError(f"a request is no valid text ({error}): {str(request)[:200]!a}") from None
    if len(line) > BYTES:
        raise DataError(f"a request has {len(line):,} bytes, more than a batch file may hold: {str(request)[:200]}")
    return line


def _ids(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield line.split('"', 4)[3]


def _waiting(path: Path, entry: dict) -> Iterable[str]:
    """Custom ids of a file that may still be answered."""
    return () if entry["done"] else (custom_id for custom_id in _ids(path) if custom_id not in entry["failed"])


@contextmanager
def locked(folder: Path):
    """The folder's `batches.json`, for one process at a time; `save` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "batches.json"
    with FileLock(f"{path}.lock"):
        yield json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"id": uuid.uuid4().hex[:12], "files": {}}


def save(folder: Path, state: dict) -> None:
    """Writes `batches.json`, whole or not at all."""
    part = folder / "batches.json.part"
    part.write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(folder / "batches.json")


# Answers ------------------------------------------------------------------------------------------------------------


def read(files: list[str | Path], cache: str | Path, folder: str | Path) -> pd.DataFrame:
    """Puts output and error files, in any order, into the cache: file, outcome, n, lines (numbers from 1).

    Outcomes: 'stored', 'already stored', 'failed: <reason>' (to be written again), 'unknown custom_id' (not of this `folder`) and
    'broken line'. Answers carry the tokens reported and half the price of `prices.yaml`; no price where none was reported.
    """
    folder, tables = Path(folder), []
    with locked(folder) as state, closing(Cache(cache)) as stored:
        for path in map(Path, files):
            outcomes = take(path, stored, folder, state)
            tables += [(paths.show(path), outcome, len(lines), lines) for outcome, lines in outcomes.items()]
        save(folder, state)
    return pd.DataFrame(tables, columns=["file", "outcome", "n", "lines"])


def take(path: Path, stored: Cache, folder: Path, state: dict) -> dict[str, list[int]]:
    """Line numbers by outcome of one file, once its answers are in the cache and its failures in `state`."""
    outcomes, ids = defaultdict(list), {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    outcomes[_taken(line, stored, folder, state, ids)].append(number)
    except OSError as error:
        raise DataError(f"{paths.show(path)}: can't be read ({error.strerror})") from None
    return outcomes


def _taken(line: bytes, stored: Cache, folder: Path, state: dict, ids: dict[str, set]) -> str:
    """What one line was, after storing what it brought; `ids` keeps the custom ids of input files from line to line."""
    try:
        record = json.loads(line)
        custom_id, response, error = record["custom_id"], record.get("response") or {}, record.get("error") or {}
        key, (attempt, number) = custom_id[:_KEY], map(int, custom_id[_KEY + 1 :].split("-"))
        name = f"batch-{number:04}.jsonl"
    except (LookupError, TypeError, AttributeError, RecursionError):
        return "broken line"
    except ValueError as problem:
        return "broken line" if isinstance(problem, json.JSONDecodeError | UnicodeDecodeError) else "unknown custom_id"
    if name not in ids:
        ids[name] = set(_ids(folder / name)) if name in state["files"] else set()
    if custom_id not in ids[name]:
        return "unknown custom_id"
    entry, key = state["files"][name], base64.urlsafe_b64decode(key + "=").hex()
    if (key, attempt) in stored.find([key], entry["server"]):
        return "already stored"
    try:
        if error or response.get("status_code") != 200:
            said = error or (response.get("body") or {}).get("error") or {}
            raise LookupError(said.get("code") or said.get("type") or said.get("message") or "no answer")
        answer = client._read(json.dumps(response["body"]).encode())
    except (LookupError, TypeError, AttributeError, client._Garbage) as problem:
        status = f"HTTP {response['status_code']} " if isinstance(response, dict) and response.get("status_code") else ""
        reason = str(problem.args[0]) if isinstance(problem, LookupError) else "not a chat completion"
        entry["failed"][custom_id] = f"failed: {status}{reason[:80]}"
        return entry["failed"][custom_id]
    entry["failed"].pop(custom_id, None)
    price, tokens = price_of(entry["model"]), answer[3:]
    usd = sum(n * each for n, each in zip(tokens, price, strict=True)) / 1e6 if price and any(tokens) else None
    texts = (part.encode(errors="replace").decode() for part in (answer.served, answer.text, answer.finish_reason))
    stored.store(key, attempt, entry["server"], *texts, *tokens, usd)
    return "stored"
