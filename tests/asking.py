"""Processes that ask numbered questions through one cache, for tests and benchmarks to kill."""

import multiprocessing
import threading

from tqdm import tqdm

from curemed_utils.judge import client as llm

# Imports take longer than what is tried here; a server of forks makes them once.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "openai",
        "aiohttp",
        "httpx2",
        "tqdm.auto",
        "curemed_utils.judge.client",
        "curemed_utils.curation.pipeline",
        "curemed_utils.curation.medlineplus",
    ]
)


def requests(n: int, **fields) -> list[dict]:
    return [
        {"model": "m", "messages": [{"role": "user", "content": f"question {k}"}], **fields}
        for k in range(n)
    ]


def ask(cache, url, n, max_concurrency, counts, together) -> None:
    if together is not None:
        together.wait()
    tqdm.set_lock(
        threading.RLock()
    )  # its own lock is a semaphore of the system, which kill -9 would leave behind
    with llm.Client(cache, url, max_concurrency=max_concurrency) as client:
        replies = client.ask(requests(n))
    if counts is not None:
        counts.put(
            (
                sum(reply.value is not None for reply in replies),
                sum(reply.cached for reply in replies),
            )
        )


def start(cache, url, n, max_concurrency=8, counts=None, together=None):
    """A process that asks. It puts (answers, how many of them were stored before) into the queue
    `counts`. The barrier `together` holds it back until all are there."""
    process = context.Process(
        target=ask, args=(str(cache), url, n, max_concurrency, counts, together)
    )
    process.start()
    return process
