"""The judge against one call at a time, and its promises under faults, kills and load.

`python benchmarks/judge.py` prints a line for each measurement, with its target. One run, against
the tests' own server on this machine, which answers after 200 ms.
"""

import asyncio
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from curemed_utils import paths, prompts
from curemed_utils.judge import Judge
from curemed_utils.judge.cache import Cache

sys.path.insert(0, str(paths.ROOT / "tests"))
import asking
import server

DELAY = 0.2
N_ITEMS = 1431
N_SERIAL = 40
N_ROLLOUTS = 128
# Seconds around a kill in which an answer may be on its way to the file, or to a dead process.
WIRE = 0.1
FAULTS = {"429": 0.2, "500": 0.1, "hang": 0.05, "drop": 0.05, "garbage": 0.03}


def items(n: int, kind: str = "item") -> list[dict]:
    """Made-up items of a realistic length, all different."""
    steps = "".join(
        f"<step{k}>{'Les signes et les examens sont passés en revue. ' * 2}</step{k}>"
        for k in range(1, 6)
    )
    response = f"<thinking>{steps}</thinking><answer>Le paludisme</answer>"
    base = {"reference": "<answer>Cette maladie est le paludisme.</answer>", "language": "French"}
    texts = (
        dict(
            question=f"Quelle maladie explique la fièvre de ce patient ({kind} {k}) ?",
            response=f"{response} {kind} {k}",
        )
        for k in range(n)
    )
    return [base | text for text in texts]


def seconds(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def serial_call(running) -> float:
    """Seconds a call of the plain openai client, one call at a time."""
    import openai

    with openai.OpenAI(base_url=running.url, api_key="none") as client:

        def one_at_a_time(some):
            for item in some:
                client.chat.completions.create(
                    model="m",
                    temperature=0.0,
                    max_tokens=10,
                    messages=prompts.judge_messages("logic", item),
                )

        one_at_a_time(items(1, "first"))  # opens the connection
        return seconds(lambda: one_at_a_time(items(N_SERIAL, "serial"))) / N_SERIAL


def speed(running, folder: Path) -> dict:
    running.reset(delay=DELAY)
    serial = serial_call(running)
    figures = {"serial s a call": serial}
    asked = items(N_ITEMS)
    for width in (32, 128):
        with Judge(
            "m", running.url, cache=folder / f"{width}.sqlite", max_concurrency=width
        ) as judge:
            took = seconds(lambda judge=judge: judge.score("logic", asked))
        figures |= {
            f"s at {width} in flight": took,
            f"ratio at {width} in flight": serial * N_ITEMS / took,
        }
    accuracy, both = (
        grpo_step(running, folder, ["reward_accuracy"]),
        grpo_step(running, folder, ["reward_accuracy", "reward_language"]),
    )
    figures["ratio of a GRPO step"] = 2 * serial * N_ROLLOUTS / accuracy
    figures["ratio with both rewards judged"] = 2 * serial * N_ROLLOUTS / both
    return figures | warm(asked, folder / "128.sqlite")


def grpo_step(running, folder: Path, tasks: list[str]) -> float:
    """Seconds for the rewards of one step's rollouts, in a run that has judged a step before."""
    running.reset(delay=DELAY, reply="0.5")
    with Judge(
        "m", running.url, cache=folder / f"grpo{len(tasks)}.sqlite", max_concurrency=N_ROLLOUTS
    ) as judge:

        async def step(name):
            await asyncio.gather(
                *[judge.score_async(task, items(N_ROLLOUTS, name)) for task in tasks]
            )

        asyncio.run(step("rollout of the step before"))
        return seconds(lambda: asyncio.run(step("rollout")))


def warm(asked: list[dict], cache: Path) -> dict:
    """Verdicts a second from the cache, which alone answers here."""
    with environment_without_server(), Judge("m", cache=cache) as judge:
        verdicts = []
        took = seconds(lambda: verdicts.extend(judge.score("logic", asked * 7)))
    assert all(verdict.cached and verdict.value is not None for verdict in verdicts)
    return {"verdicts/s from the cache": len(verdicts) / took}


@contextlib.contextmanager
def environment_without_server():
    kept = {
        name: os.environ.pop(name)
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")
        if name in os.environ
    }
    try:
        yield
    finally:
        os.environ.update(kept)


def memory(running, folder: Path) -> dict:
    """Growth of a process's peak memory from 1,000 to 10,000 items."""
    running.reset()
    peaks = asking.context.SimpleQueue()
    process = asking.context.Process(
        target=_peaks, args=(str(folder / "memory.sqlite"), running.url, peaks)
    )
    process.start()
    small, large = peaks.get(), peaks.get()
    process.join()
    return {"peak MB after 1,000 items": small, "more MB after 10,000 items": large - small}


def _peaks(cache, url, peaks) -> None:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    with Judge("m", url, cache=cache, max_concurrency=128) as judge:
        for n, kind in ((1000, "small"), (10_000, "large")):
            messages = (prompts.judge_messages("logic", item) for item in items(1, kind) * n)
            requests = (
                {"model": "m", "seed": k, "messages": message} for k, message in enumerate(messages)
            )
            assert all(reply.value for reply in judge.client.ask(requests))
            peaks.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def faults(running, folder: Path) -> dict:
    """2,000 items against a server that fails in five ways."""
    running.reset(faults=FAULTS, headers={"Retry-After": "1"}, delay=0.05)
    verdicts = []
    with Judge(
        "m", running.url, cache=folder / "faults.sqlite", max_concurrency=128, timeout=2.0
    ) as judge:
        took = seconds(lambda: verdicts.extend(judge.score("logic", items(2000))))
    named = sum(verdict.value is None and bool(verdict.error) for verdict in verdicts)
    good = sum(verdict.value is True for verdict in verdicts)
    stats = running.stats()
    return {
        "faults: s": took,
        "faults: verdicts": good,
        "faults: named errors": named,
        "faults: lost": 2000 - good - named,
        "faults: twice": stats["twice"],
        "faults: requests": stats["seen"],
    }


def kills(running, folder: Path, n: int = 800) -> dict:
    """Ten times kill -9 at a random moment of a run, then the run to its end."""
    running.reset(delay=[0.2, 0.8])
    cache = folder / "kills.sqlite"
    dice, kills = random.Random(0), []
    for _ in range(10):
        process = asking.start(cache, running.url, n, max_concurrency=32)
        process.join(dice.uniform(1.0, 2.2))
        kills.append(time.time())
        process.kill()
        process.join()
    stored = Cache(cache).totals().requests
    counts = asking.context.SimpleQueue()
    asking.start(cache, running.url, n, max_concurrency=128, counts=counts).join()
    answers, cached = counts.get()
    again = running.stats()["again"]
    on_their_way = sum(any(abs(kill - finished) < WIRE for kill in kills) for finished in again)
    return {
        "kills: stored at the last": stored,
        "kills: stored and asked again": stored - cached,
        "kills: finished and seen again": len(again) - on_their_way,
        "kills: on their way at the kill": on_their_way,
        "kills: lost": n - answers,
    }


def ranks(running, folder: Path, n: int = 400) -> dict:
    """Ten processes that ask the same questions through one new cache."""
    running.reset(delay=0.05)
    counts, together = asking.context.SimpleQueue(), asking.context.Barrier(10)
    cache = folder / "ranks.sqlite"
    processes = [
        asking.start(cache, running.url, n, max_concurrency=16, counts=counts, together=together)
        for _ in range(10)
    ]
    for process in processes:
        process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    answers = [counts.get()[0] for _ in range(10 - failed)]
    return {
        "ten processes: failed": failed,
        "ten processes: verdicts lost": 10 * n - sum(answers),
        "ten processes: rows missing": n - Cache(cache).totals().requests,
        "ten processes: requests an item": running.stats()["seen"] / n,
    }


TARGETS = {
    "ratio at 32 in flight": "at least 28",
    "ratio at 128 in flight": "at least 70",
    "ratio of a GRPO step": "at least 80",
    "verdicts/s from the cache": "at least 10000",
    "more MB after 10,000 items": "flat",
    "faults: lost": "0",
    "faults: twice": "0",
    "kills: stored and asked again": "0",
    "kills: finished and seen again": "0",
    "kills: lost": "0",
    "ten processes: failed": "0",
    "ten processes: verdicts lost": "0",
    "ten processes: rows missing": "0",
    "ten processes: requests an item": "1",
}


def run() -> dict:
    figures = {}
    with tempfile.TemporaryDirectory() as folder, server.running() as running:
        for part in (speed, memory, faults, kills, ranks):
            figures |= part(running, Path(folder))
    return figures


def measure() -> dict:
    """All of the above in one run."""
    print(
        f"serial: {N_SERIAL} calls of the plain openai client, extrapolated per call "
        f"to {N_ITEMS} items and two calls a rollout"
    )
    figures = run()
    for name, value in figures.items():
        shown = f"{value:.4g}" if isinstance(value, float) and value < 1e4 else f"{value:.0f}"
        print(
            f"{name:32s} {shown:>8s}" + (f"   target: {TARGETS[name]}" if name in TARGETS else "")
        )
    return figures


if __name__ == "__main__":
    measure()
