import itertools
import json
import shutil
import socket
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from server import running
from transformers import AutoModelForCausalLM

from curemed_utils import data, prompts
from curemed_utils.training import callbacks, checkpoints, curricula, launch, process, stages, trainers


@pytest.fixture
def train_file(sample, tmp_path):
    return data.write_jsonl([row for row in sample if row.language == "French"][:4], tmp_path / "data" / "sft.jsonl")


@pytest.fixture
def config(tiny_base, train_file, tmp_path):
    """Settings of two SFT steps on four rows."""
    return {
        "start": str(tiny_base),
        "train_file": str(train_file),
        "output": str(tmp_path / "checkpoints" / "sft"),
        "learning_rate": 1e-3,
        "batch_size": 2,
        "micro_batch": 2,
        "max_steps": 2,
    }


def same_weights(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# Settings -----------------------------------------------------------------------------------------------------------


def test_an_unknown_setting_names_the_nearest(config):
    with pytest.raises(ValueError, match="unknown sft setting 'lerning_rate'; did you mean 'learning_rate'"):
        stages.settings("sft", config | {"lerning_rate": 1})


def test_a_grpo_setting_is_unknown_to_sft(config):
    with pytest.raises(ValueError, match="unknown sft setting 'num_generations'"):
        stages.settings("sft", config | {"num_generations": 4})


@pytest.mark.parametrize("sizes", [{"batch_size": 3, "micro_batch": 2}, {"batch_size": 0}, {"micro_batch": 0}])
def test_a_batch_that_does_not_divide_is_refused(config, sizes):
    with pytest.raises(ValueError, match=r"batch_size .* must be a multiple of micro_batch"):
        stages.settings("sft", config | sizes)


def test_the_batch_is_shared_among_processes(config):
    assert stages.settings("sft", config | {"batch_size": 8, "world_size": 2}).accumulation == 2
    with pytest.raises(ValueError, match="2 process"):
        stages.settings("sft", config | {"batch_size": 2, "world_size": 2})


@pytest.mark.parametrize("generations", [1, 0, 3])
def test_a_group_of_one_or_one_that_does_not_divide_is_refused(config, generations):
    grpo = {name: config[name] for name in ("start", "train_file", "output")}
    with pytest.raises(ValueError, match=f"num_generations {generations}"):
        stages.settings("grpo", grpo | {"batch_size": 16, "num_generations": generations})


def test_a_missing_train_file_says_which_notebook_makes_it(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl is missing: run notebook 01"):
        stages.settings("sft", config | {"train_file": str(tmp_path / "nowhere.jsonl")})


def test_the_papers_settings_are_the_defaults(config):
    paths = {name: config[name] for name in ("start", "train_file", "output")}
    sft, grpo = stages.settings("sft", paths), stages.settings("grpo", paths)
    assert (sft.learning_rate, sft.batch_size, sft.epochs) == (1e-5, 32, 3)
    assert (grpo.learning_rate, grpo.batch_size, grpo.steps, grpo.num_generations, grpo.weight_decay) == (1e-6, 16, 500, 16, 0.1)
    assert (grpo.accuracy_weight, grpo.language_weight, grpo.format_weight) == (0.65, 0.30, 0.05)


# What makes a checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 2e-3}, {"max_steps": 3}, {"max_length": 100}, {"batch_size": 4}])
def test_settings_that_shape_the_weights_make_another_checkpoint(config, change):
    assert stages.made_from(stages.settings("sft", config | change)) != stages.made_from(stages.settings("sft", config))


@pytest.mark.parametrize("change", [{"micro_batch": 1}, {"save_steps": 5}])
def test_settings_of_the_machine_do_not(config, change):
    assert stages.made_from(stages.settings("sft", config | change)) == stages.made_from(stages.settings("sft", config))


def test_other_rows_make_another_checkpoint(config, train_file):
    stage = stages.settings("sft", config)
    before = stages.made_from(stage)
    data.write_jsonl(data.read_jsonl(train_file)[1:], train_file)
    assert stages.made_from(stage) != before


def test_nothing_is_done_at_first(config):
    assert not stages.is_done(stages.settings("sft", config))


@pytest.mark.parametrize(
    ("name", "notebook"), [("base", "03"), ("sft", "03"), ("stage1_high", "04"), ("stage2_medium", "05"), ("stage3_low", "06")]
)
def test_a_missing_checkpoint_says_which_notebook_makes_it(tmp_path, name, notebook):
    with pytest.raises(FileNotFoundError, match=f"{name} is missing: run notebook {notebook}"):
        checkpoints.find(tmp_path, name)


def test_setting_aside_keeps_the_old_content(tmp_path):
    folder = tmp_path / "sft"
    for content in ("first", "second"):
        folder.mkdir()
        (folder / "model").write_text(content)
        checkpoints.set_aside(folder)
    assert not folder.exists()
    assert sorted(path.read_text() for path in tmp_path.glob("sft.before-*/model")) == ["first", "second"]


def test_setting_aside_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "model").mkdir()
    link = tmp_path / "base"
    link.symlink_to(tmp_path / "model")
    checkpoints.set_aside(link)
    assert not link.is_symlink() and (tmp_path / "model").is_dir()


# The base model -----------------------------------------------------------------------------------------------------


def test_a_tiny_base_is_built_once_and_another_seeds_set_aside(sample, tmp_path):
    base = checkpoints.prepare_base("tiny", tmp_path, sample[:15])
    built = (base / "model.safetensors").stat().st_mtime_ns
    assert checkpoints.prepare_base("tiny", tmp_path, sample[:15]) == base
    assert (base / "model.safetensors").stat().st_mtime_ns == built
    checkpoints.prepare_base("tiny", tmp_path, sample[:15], seed=1)
    (aside,) = base.parent.glob("base.before-*")
    assert not same_weights(base, aside)


def test_a_local_model_is_linked(tiny_base, tmp_path):
    base = checkpoints.prepare_base(str(tiny_base), tmp_path, [])
    assert base.is_symlink() and base.resolve() == tiny_base.resolve()
    assert checkpoints.find(tmp_path, "base") == base


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        checkpoints.prepare_base(str(tmp_path), tmp_path / "run", [])


# Training -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(config, sample, shared):
    """A finished stage; the first test that asks for it trains, the others find it done."""
    file = shared / "sft.jsonl"
    if not file.exists():
        data.write_jsonl([row for row in sample if row.language == "French"][:4], file)
    stage = stages.settings("sft", config | {"train_file": str(file), "output": str(shared / "sft")})
    return stage, process.train("sft", stage)


def test_sft_makes_a_checkpoint_that_loads_and_has_learnt(trained, tiny_base):
    stage, output = trained
    assert stages.is_done(stage)
    AutoModelForCausalLM.from_pretrained(output)
    assert not same_weights(output, tiny_base)
    assert not [path.name for path in output.rglob("*") if path.suffix in (".bin", ".pt", ".pth") or path.name.startswith("checkpoint-")]
    assert not output.with_name("sft.partial").exists()


def test_sft_logs_every_step_and_what_it_was_made_from(trained):
    _, output = trained
    losses = [record["loss"] for line in (output / "log.jsonl").read_text().splitlines() if "loss" in (record := json.loads(line))]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    info = checkpoints.info(output)
    assert (info["rows"], info["rows_over_length"]) == (4, 0)
    assert info["made_from"]["learning_rate"] == 1e-3


def test_a_second_call_leaves_the_checkpoint_as_it_is(trained):
    stage, output = trained
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()}
    assert process.train("sft", stage) == output
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()} == before


def test_launching_a_finished_stage_starts_nothing(trained, capsys):
    stage, output = trained
    given = {
        name: getattr(stage, name) for name in ("start", "train_file", "output", "learning_rate", "batch_size", "micro_batch", "max_steps")
    }
    assert launch.stage("sft", output.parent, "sft", **given) == output
    assert "nothing to do" in capsys.readouterr().out
    assert not (output.parent / "logs").exists()


def test_an_interrupted_stage_goes_on_to_the_same_weights(trained, config, monkeypatch):
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):
        def on_save(self, args, state, control, **_):
            raise KeyboardInterrupt

    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "save_steps": 1})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(callbacks, "Progress", Interrupt)
        process.train("sft", stage)
    assert not stages.is_done(stage)
    resumed = process.train("sft", stage)
    steps = [json.loads(line)["step"] for line in (resumed / "log.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [1, 2]
    assert same_weights(resumed, output)


def test_another_learning_rate_sets_the_old_checkpoint_aside(trained, config):
    stage, output = trained
    before = load_file(output / "model.safetensors")
    again = stages.settings("sft", config | {"train_file": stage.train_file, "output": stage.output, "learning_rate": 5e-3})
    process.train("sft", again)
    (aside,) = output.parent.glob("sft.before-*")
    kept = load_file(aside / "model.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in before.items())
    assert not same_weights(output, aside)
    assert stages.is_done(again) and not stages.is_done(stage)


def test_rows_over_the_length_are_left_out_and_counted(config, train_file):
    tokenizer = checkpoints.load_tokenizer(config["start"])
    lengths = [trainers._tokens(tokenizer, prompts.messages(r) + prompts.completion(r)) for r in data.read_jsonl(train_file)]
    longest = max(lengths)
    output = process.train("sft", stages.settings("sft", config | {"max_length": longest - 1}))
    info = checkpoints.info(output)
    assert (info["rows"], info["rows_over_length"]) == (4 - lengths.count(longest), lengths.count(longest))


def test_rows_that_are_all_too_long_are_refused(config):
    with pytest.raises(data.DataError, match="all 4 rows are longer than max_length 5"):
        process.train("sft", stages.settings("sft", config | {"max_length": 5}))


def test_prompts_that_are_all_too_long_are_refused(config):
    grpo = {name: config[name] for name in ("start", "train_file", "output")}
    with pytest.raises(data.DataError, match="all 4 rows are longer than max_prompt_length 5"):
        process.train("grpo", stages.settings("grpo", grpo | {"max_prompt_length": 5}))


def test_a_failing_process_is_reported_with_the_end_of_its_log(config, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)sft ended with exit code 1; the end of .*sft\.log:.*longer than max_length 5"):
        launch.stage("sft", tmp_path, "sft", **config | {"max_length": 5})
    assert "longer than max_length 5" in (tmp_path / "logs" / "sft.log").read_text()


def test_a_grpo_stage_rewards_trains_and_says_where_it_started(trained):
    sft, start = trained
    config = {"start": str(start), "train_file": sft.train_file, "output": str(start.with_name("stage1_high"))}
    small = {"learning_rate": 1e-3, "batch_size": 4, "micro_batch": 4, "num_generations": 2, "steps": 2, "max_completion_length": 8}
    stage = stages.settings("grpo", config | small)
    output = process.train("grpo", stage)
    records = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    steps = [record for record in records if "reward" in record]
    assert len(steps) == 2 and {f"rewards/{part}/mean" for part in ("accuracy", "language", "format")} <= set(steps[0])
    assert checkpoints.info(output)["made_from"]["start"] == checkpoints.info(start)["fingerprint"]
    assert checkpoints.info(output)["rows"] == 4
    AutoModelForCausalLM.from_pretrained(output)


def test_a_judge_behind_a_server_rewards_a_stage(trained, tmp_path, monkeypatch):
    """The whole way over HTTP: rollouts to a server, its numbers to TRL, one paid answer per different rollout."""
    config, _ = trained
    small = {"batch_size": 4, "micro_batch": 4, "num_generations": 2, "steps": 1, "max_completion_length": 12}
    rules = {"accuracy_by": "judge", "language_by": "judge", "judge_model": "stand-in", "judge_cache": str(tmp_path / "judge.sqlite")}
    with running(reply="0.5") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        start, file = str(config.output), config.train_file
        stage = stages.settings("grpo", {"start": start, "train_file": file, "output": str(tmp_path / "grpo")} | small | rules)
        output = process.train("grpo", stage)
        assert server.stats()["twice"] == 0
    record = next(r for line in (output / "log.jsonl").read_text().splitlines() if "reward" in (r := json.loads(line)))
    assert record["rewards/accuracy/mean"] == pytest.approx(0.5)
    assert "judge_cache" not in checkpoints.info(output)["made_from"]


def test_the_judges_wording_counts_only_where_a_judge_rewards(trained, monkeypatch):
    sft, start = trained
    paths = {"start": str(start), "train_file": sft.train_file, "output": "x"}
    judge = {"accuracy_by": "judge", "judge_model": "m"}
    given = [sft, stages.settings("grpo", paths), stages.settings("grpo", paths | judge)]
    before = [stages.made_from(stage) for stage in given]
    monkeypatch.setitem(prompts.JUDGE, "reward_accuracy", "other words")
    after = [stages.made_from(stage) for stage in given]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False]


def test_a_rule_that_needs_a_judge_is_refused_without_one(config):
    paths = {name: config[name] for name in ("start", "train_file", "output")}
    with pytest.raises(ValueError, match="set judge_model"):
        stages.settings("grpo", paths | {"accuracy_by": "judge"})


# Stages that end early, go on, draw in order ---------------------------------------------------------------------------


@pytest.fixture
def grpo(trained, tmp_path):
    """Settings of two GRPO steps with four rows, two prompts a step."""
    sft, start = trained
    small = {"learning_rate": 1e-3, "batch_size": 4, "micro_batch": 4, "num_generations": 2, "steps": 2, "max_completion_length": 8}
    return {"start": str(start), "train_file": sft.train_file, "output": str(tmp_path / "checkpoints" / "stage1_high")} | small


def logged(output):
    return [record["step"] for line in (output / "log.jsonl").read_text().splitlines() if "loss" in (record := json.loads(line))]


def test_a_stop_file_pauses_and_the_next_call_goes_on_to_the_same_weights(trained, config, tmp_path):
    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file})
    (tmp_path / "stop").touch()
    with pytest.raises(process.Paused, match="sft paused after step 1 of 2"):
        process.train("sft", stage)
    assert not (tmp_path / "stop").exists() and not stages.is_done(stage)
    resumed = process.train("sft", stage)
    assert same_weights(resumed, output) and logged(resumed) == [1, 2]


def test_a_pause_has_an_exit_code_of_its_own(config, tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    (tmp_path / "stop").touch()
    with pytest.raises(SystemExit) as caught:
        process.main(["sft", str(file)])
    assert caught.value.code == 75


def test_training_whose_launcher_is_gone_saves_and_ends(config, monkeypatch):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv(callbacks.LAUNCHER, f"{socket.gethostname()}:{gone}")
    with pytest.raises(process.Paused):
        process.train("sft", stages.settings("sft", config))


def test_a_half_written_checkpoint_is_passed_over(trained, config):
    whole, output = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "save_steps": 1})
    part = checkpoints.partial(process.Path(stage.output))
    checkpoints.prepare(part, checkpoints.fingerprint(stages.made_from(stage)))
    (part / "checkpoint-1").mkdir()
    (part / "checkpoint-1" / "model.safetensors").write_bytes(b"half")
    assert checkpoints.last_whole(part) is None
    assert same_weights(process.train("sft", stage), output)


def test_the_newest_whole_checkpoint_counts_not_the_last_by_name(tmp_path):
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        checkpoints.mark_whole(tmp_path / f"checkpoint-{step}")
    assert checkpoints.last_whole(tmp_path) == str(tmp_path / "checkpoint-10")


def test_another_process_at_the_same_output_is_waited_for_then_named(config, monkeypatch, capsys):
    monkeypatch.setattr(process, "WAIT", 0.1)
    stage = stages.settings("sft", config)
    with process._alone(process.Path(stage.output)), pytest.raises(RuntimeError, match="another process has trained"):
        process.train("sft", stage)
    assert "waiting until it has saved" in capsys.readouterr().out


def test_a_plateau_ends_a_stage_as_complete(grpo):
    stage = stages.settings("grpo", grpo | {"curriculum": "plateau", "patience": 1, "steps": 5, "save_steps": 1, "learning_rate": 0.0})
    output = process.train("grpo", stage)
    steps = logged(output)
    assert 2 <= len(steps) < 5 and checkpoints.info(output)["steps"] == len(steps)
    assert stages.is_done(stage)


def test_the_order_of_a_mixture_survives_the_sampler(trained, sample, tmp_path, grpo):
    rows = [row for row in sample if row.language in ("French", "Thai")][::2]
    file = data.write_jsonl(rows, tmp_path / "mixed.jsonl")
    stage = stages.settings("grpo", grpo | {"train_file": str(file), "curriculum": "mixture", "alpha": 0.5, "steps": 3})
    output = process.train("grpo", stage)
    seen = pd.read_parquet(output / "rollouts.parquet")
    due = [row.id for row in itertools.islice(curricula.mixture(data.read_jsonl(file), 0.5, 0), 6)]
    assert seen["id"].tolist() == [one for one in due for _ in range(2)]
    assert seen.groupby("step")["prompt_language"].agg(set).tolist() == [{"French", "Thai"}] * 3


def test_every_rollout_is_kept_with_its_rewards_and_advantage(grpo):
    output = process.train("grpo", stages.settings("grpo", grpo))
    table = pd.read_parquet(output / "rollouts.parquet")
    assert len(table) == 8 and {"step", "id", "completion", "accuracy", "language", "format", "advantage"} <= set(table)
    assert not (output / "completions").exists()


def test_adapters_are_merged_into_a_whole_model(trained, config):
    whole, _ = trained
    stage = stages.settings("sft", config | {"train_file": whole.train_file, "lora_rank": 4})
    output = process.train("sft", stage)
    start, merged = load_file(f"{stage.start}/model.safetensors"), load_file(output / "model.safetensors")
    assert start.keys() == merged.keys()
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert changed and all("proj" in name for name in changed)
    assert (output / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_process_count_that_was_not_started_is_refused(kind, config, grpo):
    given = {"sft": config, "grpo": grpo}[kind] | {"world_size": 2, "micro_batch": 1}
    with pytest.raises(RuntimeError, match=r"world_size is 2, but 1 process\(es\) were started"):
        process.train(kind, stages.settings(kind, given))


# Refused before any model loads ------------------------------------------------------------------------------------------


def test_a_start_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"start .*nowhere is no checkpoint"):
        stages.settings("sft", config | {"start": str(tmp_path / "nowhere")})


def tokenizer_without(tiny_base, tmp_path, change):
    folder = tmp_path / "changed"
    shutil.copytree(tiny_base, folder)
    tokenizer = checkpoints.load_tokenizer(folder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_tags_that_decoding_would_lose_are_refused(config, tiny_base, tmp_path):
    def as_special(tokenizer):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<answer>", "</answer>"]})

    with pytest.raises(ValueError, match=r"(?s)start .*turns the tags .*add them as ordinary tokens"):
        stages.settings("sft", config | {"start": tokenizer_without(tiny_base, tmp_path, as_special)})


def test_a_tokenizer_without_a_chat_template_is_refused(config, tiny_base, tmp_path):
    start = tokenizer_without(tiny_base, tmp_path, lambda tokenizer: setattr(tokenizer, "chat_template", None))
    (process.Path(start) / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"start .*no chat template"):
        stages.settings("sft", config | {"start": start})


def test_an_empty_stage_is_refused(config, tmp_path):
    file = tmp_path / "empty.jsonl"
    file.touch()
    with pytest.raises(data.DataError, match=r"empty\.jsonl: holds no row"):
        stages.settings("sft", config | {"train_file": str(file)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "sglang"}, "engine is 'sglang'"),
        ({"engine": "vllm_server"}, "vllm_server_url is empty"),
        ({"curriculum": "random"}, "curriculum is 'random'"),
        ({"curriculum": "plateau"}, "needs a patience of 1"),
        ({"keep_checkpoints": 1}, "keep_checkpoints is 1"),
        ({"report_to": "mlflow"}, "report_to is 'mlflow'"),
        ({"report_to": "wandb"}, "report_to is 'wandb', which is not installed: pip install wandb"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(grpo, given, said, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=said):
        stages.settings("grpo", grpo | given)


@pytest.mark.parametrize(
    ("given", "mode", "value"),
    [
        ({"engine": "vllm", "vllm_memory": 0.4, "vllm_tensor_parallel": 2}, "colocate", 0.4),
        ({"engine": "vllm_server", "vllm_server_url": "http://localhost:8000"}, "server", "http://localhost:8000"),
    ],
)
def test_trl_takes_the_settings_of_every_engine(grpo, given, mode, value, tmp_path):
    from trl import GRPOConfig

    settings = trainers._engine(stages.settings("grpo", grpo | given))
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)
    assert config.use_vllm and config.vllm_mode == mode and config.vllm_max_model_length == 1024 + 8
    assert value in (config.vllm_gpu_memory_utilization, config.vllm_server_base_url)


def test_monolingual_traces_that_are_not_there_are_refused(config, make_row, tmp_path):
    file = data.write_jsonl([make_row(0)], tmp_path / "rows.jsonl")
    with pytest.raises(data.DataError, match=r"traces is 'monolingual', but rows of .* have no such trace"):
        stages.settings("sft", config | {"train_file": str(file), "traces": "monolingual"})


def test_naive_sft_learns_the_other_trace(sample):
    row = sample[0]
    assert row.reasoning_monolingual in prompts.completion(row, "monolingual")[0]["content"]
    assert row.reasoning in prompts.completion(row)[0]["content"]


# Out ------------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_has_all_that_others_need(trained):
    _, output = trained
    names = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    card = (output / "README.md").read_text()
    assert "| learning_rate | `0.001` |" in card and "| loss | " in card and "not for medical advice" in card


def test_results_enter_the_card_and_are_replaced(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / "sft")
    for la in (12.0, 34.0):
        checkpoints.add_results(tmp_path / "sft", pd.DataFrame({"la": [la]}, index=["test"]))
    card = (tmp_path / "sft" / "README.md").read_text()
    assert "| test | 34.00 |" in card and "12.00" not in card and card.count("## Limits") == 1


def test_pushing_sends_the_model_and_keeps_the_questions(trained, monkeypatch):
    import huggingface_hub

    calls = {}

    class Api:
        def create_repo(self, repo_id, **given):
            return f"hub/{repo_id}"

        def upload_folder(self, **given):
            calls.update(given)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert checkpoints.push(trained[1], "me/model") == "hub/me/model"
    assert calls["folder_path"] == str(trained[1]) and "rollouts.parquet" in calls["ignore_patterns"]


def test_a_foreign_folder_is_not_pushed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished checkpoint"):
        checkpoints.push(tmp_path, "me/model")


def test_a_foreign_model_is_the_same_wherever_it_lies(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "copy")
    assert checkpoints.identity(tmp_path / "copy") == checkpoints.identity(tiny_base)
    (tmp_path / "copy" / "more.safetensors").write_bytes(b"x")
    assert checkpoints.identity(tmp_path / "copy") != checkpoints.identity(tiny_base)
