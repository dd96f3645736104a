import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import make
import pytest

from curemed_utils import data, paths, training
from curemed_utils.training import checkpoints, devices, launch, memory


@pytest.fixture
def machine(monkeypatch):
    """A function that sets the GPUs that this machine seems to have, and the Slurm job."""

    def make(gpus: int = 0, **slurm):
        a100 = ("NVIDIA A100-SXM4-80GB", 80.0)
        monkeypatch.setattr(devices, "gpus", lambda: [a100] * gpus)
        for name in [name for name in os.environ if name.startswith("SLURM_")]:
            monkeypatch.delenv(name)
        for name, value in slurm.items():
            monkeypatch.setenv(name, value)

    return make


# Counting processes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "processes", "nodes", "strategy", "world_size"),
    [
        (0, 1, 1, "none", 1),
        (0, 2, 1, "ddp", 2),
        (8, 8, 1, "zero3", 8),
        (8, 8, 4, "zero3", 32),
        (8, 4, 2, "fsdp2", 8),
        (1, 1, 1, "zero3_offload", 1),
    ],
)
def test_the_process_count_is_nodes_times_processes(
    machine, gpus, processes, nodes, strategy, world_size
):
    machine(gpus)
    assert launch.check_machines(processes, nodes, strategy) == world_size
    launch.check_gpus(processes, strategy)


@pytest.mark.parametrize(
    ("gpus", "processes", "strategy", "message"),
    [
        (8, 0, "zero3", "processes is 0: ask for 1 or more"),
        (8, 9, "zero3", r"processes is 9, but torch sees 8 GPU\(s\)"),
        (0, 2, "none", "strategy 'none' means one process, but processes is 2"),
        (0, 2, "zero3", "strategy 'zero3' needs GPUs, and torch sees none"),
        (8, 2, "zero4", "strategy is 'zero4', which is none of none, ddp, zero2"),
    ],
)
def test_machines_that_are_not_there_are_refused_by_name(
    machine, gpus, processes, strategy, message
):
    machine(gpus)
    with pytest.raises(ValueError, match=message):
        launch.check_machines(processes, 1, strategy)
        launch.check_gpus(processes, strategy)


@pytest.mark.parametrize("strategy", launch.STRATEGIES)
def test_a_strategy_of_deepspeeds_needs_deepspeed(machine, strategy, monkeypatch):
    machine(8)
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    if strategy in ("none", "ddp", "fsdp2"):
        assert launch.check_machines(1, 1, strategy) == 1
        return
    with pytest.raises(ModuleNotFoundError, match="extra gpu is not installed"):
        launch.check_machines(1, 1, strategy)


def test_wrong_machines_are_refused_before_anything_starts(machine, tmp_path):
    machine(0)
    with pytest.raises(ValueError, match="processes is 0"):
        training.stage("sft", tmp_path, "sft", start="base", processes=0)
    assert not list(tmp_path.iterdir())


# Command lines -----------------------------------------------------------------------------------


def test_one_process_is_plain_python(tmp_path):
    assert launch.command("sft", tmp_path / "c.json", 1, 1, "none") == [
        sys.executable, "-m", "curemed_utils.training", "sft", str(tmp_path / "c.json"),
    ]  # fmt: skip


def test_several_processes_go_through_accelerate(tmp_path):
    line = launch.command("grpo", tmp_path / "c.json", 8, 1, "zero3")
    assert (
        line[line.index("--num_processes") + 1] == "8"
        and line[line.index("--num_machines") + 1] == "1"
    )
    assert line[line.index("--config_file") + 1].endswith("accelerate/zero3.yaml")
    assert line[-4:] == ["-m", "curemed_utils.training", "grpo", str(tmp_path / "c.json")]


def test_several_nodes_start_one_launcher_each_by_srun(machine, tmp_path):
    machine(8, SLURM_JOB_ID="4711", SLURM_JOB_NUM_NODES="2")
    line = launch.command("sft", tmp_path / "c.json", 8, 2, "zero3")
    assert (
        line[0] == "srun"
        and line[line.index("--ntasks") + 1] == "2"
        and line[line.index("--ntasks-per-node") + 1] == "1"
    )
    assert line[
        line.index("--num_processes") + 1
    ] == "16" and '--machine_rank "$SLURM_NODEID"' in " ".join(line)
    assert line[line.index("--main_process_port") + 1] == "24711"


@pytest.mark.parametrize("strategy", [name for name in launch.STRATEGIES if name != "none"])
def test_every_strategy_has_its_file(strategy):
    assert (paths.PROFILES / "accelerate" / f"{strategy}.yaml").exists()


# Threads that wait --------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="torch brings libgomp on Linux only")
@pytest.mark.parametrize(
    ("chosen", "spins"),
    [({}, 1000), ({"GOMP_SPINCOUNT": "70"}, 70), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0)],
)
def test_threads_that_wait_soon_sleep_unless_a_user_says_otherwise(chosen, spins):
    """What libgomp itself says when torch loads it."""
    waiting = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    plain = {name: value for name, value in os.environ.items() if name not in waiting}
    environment = plain | {"OMP_DISPLAY_ENV": "VERBOSE"} | chosen
    line = [sys.executable, "-c", "import curemed_utils, torch"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


# What is checked before anything starts, and a pause ---------------------------------------------


@pytest.fixture
def start(machine, tiny_base, tmp_path, monkeypatch):
    """A function that starts a stage whose process runs the given program instead of training."""
    machine(0)
    run = tmp_path / "run"
    rows = data.write_jsonl([make.row(n) for n in range(4)], tmp_path / "rows.jsonl")

    def stage(program="import sys; sys.exit('started')", **config):
        line = [sys.executable, "-c", textwrap.dedent(program)]
        monkeypatch.setattr(launch, "command", lambda *_: line)
        config = {"start": tiny_base, "train_file": rows, "batch_size": 2} | config
        return training.stage("sft", run, "sft", **config)

    return stage


def test_a_disk_that_is_too_small_is_refused_unless_the_estimate_is_ignored(
    start, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "machine", lambda output: memory.Machine(0, 1e6, 1e-6))
    with pytest.raises(memory.DoesNotFit, match=r"disk for checkpoints: .* ignore_estimate=True"):
        start()
    assert not (tmp_path / "run").exists()
    with (
        pytest.warns(UserWarning, match="disk for checkpoints: .* needed, 0.0 available"),
        pytest.raises(RuntimeError, match="started"),
    ):
        start(ignore_estimate=True)


def test_memory_that_seems_too_small_is_a_warning_and_no_more(start, monkeypatch):
    monkeypatch.setattr(memory, "machine", lambda output: memory.Machine(0, 1e-6, 1e6))
    with (
        pytest.warns(UserWarning, match="main memory of a node: .* needed, 0.0 available; by an"),
        pytest.raises(RuntimeError, match="started"),
    ):
        start()


def test_files_are_checked_before_a_process_starts(start, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl is missing: run notebook 01"):
        start(train_file=tmp_path / "nowhere.jsonl")
    with pytest.raises(FileNotFoundError, match="base is missing: run notebook 03"):
        start(start="base")
    with pytest.raises(ValueError, match="did you mean 'packing'"):
        start(paking=True)
    assert not (tmp_path / "run").exists()


def test_a_pause_is_known_by_its_mark_whatever_the_exit_code(start, tmp_path):
    part = checkpoints.partial(paths.checkpoint(tmp_path / "run", "sft"))
    part.mkdir(parents=True)
    (part / "paused").touch()  # of an earlier pause
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        start("print('sft paused after step 2 of 9'); raise SystemExit(1)")
    with pytest.raises(training.Paused, match="run the same cell or command again to go on"):
        start(f"open({str(part / 'paused')!r}, 'w'); raise SystemExit(1)")


# Following ---------------------------------------------------------------------------------------


def follow(tmp_path, program, watch=None):
    line, log = [sys.executable, "-c", textwrap.dedent(program)], tmp_path / "sft.log"
    launch._follow(line, log, tmp_path / "sft", dict(os.environ), watch)
    return log.read_text()


def test_output_goes_to_the_log_line_by_line(tmp_path):
    assert follow(tmp_path, "print('one'); print('two')") == "one\ntwo\n"


def test_a_failure_shows_the_last_lines(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"(?s)sft ended with exit code 3; the end of .*sft\.log:\nwent wrong"
    ):
        follow(tmp_path, "import sys; print('went wrong'); sys.exit(3)")


def test_a_failure_of_one_of_several_shows_that_ones_lines(tmp_path):
    program = """
        import sys
        print("[rank 0]:waiting for the others")
        print("[rank 1]:the reason of rank 1")
        print("[rank 0]:still waiting")
        print("Root Cause (first observed failure):\\n[0]:\\n  rank      : 1 (local_rank: 1)")
        sys.exit(1)
    """
    with pytest.raises(RuntimeError) as caught:
        follow(tmp_path, program)
    message = str(caught.value)
    assert "in process 1; " in message and "the reason of rank 1" in message
    assert "waiting" not in message


def test_a_killed_process_is_named_by_its_signal(tmp_path):
    with pytest.raises(RuntimeError, match="sft was killed by signal 9"):
        follow(tmp_path, "import os; os.kill(os.getpid(), 9)")


CAUSE = (
    "Root Cause (first observed failure):\n[0]:\n  rank      : {} (local_rank: {})\n"
    + "then the other node's traceback\n" * 40
)


@pytest.mark.parametrize("rank", range(4))
def test_the_process_that_failed_first_is_named(tmp_path, rank):
    last = {str(n): [f"rank {n} said\n"] for n in range(4)}
    last[""] = CAUSE.format(rank, rank % 2).splitlines(keepends=True)
    with pytest.raises(RuntimeError, match=rf"in process {rank};.*\nrank {rank} said"):
        launch._raise(1, tmp_path / "sft", tmp_path / "sft.log", last)


def test_a_process_that_died_without_a_word_leaves_it_to_the_report(tmp_path):
    last = {"": CAUSE.format(1, 1).splitlines(keepends=True)[:3], "0": ["waiting\n"]}
    with pytest.raises(RuntimeError, match=r"exit code 1; .*\nRoot Cause(?s:.*)local_rank: 1"):
        launch._raise(1, tmp_path / "sft", tmp_path / "sft.log", last)


def test_an_interrupt_ends_the_whole_process_group(tmp_path):
    pids = tmp_path / "pids"
    program = f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(60)
    """

    def interrupt():
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # shells start background jobs with interrupts ignored
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            follow(tmp_path, program)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(map(_runs, pids.read_text().split())):
        time.sleep(0.1)
    assert not any(map(_runs, pids.read_text().split()))


def _runs(pid: str) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.parametrize(
    "line", ["Loading", "[1, 2]", '{"rows": 4}', '{"step": 4, "of": 4, "train_runtime": 9.1}']
)
def test_other_lines_are_no_log_records(line):
    assert launch.log_record(line) is None


def test_each_log_record_is_shown_to_whoever_watches(tmp_path):
    records = []
    program = """
        print("Loading")
        print('[rank 1]:{"step": 1, "of": 2, "loss": 3.5}')
        print('{"step": 2, "of": 2, "reward": 0.5}')
    """
    follow(tmp_path, program, records.append)
    expected = [{"step": 1, "of": 2, "loss": 3.5}, {"step": 2, "of": 2, "reward": 0.5}]
    assert records == expected
