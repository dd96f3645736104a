"""The scripts of `papermill_params/slurm/`: beside made-up commands, and on a real Slurm.

The latter has two nodes and the marker `slurm`.
"""

import os
import signal
import subprocess
import time

import pandas as pd
import pytest
import slurm as local
from transformers import AutoModelForCausalLM

from curemed_utils import paths, run
from curemed_utils.training import checkpoints

SCRIPTS = paths.PROFILES / "slurm"


def command(path, text: str):
    """An executable that runs `text` by bash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


# The batch script --------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    """A function that starts the batch script for job 7.

    In it `python` runs the given text, and `scontrol` notes its arguments.
    """
    (tmp_path / "curemed_utils").mkdir()
    command(tmp_path / "bin" / "scontrol", f'echo "$*" >>{tmp_path}/scontrol')
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "CUREMED"))
    }
    env |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}

    def run(python: str, *arguments, **more) -> subprocess.Popen:
        given = env | {"PYTHON": str(command(tmp_path / "bin" / "fake-python", python))} | more
        script = ["bash", str(SCRIPTS / "notebook.sbatch"), *arguments]
        return subprocess.Popen(
            script,
            cwd=tmp_path,
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def requeued(tmp_path) -> str:
    file = tmp_path / "scontrol"
    return file.read_text().strip() if file.exists() else ""


def wait_until_there(path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, f"no {path.name}"
        time.sleep(0.02)


PAUSES = (
    "touch started; for ((i = 0; i < 200; i++)); do [ -e {stop} ] && exit {code}; sleep 0.05; done"
)


@pytest.mark.parametrize("code", [75, 1])
def test_a_signal_pauses_the_run_and_requeues_the_job(start, tmp_path, code):
    job = start(PAUSES.format(stop="runs/demo/stop", code=code), "demo")
    wait_until_there(tmp_path / "started")
    job.send_signal(signal.SIGUSR1)
    printed = job.communicate(timeout=20)[0]
    assert job.returncode == code and "pausing" in printed
    assert requeued(tmp_path) == "requeue 7"
    assert not (tmp_path / "runs" / "demo" / "stop").exists()


def test_a_run_that_paused_by_itself_is_requeued(start, tmp_path):
    assert start("exit 75", "demo").wait(20) == 75
    assert requeued(tmp_path) == "requeue 7"


def test_a_run_that_ends_before_it_sees_the_signal_is_not_requeued(start, tmp_path):
    job = start(PAUSES.format(stop="runs/demo/stop", code=0), "demo")
    wait_until_there(tmp_path / "started")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 0
    assert requeued(tmp_path) == ""


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_job_ends_as_its_run_ended(start, tmp_path, code):
    assert start(f"exit {code}", "demo").wait(20) == code
    assert requeued(tmp_path) == ""


def test_a_stop_that_an_earlier_job_left_pauses_nothing(start, tmp_path):
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "stop").touch()
    assert start("[ ! -e runs/demo/stop ]", "demo").wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "env", "directory"),
    [
        (["qwen2.5-1.5b"], {}, "runs/qwen2.5-1.5b"),
        (["some/model-1.5b.yaml"], {}, "runs/model-1.5b"),
        (["demo"], {"CUREMED_RUNS": "elsewhere"}, "elsewhere/demo"),
        (["demo", "-p", "seed", "1", "--run-dir", "my runs/a", "--from", "03"], {}, "my runs/a"),
        (["demo", "--run-dir=b"], {"CUREMED_RUNS": "elsewhere"}, "b"),
    ],
)
def test_stop_is_put_where_the_run_looks_for_it(start, tmp_path, arguments, env, directory):
    job = start(PAUSES.format(stop=f'"{directory}/stop"', code=75), *arguments, **env)
    wait_until_there(tmp_path / "started")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 75


@pytest.mark.parametrize("profile", ["qwen2.5-1.5b", "some/model-1.5b.yaml", "model.yml"])
def test_the_run_has_the_same_default_directory(start, monkeypatch, tmp_path, profile):
    monkeypatch.setenv("CUREMED_RUNS", str(tmp_path / "runs"))
    assert start("true", profile).wait(20) == 0
    assert list((tmp_path / "runs").iterdir()) == [run.default_directory(profile)]


def test_the_arguments_reach_the_run_as_given(start, tmp_path):
    assert start('printf "%s\\n" "$@" >given', "demo", "-p", "judge_model", "a b").wait(20) == 0
    assert (tmp_path / "given").read_text().splitlines() == [
        "-m",
        "curemed_utils.run",
        "demo",
        "-p",
        "judge_model",
        "a b",
    ]


def test_a_job_submitted_from_elsewhere_says_so(start, tmp_path):
    (tmp_path / "curemed_utils").rmdir()
    job = start("true", "demo")
    assert "submit from the repository's root" in job.communicate(timeout=20)[0]
    assert job.returncode == 2


# The chain of jobs -------------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path):
    """A function that runs chain.sh and returns its output and the jobs' arguments.

    Its `sbatch` numbers the jobs from 101 on.
    """
    jobs = tmp_path / "jobs"
    number = f"$((100 + $(wc -l <{jobs})))"
    command(tmp_path / "bin" / "sbatch", f'echo "$*" >>{jobs}; echo "{number};cluster"')

    def run(*arguments, **env):
        given = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"} | env
        done = subprocess.run(
            [SCRIPTS / "chain.sh", *arguments],
            env=given,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, (tmp_path / "jobs").read_text().splitlines()

    return run


def test_every_notebook_is_in_one_job_that_waits_for_the_one_before(chain):
    printed, jobs = chain("demo", "-p", "seed", "1")
    spans = [(job.split("--from ")[1][:2], job.split("--to ")[1]) for job in jobs]
    names, chosen = [path.stem for path in paths.notebooks()], []
    for first, last in spans:
        chosen += run._choose(names, (), first, last)
    assert chosen == names
    assert "--dependency" not in jobs[0]
    for number, job in enumerate(jobs[1:], 102):
        assert f"--dependency=afterok:{number - 1} --kill-on-invalid-dep=yes" in job
    assert all("notebook.sbatch demo -p seed 1 --from" in job for job in jobs)
    assert printed.splitlines()[1] == "notebooks 03 to 03: job 102"


def test_options_go_to_their_kind_of_job(chain):
    _, jobs = chain(
        "demo",
        CPU_OPTIONS="--partition=cpu --time=1:00:00",
        GPU_OPTIONS="--nodes=2 --gpus-per-node=8",
    )
    on_cpu = [" --partition=cpu --time=1:00:00 " in job for job in jobs]
    on_gpu = [" --nodes=2 --gpus-per-node=8 " in job for job in jobs]
    assert on_cpu == [True, *[False] * 5, True, False]
    assert on_gpu == [False, *[True] * 5, False, True]
    assert " --nodes=2 --gpus-per-node=8 --nodes=1 " in jobs[5], "evaluation uses one node"


# A real Slurm ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm():
    if why := local.missing():
        pytest.skip(why)
    with local.running() as running:
        yield running


SMALL = {
    "sft_batch_size": 12,
    "sft_micro_batch": 6,
    "sft_max_steps": 20,
    "sft_save_steps": 2,
    "eval_max_new_tokens": 16,
    "grpo_batch_size": 16,
    "grpo_micro_batch": 8,
    "grpo_steps": 8,
    "grpo_save_steps": 1,
    "max_completion_length": 16,
    "processes": 1,
    "strategy": "ddp",
}


@pytest.mark.slurm
def test_sft_and_grpo_on_two_nodes_survive_a_requeue_and_the_time_limit(slurm, tmp_path):
    """Both jobs are stopped once in the middle.

    The first by the cluster, the second by the signal before the time limit.
    """
    arguments = ["demo", "--run-dir", str(tmp_path)]
    for name, value in SMALL.items():
        arguments += ["-p", name, str(value)]
    assert run.main([*arguments, "--from", "01", "--to", "01"]) == 0

    def submit(notebook: str, *options) -> str:
        options = ["--parsable", "--nodes=2", f"--output={tmp_path}/job-{notebook}.log", *options]
        script = [SCRIPTS / "notebook.sbatch", *arguments, "--from", notebook, "--to", notebook]
        return slurm("sbatch", *options, *script, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")

    def logs() -> str:
        files = [*tmp_path.glob("job-*.log"), *tmp_path.glob("logs/*.log")]
        return "".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in files)

    def checkpoint_of(stage: str, job: str):
        def saved():
            assert slurm.job(job)["JobState"] in ("PENDING", "RUNNING"), logs()
            return list(tmp_path.glob(f"checkpoints/{stage}.partial/checkpoint-*/whole"))

        slurm.wait_for(saved, 400, f"a checkpoint of {stage}")

    def end_of(job: str) -> None:
        def ended():
            state = slurm.job(job)["JobState"]
            assert state in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED"), state + logs()
            return state == "COMPLETED"

        slurm.wait_for(ended, 400, f"the end of job {job}")
        assert slurm.job(job)["Restarts"] == "1"

    sft = submit("03")
    grpo = submit("04", f"--dependency=afterok:{sft}", "--kill-on-invalid-dep=yes")
    checkpoint_of("sft", sft)
    slurm("scontrol", "requeue", sft)
    end_of(sft)
    checkpoint_of("stage1_high", grpo)
    slurm("scancel", "--signal=USR1", "--batch", grpo)
    end_of(grpo)

    assert "saved a checkpoint and paused" in (tmp_path / "job-04.log").read_text()
    assert (
        "stage1_high: step 8 of 8"
        in (tmp_path / "notebooks" / "04_grpo_stage1_high.ipynb").read_text()
    ), "no progress was shown"
    for stage, steps in {"sft": 20, "stage1_high": 8}.items():
        folder = tmp_path / "checkpoints" / stage
        log = pd.read_json(folder / "log.jsonl", lines=True).dropna(subset="loss")
        assert list(log["step"]) == list(range(1, steps + 1))
        assert checkpoints.info(folder)["world_size"] == 2
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.slurm
def test_a_failed_job_cancels_the_rest_of_the_chain(slurm, tmp_path):
    log = f"--output={tmp_path}/%j.log"
    printed = slurm(
        SCRIPTS / "chain.sh",
        "no-such-profile",
        CPU_OPTIONS=log,
        GPU_OPTIONS=log,
        CUREMED_RUNS=str(tmp_path),
    )
    first, *rest = [line.rsplit(" ", 1)[1] for line in printed.splitlines()]
    slurm.wait_for(lambda: not slurm("squeue", "--noheader"), 100, "the end of the chain")
    states = [slurm.job(job)["JobState"] for job in (first, *rest)]
    assert states == ["FAILED", *["CANCELLED"] * len(rest)]
    assert "no profile" in (tmp_path / f"{first}.log").read_text()
