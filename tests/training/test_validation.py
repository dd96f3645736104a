"""Greedy answers to held-out rows along a stage: a curve, and the best checkpoint."""

import json
import math

import pytest

from curemed_utils import data, paths, rewards
from curemed_utils.training import checkpoints, process, stages, trainers

pytestmark = pytest.mark.heavy
STEPS = 4


@pytest.fixture
def grpo(tiny_trained, sample, tmp_path):
    """Settings of a stage in a run whose SFT had twice the rows of GRPO."""
    rows = [row for row in sample if row.language in ("French", "Thai")]
    data.write_jsonl(rows, paths.rows_file(tmp_path, "sft"))
    rft = data.write_jsonl(rows[::2], paths.rows_file(tmp_path, "rft"))
    places = {"start": tiny_trained, "train_file": rft}
    places["output"] = paths.checkpoint(tmp_path, "stage1_high")
    sizes = {"batch_size": 8, "micro_batch": 8, "num_generations": 4, "steps": STEPS}
    schedule = {"learning_rate": 3e-3, "scheduler": "constant", "warmup": 0.0}
    return places | sizes | schedule | {"max_completion_length": 60}


def train(config, **changes):
    return process.train("grpo", stages.settings("grpo", config | changes))


def curve(output) -> dict[int, float]:
    """The validation's reward by step."""
    log = map(json.loads, (output / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {record["step"]: record["eval_reward"] for record in log if "eval_reward" in record}


def weights(output) -> bytes:
    return (output / "model.safetensors").read_bytes()


def test_validation_leaves_weights_rollouts_and_rewards_as_they_are(grpo, tmp_path):
    with_it = train(grpo, validate_every=2, output=tmp_path / "checkpoints" / "with")
    without = train(grpo, output=tmp_path / "checkpoints" / "without")
    assert list(curve(with_it)) == [0, 2, 4] and not curve(without)
    assert weights(with_it) == weights(without)
    rollouts = [(folder / "rollouts.parquet").read_bytes() for folder in (with_it, without)]
    assert rollouts[0] == rollouts[1]
    made = [checkpoints.info(folder)["fingerprint"] for folder in (with_it, without)]
    assert made[0] == made[1], "what is validated trains again what is the same"


def test_the_held_out_rows_are_those_of_sft_that_grpo_never_draws(grpo, tmp_path):
    stage = stages.settings("grpo", grpo | {"validate_every": 1, "validate_per_language": 3})
    trainer, _ = trainers.grpo_trainer(stage, tmp_path / "part")
    held_out = set(trainer.eval_dataset["id"])
    drawn = {row.id for row in data.read_jsonl(paths.rows_file(tmp_path, "rft"))}
    assert len(held_out) == 6 and not held_out & drawn


def test_where_grpo_draws_every_row_of_sft_nothing_is_held_out(grpo, tmp_path):
    rft = data.read_jsonl(paths.rows_file(tmp_path, "rft"))
    data.write_jsonl(rft, paths.rows_file(tmp_path, "sft"))
    with pytest.raises(data.DataError, match="all rows of SFT are drawn by GRPO"):
        train(grpo, validate_every=1)


def test_the_answers_are_greedy_and_one_a_row(grpo, tmp_path):
    stage = stages.settings("grpo", grpo | {"validate_every": 1})
    trainer, _ = trainers.grpo_trainer(stage, tmp_path / "part")
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first["eval_reward"] == second["eval_reward"] and not math.isnan(first["eval_reward"])
    assert trainer.generation_config.do_sample and trainer.generation_config.temperature == 1.0


@pytest.fixture
def rises_and_falls(monkeypatch):
    """Has format earn most at the second of three validations: by calls, since nothing learns."""
    build = trainers.grpo_trainer

    def changed(stage, part):
        trainer, made = build(stage, part)
        evaluate = trainer.evaluate

        def told(*args, **kwargs):
            metrics = evaluate(*args, **kwargs)
            metrics["eval_rewards/format/mean"] = {1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1}.get(
                trainer.state.global_step, 0.0
            )
            return metrics

        trainer.evaluate = told
        return trainer, made

    monkeypatch.setattr(trainers, "grpo_trainer", changed)


def test_the_best_checkpoint_is_kept_and_a_pause_changes_nothing(grpo, tmp_path, rises_and_falls):
    best = {"validate_every": 1, "keep_best": "format"}
    kept = train(grpo, **best, output=tmp_path / "checkpoints" / "kept")
    ended_there = train(grpo, steps=2, output=tmp_path / "checkpoints" / "two")
    last = train(grpo, output=tmp_path / "checkpoints" / "last")
    assert weights(kept) == weights(ended_there) != weights(last)
    output = paths.checkpoint(tmp_path, "stage1_high")
    for _ in range(3):  # after each step
        with pytest.raises(stages.Paused):
            train(grpo, **best, stop_on=["length"], alarms={"length": 0.0})
    assert weights(train(grpo, **best)) == weights(kept)
    assert curve(output) == curve(kept)
    assert checkpoints.info(output)["best_step"] == checkpoints.info(kept)["best_step"] == 2


def test_a_measure_of_which_nothing_is_known_ends_the_stage_at_its_start(grpo, monkeypatch):
    unjudged = rewards.Rewards.unjudged
    monkeypatch.setattr(rewards.Rewards, "unjudged", lambda *a: unjudged(*a) | {"accuracy": None})
    with pytest.raises(RuntimeError, match="keep_best: accuracy of no validated row is known"):
        train(grpo, validate_every=1, keep_best="accuracy")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"keep_best": "reward"}, "keep_best needs validate_every"),
        ({"keep_best": "loss", "validate_every": 1}, "keep_best is 'loss': input should be"),
        ({"keep_best": "reward", "validate_every": 2, "save_steps": 3}, "save_steps must be 0 or"),
    ],
)
def test_what_can_not_be_kept_is_refused(grpo, setting, message):
    with pytest.raises(ValueError, match=message):
        stages.settings("grpo", grpo | setting)
