"""Starts a training stage outside the notebook's process.

One process, several on this machine, or several machines under Slurm. The kernel itself never
touches a GPU, so nothing that it holds can get in training's way.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

from curemed_utils import paths
from curemed_utils.training import checkpoints, memory, stages

STRATEGIES = ("none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2")
LAUNCHER = "CUREMED_LAUNCHER"  # host:pid of the process that started training
TAGGED = re.compile(r"^\[([a-z]\w*?\.?)(\d+)\]: ?(.*)", re.DOTALL)  # torchrun's mark of a process
ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (\d+) \(local_rank: (\d+)\)", re.DOTALL)


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

    `start` is a checkpoint of the run by its name, or the path of any other; rows are the run's
    of the stage's name. Settings come from a notebook's `parameters` and from `config`, which
    counts more. Two are of the machine: `processes` counts GPUs (on a CPU: processes) on each
    node of the Slurm job, or here; `strategy` is a file of `papermill_params/accelerate`, or none
    for one process. `watch` is called with each step's log record; `ignore_estimate` lets a disk
    pass that seems too small.

    Everything is checked before a process starts. What was finished with the same settings, data
    and start is left as it is; what was interrupted goes on. Raises RuntimeError with the last
    lines of the process that failed, and Paused; an interrupt stops all processes.
    """
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
    if kind == "grpo":
        places["judge_cache"] = paths.judge_cache(run_dir)
    chosen = stages.from_parameters(kind, parameters) | places | config
    settings = stages.settings(kind, chosen)
    stages.check(settings)
    if stages.is_done(settings):
        print(f"{name}: done before with the same settings, data and start; nothing to do")
        return settings.output
    _say_room(settings, processes, nodes, strategy, ignore_estimate)
    log = paths.log(run_dir, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    config_file = log.with_suffix(".json")
    config_file.write_text(settings.model_dump_json(indent=1), encoding="utf-8")
    line = command(kind, config_file, processes, nodes, strategy)
    print(f"$ {' '.join(_short(part) for part in line)}")
    print(f"{settings.world_size} process(es) = {nodes} node(s) x {processes}")
    started = time.monotonic()
    _follow(line, log, settings.output, _environment(strategy), watch)
    made, seconds = checkpoints.info(settings.output), time.monotonic() - started
    shown = paths.show(settings.output)
    print(f"{name}: {made['steps']} steps in {seconds:.0f} s, checkpoint {shown}")
    print(f"{made['rows']} rows used, {made['rows_over_length']} left out as too long")
    return settings.output


def _say_room(
    settings: stages.Stage, processes: int, nodes: int, strategy: str, ignore_estimate: bool
) -> None:
    """Prints what the stage needs of this machine, and warns where it seems to have less."""
    table = memory.estimate(settings, processes, nodes, strategy)
    limited = table.dropna(subset=["available"])
    sizes = [f"{row.item} {row.needed:.1f} of {row.available:.1f}" for row in limited.itertuples()]
    print(f"estimated room, in GiB: {'; '.join(sizes)}")
    for row in limited[limited["needed"] > limited["available"]].itertuples():
        short = f"{row.item}: {row.needed:.1f} GiB needed, {row.available:.1f} available"
        if row.item == memory.DISK and not ignore_estimate:
            raise memory.DoesNotFit(f"{short}; free some, or pass ignore_estimate=True")
        warnings.warn(f"{short}; by an estimate that tends high, so try it", stacklevel=3)


def check_machines(processes: int, nodes: int, strategy: str) -> int:
    """How many processes a stage will have; ValueError where the machines can't give them."""
    if processes < 1:
        raise ValueError(f"processes is {processes}: ask for 1 or more")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}, which is none of {', '.join(STRATEGIES)}")
    if strategy == "none" and processes > 1:
        raise ValueError(
            f"strategy is 'none', which means one process, but processes is {processes}: "
            "choose another"
        )
    n_gpus = len(memory.gpus())
    if n_gpus and processes > n_gpus:
        raise ValueError(f"processes is {processes}, but this machine has {n_gpus} GPU(s)")
    if not n_gpus and strategy not in ("none", "ddp"):
        raise ValueError(
            f"strategy {strategy!r} shards over GPUs, and this machine has none: "
            "choose 'none' or 'ddp'"
        )
    return processes * nodes


# Processes ---------------------------------------------------------------------------------------


def command(kind: str, config: Path, processes: int, nodes: int, strategy: str) -> list[str]:
    """The command line that starts all processes of a stage."""
    module = ["-m", "curemed_utils.training", kind, str(config)]
    if strategy == "none":
        return [sys.executable, *module]
    world_size = processes * nodes
    options = ["--config_file", str(paths.PROFILES / "accelerate" / f"{strategy}.yaml")]
    options += ["--num_processes", str(world_size), "--num_machines", str(nodes)]
    if world_size > 1:
        options += ["--tee", "3"]
    accelerate = ["-m", "accelerate.commands.launch"]
    if nodes == 1:
        return [sys.executable, *accelerate, *options, "--main_process_port", "0", *module]
    port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 20000
    options += ["--main_process_ip", socket.gethostname(), "--main_process_port", str(port)]
    srun = ["srun", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    node = '--machine_rank "$SLURM_NODEID" --role "node$SLURM_NODEID."'  # known on the node only
    shell = ["bash", "-c", f'exec "$0" {" ".join(accelerate)} {node} "$@"', sys.executable]
    return [*srun, "--kill-on-bad-exit=1", *shell, *options, *module]


def _short(part: str) -> str:
    if part == sys.executable:
        return "python"
    shown = paths.show(part) if part.startswith("/") else part
    return f"'{shown}'" if " " in shown else shown


def _environment(strategy: str) -> dict[str, str]:
    launcher = f"{socket.gethostname()}:{os.getpid()}"
    environment = os.environ | {"PYTHONUNBUFFERED": "1", LAUNCHER: launcher}
    if not memory.gpus():
        environment["ACCELERATE_USE_CPU"] = "true"
    elif strategy == "none":  # with more in sight, the trainer would split every batch over them
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    return environment


def _follow(line: list[str], log: Path, output: Path, environment: dict, watch=None) -> None:
    """Runs a command, copies what it prints to `log`, and shows `watch` each log record."""
    checkpoints.pause_mark(output).unlink(missing_ok=True)
    last = defaultdict(lambda: deque(maxlen=200))  # lines of each process
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
        with log.open("a", encoding="utf-8") as file:
            for text in process.stdout:
                file.write(text)
                file.flush()
                who, text = _whose(text)
                last[who].append(text)
                record = log_record(text)
                if record and watch:
                    watch(record)
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code:
        _raise(code, output, log, last)


def _whose(text: str) -> tuple[str, str]:
    """The process that printed a line, '' where there is only one, and the line unmarked."""
    tag = TAGGED.match(text)
    return (f"{tag[1]}{tag[2]}", tag[3]) if tag else ("", text)


def log_record(text: str) -> dict | None:
    """The log record of one training step; None for any other line."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or "step" not in record:
        return None
    return record if "loss" in record or "reward" in record else None


def _end(process: subprocess.Popen) -> None:
    """Ends the whole process group: kindly, so that no rank waits for another, then surely."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _raise(code: int, output: Path, log: Path, last: dict[str, deque]) -> None:
    if checkpoints.pause_mark(output).exists():  # accelerate hides the exit code of a pause
        raise stages.Paused(
            f"{output.name} saved a checkpoint and paused; "
            "run the same cell or command again to go on"
        )
    failed = _failed(last)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    where = f" in process {failed}" if failed else ""
    end = "".join(list(last[failed])[-20:])
    raise RuntimeError(f"{output.name} {how}{where}; the end of {paths.show(log)}:\n{end}")


def _failed(last: dict[str, deque]) -> str:
    """The process that torchrun says failed first; '' where only one was started.

    Of several torchruns, one a node, the first one's word counts.
    """
    told = ROOT_CAUSE.search("".join(last[""]))
    names = [who for who in last if who]
    if told and names:
        rank, local = int(told[1]), int(told[2])
        places = [int(re.search(r"\d+$", who)[0]) for who in names]  # on their nodes
        node = (rank - local) // (1 + max(places))
        first = {f"node{node}.{local}", f"default{local}"}.intersection(names)
        names = first or names
    return max(names, default="")
