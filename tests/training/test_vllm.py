"""GRPO with rollouts by vLLM on a CPU, beside those of transformers: `make vllm`."""

import os
import signal
import subprocess
import sys
import time

import make
import pandas as pd
import pytest

from curemed_utils import data, paths
from curemed_utils.training import checkpoints, launch, stages

pytestmark = pytest.mark.vllm

CONFIG = dict(
    batch_size=32,
    micro_batch=16,
    num_generations=8,
    steps=3,
    learning_rate=1e-3,
    max_prompt_length=512,
    max_completion_length=96,
    temperature=0.9,
    save_steps=1,
)


# vLLM packs weights for a CPU's oneDNN when it loads them, and then takes no new ones.
UNPACKED = """
import sys
from curemed_utils.training import process
from vllm import _custom_ops

_custom_ops._supports_onednn = False
process.main(["grpo", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def start(tiny_trained, sample, tmp_path_factory):
    """A function that starts a stage in a process of its own; the stage comes back as well."""
    train_file = data.write_jsonl(sample[::8], tmp_path_factory.mktemp("rows") / "rows.jsonl")

    def start_stage(run, **chosen):
        output = paths.checkpoint(run, "stage1_high")
        config = {"start": tiny_trained, "train_file": train_file, "output": output} | CONFIG
        stage = stages.settings("grpo", config | chosen)
        file = run / "stage.json"
        file.write_text(stage.model_dump_json())
        environment = launch._environment("none") | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with (run / "log").open("a") as log:
            command = [sys.executable, "-c", UNPACKED, str(file)]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return stage, process

    return start_stage


def finish(run, process):
    assert process.wait(600) == 0, (run / "log").read_text()[-3000:]


def read(stage):
    table = pd.read_parquet(stage.output / "rollouts.parquet")
    return table.assign(completion=[turns[0]["content"] for turns in table["completion"]])


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """Three steps by each engine: the stage and its rollouts."""
    done = {}
    for engine in ("transformers", "vllm"):
        run = tmp_path_factory.mktemp(engine)
        stage, process = start(run, engine=engine)
        finish(run, process)
        done[engine] = stage, read(stage)
    return done


def order(rollouts):
    return rollouts[["step", "id"]].values.tolist()


def test_vllm_gets_the_prompts_of_transformers_in_their_order(whole):
    plain, found = whole["transformers"][1], whole["vllm"][1]
    assert order(found) == order(plain) and len(found) == 3 * 32
    assert found.groupby("step")["id"].nunique().tolist() == [4, 4, 4]
    assert found.groupby("id")["completion"].nunique().gt(1).any()  # a group is sampled


def test_its_rollouts_are_paid_by_the_same_rules(whole, sample):
    stage, found = whole["vllm"]
    rows = {row.id: row for row in sample}
    rules = stage.rewards()
    for one in found.itertuples():
        for name, value in rules.unjudged(one.completion, dict(rows[one.id])).items():
            paid = getattr(one, name)
            assert paid == value or (pd.isna(paid) and value is None), (name, one.completion)
    spread = found.groupby(["step", "id"])["advantage"].sum().abs()
    assert spread.lt(1e-3).all() and found["advantage"].abs().max() > 0.1


def test_it_trains(whole, tiny_trained):
    stage, _ = whole["vllm"]
    assert checkpoints.info(stage.output)["steps"] == 3
    assert not make.same_weights(stage.output, tiny_trained)
    log = pd.read_json(stage.output / "log.jsonl", lines=True)
    assert log["loss"].notna().sum() == 3
    ratio = log["sampling/importance_sampling_ratio/mean"].dropna()
    assert ratio.between(0.9, 1.1).all()  # what vLLM sampled from is what is trained


def test_a_killed_stage_goes_on(whole, start, tmp_path):
    stage, process = start(tmp_path, engine="vllm")
    first = checkpoints.partial(stage.output) / "checkpoint-1" / checkpoints.MARK
    end = time.monotonic() + 300
    while not first.exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not stage.output.exists()
    _, process = start(tmp_path, engine="vllm")
    finish(tmp_path, process)
    before, found = whole["vllm"][1], read(stage)
    assert order(found) == order(before)
    same = found["completion"].eq(before["completion"]).groupby(found["step"]).mean()
    print("equal texts by step, of a killed and a whole stage:", same.to_dict())
    assert same.eq(1).all()


def test_a_server_samples_on_a_cpu_but_takes_no_weights_there(served, start, tmp_path):
    from trl.generation.vllm_client import VLLMClient

    said = VLLMClient(base_url=served).generate(["Quel mal ?"], n=2, max_tokens=4)
    assert len(said["completion_ids"]) == 2
    _, process = start(tmp_path, engine="vllm_server", vllm_server_url=served)
    assert process.wait(600) != 0
    assert "which needs a CUDA device, got 'cpu'" in (tmp_path / "log").read_text()
