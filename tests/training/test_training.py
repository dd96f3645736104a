"""Whole stages on the tiny model: they train, pause, go on, and leave all that others need."""

import itertools
import json
import math
import os
import socket
import subprocess
import sys

import make
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from server import running
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

from curemed_utils import data, paths, prompts, rewards, training
from curemed_utils.training import (
    callbacks,
    checkpoints,
    curricula,
    process,
    rollouts,
    stages,
    trainers,
)

pytestmark = pytest.mark.heavy
SFT = {"learning_rate": 1e-3, "batch_size": 2, "micro_batch": 2, "max_steps": 2}
GRPO = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "micro_batch": 4,
    "num_generations": 2,
    "steps": 2,
    "max_completion_length": 8,
}


@pytest.fixture
def train_file(sample, tmp_path):
    """Four rows, where a run keeps those of SFT."""
    rows = [row for row in sample if row.language == "French"][:4]
    return data.write_jsonl(rows, paths.rows_file(tmp_path, "sft"))


@pytest.fixture
def config(tiny_base, train_file, tmp_path):
    """Settings of two SFT steps on four rows."""
    output = paths.checkpoint(tmp_path, "sft")
    return {"start": tiny_base, "train_file": train_file, "output": output, **SFT}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(config, shared):
    """A finished stage; the first test that asks for it trains, the others find it done."""
    file = shared / "sft.jsonl"
    if not file.exists():
        file.write_bytes(config["train_file"].read_bytes())
    stage = stages.settings("sft", config | {"train_file": file, "output": shared / "sft"})
    return stage, process.train("sft", stage)


@pytest.fixture
def grpo(trained, tmp_path):
    """Settings of two GRPO steps with four rows, two prompts a step."""
    sft, start = trained
    output = paths.checkpoint(tmp_path, "stage1_high")
    return {"start": start, "train_file": sft.train_file, "output": output, **GRPO}


def log(output, name="loss"):
    """The log records that hold `name`."""
    records = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [record for record in records if name in record]


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


# A stage from beginning to end -------------------------------------------------------------------


def test_sft_makes_a_checkpoint_that_loads_and_has_learnt(trained, tiny_base):
    stage, output = trained
    assert stages.is_done(stage)
    AutoModelForCausalLM.from_pretrained(output)
    assert not make.same_weights(output, tiny_base)
    names = [path.name for path in output.rglob("*")]
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    assert not [name for name in names if name.startswith("checkpoint-")]
    assert not output.with_name("sft.partial").exists()


def test_sft_logs_every_step_and_what_it_was_made_from(trained):
    _, output = trained
    losses = [record["loss"] for record in log(output)]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    info = checkpoints.info(output)
    assert (info["rows"], info["rows_over_length"]) == (4, 0)
    assert info["made_from"]["learning_rate"] == 1e-3


def test_a_checkpoint_has_all_that_others_need(trained):
    _, output = trained
    names = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json"} <= names
    assert {"tokenizer.json", "chat_template.jinja", "README.md"} <= names
    card = (output / "README.md").read_text()
    for part in ("| learning_rate | `0.001` |", "| loss | ", "not for medical advice"):
        assert part in card


def test_a_second_call_leaves_the_checkpoint_as_it_is(trained):
    stage, output = trained
    before = contents(output)
    assert process.train("sft", stage) == output
    assert contents(output) == before


def test_launching_a_finished_stage_starts_nothing(trained, capsys):
    stage, output = trained
    places = {"train_file": stage.train_file, "output": output}
    chosen = {"start": stage.start, **places, **SFT}
    assert training.stage("sft", output.parent, "sft", **chosen) == output
    assert "nothing to do" in capsys.readouterr().out
    assert not (output.parent / "logs").exists()


def test_an_interrupted_stage_goes_on_to_the_same_weights(trained, config, monkeypatch):
    class Interrupt(callbacks.TrainerCallback):
        def on_save(self, args, state, control, **_):
            raise KeyboardInterrupt

    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "save_steps": 1})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(callbacks, "Progress", Interrupt)
        process.train("sft", stage)
    assert not stages.is_done(stage)
    resumed = process.train("sft", stage)
    assert [record["step"] for record in log(resumed)] == [1, 2]
    assert make.same_weights(resumed, output)


def test_another_learning_rate_sets_the_old_checkpoint_aside(trained, config):
    stage, output = trained
    before = load_file(output / "model.safetensors")
    again = stages.settings("sft", stage.model_dump() | {"learning_rate": 5e-3})
    process.train("sft", again)
    (aside,) = output.parent.glob("sft.before-*")
    kept = load_file(aside / "model.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in before.items())
    assert not make.same_weights(output, aside)
    assert stages.is_done(again) and not stages.is_done(stage)


def test_rows_over_the_length_are_left_out_and_counted(config, train_file):
    tokenizer, lengths = checkpoints.load_tokenizer(config["start"]), []
    for row in data.read_jsonl(train_file):
        turns = prompts.messages(row) + prompts.completion(row)
        lengths.append(len(tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]))
    longest = max(lengths)
    output = process.train("sft", stages.settings("sft", config | {"max_length": longest - 1}))
    info, n_longest = checkpoints.info(output), lengths.count(longest)
    assert (info["rows"], info["rows_over_length"]) == (4 - n_longest, n_longest)


def test_rows_that_are_all_too_long_are_refused(config):
    with pytest.raises(data.DataError, match="all 4 rows are longer than max_length 5"):
        process.train("sft", stages.settings("sft", config | {"max_length": 5}))


def test_prompts_that_are_all_too_long_are_refused(grpo):
    stage = stages.settings("grpo", grpo | {"max_prompt_length": 5})
    with pytest.raises(data.DataError, match="all 4 rows are longer than max_prompt_length 5"):
        process.train("grpo", stage)


def test_a_grpo_stage_rewards_trains_and_says_where_it_started(trained, grpo):
    _, start = trained
    output = process.train("grpo", stages.settings("grpo", grpo))
    steps = log(output, "reward")
    assert len(steps) == 2
    assert {f"rewards/{part}/mean" for part in ("accuracy", "language", "format")} <= set(steps[0])
    assert checkpoints.info(output)["made_from"]["start"] == checkpoints.info(start)["fingerprint"]
    assert checkpoints.info(output)["rows"] == 4
    AutoModelForCausalLM.from_pretrained(output)


def test_fewer_prompts_than_a_step_takes_train_all_the_same(grpo, tmp_path):
    rows = data.read_jsonl(grpo["train_file"])
    config = grpo | {"train_file": data.write_jsonl(rows[:1], tmp_path / "one.jsonl")}
    output = process.train("grpo", stages.settings("grpo", config))
    assert len(log(output, "reward")) == 2 and checkpoints.info(output)["rows"] == 1
    assert len(pd.read_parquet(output / "rollouts.parquet")) == 2 * grpo["batch_size"]


def test_fields_of_trl_come_back_from_its_config(grpo, tmp_path):
    options = {"epsilon_high": 0.28, "mask_truncated_completions": True}
    options |= {"importance_sampling_level": "sequence"}
    stage = stages.settings("grpo", grpo | {"trl_options": options})
    config = trainers.grpo_trainer(stage, tmp_path / "part")[0].args
    usual = trainers.grpo_trainer(stages.settings("grpo", grpo), tmp_path / "part")[0].args
    assert {name: getattr(config, name) for name in options} == options
    assert not any(getattr(usual, name) == value for name, value in options.items())
    assert stages.made_from(stage)["trl_options"] == options


@pytest.mark.parametrize("name", ["beta", "output_dir", "save_steps", "reward_weights"])
def test_a_field_of_trl_that_a_setting_fills_is_refused(grpo, tmp_path, name):
    wrong = {"beta": 0.1, "output_dir": "x", "save_steps": 2.0, "reward_weights": [1.0]}
    stage = stages.settings("grpo", grpo | {"trl_options": {name: wrong[name]}})
    with pytest.raises(ValueError, match=f"trl_options can't have {name}"):
        trainers.grpo_trainer(stage, tmp_path / "part")


def test_parts_of_different_scale_are_normalised_before_their_sum(grpo, tmp_path):
    """An unknown part is then worth as much as the mean of its group: nothing."""
    config = grpo | {"batch_size": 4, "micro_batch": 4, "num_generations": 4}
    options = {"multi_objective_aggregation": "normalize_then_sum"}
    stage = stages.settings("grpo", config | {"trl_options": options})
    trainer, _ = trainers.grpo_trainer(stage, tmp_path / "part")
    no = math.nan
    parts = np.array([(1, 1, 1), (0, 1, 1), (1, no, 0), (no, no, no)])
    for place in range(3):
        trainer.reward_funcs[place] = lambda prompts, place=place, **_: list(parts[:, place])
    trainer.model.train()
    made = trainer._generate_and_score_completions([trainer.train_dataset[0]] * 4)
    each = (parts - np.nanmean(parts, axis=0)) / (np.nanstd(parts, axis=0, ddof=1) + 1e-4)
    total = np.nansum(each * [0.65, 0.30, 0.05], axis=1)[:3]
    wanted = (total - total.mean()) / (total.std(ddof=1) + 1e-4)
    assert made["advantages"].tolist() == pytest.approx([*wanted, 0.0], abs=1e-4)


def test_a_logger_keeps_one_curve_over_a_pause_and_begins_another_for_other_settings(
    grpo, tmp_path, monkeypatch
):
    names = []

    def begin(self, args, state, control, **_):
        names.append((args.run_name, os.environ["WANDB_RUN_ID"], os.environ["WANDB_RESUME"]))

    monkeypatch.setattr(callbacks.Mark, "on_train_begin", begin, raising=False)
    paths.stop_file(tmp_path).touch()
    with pytest.raises(stages.Paused):
        process.train("grpo", stages.settings("grpo", grpo))
    output = process.train("grpo", stages.settings("grpo", grpo))
    process.train("grpo", stages.settings("grpo", grpo | {"seed": 5}))
    assert names[0] == names[1] != names[2]
    run = f"{tmp_path.name}-{output.name}-"
    assert names[0][0].startswith(run) and names[0][1:] == (names[0][0], "allow")


def test_a_judge_behind_a_server_rewards_a_stage(grpo, tmp_path, monkeypatch):
    """Rollouts go to a server, its numbers to TRL; each different rollout is paid for once."""
    rules = {"accuracy_by": "judge", "language_by": "judge", "judge_model": "stand-in"}
    rules |= {"steps": 1, "max_completion_length": 12}
    with running(reply="0.5") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        output = process.train("grpo", stages.settings("grpo", grpo | rules))
        assert server.stats()["twice"] == 0
    assert paths.judge_cache(tmp_path).exists()
    assert log(output, "reward")[0]["rewards/accuracy/mean"] == pytest.approx(0.5)


def test_a_judge_that_reasons_rewards_a_stage_by_parameters_alone(grpo, tmp_path, monkeypatch):
    """It takes neither temperature nor max_tokens, and thinks for 300 tokens first."""
    options = {"temperature": None, "max_tokens": None, "max_completion_tokens": 400}
    parameters = {"accuracy_by": "judge", "language_by": "judge", "judge_model": "stand-in"}
    parameters |= {"judge_options": options | {"tokens_per_minute": 10**9, "max_concurrency": 4}}
    parameters |= {"grpo_steps": 2, "max_completion_length": 12}
    config = grpo | stages.from_parameters("grpo", parameters)
    with running(reply="0.5", reasons=300) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        output = process.train("grpo", stages.settings("grpo", config))
        assert server.stats()["twice"] == 0 < server.stats()["finished"]
        assert server.stats()["most_flying"] <= 4
        rules = stages.rules_of(tmp_path, 0.0, timeout=9.0, temperature=1.0)
    shown = log(output, "reward")
    assert [line["rewards/accuracy/mean"] for line in shown] == pytest.approx([0.5, 0.5])
    assert checkpoints.info(output)["made_from"]["judge_options"] == options
    with rules.judge as judge:  # that of later notebooks asks as the stage did
        (request,) = judge.requests("reward_language", [{"response": "x", "language": "French"}])
        assert "temperature" not in request and request["max_completion_tokens"] == 400


def test_trl_s_own_sum_is_ours_and_its_log_keeps_parts_unknown(grpo, tmp_path):
    grpo = grpo | {"batch_size": 6, "micro_batch": 6, "num_generations": 3}
    stage = stages.settings("grpo", grpo | {"language_weight": 0.2, "format_weight": 0.1})
    trainer, _ = trainers.grpo_trainer(stage, tmp_path / "part")
    no = math.nan
    parts = [(1, 1, 1), (0, 0, 1), (1, no, 1), (no, 1, 1), (no, no, 0), (no, no, no)]

    def reads(place):
        return lambda completions, **_: [part[place] for part in parts]

    trainer.reward_funcs[:3] = map(reads, range(3))
    trainer.model.train()
    rows = [trainer.train_dataset[place] for place in (0, 0, 0, 1, 1, 1)]
    made = trainer._generate_and_score_completions(rows)
    weights = [0.65, 0.2, 0.1]
    ours = rewards.filled(np.array(parts, float).reshape(2, 3, 3), weights) @ weights
    centred = ours - np.nanmean(ours, axis=1, keepdims=True)
    wanted = centred / (np.nanstd(ours, axis=1, ddof=1, keepdims=True) + 1e-4)
    wanted = np.nan_to_num(wanted).ravel().tolist()
    assert made["advantages"].tolist() == pytest.approx(wanted, abs=1e-4)
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert metrics["reward"] == pytest.approx(np.nanmean(ours))
    means = [metrics[f"rewards/{name}/mean"] for name in rewards.WEIGHTS]
    assert means == pytest.approx([2 / 3, 2 / 3, 4 / 5])
    kept = [list(trainer._logs["rewards"][name]) for name in rewards.WEIGHTS]
    np.testing.assert_allclose(np.transpose(kept), np.array(parts, float))


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ([False] * 4, "out trains without accuracy on 4 of 4 rows"),
        (
            [True, False, True, True],
            "out trains without accuracy on 1 of 4 rows, which list no accepted answers",
        ),
        ([True] * 4, ""),
    ],
)
def test_rows_without_accepted_answers_are_told_before_a_stage_starts(
    grpo, sample, tmp_path, capsys, lists, told
):
    rows = []
    for row, has_list in zip(sample[:4], lists, strict=True):
        rows.append(row if has_list else row.model_copy(update={"accepted": []}))
    file = data.write_jsonl(rows, tmp_path / "some.jsonl")
    config = grpo | {"train_file": file, "output": tmp_path / "checkpoints" / "out"}
    stages.check_files(stages.settings("grpo", config))
    shown = capsys.readouterr().out
    assert told in shown and bool(shown) is bool(told)
    if told:
        assert "set accuracy_by 'judge' and judge_model" in shown
        stages.check_files(stages.settings("grpo", config | {"accuracy_weight": 0}))
        assert capsys.readouterr().out == ""


def made(run_dir, stage, **settings):
    folder = paths.checkpoint(run_dir, stage)
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"made_from": settings, "fingerprint": stage}))


def test_the_rules_of_a_run_are_its_first_stage_s(tmp_path, capsys):
    assert str(stages.rules_of(tmp_path)) == str(rewards.Rewards())
    made(tmp_path, "stage1_high", accuracy_weight=0.3, language_weight=0.65, strict_format=False)
    rules = stages.rules_of(tmp_path)
    assert rules.weights == {"accuracy": 0.3, "language": 0.65, "format": 0.05}
    assert not rules.strict_format and capsys.readouterr().out == ""
    made(tmp_path, "stage2_medium", strict_format=True)
    assert str(stages.rules_of(tmp_path)) == str(rules)
    assert "stage2_medium was trained by other rules" in capsys.readouterr().out


def test_a_run_s_judge_is_asked_only_where_its_cost_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    made(tmp_path, "stage1_high", accuracy_by="judge", judge_model="gpt-4.1")
    assert stages.rules_of(tmp_path).judge == "gpt-4.1"
    with stages.rules_of(tmp_path, judge_max_usd=1.0).judge as asked:
        assert asked.model == "gpt-4.1" and paths.judge_cache(tmp_path).exists()


# Started from a notebook -------------------------------------------------------------------------


@pytest.fixture
def run_dir(tiny_base, train_file, tmp_path):
    """A run directory in which a stage of SFT can start."""
    paths.checkpoint(tmp_path, "base").parent.mkdir()
    paths.checkpoint(tmp_path, "base").symlink_to(tiny_base)
    return tmp_path


def test_a_notebooks_parameters_train_a_stage_whose_steps_are_watched(run_dir, capsys):
    records = []
    parameters = {"sft_max_steps": 5, "seed": 3, "processes": 1, "strategy": "none"}
    parameters |= {"sft_options": {"batch_size": 2, "max_steps": 2}}
    output = training.stage(
        "sft", run_dir, "sft", start="base", parameters=parameters, watch=records.append
    )
    assert output == paths.checkpoint(run_dir, "sft")
    assert [record["step"] for record in records] == [1, 2] and records[0]["of"] == 2
    made_from = checkpoints.info(output)["made_from"]
    assert (made_from["seed"], made_from["max_steps"], made_from["batch_size"]) == (3, 2, 2)
    assert "estimate of main memory of a node: " in capsys.readouterr().out


def test_a_failing_process_is_reported_with_the_end_of_its_log(run_dir):
    message = r"(?s)sft ended with exit code 1; the end of .*sft\.log:.*longer than max_length 5"
    with pytest.raises(RuntimeError, match=message):
        training.stage("sft", run_dir, "sft", start="base", **SFT, max_length=5)
    assert "longer than max_length 5" in paths.log(run_dir, "sft").read_text()


def test_a_stop_of_the_run_pauses_the_stage_of_a_seed_and_the_call_says_so(run_dir, train_file):
    seed = paths.seed_directory(run_dir, 0)
    stop = paths.stop_file(run_dir)
    places = {"start": paths.checkpoint(run_dir, "base"), "train_file": train_file}
    stop.touch()
    with pytest.raises(training.Paused, match="run the same cell or command again to go on"):
        training.stage("sft", seed, "sft", **places, **SFT, stop_file=str(stop))
    assert not stop.exists()
    assert training.stage("sft", seed, "sft", **places, **SFT, stop_file=str(stop)).exists()


# Stages that end early, go on, draw in order -----------------------------------------------------


def test_a_stop_file_pauses_and_the_next_call_goes_on_to_the_same_weights(
    trained, config, tmp_path
):
    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file})
    paths.stop_file(tmp_path).touch()
    with pytest.raises(training.Paused, match="sft paused after step 1 of 2"):
        process.train("sft", stage)
    assert not paths.stop_file(tmp_path).exists() and not stages.is_done(stage)
    assert checkpoints.pause_mark(stage.output).exists()
    resumed = process.train("sft", stage)
    assert make.same_weights(resumed, output) and len(log(resumed)) == 2
    assert not (resumed / "paused").exists()


def test_a_pause_has_an_exit_code_of_its_own(config, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(stages.settings("sft", config).model_dump_json())
    paths.stop_file(tmp_path).touch()
    with pytest.raises(SystemExit) as caught:
        process.main(["sft", str(file)])
    assert caught.value.code == 75


def test_training_whose_launcher_is_gone_saves_and_ends(config, monkeypatch):
    program = [sys.executable, "-c", "import os; print(os.getpid())"]
    gone = subprocess.run(program, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv(callbacks.LAUNCHER, f"{socket.gethostname()}:{gone}")
    with pytest.raises(training.Paused):
        process.train("sft", stages.settings("sft", config))


def test_a_half_written_checkpoint_is_passed_over(trained, config):
    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "save_steps": 1})
    part = checkpoints.partial(stage.output)
    checkpoints.prepare(part, checkpoints.fingerprint(stages.made_from(stage)))
    (part / "checkpoint-1").mkdir()
    (part / "checkpoint-1" / "model.safetensors").write_bytes(b"half")
    assert checkpoints.last_whole(part) is None
    assert make.same_weights(process.train("sft", stage), output)


def test_another_process_at_the_same_output_is_waited_for_then_named(config, monkeypatch, capsys):
    monkeypatch.setattr(process, "WAIT", 0.1)
    stage = stages.settings("sft", config)
    with (
        process._alone(stage.output),
        pytest.raises(RuntimeError, match=r"another process still trains .* after 0\.1 s; stop it"),
    ):
        process.train("sft", stage)
    assert "waiting until it has saved" in capsys.readouterr().out


def test_a_plateau_ends_a_stage_as_complete(grpo):
    plateau = {"curriculum": "plateau", "patience": 1, "learning_rate": 0.0}
    stage = stages.settings("grpo", grpo | plateau | {"steps": 5, "save_steps": 1})
    output = process.train("grpo", stage)
    n_steps = len(log(output))
    assert 2 <= n_steps < 5 and checkpoints.info(output)["steps"] == n_steps
    assert stages.is_done(stage)


def test_the_order_of_a_mixture_survives_the_sampler(sample, tmp_path, grpo):
    rows = [row for row in sample if row.language in ("French", "Thai")][::2]
    file = data.write_jsonl(rows, tmp_path / "mixed.jsonl")
    mixture = {"train_file": file, "curriculum": "mixture", "alpha": 0.5, "steps": 3}
    output = process.train("grpo", stages.settings("grpo", grpo | mixture))
    seen = pd.read_parquet(output / "rollouts.parquet")
    due = itertools.islice(curricula.mixture(data.read_jsonl(file), 0.5, 0), 6)
    assert seen["id"].tolist()[::2] == [row.id for row in due] == seen["id"].tolist()[1::2]
    assert seen.groupby("step")["prompt_language"].agg(set).tolist() == [{"French", "Thai"}] * 3


def test_every_rollout_is_kept_with_its_rewards_and_advantage(grpo):
    output = process.train("grpo", stages.settings("grpo", grpo))
    table = pd.read_parquet(output / "rollouts.parquet")
    assert len(table) == 8 and {"step", "id", "completion", "advantage"} <= set(table)
    assert {"accuracy", "language", "format"} <= set(table)
    assert not (output / "completions").exists()


def test_adapters_are_merged_into_a_whole_model(trained, config):
    whole, _ = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "lora_rank": 4})
    output = process.train("sft", stage)
    start = load_file(stage.start / "model.safetensors")
    merged = load_file(output / "model.safetensors")
    assert start.keys() == merged.keys()
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert changed and all("proj" in name for name in changed)
    assert (output / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_adapters_learn_on_frozen_weights_of_four_bits(kind, config, grpo, monkeypatch):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs the extra qlora")
    seen, save = {}, process._save
    draw = np.random.default_rng(0)  # rewards that differ, so that GRPO has something to learn
    monkeypatch.setattr(rollouts, "filled", lambda known, weights: draw.random(known.shape))

    def note(trainer, *places):
        for weight in trainer.model.parameters():
            seen.setdefault(weight.requires_grad, set()).add(weight.dtype)
        save(trainer, *places)

    monkeypatch.setattr(process, "_save", note)
    config = {"sft": config, "grpo": grpo}[kind] | {"lora_rank": 4, "load_in_4bit": True}
    stage = stages.settings(kind, config)
    output = process.train(kind, stage)
    assert seen[True] == {torch.float32}
    assert torch.uint8 in seen[False]  # two weights of 4 bits each
    start, merged = (load_file(path / "model.safetensors") for path in (stage.start, output))
    assert {name: weight.dtype for name, weight in merged.items()} == {
        name: weight.dtype for name, weight in start.items()
    }
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert changed and all("proj" in name for name in changed)


def test_without_bitsandbytes_four_bits_are_refused_by_its_name(config, monkeypatch):
    package = "transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available"
    monkeypatch.setattr(package, lambda: False)
    stage = stages.settings("sft", config | {"lora_rank": 4, "load_in_4bit": True})
    with pytest.raises(ImportError, match="requires bitsandbytes"):
        process.train("sft", stage)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_process_count_that_was_not_started_is_refused(kind, config, grpo):
    config = {"sft": config, "grpo": grpo}[kind] | {"world_size": 2, "micro_batch": 1}
    with pytest.raises(RuntimeError, match=r"world_size is 2, but 1 process\(es\) started"):
        process.train(kind, stages.settings(kind, config))


# What TRL gets -----------------------------------------------------------------------------------


def test_trl_takes_the_settings_of_every_engine(grpo, tmp_path):
    def taken(**chosen):
        settings = trainers._engine(stages.settings("grpo", grpo | chosen))
        plain = {"use_cpu": True, "bf16": False, "activation_checkpointing": False}
        config = GRPOConfig(output_dir=str(tmp_path), **plain, **settings)
        assert config.use_vllm and config.vllm_max_model_length == 1024 + 8
        return config

    inside = taken(engine="vllm", vllm_memory=0.4, vllm_tensor_parallel=2)
    assert (inside.vllm_mode, inside.vllm_gpu_memory_utilization) == ("colocate", 0.4)
    server = taken(engine="vllm_server", vllm_server_url="http://localhost:8000")
    assert server.vllm_mode == "server"
    assert server.vllm_server_base_url == "http://localhost:8000"


def test_naive_sft_learns_the_other_trace(sample):
    row = sample[0]
    assert row.reasoning_monolingual in prompts.completion(row, "monolingual")[0]["content"]
    assert row.reasoning in prompts.completion(row)[0]["content"]
