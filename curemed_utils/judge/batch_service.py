"""OpenAI's Batch API: the input files of `batch.write` submitted, the answers collected into the cache.

What was done stands in `<folder>/batches.json` and on the service, so both can be killed at any moment and run again.
Interface: platform.openai.com/docs/api-reference/batch.
"""

import os
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd

from curemed_utils.judge import batch, client
from curemed_utils.judge.cache import Cache

ENDED = ("completed", "failed", "expired", "cancelled")


def submit(folder: str | Path, base_url: str | None = None) -> pd.DataFrame:
    """Uploads the folder's files and starts a batch of each that has none; the table of `collect`.

    The service is asked first which files and batches of this folder it has, so what a killed process had begun is gone on with. The
    key is OPENAI_API_KEY. Raises Refused with the service's words, ConnectionError where it can't be reached: run it again.
    """
    folder = Path(folder)
    with batch.locked(folder) as state, _service(state, base_url) as service:
        todo = [name for name, entry in state["files"].items() if not entry.get("batch") and not entry["done"]]
        begun = {job.metadata.get("curemed"): job for job in service.batches.list(limit=100) if job.metadata} if todo else {}
        there = {file.filename: file.id for file in service.files.list(purpose="batch")} if todo else {}
        for name in todo:
            tag, entry = f"{state['id']}-{name}", state["files"][name]
            job = begun.get(tag)
            if job is None:
                if tag not in there:
                    with (folder / name).open("rb") as file:
                        there[tag] = service.files.create(file=(tag, file), purpose="batch").id
                asked = dict(endpoint=batch.ENDPOINT, completion_window="24h", metadata={"curemed": tag})
                job = service.batches.create(input_file_id=there[tag], **asked)
            entry |= {"batch": job.id, "status": job.status}
            batch.save(folder, state)
    return _table(state)


def collect(folder: str | Path, cache: str | Path, base_url: str | None = None) -> pd.DataFrame:
    """Asks once how the batches stand and reads those that ended: file, model, requests, batch, status, outcome.

    Of a batch that failed, expired or was cancelled, the answers it has are stored and the rest is written again by the next
    `write`. A download with broken lines is taken again by the next `collect`. Raises as `submit` does.
    """
    folder = Path(folder)
    with batch.locked(folder) as state, closing(Cache(cache)) as stored, _service(state, base_url) as service:
        for name, entry in state["files"].items():
            if not entry.get("batch") or entry["done"]:
                continue
            job, outcomes = service.batches.retrieve(entry["batch"]), {}
            entry["status"] = job.status
            for kind, file_id in (("output", job.output_file_id), ("error", job.error_file_id)):
                if job.status in ENDED and file_id:
                    path = folder / f"{Path(name).stem}.{kind}.jsonl"
                    with service.files.with_streaming_response.content(file_id) as content:
                        content.stream_to_file(path)
                    for outcome, lines in batch.take(path, stored, folder, state).items():
                        outcomes[outcome] = outcomes.get(outcome, 0) + len(lines)
            said = [f"{n:,} {outcome}" for outcome, n in outcomes.items()]
            said += [f"line {e.line}: {e.message}" if e.line else str(e.message) for e in (job.errors and job.errors.data) or []]
            entry |= {"outcome": "; ".join(said)[:1000], "done": job.status in ENDED and "broken line" not in outcomes}
            batch.save(folder, state)
    return _table(state)


def _table(state: dict) -> pd.DataFrame:
    columns = ["model", "requests", "batch", "status", "outcome"]
    lines = [(name, *(entry.get(column, "") for column in columns)) for name, entry in state["files"].items()]
    return pd.DataFrame(lines, columns=["file", *columns]).replace({"status": {"": "not submitted"}})


@contextmanager
def _service(state: dict, base_url: str | None):
    import httpx2
    import openai

    key, url = os.environ.get("OPENAI_API_KEY", "").strip(), base_url or os.environ.get("OPENAI_BASE_URL")
    if not key and not url:
        raise ValueError("no service to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL for one without keys")
    server = client.address(url or client.OPENAI)
    if other := {entry["server"] for entry in state["files"].values() if not entry["done"]} - {server}:
        raise ValueError(f"these files were written for {', '.join(sorted(other))}, not for {server}: give that base_url")
    try:
        # no retries: an upload or a batch whose answer was lost would be made twice
        with openai.OpenAI(api_key=key or "none", base_url=url or client.OPENAI, max_retries=0) as service:
            yield service
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        problem = ConnectionError(f"{server} can't be reached ({type(error).__name__}): run this again, it goes on where it was")
    except openai.APIError as error:
        said = str(error.message).replace(key, "***") if len(key) > 4 else str(error.message)
        problem = client.Refused(f"{server} refused: {said[:300]}")
    else:
        return
    raise problem from None  # whose words may hold the key
