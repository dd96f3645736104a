"""The settings of a stage, what shapes its weights, and what is checked before it starts."""

import shutil
from pathlib import Path

import make
import pytest

from curemed_utils import data, prompts
from curemed_utils.training import checkpoints, stages, trainers

PLACES = {"start": "checkpoints/base", "train_file": "rows.jsonl", "output": "checkpoints/x"}
MACHINE = {"micro_batch", "world_size", "save_steps", "keep_checkpoints", "report_to", "stop_file"}
COUNTED_BY_CONTENT = {"start", "train_file"}
WATCH = {"alarms", "stop_on"}
ELSEWHERE = {"output", "judge_cache", "judge_max_usd"}
REASONS = {"temperature": None, "max_tokens": None, "max_completion_tokens": 2000}
VLLM = {"vllm_memory", "vllm_tensor_parallel", "vllm_server_url"}


@pytest.fixture
def config(tiny_base, tmp_path):
    """Settings of a stage whose files are there."""
    rows = data.write_jsonl([make.row(n) for n in range(4)], tmp_path / "rows.jsonl")
    return {"start": tiny_base, "train_file": rows, "output": tmp_path / "checkpoints" / "sft"}


# Settings ----------------------------------------------------------------------------------------


def test_settings_read_and_write_nothing(tmp_path):
    stage = stages.settings("sft", dict.fromkeys(PLACES, tmp_path / "nowhere"))
    assert stage.start == tmp_path / "nowhere" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("sft", {"lerning_rate": 1}, "unknown sft setting 'lerning_rate'; did you mean 'learning_"),
        ("sft", {"num_generations": 4}, "unknown sft setting 'num_generations'"),
        ("sft", {"batch_size": 3, "micro_batch": 2}, "batch_size 3 must be a multiple of micro_"),
        ("sft", {"batch_size": 2, "world_size": 4}, r"micro_batch 1 x 4 process\(es\)"),
        ("sft", {"batch_size": 0}, "batch_size is 0: input should be greater than 0"),
        ("sft", {"micro_batch": 0}, "micro_batch is 0: input should be greater than 0"),
        ("sft", {"max_length": "8"}, "max_length is '8': input should be a valid integer"),
        ("sft", {"packing": 1}, "packing is 1: input should be a valid boolean"),
        ("grpo", {"beta": float("nan")}, "beta is nan: input should be a finite number"),
        ("sft", {"epochs": "three"}, "epochs is 'three': input should be a valid number"),
        ("sft", {"traces": "none"}, "traces is 'none': input should be 'code_switched' or 'mono"),
        ("sft", {"keep_checkpoints": 1}, "keep_checkpoints is 1: input should be greater than or"),
        ("sft", {"report_to": "mlflow"}, "report_to is 'mlflow': input should be 'none', 'track"),
        ("grpo", {"num_generations": 1}, "num_generations is 1: input should be greater than or"),
        ("grpo", {"num_generations": 3}, "batch_size 16 must be a multiple of num_generations 3"),
        ("grpo", {"engine": "sglang"}, "engine is 'sglang': input should be 'transformers', 'vll"),
        ("grpo", {"curriculum": "random"}, "curriculum is 'random': input should be 'retain', 'm"),
        ("grpo", {"curriculum": "plateau"}, "curriculum 'plateau' needs a patience of 1 step"),
        ("grpo", {"alpha": 1.0}, "alpha is 1.0: input should be less than 1"),
        ("grpo", {"accuracy_by": "judge"}, "set judge_model"),
        ("grpo", {"judge_options": {"timeout": "9"}}, "judge_options.timeout: input should be a"),
        (
            "grpo",
            {"judge_options": {"request_per_minute": 9}},
            "did you mean 'requests_per_minute'",
        ),
        ("grpo", {"judge_options": {"reasoning": {"effort": {1}}}}, "not a valid JSON value"),
        ("grpo", {"judge_options": {"api_key": "sk"}}, "'api_key' is no option"),
        ("grpo", {"judge_options": {"base_url": "h:8000/v1"}}, "'base_url' is no option"),
        ("grpo", {"judge_options": [60]}, "judge_options: input should be a valid dict"),
        (
            "grpo",
            {"trl_options": {"epsilon_hi": 0.28}},
            "no field of TRL's GRPOConfig; did you mean 'epsilon_hi",
        ),
        ("sft", {"trl_options": {"epsilon_high": 0.28}}, "'epsilon_high' is no field of TRL's SFT"),
        ("grpo", {"trl_options": {"top_k": 2.5}}, "top_k: input should be a valid integer"),
        ("sft", {"trl_options": {"neftune_noise_alpha": "5"}}, "neftune_noise_alpha: input should"),
        ("grpo", {"alpha": 2, "steps": 0}, "steps is 0: .*; alpha is 2: "),
    ],
)
def test_a_wrong_setting_is_named_with_what_may_stand_there(kind, setting, message):
    with pytest.raises(ValueError, match=message):
        stages.settings(kind, PLACES | setting)


def test_the_batch_is_shared_among_processes(tmp_path):
    stage = stages.settings("sft", PLACES | {"batch_size": 8, "micro_batch": 2, "world_size": 2})
    assert trainers.common(stage, tmp_path)["gradient_accumulation_steps"] == 2


def test_the_papers_settings_are_the_defaults():
    sft, grpo = stages.settings("sft", PLACES), stages.settings("grpo", PLACES)
    assert (sft.learning_rate, sft.batch_size, sft.epochs) == (1e-5, 32, 3)
    assert (grpo.learning_rate, grpo.weight_decay, grpo.steps) == (1e-6, 0.1, 500)
    assert (grpo.batch_size, grpo.num_generations) == (16, 16)
    assert (grpo.accuracy_weight, grpo.language_weight, grpo.format_weight) == (0.65, 0.30, 0.05)


def test_settings_come_back_from_their_file():
    chosen = {"judge_options": {"timeout": 9, "max_tokens": None, "reasoning": {"effort": "low"}}}
    stage = stages.settings("grpo", PLACES | {"learning_rate": 2e-6, "curriculum": "none"} | chosen)
    assert stage.model_dump()["judge_options"] == chosen["judge_options"]
    assert stages.GRPO.model_validate_json(stage.model_dump_json()) == stage


# A notebook's parameters -------------------------------------------------------------------------


def test_parameters_are_taken_by_name_without_prefix_and_options_count_more():
    parameters = {
        "run_dir": "runs/x",
        "probe_per_language": 3,
        "processes": 8,
        "seed": 7,
        "grpo_steps": 20,
        "sft_learning_rate": 1.0,
        "rollout_temperature": 0.9,
        "judge_model": "gpt-4.1",
        "curriculum": "mixture",
        "grpo_options": {"curriculum": "none", "lora_rank": 4},
    }
    assert stages.from_parameters("grpo", parameters) == {
        "seed": 7,
        "steps": 20,
        "temperature": 0.9,
        "judge_model": "gpt-4.1",
        "curriculum": "none",
        "lora_rank": 4,
    }


def test_a_misspelt_option_is_refused_though_a_parameter_may_be_the_notebooks_own():
    chosen = stages.from_parameters("sft", {"sft_color": "red", "sft_options": {"epoch": 1}})
    with pytest.raises(ValueError, match="unknown sft setting 'epoch'; did you mean 'epochs'"):
        stages.settings("sft", PLACES | chosen)


# What shapes the weights -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", stages.KINDS)
def test_every_setting_either_shapes_the_weights_or_is_of_the_machine(kind):
    other = MACHINE | COUNTED_BY_CONTENT | ELSEWHERE | VLLM | WATCH
    fields = set(stages.KINDS[kind].model_fields)
    assert other == stages.IDLE and fields & other


CHANGES = [
    {"seed": 1},
    {"learning_rate": 2e-3},
    {"max_steps": 3},
    {"max_length": 100},
    {"batch_size": 4},
    {"traces": "monolingual"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_setting_that_shapes_the_weights_makes_another_checkpoint(config, change):
    before = stages.made_from(stages.settings("sft", config))
    assert stages.made_from(stages.settings("sft", config | change)) != before


@pytest.mark.parametrize(
    "change",
    [
        {"judge_max_usd": 40},
        {"judge_cache": "elsewhere.sqlite"},
        {"micro_batch": 2},
        {"save_steps": 5},
        {"keep_checkpoints": 3},
        {"report_to": "wandb"},
        {"stop_file": "elsewhere"},
        {"output": "elsewhere"},
        {"vllm_memory": 0.5},
        {"judge_options": {"requests_per_minute": 60, "tokens_per_minute": 1e5, "timeout": 9}},
        {"judge_options": {"max_concurrency": 4, "served": "x"}},
    ],
)
def test_a_spend_cap_a_logger_a_path_or_a_machine_never_trains_again(config, change):
    config = config | {"accuracy_by": "judge", "judge_model": "m", "judge_max_usd": 20}
    before = stages.made_from(stages.settings("grpo", config))
    assert stages.made_from(stages.settings("grpo", config | change)) == before


def test_other_rows_make_another_checkpoint(config):
    stage = stages.settings("sft", config)
    before = stages.made_from(stage)
    data.write_jsonl(data.read_jsonl(stage.train_file)[1:], stage.train_file)
    assert stages.made_from(stage) != before


def test_the_judges_wording_counts_only_where_a_judge_rewards(config, monkeypatch):
    judged = {"accuracy_by": "judge", "judge_model": "m"}
    chosen = [stages.settings("sft", config), stages.settings("grpo", config)]
    chosen.append(stages.settings("grpo", config | judged))
    before = [stages.made_from(stage) for stage in chosen]
    monkeypatch.setitem(prompts.JUDGE, "reward_accuracy", "other words")
    same = [stages.made_from(stage) == made for stage, made in zip(chosen, before, strict=True)]
    assert same == [True, True, False]


def test_a_judges_request_fields_shape_the_reward(config):
    judged = config | {"accuracy_by": "judge", "judge_model": "m"}
    plain = stages.made_from(stages.settings("grpo", judged))
    assert "judge_options" not in plain
    options = {"max_completion_tokens": 900, "temperature": None, "timeout": 9}
    made = stages.made_from(stages.settings("grpo", judged | {"judge_options": options}))
    assert made["judge_options"] == {"max_completion_tokens": 900, "temperature": None}
    of_family = stages.made_from(stages.settings("grpo", judged | {"judge_model": "o3"}))
    assert of_family["judge_options"] == REASONS
    unasked = stages.made_from(stages.settings("grpo", config | {"judge_options": options}))
    assert unasked == stages.made_from(stages.settings("grpo", config))


def test_nothing_is_done_at_first(config):
    assert not stages.is_done(stages.settings("sft", config))


# Refused before any model loads ------------------------------------------------------------------


def check(config, **changes):
    stages.check_files(stages.settings("sft", config | changes))


def test_files_that_are_there_pass(config):
    check(config)


@pytest.mark.parametrize(("rate", "told"), [(1e-5, True), (2e-5, True), (1e-4, False)])
def test_a_rate_too_low_for_adapters_is_told(config, rate, told, capsys):
    low = "sft: LoRA wants a learning_rate of about 0.0001"
    stages.check_files(stages.settings("sft", config | {"learning_rate": rate, "lora_rank": 2}))
    assert (low in capsys.readouterr().out) == told
    stages.check_files(stages.settings("sft", config | {"learning_rate": rate}))
    assert "LoRA" not in capsys.readouterr().out


def test_four_bits_need_adapters_and_shape_the_weights(config):
    with pytest.raises(ValueError, match="load_in_4bit needs a lora_rank"):
        stages.settings("sft", config | {"load_in_4bit": True})
    plain = stages.made_from(stages.settings("sft", config))
    assert "load_in_4bit" not in plain  # as in checkpoints made before there was such a setting
    lora = stages.made_from(stages.settings("sft", config | {"lora_rank": 2}))
    four = stages.settings("sft", config | {"lora_rank": 2, "load_in_4bit": True})
    assert stages.made_from(four) == lora | {"load_in_4bit": True}


def test_a_missing_train_file_says_which_notebook_makes_it(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl is missing: run notebook 01"):
        check(config, train_file=tmp_path / "nowhere.jsonl")


def test_a_start_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"start .*nowhere is no finished checkpoint"):
        check(config, start=tmp_path / "nowhere")


def test_an_empty_train_file_is_refused(config, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(data.DataError, match=r"empty\.jsonl: holds no row"):
        check(config, train_file=tmp_path / "empty.jsonl")


def test_monolingual_traces_that_are_not_there_are_refused(config):
    with pytest.raises(data.DataError, match=r"'monolingual', but rows of .* have no such trace"):
        check(config, traces="monolingual")


def tokenizer_without(tiny_base, tmp_path, change) -> Path:
    folder = shutil.copytree(tiny_base, tmp_path / "changed")
    tokenizer = checkpoints.load_tokenizer(folder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


def test_tags_that_decoding_would_lose_are_refused(config, tiny_base, tmp_path):
    def as_special(tokenizer):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<answer>", "</answer>"]})

    start = tokenizer_without(tiny_base, tmp_path, as_special)
    message = r"(?s)start .*turns the tags .*add them as ordinary tokens"
    with pytest.raises(ValueError, match=message):
        check(config, start=start)


def test_a_tokenizer_without_a_chat_template_is_refused(config, tiny_base, tmp_path):
    def plain(tokenizer):
        tokenizer.chat_template = None

    start = tokenizer_without(tiny_base, tmp_path, plain)
    (start / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"start .*no chat template"):
        check(config, start=start)
