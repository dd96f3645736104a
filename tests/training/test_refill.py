"""Groups that teach nothing are refilled with other prompts."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from curemed_utils import data, paths, rewards
from curemed_utils.training import process, rollouts, stages, trainers

GROUP = 4


def test_tensors_of_two_batches_are_merged_row_by_row():
    made = torch.tensor([[1, 2], [3, 4], [5, 6]])
    other = torch.tensor([[7, 8, 9], [10, 11, 12], [13, 14, 15]])
    taken = np.array([False, True, False])
    left = rollouts._merged("prompt_ids", made, other, taken)
    assert left.tolist() == [[0, 1, 2], [10, 11, 12], [0, 5, 6]]
    right = rollouts._merged("completion_ids", made, other, taken)
    assert right.tolist() == [[1, 2, 0], [10, 11, 12], [5, 6, 0]]
    assert rollouts._merged("advantages", torch.zeros(3), torch.ones(3), taken).tolist() == [
        0,
        1,
        0,
    ]


@pytest.fixture
def grpo(tiny_trained, sample, tmp_path, monkeypatch):
    """Settings of a stage in which two prompts of three are dead: all answers earn the same."""
    rows = [row for row in sample if row.language in ("French", "Thai")]
    live = {row.question for row in rows[::3]}

    def paid(self, text, item):
        earned = len(text) % 7 / 7 if item["question"] in live else 0.0
        return {"accuracy": earned, "language": 1.0, "format": 0.0}

    monkeypatch.setattr(rewards.Rewards, "unjudged", paid)
    train_file = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    places = {"start": tiny_trained, "train_file": train_file}
    places["output"] = paths.checkpoint(tmp_path, "stage1_high")
    sizes = {"batch_size": 8 * GROUP, "micro_batch": 16, "num_generations": GROUP, "steps": 4}
    return places | sizes | {"learning_rate": 1e-3, "max_completion_length": 40}


def train(config, **changes):
    return process.train("grpo", stages.settings("grpo", config | changes))


def dead(output) -> list[float]:
    log = map(json.loads, (output / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["dead_groups"] for record in log if "dead_groups" in record]


@pytest.mark.heavy
def test_refilling_leaves_fewer_than_half_of_the_dead_groups(grpo, tmp_path):
    without = train(grpo)
    refilled = train(grpo, refill=4, output=tmp_path / "checkpoints" / "refilled")
    assert np.mean(dead(without)) > 0.5 and np.mean(dead(refilled)) < np.mean(dead(without)) / 2
    kept = pd.read_parquet(refilled / "rollouts.parquet")
    assert len(kept) == 4 * 8 * GROUP
    idle = kept["advantage"].abs().lt(1e-6).to_numpy().reshape(4, 8, GROUP).all(axis=2)
    assert idle.mean(axis=1).tolist() == pytest.approx(dead(refilled))
    groups = kept["id"].to_numpy().reshape(-1, GROUP)
    assert (groups == groups[:, :1]).all(), "a group holds another prompt's rollout"


@pytest.mark.heavy
def test_what_trains_is_what_is_kept(grpo, tmp_path):
    stage = stages.settings("grpo", grpo | {"refill": 4})
    trainer, _ = trainers.grpo_trainer(stage, tmp_path / "part")
    trainer.model.train()
    inputs = [row for row in trainer.train_dataset for _ in range(GROUP)][: 8 * GROUP]
    made = trainer._generate_and_score_completions(inputs)
    assert made["advantages"].tolist() == pytest.approx(list(trainer._logs["advantages"]))
    tokenizer, mask = trainer.processing_class, made["completion_mask"].bool()
    ids = made["completion_ids"].masked_fill(~mask, tokenizer.eos_token_id)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    kept = [messages[-1]["content"] for messages in trainer._logs["completion"]]
    assert texts == kept
    assert made["num_items_in_batch"] == made["completion_mask"].sum()


@pytest.mark.heavy
def test_refilled_groups_are_the_same_after_a_pause(grpo, tmp_path):
    whole = train(grpo, refill=3, output=tmp_path / "checkpoints" / "whole")
    with pytest.raises(stages.Paused):
        train(grpo, refill=3, stop_on=["length"], alarms={"length": 0.0})
    again = train(grpo, refill=3)
    for file in ("model.safetensors", "rollouts.parquet"):
        assert (again / file).read_bytes() == (whole / file).read_bytes()
