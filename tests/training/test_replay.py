"""A step of GRPO computed again from what a stage kept, against what TRL logged of it."""

import json

import numpy as np
import pandas as pd
import pytest

from curemed_utils import data, languages, paths, rewards
from curemed_utils.training import checkpoints, process, replay, stages


@pytest.fixture
def step(tiny_trained, sample, tmp_path, monkeypatch):
    """A function that trains one step of GRPO: its settings, its rollouts, what TRL logged."""

    def paid(self, text, item):
        return {"accuracy": len(text) % 7 / 7, "language": 1.0, "format": 0.0}

    monkeypatch.setattr(rewards.Rewards, "unjudged", paid)
    rows = [row for row in sample if row.language in ("French", "Thai")]
    train_file = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    output = paths.checkpoint(tmp_path, "stage1_high")
    places = {"start": tiny_trained, "train_file": train_file, "output": output}
    sizes = {"batch_size": 16, "micro_batch": 16, "num_generations": 4, "steps": 1}
    sizes |= {"max_completion_length": 60, "temperature": 0.9, "learning_rate": 1e-3}

    def trained(**changes):
        stage = stages.settings("grpo", places | sizes | changes)
        process.train("grpo", stage)
        made = stages.GRPO.model_construct(**checkpoints.info(output)["made_from"])
        with (output / "log.jsonl").open(encoding="utf-8") as log:
            return made, pd.read_parquet(output / "rollouts.parquet"), json.loads(next(log))

    return trained


@pytest.mark.heavy
@pytest.mark.parametrize(
    "changes",
    [
        {"loss_type": "grpo"},
        {"loss_type": "dapo"},
        {"loss_type": "grpo", "micro_batch": 4},
        {"loss_type": "dapo", "micro_batch": 4},
        {"loss_type": "dapo", "trl_options": {"mask_truncated_completions": True}},
        {"loss_type": "grpo", "trl_options": {"mask_truncated_completions": True}},
    ],
    ids=str,
)
def test_a_step_recomputed_has_trl_s_loss_and_gradient(step, tiny_trained, changes):
    made, rollouts, logged = step(**changes)
    tokens, norm = replay.replay(tiny_trained, made, rollouts)
    cut = rollouts["tokens"].map(len) == 60
    assert 0 < cut.mean() < 1, "rollouts of both kinds are needed"
    assert -(tokens["share"] * tokens["advantage"]).sum() == pytest.approx(logged["loss"], abs=1e-5)
    assert norm == pytest.approx(logged["grad_norm"], rel=1e-3)
    masked = "trl_options" in changes
    assert (tokens[tokens["rollout"].map(cut)]["share"] == 0).all() == masked
    if "micro_batch" not in changes:  # else it is a mean of their means
        kept = tokens[tokens["share"] > 0]
        assert kept["entropy"].mean() == pytest.approx(logged["entropy"], rel=1e-3)


@pytest.mark.heavy
def test_a_small_step_goes_where_the_gradient_says(step, tiny_trained):
    made, rollouts, _ = step(loss_type="dapo")
    tokens, norm = replay.replay(tiny_trained, made, rollouts, rate=1e-4)
    moved = tokens["after"] - tokens["log_p"]
    gained = (tokens["share"] * tokens["advantage"] * moved).sum()
    assert gained == pytest.approx(1e-4 * norm**2, rel=0.05)


@pytest.mark.heavy
def test_another_start_has_another_gradient(step, tiny_base):
    """The loss alone wouldn't tell: where all ratios are 1 no model stands in it."""
    made, rollouts, logged = step(loss_type="dapo")
    tokens, norm = replay.replay(tiny_base, made, rollouts)
    assert -(tokens["share"] * tokens["advantage"]).sum() == pytest.approx(logged["loss"], abs=1e-5)
    assert not np.isclose(norm, logged["grad_norm"], rtol=0.05)


@pytest.mark.heavy
def test_another_loss_is_no_loss_of_ours(step, tiny_trained):
    made, rollouts, _ = step(loss_type="dapo")
    with pytest.raises(KeyError, match="sapo"):
        replay.replay(tiny_trained, made.model_copy(update={"loss_type": "sapo"}), rollouts)


# A reward made to be gamed -----------------------------------------------------------------------

GAMED = {"accuracy_weight": 0.0, "language_weight": 0.1, "format_weight": 0.9}
GAMED |= {"strict_format": False, "learning_rate": 6e-4, "scheduler": "constant_with_warmup"}
GAMED |= {"batch_size": 32, "micro_batch": 8, "num_generations": 8, "temperature": 0.9}
GAMED |= {"max_completion_length": 112, "steps": 20, "loss_type": "dapo", "beta": 1e-6, "seed": 1}


@pytest.mark.slow
def test_a_reward_made_to_be_gamed_rises_while_accuracy_falls(tiny_base, sample, tmp_path):
    """Notebook 04's claim, on other weights and another seed than the demo's."""
    rows = [row for row in sample if languages.get(row.language).tier == "high"]
    train_file = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    places = {"train_file": train_file, "start": tiny_base, "seed": 1}
    sizes = {"batch_size": 13, "micro_batch": 13, "max_steps": 74, "learning_rate": 5e-3}
    sizes |= {"scheduler": "constant_with_warmup", "warmup": 0.05}
    output = paths.checkpoint(tmp_path, "sft")
    start = process.train("sft", stages.settings("sft", places | sizes | {"output": output}))
    places |= {"start": start, "output": paths.checkpoint(tmp_path, "stage1_high")}
    output = process.train("grpo", stages.settings("grpo", places | GAMED))
    log = pd.read_json(output / "log.jsonl", lines=True).dropna(subset=["reward"])
    ends = log[["reward", "rewards/accuracy/mean"]].groupby(np.arange(20) * 3 // 20).mean()
    rise, fall = ends.iloc[-1] - ends.iloc[0]
    assert rise > 0 and fall < -0.02, ends.to_string()
