"""Starts a stage outside the notebook's process: one process, several, or Slurm's machines."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

from curemed_utils import extras, paths
from curemed_utils.data.scrubbing import scrub
from curemed_utils.training import checkpoints, devices, memory, stages

STRATEGIES = ("none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2")
LAUNCHER = "CUREMED_LAUNCHER"  # host:pid of the process that started training
TAGGED = re.compile(r"\[rank (\d+)\]:(.*)", re.DOTALL)  # see `_environment`
ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (\d+)", re.DOTALL)  # torchrun's report


def stage(
    kind: str,
    run_dir: Path,
    name: str,
    *,
    start: str | Path,
    parameters: dict | None = None,
    watch: Callable[[dict], None] | None = None,
    ignore_estimate: bool = False,
    **config,
) -> Path:
    """Trains stage `name` ('sft' or 'grpo' by `kind`) of a run and returns its checkpoint.

    `start` is a checkpoint of the run by its name, or a path. The settings of `stages`,
    `processes` on each node and `strategy`, a file of `papermill_params/accelerate` or none, come
    from a notebook's `parameters` and from `config`, which counts more. `watch` gets each step's
    log record; `ignore_estimate` lets a disk pass that seems full.

    What is finished stays, what was interrupted goes on. Raises Paused, and RuntimeError with the
    last lines of the process that failed.
    """
    extras.need("train")
    parameters = parameters or {}
    processes = config.pop("processes", parameters.get("processes", 1))
    strategy = config.pop("strategy", parameters.get("strategy", "none"))
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1)) if strategy != "none" else 1
    places = {
        "world_size": check_machines(processes, nodes, strategy),
        "start": checkpoints.find(run_dir, start),
        "train_file": paths.rows_file(run_dir, name),
        "output": paths.checkpoint(run_dir, name),
    }
    chosen = stages.from_parameters(kind, parameters) | places | config
    settings = stages.settings(kind, chosen)
    stages.check_files(settings)
    if stages.is_done(settings):
        print(f"{name}: done before with the same settings, data and start; nothing to do")
        return settings.output
    check_gpus(processes, strategy)
    _say_room(settings, processes, nodes, strategy, ignore_estimate)
    log = paths.log(run_dir, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.with_suffix(".json")
    file.write_text(scrub(settings.model_dump_json(indent=1)), encoding="utf-8")
    line = command(kind, file, processes, nodes, strategy)
    shown = shlex.join(line).replace(sys.executable, "python")
    print(f"$ {shown.replace(f'{paths.ROOT}/', '')}")
    started = time.monotonic()
    _follow(line, log, settings.output, _environment(strategy), watch)
    made, seconds = checkpoints.info(settings.output), time.monotonic() - started
    print(f"{name}: {made['steps']} steps in {seconds:.0f} s, {paths.show(settings.output)}")
    return settings.output


def _say_room(settings, processes, nodes, strategy, ignore_estimate):
    machine = memory.machine(settings.output)
    table = memory.estimate(settings, processes, nodes, strategy, machine)
    for row in table.dropna(subset=["available"]).itertuples():
        room = f"{row.item}: {row.needed:.1f} GiB needed, {row.available:.1f} available"
        print(f"estimate of {room}")
        if row.needed <= row.available:
            continue
        if row.item == memory.DISK and not ignore_estimate:
            raise memory.DoesNotFit(f"{room}; free some, or pass ignore_estimate=True")
        warnings.warn(f"{room}; by an estimate that tends high, so try it", stacklevel=3)


def check_machines(processes: int, nodes: int, strategy: str) -> int:
    """How many processes there will be; ValueError where they don't fit the strategy."""
    fault = ""
    if processes < 1:
        fault = f"processes is {processes}: ask for 1 or more"
    elif strategy not in STRATEGIES:
        fault = f"strategy is {strategy!r}, which is none of {', '.join(STRATEGIES)}"
    elif strategy == "none" and processes > 1:
        fault = f"strategy 'none' means one process, but processes is {processes}: choose another"
    if fault:
        raise ValueError(fault)
    if "zero" in strategy:
        extras.need("deepspeed")
    return processes * nodes


def check_gpus(processes: int, strategy: str) -> None:
    """Prints what torch sees; ValueError where it isn't enough, RuntimeError as `devices.gpus`."""
    gpus = [f"{name}, {gib:.1f} GiB" for name, gib in devices.gpus()]
    print(f"torch sees {'; '.join(gpus) or 'no GPU: the CPU trains'}")
    if gpus and processes > len(gpus):
        raise ValueError(f"processes is {processes}, but torch sees {len(gpus)} GPU(s)")
    if not gpus and strategy not in ("none", "ddp"):
        raise ValueError(f"strategy {strategy!r} needs GPUs, and torch sees none: choose 'ddp'")


def command(kind: str, config: Path, processes: int, nodes: int, strategy: str) -> list[str]:
    """The command line that starts all processes."""
    module = ["-m", "curemed_utils.training", kind, str(config)]
    if strategy == "none":
        return [sys.executable, *module]
    options = ["--config_file", str(paths.PROFILES / "accelerate" / f"{strategy}.yaml")]
    options += ["--num_processes", str(processes * nodes), "--num_machines", str(nodes)]
    accelerate = ["-m", "accelerate.commands.launch", "--tee", "3"]
    if nodes == 1:
        return [sys.executable, *accelerate, *options, "--main_process_port", "0", *module]
    port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 20000
    options += ["--main_process_ip", socket.gethostname(), "--main_process_port", str(port)]
    srun = ["srun", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    node = '--machine_rank "$SLURM_NODEID"'  # known on the node only
    shell = ["bash", "-c", f'exec "$0" {" ".join(accelerate)} {node} "$@"', sys.executable]
    return [*srun, "--kill-on-bad-exit=1", *shell, *options, *module]


def _environment(strategy):
    environment = os.environ | {
        "PYTHONUNBUFFERED": "1",
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[rank ${rank}]:",
        LAUNCHER: f"{socket.gethostname()}:{os.getpid()}",
    }
    if not devices.gpus():
        environment |= devices.NO_GPU
    elif strategy == "none":  # of several the trainer would split batches over all
        environment |= devices.first()
    return environment


def _follow(line, log, output, environment, watch=None):
    checkpoints.pause_mark(output).unlink(missing_ok=True)
    last = defaultdict(lambda: deque(maxlen=200))  # lines by rank; "" for those without one
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    try:
        with log.open("a", encoding="utf-8", buffering=1) as file:
            for text in map(scrub, process.stdout):
                file.write(text)
                tag = TAGGED.match(text)
                rank, text = tag.groups() if tag else ("", text)
                last[rank].append(text)
                record = log_record(text)
                if record and watch:
                    watch(record)
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code:
        _raise(code, output, log, last)


def log_record(text: str) -> dict | None:
    """The log record of one training step, or its alarms; None for any other line."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    named = isinstance(record, dict) and "step" in record
    return record if named and {"loss", "reward", "alarms"} & set(record) else None


def _end(process):
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            pass


def _raise(code, output, log, last):
    if checkpoints.pause_mark(output).exists():
        again = "run the same cell or command again to go on"
        raise stages.Paused(f"{output.name} saved a checkpoint and paused; {again}")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    rank = ""
    cause = ROOT_CAUSE.search("".join(last[""]))  # the first torchrun's
    if cause and cause[1] in last:
        rank = cause[1]
        how += f" in process {rank}"
    end = "".join(list(last[rank])[-20:])
    raise RuntimeError(f"{output.name} {how}; the end of {paths.show(log)}:\n{end}")
