"""The ablation: what each arm is asked for, where its settings come from, and its table."""

import json
import math

import make
import pandas as pd
import pytest

from curemed_utils import data, evaluation, languages, paths
from curemed_utils.evaluation import ablation
from curemed_utils.training import launch, stages

OF_BOTH = {"start": "an identity", "train_file": "a digest", "prompt": "a digest", "seed": 9}
SFT = OF_BOTH | {"learning_rate": 0.01, "batch_size": 4}
GRPO = OF_BOTH | {"learning_rate": 0.02, "batch_size": 32, "steps": 8, "judge_prompt": "a digest"}
MACHINE = {"processes": 1, "sft_micro_batch": 2, "grpo_micro_batch": 2, "seed": 0}


def finished(run_dir, name, made_from):
    """A finished stage as far as the ablation reads it."""
    folder = paths.checkpoint(run_dir, name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    made = {"made_from": made_from, "steps": 1}
    (folder / "stage.json").write_text(json.dumps(made, default=str))
    return folder


@pytest.fixture
def run(sample, tmp_path):
    """A run directory with rows, SFT and a first GRPO stage."""
    for name in ("sft", "rft"):
        data.write_jsonl(sample, paths.rows_file(tmp_path, name))
    finished(tmp_path, "sft", SFT)
    finished(tmp_path, "stage1_high", GRPO)
    return tmp_path


@pytest.fixture
def asked(run, tiny_base, monkeypatch):
    """What each arm's stages are asked for, by name; nothing is trained."""
    calls = {}

    def stage(kind, folder, name, start, parameters, **config):
        places = {"output": paths.checkpoint(folder, name), "start": tiny_base}
        places["train_file"] = paths.rows_file(folder, name)
        machine = {"micro_batch": stages.from_parameters(kind, parameters)["micro_batch"]}
        chosen = stages.settings(kind, machine | places | config)
        rows = data.read_jsonl(chosen.train_file)
        calls[name] = chosen.model_dump() | {"start": start, "rows": rows}
        return finished(folder, name, config)

    monkeypatch.setattr(launch, "stage", stage)
    ablation.train_arms(run, [3], str(tiny_base), 0.85, MACHINE)
    return calls


def test_an_arm_differs_from_the_runs_settings_in_what_its_name_says(asked):
    assert asked["naive_sft"]["traces"] == "monolingual"
    assert asked["codeswitch_sft"]["traces"] == "code_switched"
    for name, call in asked.items():
        made = SFT if "sft" in name else GRPO
        assert call["learning_rate"] == made["learning_rate"]
        assert (call["seed"], call["micro_batch"]) == (3, 2)
    assert asked["naive_rft"]["curriculum"] == "none"
    assert asked["naive_rft"]["start"] == "naive_sft"
    assert asked["plateau"]["curriculum"] == "plateau" and asked["plateau"]["patience"] == 2
    assert asked["retain_stage1_high"]["start"] == "codeswitch_sft"
    assert asked["retain"]["start"] == "retain_stage2_medium"


def test_the_stop_file_of_the_run_pauses_every_arm(asked, run):
    assert {call["stop_file"] for call in asked.values()} == {str(paths.stop_file(run))}


@pytest.mark.heavy
def test_a_stop_of_the_run_pauses_the_stage_at_work(run, tiny_base):
    made = {"learning_rate": 0.01, "batch_size": 2, "max_steps": 2}
    for name in ("sft", "stage1_high"):
        steps = {"steps": 1} if name == "stage1_high" else {}
        file = paths.checkpoint(run, name) / "stage.json"
        file.write_text(json.dumps({"made_from": made | steps}))
    rows = data.read_jsonl(paths.rows_file(run, "sft"))[:2]
    data.write_jsonl(rows, paths.rows_file(run, "sft"))
    paths.stop_file(run).touch()
    machine = {"processes": 1, "strategy": "none"}
    with pytest.raises(stages.Paused, match="naive_sft saved a checkpoint and paused"):
        ablation.train_arms(run, [3], str(tiny_base), 0.85, machine)
    assert not paths.stop_file(run).exists()


def test_all_arms_with_grpo_may_take_as_many_steps(asked):
    for arm in ("retain", "mixture", "plateau"):
        steps = [call["steps"] for name, call in asked.items() if name.startswith(arm)]
        assert sum(steps) == asked["naive_rft"]["steps"] == 24


def test_each_stage_draws_from_its_own_pool(asked):
    tiers = {}
    for name, call in asked.items():
        tiers[name] = {languages.get(row.language).tier for row in call["rows"]}
    assert tiers["naive_rft"] == tiers["mixture"] == {"high", "medium", "low"}
    assert tiers["retain_stage1_high"] == {"high"}
    assert tiers["plateau_stage2_medium"] == {"high", "medium"}
    assert len(asked["mixture"]["rows"]) > len(asked["retain"]["rows"])


@pytest.mark.parametrize(("stage", "notebook"), [("sft", "03"), ("stage1_high", "04")])
def test_a_run_without_a_stage_says_which_notebook_to_run(run, stage, notebook):
    (paths.checkpoint(run, stage) / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"{stage} is missing: run notebook {notebook}"):
        ablation.train_arms(run, [4], "tiny", 0.85, MACHINE)


def test_settings_come_from_the_checkpoint_alone(run):
    assert ablation.settings_of(run, "sft") == {"learning_rate": 0.01, "batch_size": 4, "seed": 9}
    assert not (run / "logs").exists()


def test_every_arm_is_evaluated_with_its_seed_by_the_rules_of_the_run(run, monkeypatch):
    file = paths.checkpoint(run, "stage1_high") / "stage.json"
    made = json.loads(file.read_text())
    made["made_from"]["language_weight"] = 0.9
    file.write_text(json.dumps(made))

    def evaluate(folder, arm, sets, rules, seed, samples):
        assert folder == paths.seed_directory(run, seed)
        assert rules.weights["language"] == 0.9
        return pd.DataFrame({"model": [arm], "seed": seed})

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    verdicts = ablation.measure(run, [3, 5], {}, samples=1)
    assert verdicts["model"].tolist() == 2 * list(ablation.ARMS)
    assert verdicts["run"].unique().tolist() == verdicts["seed"].unique().tolist() == [3, 5]


def test_the_table_gives_mean_and_deviation_over_seeds():
    parts = [
        make.verdicts("retain", run=0, French=[True, True]),
        make.verdicts("retain", run=1, French=[True, False]),
        make.verdicts("base", run=0, French=[False, False]),
        make.verdicts("base", run=1, French=[False, False]),
    ]
    verdicts = pd.concat(parts).assign(set="train")
    over_seeds = ablation.table_of_arms(verdicts.assign(run=verdicts["seed"]))
    assert over_seeds.index.get_level_values("model").tolist() == ["base", "retain"]
    assert over_seeds.loc[("retain", "train"), ("la", "mean")] == 75
    deviation = over_seeds.loc[("retain", "train"), ("la", "std")]
    assert math.isclose(deviation, 50 / math.sqrt(2))
    assert over_seeds["runs"].tolist() == [2, 2]
    assert ablation.as_text(over_seeds).loc[("retain", "train"), "la"] == "75.00 ± 35.36"
