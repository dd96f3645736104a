"""Starts a training stage outside the notebook's process: one process, several on this machine, or several machines under Slurm.

The kernel itself never touches a GPU, so nothing that it holds can get in training's way.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict, deque
from dataclasses import asdict
from pathlib import Path

from curemed_utils import paths
from curemed_utils.paper import curves
from curemed_utils.training import checkpoints, memory, stages
from curemed_utils.training import process as training
from curemed_utils.training.callbacks import LAUNCHER

STRATEGIES = ("none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2")
SHOWN = ("loss", "reward", "rewards/accuracy/mean", "rewards/language/mean", "rewards/format/mean")
REDRAW = 2.0  # seconds between two pictures of the progress
TAGGED = re.compile(r"^\[([a-z]\w*?\.?)(\d+)\]: ?(.*)", re.DOTALL)  # a line of one of several processes, as torchrun marks them
ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (\d+) \(local_rank: (\d+)\)", re.DOTALL)


def stage(kind: str, run_dir: Path, name: str, processes: int = 1, strategy: str = "none", **config) -> Path:
    """Trains stage `name` ('sft' or 'grpo' by `kind`) of a run and returns its checkpoint.

    `processes` counts GPUs (on a CPU: processes) on each node of the Slurm job, or on this machine; `strategy` is one of
    `papermill_params/accelerate`, or none for one process. Settings and room are checked here, before a process starts. A finished
    stage with the same settings, data and start is left as it is; an interrupted one goes on. Output goes to
    `<run_dir>/logs/<name>.log`; a failure raises RuntimeError with the failing process's last lines; an interrupt stops all
    processes; a pause raises training.Paused.
    """
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1)) if strategy != "none" else 1
    world_size = check_machines(processes, nodes, strategy)
    settings = stages.settings(kind, {"output": str(run_dir / "checkpoints" / name), "world_size": world_size, **config})
    if stages.is_done(settings):
        print(f"{name}: done before with the same settings, data and start; nothing to do")
        return Path(settings.output)
    _say_room(kind, settings, processes, nodes, strategy)
    logs = run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    config_file = logs / f"{name}.json"
    config_file.write_text(json.dumps(asdict(settings), indent=1), encoding="utf-8")
    line = command(kind, config_file, processes, nodes, strategy)
    print(f"$ {' '.join(map(_short, line))}\n{world_size} process(es) = {nodes} node(s) x {processes}")
    started = time.monotonic()
    _follow(line, logs / f"{name}.log", name, _environment(strategy))
    made = checkpoints.info(settings.output)
    print(f"{name}: {made['steps']} steps in {time.monotonic() - started:.0f} s, checkpoint {paths.show(settings.output)}")
    print(f"{made['rows']} rows used, {made['rows_over_length']} left out as too long")
    return Path(settings.output)


def _say_room(kind: str, settings: stages.Stage, processes: int, nodes: int, strategy: str) -> None:
    """Prints what the stage needs of this machine; preflight.DoesNotFit where there is less."""
    room = memory.check(kind, settings, processes, nodes, strategy).dropna(subset=["there"])
    print("room, in GiB:", *(f"{item} {needed:.1f} of {there:.1f};" for item, needed, there in room.itertuples(index=False)))
    if seconds := memory.step_seconds(kind, settings, processes, nodes):
        print(f"a step may take about {seconds:.0f} s")


def check_machines(processes: int, nodes: int, strategy: str) -> int:
    """How many processes a stage will have in all; ValueError where the machines can't give them."""
    if processes < 1:
        raise ValueError(f"processes is {processes}: ask for 1 or more")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}, which is none of {', '.join(STRATEGIES)}")
    if strategy == "none" and processes > 1:
        raise ValueError(f"strategy is 'none', which means one process, but processes is {processes}: choose another")
    there = memory.gpus()
    if there and processes > len(there):
        raise ValueError(f"processes is {processes}, but this machine has {len(there)} GPU(s)")
    if not there and strategy not in ("none", "ddp"):
        raise ValueError(f"strategy {strategy!r} shards over GPUs, and this machine has none: choose 'none' or 'ddp'")
    return processes * nodes


def command(kind: str, config_file: Path, processes: int, nodes: int, strategy: str) -> list[str]:
    """The command line that starts all processes of a stage."""
    module = ["-m", "curemed_utils.training", kind, str(config_file)]
    if strategy == "none":
        return [sys.executable, *module]
    accelerate = ["-m", "accelerate.commands.launch", "--config_file", str(paths.PROFILES / "accelerate" / f"{strategy}.yaml")]
    accelerate += ["--num_processes", str(processes * nodes), "--num_machines", str(nodes)]
    if processes * nodes > 1:
        accelerate += ["--tee", "3"]
    if nodes == 1:
        return [sys.executable, *accelerate, "--main_process_port", "0", *module]
    port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 20000
    accelerate += ["--main_process_ip", socket.gethostname(), "--main_process_port", str(port)]
    srun = ["srun", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    ranked = f'exec "$0" {" ".join(accelerate[:2])} --machine_rank "$SLURM_NODEID" --role "node$SLURM_NODEID." "$@"'
    return [*srun, "bash", "-c", ranked, sys.executable, *accelerate[2:], *module]


def _short(part: str) -> str:
    if part == sys.executable:
        return "python"
    shown = paths.show(part) if part.startswith("/") else part
    return f"'{shown}'" if " " in shown else shown


def _environment(strategy: str) -> dict[str, str]:
    environment = os.environ | {"PYTHONUNBUFFERED": "1", LAUNCHER: f"{socket.gethostname()}:{os.getpid()}"}
    if not memory.gpus():
        return environment | {"ACCELERATE_USE_CPU": "true"}
    if strategy == "none":  # with more GPUs in sight, the trainer would split every batch over them in one process
        return environment | {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    return environment


def _follow(line: list[str], log: Path, name: str, environment: dict[str, str]) -> None:
    """Runs a command, copies its output to `log` and keeps one picture of its progress up to date."""
    live, last = _Live(name), defaultdict(lambda: deque(maxlen=200))
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, start_new_session=True
    )
    try:
        with log.open("a", encoding="utf-8") as file:
            for text in process.stdout:
                file.write(text)
                file.flush()
                who, text = _whose(text)
                last[who].append(text)
                live.show(text)
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        live.draw()
    if code:
        _raise(code, name, log, last)


def _whose(text: str) -> tuple[str, str]:
    """The process that printed a line, '' where there is only one, and the line without its mark."""
    found = TAGGED.match(text)
    return (f"{found[1]}{found[2]}", found[3]) if found else ("", text)


def _end(process: subprocess.Popen) -> None:
    """Ends the whole process group: first kindly, so that ranks are not left waiting for each other, then for certain."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _raise(code: int, name: str, log: Path, last: dict[str, deque]) -> None:
    if any("paused after step" in text for lines in last.values() for text in lines):
        raise training.Paused(f"{name} saved a checkpoint and paused; run the same cell or command again to go on")
    failed = _failed(last)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    where = f" in process {failed}" if failed else ""
    raise RuntimeError(f"{name} {how}{where}; the end of {paths.show(log)}:\n{''.join(list(last[failed])[-20:])}")


def _failed(last: dict[str, deque]) -> str:
    """The process that torchrun, or the first of several torchruns, says failed first; '' where only one was started."""
    told, names = ROOT_CAUSE.search("".join(last[""])), [who for who in last if who]
    if told and names:
        rank, local = int(told[1]), int(told[2])
        node = (rank - local) // (1 + max(int(re.search(r"\d+$", who)[0]) for who in names))
        names = [who for who in names if who in (f"node{node}.{local}", f"default{local}")] or names
    return max(names, default="")


class _Live:
    """One output cell that follows a run: a bar, the newest numbers and a curve; silent outside a notebook."""

    def __init__(self, name: str):
        from IPython import get_ipython
        from IPython.display import display

        self.name, self.records, self.drawn = name, [], 0.0
        self.handle = display({"text/plain": f"{name}: starting …"}, raw=True, display_id=True) if get_ipython() else None

    def show(self, text: str) -> None:
        if record := log_record(text):
            self.records.append(record)
            if time.monotonic() - self.drawn > REDRAW:
                self.draw()

    def draw(self) -> None:
        if self.handle and self.records:
            self.drawn = time.monotonic()
            picture = curves.live(self.records, self.name)
            self.handle.update({"text/plain": words(self.records[-1], self.name), "text/html": picture}, raw=True)


def log_record(text: str) -> dict | None:
    """The log record of one training step; None for any other line."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record and ("loss" in record or "reward" in record) else None


def words(record: dict, name: str) -> str:
    """A log record in a few words."""
    numbers = [f"{key.removeprefix('rewards/').removesuffix('/mean')} {record[key]:.3f}" for key in SHOWN if key in record]
    return f"{name}: step {record['step']}/{record['of']}  {'  '.join(numbers)}"
