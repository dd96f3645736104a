"""A GRPO step of the demo beside a program that keeps one core busy, and on a quiet machine.

Two trainings take turns, step by step, while the other one is stopped: one as the package starts
it, one with the waiting of libgomp's own default, under which threads spin for milliseconds. The
busy program is a process that loops on the first core. All figures are medians of ROUNDS steps.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from curemed_utils import data, paths
from curemed_utils.data import yaml12
from curemed_utils.training import checkpoints, launch, stages

ROUNDS = 6
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")  # a user's, left out
DEFAULT = {"GOMP_SPINCOUNT": "300000"}  # libgomp's, where neither of them is set
LOOP = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


def measure() -> dict:
    """Seconds a step of each way, and what a busy core and our way of waiting cost."""
    seconds = {"quiet": [], "busy": [], "libgomp's default": []}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ours = stack.enter_context(training(Path(folder) / "ours", {}))
        default = stack.enter_context(training(Path(folder) / "default", DEFAULT))
        for training_process in (ours, default):
            step(training_process)  # what only a first step does
        for _ in range(ROUNDS):
            seconds["quiet"].append(step(ours))
            seconds["libgomp's default"].append(step(default))
            with busy_core():
                seconds["busy"].append(step(ours))
    medians = {way: round(statistics.median(times), 2) for way, times in seconds.items()}
    quiet = medians["quiet"]
    ratios = {
        "busy to quiet": round(medians["busy"] / quiet, 2),
        "quiet to libgomp's default": round(quiet / medians["libgomp's default"], 2),
    }
    print(f"seconds a step: {medians}; {ratios}")
    return {"rounds": ROUNDS, "seconds_per_step": medians, **ratios}


@contextlib.contextmanager
def training(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A GRPO stage with the demo's settings, in a process of its own that `step` lets go on."""
    rows = data.read_folder(paths.SAMPLE, "sample")
    parameters = yaml12.read_yaml(paths.PROFILES / "demo.yaml")
    places = {
        "start": str(checkpoints.prepare_base("tiny", folder, rows)),
        "train_file": str(data.write_jsonl(rows, folder / "rows.jsonl")),
        "output": str(folder / "out"),
    }
    chosen = stages.from_parameters("grpo", parameters) | places | {"steps": 2 * ROUNDS + 2}
    stage = stages.settings("grpo", chosen)
    file = folder / "stage.json"
    file.write_text(stage.model_dump_json(), encoding="utf-8")
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    process = subprocess.Popen(
        launch.command("grpo", file, 1, 1, "none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=plain | {"PYTHONUNBUFFERED": "1"} | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def step(process: subprocess.Popen) -> float:
    """Seconds until the next line of the log; the process is stopped before and after."""
    process.send_signal(signal.SIGCONT)
    started = time.perf_counter()
    for line in process.stdout:
        if launch.log_record(line):
            seconds = time.perf_counter() - started
            process.send_signal(signal.SIGSTOP)
            return seconds
    raise RuntimeError(f"training ended with {process.wait()}")


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A process that keeps the first core busy."""
    process = subprocess.Popen([sys.executable, "-c", LOOP])
    time.sleep(0.5)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
