"""Alarms of GRPO: each measure by hand, each alarm in a run with its fault, and the early end."""

import json

import numpy as np
import pandas as pd
import pytest

from curemed_utils import data, paths, rewards
from curemed_utils.training import alarms, checkpoints, process, stages, trainers

STEPS = 5


def test_a_text_repeats_what_stood_in_it_before():
    assert alarms.repeated([1, 2, 3]) == 0
    assert alarms.repeated(list(range(40))) == 0
    assert alarms.repeated([7] * 40) == pytest.approx(36 / 37)


def rollouts(**columns) -> pd.DataFrame:
    """Two groups of two: a group in French, one in Thai."""
    table = pd.DataFrame(
        {"step": 1, "id": ["f", "f", "t", "t"], "prompt_language": ["French"] * 2 + ["Thai"] * 2}
    )
    usual = {"advantage": [1.0, -1.0] * 2, "tokens": [[1, 2, 3, 4, 5]] * 4}
    return table.assign(**usual, accuracy=1.0, language=1.0).assign(**columns)


@pytest.mark.parametrize(
    ("measure", "columns", "french", "thai"),
    [
        ("truncated", {"tokens": [range(n) for n in (9, 10, 10, 11)]}, 0.5, 1),
        ("dead", {"advantage": [0.0, 0.0, 0.0, 1e-3]}, 1, 0),
        ("undecided", {"language": [0, 1, None, 1]}, 0, 0.5),
        ("repeated", {"tokens": [[7] * 5, range(9), range(9), range(4)]}, 0.25, 0),
        ("gap", {"accuracy": [0, 1, 0, 0], "language": [1, 1, 1, None]}, 0.5, 1),
    ],
)
def test_each_measure_is_known_by_language_and_over_all(measure, columns, french, thai):
    table = alarms.measured(rollouts(**columns), max_completion_length=10)
    assert table[measure]["French"] == pytest.approx(french)
    assert table[measure]["Thai"] == pytest.approx(thai)
    known = [french, thai] if measure != "gap" else [french, french, thai]
    assert table[measure]["all"] == pytest.approx(np.mean(known))
    assert table["n"].to_dict() == {"French": 2, "Thai": 2, "all": 4}


def test_a_gap_of_parts_that_nobody_knows_is_unknown():
    table = alarms.measured(rollouts(accuracy=np.nan), 10)
    assert table["gap"].isna().all()


# In runs ------------------------------------------------------------------------------------------


@pytest.fixture
def grpo(tiny_trained, sample, tmp_path):
    """Settings of a stage on French and Thai rows, 16 rollouts a step."""
    rows = [row for row in sample if row.language in ("French", "Thai")]
    train_file = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    places = {"start": tiny_trained, "train_file": train_file}
    places["output"] = paths.checkpoint(tmp_path, "stage1_high")
    sizes = {"batch_size": 16, "micro_batch": 16, "num_generations": 4, "steps": STEPS}
    return places | sizes | {"learning_rate": 1e-4, "max_completion_length": 40}


def paid(monkeypatch, **parts):
    """Has every part of the reward that is named earn what `parts` say."""
    unjudged = rewards.Rewards.unjudged
    monkeypatch.setattr(rewards.Rewards, "unjudged", lambda *asked: unjudged(*asked) | parts)


def shorter_from_step_2(monkeypatch):
    build = trainers.grpo_trainer

    def changed(*asked):
        trainer, made = build(*asked)
        on_step = trainer._calculate_rewards

        def shorten(*told):
            trainer.generation_config.max_new_tokens = 8
            return on_step(*told)

        trainer._calculate_rewards = shorten
        return trainer, made

    monkeypatch.setattr(trainers, "grpo_trainer", changed)


FAULTS = {
    "truncated": lambda patch: {"max_completion_length": 4},
    "dead": lambda patch: paid(patch, accuracy=0.0, language=1.0, format=0.0),
    "undecided": lambda patch: paid(patch, language=None),
    "repeated": lambda patch: {"temperature": 1e-3, "start": "untrained"},
    "gap": lambda patch: paid(patch, accuracy=0.0, language=1.0),
    "length": shorter_from_step_2,
    "entropy": lambda patch: {"temperature": 1e-3},
}


def told(output) -> dict[int, str]:
    """The alarms in a finished stage's log, by step."""
    log = map(json.loads, (output / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {record["step"]: record["alarms"] for record in log if "alarms" in record}


def test_there_is_a_fault_for_every_alarm():
    assert set(FAULTS) == set(alarms.LIMITS)


@pytest.mark.heavy
@pytest.mark.parametrize("alarm", list(FAULTS))
def test_an_alarm_tells_of_its_fault_at_its_step(alarm, grpo, tiny_base, monkeypatch, capsys):
    changes = FAULTS[alarm](monkeypatch) or {}
    if "start" in changes:  # an untrained model repeats one token
        changes["start"] = tiny_base
    others = {name: 1e9 for name in alarms.LIMITS if name not in (alarm, "entropy")}
    others |= {} if alarm == "entropy" else {"entropy": 0.0}
    stage = stages.settings("grpo", grpo | changes | {"alarms": others})
    texts = told(process.train("grpo", stage))
    assert texts and min(texts) <= STEPS
    assert all(text.startswith(f"{alarm} ") for text in texts.values())
    printed = [line for line in capsys.readouterr().out.splitlines() if '"alarms"' in line]
    assert [json.loads(line)["step"] for line in printed] == list(texts)


@pytest.mark.heavy
def test_an_alarm_to_stop_on_saves_the_step_and_the_same_stage_goes_on_without_it(
    grpo, tmp_path, monkeypatch
):
    paid(monkeypatch, accuracy=0.0, language=1.0)
    stop = {"stop_on": ["gap"], "alarms": {"gap": 0.5}}
    output = paths.checkpoint(tmp_path, "stage1_high")
    with pytest.raises(stages.Paused, match="stage1_high paused after step 1 of 5"):
        process.train("grpo", stages.settings("grpo", grpo | stop))
    part = checkpoints.partial(output)
    assert checkpoints.last_whole(part) == str(part / "checkpoint-1")
    process.train("grpo", stages.settings("grpo", grpo | {"stop_on": ["entropy"]}))
    whole = process.train("grpo", stages.settings("grpo", grpo | {"output": tmp_path / "c/whole"}))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (output, whole)]
    assert weights[0] == weights[1]
    assert min(told(output)) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"stop_on": ["deaf"]}, "stop_on.0 is 'deaf': input should be 'truncated', 'dead'"),
        ({"alarms": {"deaf": 0.5}}, "alarms.deaf"),
        ({"alarms": {"dead": "half"}}, "alarms.dead is 'half': input should be a valid number"),
    ],
)
def test_an_alarm_that_there_is_not_is_refused(grpo, setting, message):
    with pytest.raises(ValueError, match=message):
        stages.settings("grpo", grpo | setting)
