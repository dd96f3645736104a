import json
import math

import pandas as pd
import pytest

from curemed_utils import data, languages
from curemed_utils.evaluation import ablation
from curemed_utils.evaluation import verdicts as evaluation
from curemed_utils.training import launch, stages


@pytest.fixture
def asked(sample, tiny_base, tmp_path, monkeypatch):
    """What each arm's stages are asked for, by name, in a run whose settings stand in its logs; nothing is trained."""
    run, calls = tmp_path / "run", {}
    for name in ("sft", "rft"):
        data.write_jsonl(sample, run / "data" / f"{name}.jsonl")
    for name, summary in {
        "03_code_switched_sft": {"model_id": str(tiny_base), "processes": 1, "strategy": "none"},
        "01_data_curation": {"retain": 0.85},
    }.items():
        (run / "summary").mkdir(exist_ok=True)
        (run / "summary" / f"{name}.json").write_text(json.dumps(summary))
    (run / "logs").mkdir()
    common = {"start": "x", "train_file": "y", "output": "z", "world_size": 1, "seed": 9}
    (run / "logs" / "sft.json").write_text(json.dumps(common | {"learning_rate": 0.01, "batch_size": 4}))
    (run / "logs" / "stage1_high.json").write_text(json.dumps(common | {"learning_rate": 0.02, "steps": 8, "batch_size": 32}))

    def stage(kind, folder, name, processes, strategy, **config):
        output = folder / "checkpoints" / name
        stages.settings(kind, config | {"start": str(tiny_base), "output": str(output)})
        output.mkdir(parents=True)
        (output / "stage.json").write_text(json.dumps({"steps": 1}))
        calls[name] = config | {"rows": data.read_jsonl(config["train_file"])}
        return output

    monkeypatch.setattr(launch, "stage", stage)
    monkeypatch.setattr(
        evaluation, "evaluate", lambda folder, arm, sets, **settings: pd.DataFrame({"model": [arm], "seed": settings["seed"]})
    )
    found = ablation.run(run, [3], {"train": sample}, seed=0, samples=1)
    return calls, found, run


def test_every_arm_is_evaluated_with_its_seed(asked):
    _, found, _ = asked
    assert found["model"].tolist() == list(ablation.ARMS)
    assert set(found["seed"]) == {3} and set(found["run"]) == {3}


def test_an_arm_differs_from_the_runs_settings_in_what_its_name_says(asked):
    calls, _, _ = asked
    assert calls["naive_sft"]["traces"] == "monolingual" and calls["codeswitch_sft"]["traces"] == "code_switched"
    assert all(call["learning_rate"] == (0.01 if "sft" in name else 0.02) and call["seed"] == 3 for name, call in calls.items())
    assert calls["naive_rft"]["curriculum"] == "none" and calls["naive_rft"]["start"].endswith("naive_sft")
    assert calls["plateau"]["curriculum"] == "plateau" and calls["plateau"]["patience"] == 2
    assert calls["retain_stage1_high"]["start"].endswith("codeswitch_sft") and calls["retain"]["start"].endswith("retain_stage2_medium")


def test_all_arms_with_grpo_may_take_as_many_steps(asked):
    calls, _, _ = asked
    steps = {arm: sum(call["steps"] for name, call in calls.items() if name.startswith(arm)) for arm in ("retain", "mixture", "plateau")}
    assert set(steps.values()) == {calls["naive_rft"]["steps"]} == {24}


def test_each_stage_draws_from_its_own_pool(asked):
    calls, _, _ = asked
    held = {name: {languages.get(row.language).tier for row in call["rows"]} for name, call in calls.items()}
    assert held["naive_rft"] == held["mixture"] == {"high", "medium", "low"}
    assert held["retain_stage1_high"] == {"high"} and held["plateau_stage2_medium"] == {"high", "medium"}
    assert len(calls["mixture"]["rows"]) > len(calls["retain"]["rows"])


def test_a_run_without_grpo_says_what_to_run_first(asked):
    _, _, run = asked
    (run / "logs" / "stage1_high.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"stage1_high\.json is missing .* run notebooks 03 and 04"):
        ablation.run(run, [4], {})


def test_the_table_gives_mean_and_deviation_over_seeds():
    verdicts = pd.DataFrame(
        [
            {
                "model": arm,
                "set": "train",
                "run": run,
                "correct": right,
                "in_language": True,
                "complete": True,
                "well_formed": True,
                "reward": 1.0,
            }
            for arm, shares in {"retain": ([1, 1], [1, 0]), "base": ([0, 0], [0, 0])}.items()
            for run, rights in enumerate(shares)
            for right in map(bool, rights)
        ]
    ).astype(dict.fromkeys(["correct", "in_language", "complete", "well_formed"], "boolean"))
    found = ablation.table(verdicts)
    assert found.index.get_level_values("model").tolist() == ["base", "retain"]
    assert found.loc[("retain", "train"), ("la", "mean")] == 75
    assert math.isclose(found.loc[("retain", "train"), ("la", "std")], 50 / math.sqrt(2))
    assert found["runs"].tolist() == [2, 2]
    assert ablation.shown(found).loc[("retain", "train"), "la"] == "75.00 ± 35.36"
