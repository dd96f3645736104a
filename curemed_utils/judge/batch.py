"""OpenAI's Batch API: half the price, within a day (platform.openai.com/docs/guides/batch).

`submit` sends the requests that have no stored answer, `collect` stores the answers that came, and
`Client.ask` finds them. Both can be killed and run again.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from curemed_utils.data import DataError
from curemed_utils.judge import models, wire
from curemed_utils.judge.cache import Cache
from curemed_utils.judge.client import Refused

LINES, BYTES = 50_000, 200_000_000  # of one file, at most
ENDPOINT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
COLUMNS = ["file", "model", "requests", "batch", "status", "outcome"]


def batch_price(model: str) -> tuple[float, float] | None:
    """Half the price of `models.yaml`, also for a quote."""
    price = models.price_of(model)
    return price and (price[0] / 2, price[1] / 2)


def submit(
    requests: Iterable[dict],
    cache: str | Path,
    folder: str | Path,
    base_url: str | None = None,
    parse: Callable[[str], Any] = str,
) -> pd.DataFrame:
    """Starts batches of what `Client.ask(requests, parse)` would send and no batch is at.

    `base_url` defaults to OPENAI_BASE_URL, the key is OPENAI_API_KEY. Returns COLUMNS for each
    batch. Raises DataError for a request that is no text, Refused, ConnectionError.
    """
    with _service(folder, base_url) as (service, server, files):
        with closing(Cache(cache)) as stored:
            _write(stored.look_up(requests, server), parse, server, Path(folder), files)
        # A process that was killed may have begun batches that are not in `files`.
        begun = {(job.metadata or {}).get("curemed"): job for job in service.batches.list()}
        for name, entry in files.items():
            if entry["batch"]:
                continue
            job = begun.get(name) or _begin(service, Path(folder) / name)
            entry |= {"batch": job.id, "status": job.status}
            _save(files, folder)
    return pd.DataFrame(files.values(), columns=COLUMNS)


def collect(folder: str | Path, cache: str | Path, base_url: str | None = None) -> pd.DataFrame:
    """Stores the answers of the batches that ended. Returns and raises as `submit`."""
    with _service(folder, base_url) as (service, _, files), closing(Cache(cache)) as stored:
        for name, entry in files.items():
            if entry["done"] or not entry["batch"]:
                continue
            job = service.batches.retrieve(entry["batch"])
            entry["status"] = job.status
            if job.status in ENDED:
                price, keys = batch_price(entry["model"]), _keys(Path(folder) / name)
                outcomes, rows = Counter(), []
                for file_id in filter(None, (job.output_file_id, job.error_file_id)):
                    for line in service.files.content(file_id).content.splitlines():
                        outcomes[_outcome(line, keys, rows, entry["server"], price)] += 1
                stored.store(rows)
                words = [f"{n} {outcome}" for outcome, n in outcomes.items()]
                words += [str(error.message) for error in job.errors.data] if job.errors else []
                entry["outcome"] = "; ".join(words)[:1000]
                entry["done"] = "broken line" not in outcomes  # else it is read again
            _save(files, folder)
    return pd.DataFrame(files.values(), columns=COLUMNS)


def _begin(service, path: Path):
    uploaded = service.files.create(file=path, purpose="batch")
    return service.batches.create(
        input_file_id=uploaded.id,
        endpoint=ENDPOINT,
        completion_window="24h",
        metadata={"curemed": path.name},
    )


def _write(looked_up, parse: Callable, server: str, folder: Path, files: dict) -> None:
    """Files of one model each, of what has no readable answer and is not under way."""
    at_work = [folder / name for name, entry in files.items() if not entry["done"]]
    waiting = set().union(*map(_keys, at_work))
    lines, size, model = [], 0, None

    def finish() -> None:
        content = b"".join(lines)
        digest = hashlib.sha256(content).hexdigest()
        name = f"batch-{len(files) + 1:04}-{digest[:16]}.jsonl"
        (folder / name).write_bytes(content)
        entry = {"file": name, "model": model, "requests": len(lines), "server": server}
        entry |= {"batch": "", "status": "not submitted", "outcome": "", "done": False}
        files[name] = entry
        _save(files, folder)

    for key, request, answers in looked_up:
        custom_id = f"{key[:60]}-{len(answers)}"  # the service takes 64 characters
        if custom_id in waiting or wire.reply_from(answers, parse):
            continue
        waiting.add(custom_id)
        record = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": request}
        try:
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError as error:
            raise DataError(f"a request is no valid text ({error}): {request!a:.200}") from None
        full = len(lines) == LINES or size + len(line) > BYTES
        if lines and (full or request["model"] != model):
            finish()
            lines, size = [], 0
        lines.append(line)
        size += len(line)
        model = request["model"]
    if lines:
        finish()


def _outcome(line: bytes, keys: dict, rows: list, server: str, price: tuple | None) -> str:
    """What a line of a batch's answers is. An answer is added to `rows`."""
    try:
        record = json.loads(line)
        custom_id, response, error = record["custom_id"], record["response"], record["error"]
        failed = error or response["status_code"] != 200
    except (ValueError, LookupError, TypeError):
        return "broken line"
    if custom_id not in keys:
        return "unknown custom_id"
    if failed:
        error = error or response["body"]["error"]
        return f"failed: {error.get('code') or error.get('message')}"[:100]
    try:
        answer = wire.read_answer(response["body"])
    except ValueError:
        return "failed: not a chat completion"
    usd = wire.usd(price, (answer.prompt_tokens, answer.completion_tokens))
    attempt = int(custom_id.rpartition("-")[2])
    rows.append((keys[custom_id], attempt, server, answer, usd))
    return "stored"


def _keys(path: Path) -> dict[str, str]:
    """The key of each request in a file, by custom id."""
    records = map(json.loads, path.read_bytes().splitlines())
    return {record["custom_id"]: wire.key_of(record["body"]) for record in records}


def _save(files: dict, folder: str | Path) -> None:
    part = Path(folder) / "batches.json.part"
    part.write_text(json.dumps(files, indent=1), encoding="utf-8")
    part.replace(part.with_suffix(""))


@contextmanager
def _service(folder: str | Path, base_url: str | None):
    """The service, its address and the files of `folder`, for one process at a time."""
    import openai

    key = os.environ.get("OPENAI_API_KEY", "").strip()
    url = wire.url_of(base_url)
    server, path = wire.address(url), Path(folder) / "batches.json"
    if not key and server == wire.OPENAI:
        raise ValueError("no service to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        files = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        others = {entry["server"] for entry in files.values()} - {server}
        if others:
            raise ValueError(f"{path} is of {others.pop()}, not of {server}: give that base_url")
        try:
            # No retries: a batch whose answer was lost would be started twice.
            with openai.OpenAI(api_key=key or "none", base_url=url, max_retries=0) as service:
                yield service, server, files
                return
        except openai.APIConnectionError as error:
            problem = ConnectionError(f"{server} can't be reached ({error}): run this again")
        except openai.APIError as error:
            message = error.message.replace(key, "***") if key else error.message
            problem = Refused(f"{server} refused: {message[:300]}")
    raise problem from None  # out here, where its context does not hold the key
