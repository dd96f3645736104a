"""Training that is killed again and again, saves included, ends with the same weights."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from curemed_utils import data, paths
from curemed_utils.training import checkpoints, stages
from curemed_utils.training.process import train

KILLS = 20
STEPS = {"sft": {"max_steps": 240}, "grpo": {"steps": 100}}
COMMON = {"learning_rate": 1e-3, "batch_size": 4, "micro_batch": 4, "save_steps": 1}
GRPO = {"num_generations": 2, "max_completion_length": 8, "weight_decay": 0.0}


def settings(kind, start, train_file, output):
    config = {"start": start, "train_file": train_file, "output": output}
    config |= COMMON | STEPS[kind]
    if kind == "grpo":
        config |= GRPO
    return stages.settings(kind, config)


def work(kind, stage, folder):
    """What the killed process does; it leaves a file when it begins and when it is through."""
    import torch

    torch.set_num_threads(1)
    os.setsid()
    (folder / "begun").touch()
    train(kind, stage)


@pytest.fixture(scope="module")
def start_process():
    """A function that starts `work` in a process which has its imports already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["trl.trainer.sft_trainer", "trl.trainer.grpo_trainer", "curemed_utils.training.process"]
    )

    def start(kind, stage, folder):
        process = context.Process(target=work, args=(kind, stage, folder))
        process.start()
        return process

    return start


def newest(part):
    return max((int(folder.name.split("-")[1]) for folder in part.glob("checkpoint-*")), default=0)


def at_work_on_a_save(part):
    return any(not (folder / checkpoints.MARK).exists() for folder in part.glob("checkpoint-*"))


def wait(process, until):
    while not until() and process.is_alive():
        time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_twenty_kills_change_no_byte(kind, tiny_base, sample, tmp_path, start_process):
    rows = [row for row in sample if row.language == "French"][:8]
    train_file = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    one, other = (paths.checkpoint(tmp_path / run, kind) for run in ("whole", "killed"))
    whole = settings(kind, tiny_base, train_file, one)
    killed = settings(kind, tiny_base, train_file, other)
    process = start_process(kind, whole, tmp_path)
    process.join()
    assert process.exitcode == 0
    draw, part, half_written = random.Random(0), checkpoints.partial(other), 0
    for number in range(KILLS):
        before, process = newest(part), start_process(kind, killed, tmp_path)
        wait(process, lambda before=before: newest(part) > before)
        time.sleep(draw.uniform(0, 0.3))
        if number % 2:  # every other one at a random moment of a save
            wait(process, lambda: at_work_on_a_save(part))
            time.sleep(draw.uniform(0, 0.02))
        assert process.is_alive(), "it ended before it could be killed: give it more steps"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        half_written += at_work_on_a_save(part)
    process = start_process(kind, killed, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert half_written, "no kill hit a save"
    print(f"{kind}: {KILLS} kills, {half_written} during a save, weights equal byte by byte")
