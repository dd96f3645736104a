"""Starts a training stage in a process of its own, so that the notebook's kernel never touches the GPU."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

from curemed_utils import paths, training

SHOWN = ("loss", "reward", "rewards/accuracy/mean", "rewards/language/mean", "rewards/format/mean")


def stage(kind: str, run_dir: Path, name: str, **config) -> Path:
    """Trains stage `name` ('sft' or 'grpo' by `kind`) of a run and returns its checkpoint.

    Settings are checked here, before a process starts. A finished stage with the same settings, data and start is left as
    it is; an interrupted one goes on. Output goes to `<run_dir>/logs/<name>.log`; a failure raises RuntimeError with
    its last lines; an interrupt stops the process.
    """
    settings = training.settings(kind, {"output": str(run_dir / "checkpoints" / name), **config})
    if training.is_done(settings):
        print(f"{name}: done before with the same settings, data and start; nothing to do")
        return Path(settings.output)
    logs = run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    config_file = logs / f"{name}.json"
    config_file.write_text(json.dumps(asdict(settings), indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "curemed_utils.training", kind, str(config_file)]
    print("$ python", *command[1:4], paths.show(config_file))
    started = time.monotonic()
    _follow(command, logs / f"{name}.log", name)
    print(f"{name}: {time.monotonic() - started:.0f} s, checkpoint {paths.show(settings.output)}")
    return Path(settings.output)


def _follow(command: list[str], log: Path, name: str) -> None:
    """Runs `command`, copies its output to `log` and keeps one progress line up to date."""
    show, last = _status_line(), deque(maxlen=20)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        with log.open("a", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                last.append(line)
                if text := _progress(line):
                    show(f"{name}: {text}")
        code = process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    if code:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise RuntimeError(f"{name} {how}; the end of {paths.show(log)}:\n{''.join(last)}")


def _progress(line: str) -> str:
    """One log record of the training process in a few words; empty for any other line."""
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(record, dict) or "step" not in record:
        return ""
    numbers = [f"{key.removeprefix('rewards/').removesuffix('/mean')} {record[key]:.3f}" for key in SHOWN if key in record]
    return f"step {record['step']}/{record['of']}  {'  '.join(numbers)}"


def _status_line():
    """A function that replaces one line of output: a display in a notebook, nothing elsewhere."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        return lambda text: None
    handle = display({"text/plain": "starting …"}, raw=True, display_id=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)
