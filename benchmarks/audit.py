"""The audit with all its checks over the rows once, twice and four times: seconds, peak memory, and
what doubling costs.

A copy's question is pieced together from eighths of eight questions of its language, the first of
them the row's own, so that it is a question that was not there before, of the same language and
length; equal questions get equal copies, so that copies have as many exact duplicates as the rows.
Each size runs in a process of its own, which loads the models as well.
"""

import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from curemed_utils import audit, data
from curemed_utils.data import splits

SIZES = (1, 2, 4)
PIECES = 8


def measure() -> dict:
    """Seconds on the clock and of one core, and peak MB, by size, of the release or else the
    sample.

    The ratios of one size to the one before are those of the core's seconds, which other load on
    the machine leaves alone.
    """
    results = {"rows": "released" if os.environ.get("CUREMED_RELEASE") else "sample"}
    for size in SIZES:
        command = [sys.executable, __file__, str(size)]
        results[f"{size}x"] = run = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        )
        print(
            f"{run['n_rows']:7,} rows: {run['seconds']:5.1f} s, {run['core_seconds']:5.1f} s of "
            f"a core, peak {run['peak_mb']:,} MB",
            flush=True,
        )
    for smaller, larger in itertools.pairwise(SIZES):
        ratio = results[f"{larger}x"]["core_seconds"] / results[f"{smaller}x"]["core_seconds"]
        results[f"{larger}x to {smaller}x"] = round(ratio, 2)
        print(f"{larger}x to {smaller}x: {ratio:.2f}")
    return results


def audited(size: int) -> dict:
    """One run in this process."""
    parts = splits.load_splits("release" if os.environ.get("CUREMED_RELEASE") else "sample")
    others = defaultdict(list)
    for row in itertools.chain(*parts.values()):
        others[row.language].append(row.question)
    parts = {
        name: rows + [copied(row, k, others[row.language]) for k in range(1, size) for row in rows]
        for name, rows in parts.items()
    }
    started, core_started = time.perf_counter(), time.process_time()
    found = audit.audit_splits(parts)
    seconds, core_seconds = time.perf_counter() - started, time.process_time() - core_started
    assert found.counts["malformed_steps"] % size == 0, "the copies' traces are those of the rows"
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    return {
        "n_rows": sum(map(len, parts.values())),
        "seconds": round(seconds, 1),
        "core_seconds": round(core_seconds, 1),
        "peak_mb": peak,
    }


def copied(row: data.Row, number: int, others: list[str]) -> data.Row:
    text = data.normalize(row.question)
    sources = [text, *random.Random(f"{number}:{text}").choices(others, k=PIECES - 1)]
    pieces = [
        source[k * len(source) // PIECES : (k + 1) * len(source) // PIECES]
        for k, source in enumerate(sources)
    ]
    return row.model_copy(update={"id": f"{row.id}-{number}", "question": "".join(pieces)})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(audited(int(sys.argv[1]))))
    else:
        measure()
