"""Parameters as people write them: on a command line, in a file, in a notebook."""

import builtins
import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curemed_utils import parameters, paths
from curemed_utils.data import DataError

KNOWN = parameters.known_parameters()


def read(name: str, text: str):
    """What `-p name text` gives, checked."""
    values = parameters.read_arguments([(name, text)], KNOWN)
    parameters.check_parameters(values, KNOWN)
    return values[name]


# A command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sft_learning_rate", "1e-4", 1e-4),
        ("grpo_learning_rate", "5e-7", 5e-7),
        ("sft_learning_rate", "1E-4", 1e-4),
        ("sft_learning_rate", ".5", 0.5),
        ("sft_learning_rate", "5.", 5.0),
        ("sft_learning_rate", "+1.0e-6", 1e-6),
        ("sft_learning_rate", "1", 1),
        ("sft_learning_rate", "\u200b1e-4 \n", 1e-4),
        ("seed", "010", 10),
        ("seed", " 7", 7),
        ("strict_format", "no", False),
        ("strict_format", "On", True),
        ("strict_format", "TRUE", True),
        ("grpo_options", "{beta: 1e-3}", {"beta": 1e-3}),
        ("grpo_options", "beta: 1e-3", {"beta": 1e-3}),
        ("grpo_options", "{warmup: 0}", {"warmup": 0}),
        ("ablation_seeds", "[0, 010]", [0, 10]),
        ("baselines", "[Gemma-7B, GPT-5-nano]", ["Gemma-7B", "GPT-5-nano"]),
        ("ood_data", "{MedQA: 2026-01-01}", {"MedQA": "2026-01-01"}),
        ("model_servers", "{a: http://x:1/v1}", {"a": "http://x:1/v1"}),
        ("curation_models", "{options: {top_p: 1e-1}}", {"options": {"top_p": 0.1}}),
    ],
)
def test_a_value_is_read_by_the_declared_type(name, text, value):
    assert read(name, text) == value and type(read(name, text)) is type(value)


@pytest.mark.parametrize(
    "text", ["010", "1e3", "null", "yes", "[x].jsonl", "2026-01-01", "", " a", "1:30", "{", "'a'"]
)
def test_a_text_is_taken_as_typed(text):
    assert read("judge_model", text) == text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed", "1:30", "parameter seed is '1:30': input should be a valid integer"),
        ("seed", "1e3", "seed is 1000.0: input should be a valid integer"),
        ("seed", "3.0", "seed is 3.0: input should be a valid integer"),
        ("seed", "0x1F", "seed is '0x1F': input should be a valid integer"),
        ("seed", "true", "seed is True: input should be a valid integer"),
        ("seed", "", "seed is None: input should be a valid integer"),
        ("sft_learning_rate", "nan", "sft_learning_rate is 'nan': input should be a valid number"),
        ("sft_learning_rate", "1e999", "is inf: input should be a finite number"),
        ("sft_learning_rate", "0,5", "is '0,5': input should be a valid number"),
        ("sft_learning_rate", "'1e-4'", "is '1e-4': input should be a valid number"),
        ("strict_format", "1", "is '1': input should be a valid boolean"),
        ("strict_format", "null", "is 'null': input should be a valid boolean"),
        ("grpo_options", "", "is None: input should be a valid dictionary"),
        ("grpo_options", "[1]", "grpo_options: input should be a valid dictionary"),
        ("grpo_options", "{beta: abc}", "beta is 'abc': input should be a valid number"),
        ("grpo_options", "{beta: .inf}", "beta is '.inf': input should be a valid number"),
        ("grpo_options", "{betta: 0.1}", "unknown grpo setting 'betta'; did you mean 'beta'"),
        ("grpo_options", "{beta:1e-3}", "unknown grpo setting 'beta:1e-3'; did you mean 'beta'"),
        ("grpo_options", '{num_generations: "8"}', "num_generations is '8': .*valid integer"),
        ("grpo_options", "{lora_rank: true}", "lora_rank is True: .*valid integer"),
        ("grpo_options", "{strict_format: no}", "strict_format is 'no': .*valid boolean"),
        ("grpo_options", "{beta: 1, beta: 2}", "'beta' stands there twice"),
        ("grpo_options", "{train_file: x}", "train_file can't be chosen"),
        ("grpo_options", "{1: 2}", "keys should be strings"),
        ("grpo_options", "!!python/name:os.x {}", "this is not YAML"),
        (
            "sft_options",
            "{report_to: null}",
            "report_to is None: input should be 'none', 'trackio'",
        ),
        ("ablation_seeds", "[0, a]", r"is \[0, 'a'\]: 1: input should be a valid integer"),
        ("ablation_seeds", "0, 1", "is '0, 1': input should be a valid list"),
        ("baselines", "[1]", "0: input should be a valid string"),
        ("model_servers", "{a: 1}", "a: input should be a valid string"),
        (
            "ood_data",
            "{MedQa: x}",
            "MedQa: input should be 'MMedBench', 'MedExpQA', 'MedQA', 'AfriMed-QA' or 'MultiMed-X'",
        ),
        ("curation_models", "{composr: x}", "composr: extra inputs are not permitted"),
        ("curation_models", "{seed: 1}", "seed is a parameter of its own"),
        ("grpo_steps", "0", "steps is 0: input should be greater than 0"),
        ("sft_batch_size", "5", "batch_size 5 must be a multiple of micro_batch 13"),
        ("accuracy_by", "judge", "set judge_model"),
        ("sed", "1", "unknown parameter 'sed'; did you mean 'seed'"),
        ("seed", "1_000", "seed is '1_000': input should be a valid integer"),
        ("sft_learning_rate", "1_000.5", "is '1_000.5': input should be a valid number"),
        ("seed", "-1", "seed is -1: input should be greater than or equal to 0"),
        ("grpo_learning_rate", "-1e-6", "is -1e-06: input should be greater than or equal to 0"),
        ("test_share", "1.5", "test_share is 1.5: input should be less than or equal to 1"),
        ("baselines", "[GPT-99]", "0: no model 'GPT-99' in .*models.yaml; known: "),
        ("data_source", "smaple", "data_source is 'smaple': input should be 'sample', 'release'"),
        (
            "eval_engine",
            "vLLM",
            "eval_engine is 'vLLM': input should be '', 'transformers', 'vllm'",
        ),
        ("ood_form", "closed", "ood_form is 'closed': input should be 'open' or 'options'"),
        ("ood_rule", "Letter", "ood_rule is 'Letter': input should be 'letter', 'text' or 'judge'"),
        ("grpo_options", "{loss_type: dapoo}", "loss_type is 'dapoo': input should be 'grpo'"),
        ("sft_options", "{scheduler: cosin}", "scheduler is 'cosin': input should be 'linear'"),
        ("strategy", "zero4", "strategy is 'zero4': input should be 'none', 'ddp'"),
        ("curriculum", "retian", "curriculum is 'retian': input should be 'retain'"),
        (
            "sft_traces",
            "mono",
            "traces is 'mono': input should be 'code_switched' or 'monolingual'",
        ),
        ("language_by", "online", "language_by must be one of offline, judge"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_loads(name, text, message):
    with pytest.raises(DataError, match=message):
        read(name, text)


@settings(deadline=None)
@given(st.sampled_from(list(parameters.TYPES)), st.text())
@example("int", "010")
@example("int", "9" * 5000)
@example("float", "9" * 5000)
@example("float", "1" + "e1" * 3)
@example("dict", "&a {b: *a}")
@example("dict", "!!int abc")
@example("dict", "? [1]\n: 2")
def test_any_text_has_the_declared_type_or_is_refused_in_our_words(type_name, text):
    known = {"one": {"it": parameters.Parameter(type_name, None)}}
    try:
        values = parameters.read_arguments([("it", text)], known)
        parameters.check_parameters(values, known)
    except DataError as error:
        assert str(error).startswith(("parameter it ", "parameter it: "))
    else:
        kinds = {"float": (int, float)}.get(type_name, getattr(builtins, type_name))
        assert isinstance(values["it"], kinds)
        assert type_name == "bool" or not isinstance(values["it"], bool)
        assert type_name != "float" or math.isfinite(values["it"])


@given(st.floats(min_value=0, allow_infinity=False))
def test_a_number_comes_back_as_it_was_written(number):
    assert read_number(repr(number), "float") == number


@given(st.integers(), st.sampled_from(["", " ", "\u200b", "\ufeff", "\t"]))
def test_leading_zeros_and_what_stands_around_don_t_change_a_whole_number(number, around):
    sign = "-" if number < 0 else ""
    assert read_number(f"{around}{sign}00{abs(number)}{around}", "int") == number


def read_number(text: str, type_name: str):
    known = {"one": {"it": parameters.Parameter(type_name, 0)}}
    return parameters.read_arguments([("it", text)], known)["it"]


# A file ------------------------------------------------------------------------------------------


@pytest.fixture
def profiles(monkeypatch, tmp_path):
    (tmp_path / "small.yaml").write_text("grpo_learning_rate: 1e-6\nseed: 010\n")
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    return tmp_path


def test_a_profile_is_read_by_name_or_path_as_yaml_1_2(profiles):
    values = {"grpo_learning_rate": 1e-6, "seed": 10}
    assert parameters.read_profile("small") == values
    assert parameters.read_profile(str(profiles / "small.yaml")) == values
    (profiles / "windows.yaml").write_bytes("seed: 010\r\n".encode("utf-16"))
    assert parameters.read_profile("windows") == {"seed": 10}
    (profiles / "empty.yaml").write_text("# nothing yet\n")
    assert parameters.read_profile("empty") == {}


def test_an_unknown_profile_names_the_nearest(profiles):
    with pytest.raises(DataError, match=r"no profile .*smal.*did you mean 'small'"):
        parameters.read_profile("smal")


def test_a_profile_unlike_any_lists_the_known(profiles):
    with pytest.raises(DataError, match="known: small"):
        parameters.read_profile("qqq")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"steps: [1", "is not YAML"),
        (b"- steps\n", "must hold `name: value` lines"),
        (b"seed: 1\nseed: 2\n", "'seed' stands there twice"),
        (b"grpo_options:\n  beta: 1\n  beta: 2\n", "'beta' stands there twice"),
        (b"seed: \xff", "is not UTF-8"),
        (b"seed: 1\n---\nseed: 2\n", "single document"),
    ],
)
def test_a_broken_profile_is_named(profiles, text, message):
    (profiles / "broken.yaml").write_bytes(text)
    with pytest.raises(DataError, match=rf"broken\.yaml.*{message}"):
        parameters.read_profile("broken")


@pytest.mark.parametrize("name", ["demo", "ablation-demo", "small", "qwen2.5-7b"])
def test_papermill_reads_a_file_of_ours_as_we_do(name):
    from papermill.iorw import read_yaml_file

    ours = parameters.read_profile(name)
    assert read_yaml_file(str(paths.PROFILES / f"{name}.yaml")) == ours


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("int", 3),
        ("float", 3),
        ("float", 0.5),
        ("str", "x"),
        ("bool", True),
        ("list", [1]),
        ("dict", {}),
        ("Path", object()),  # a type that we don't know
    ],
)
def test_values_of_the_right_type_pass(type_name, value):
    known = {"one": {"it": parameters.Parameter(type_name, value)}}
    parameters.check_parameters({"it": value}, known)


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("int", 0.5),
        ("int", 3.0),
        ("int", True),
        ("int", "3"),
        ("float", "1e-5"),
        ("float", math.nan),
        ("float", math.inf),
        ("float", True),
        ("str", 3),
        ("str", None),
        ("bool", 1),
        ("list", "x"),
        ("dict", None),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(type_name, value):
    known = {"one": {"it": parameters.Parameter(type_name, value)}}
    with pytest.raises(DataError, match=f"parameter it is {value!r}: input should be a "):
        parameters.check_parameters({"it": value}, known)


def test_a_file_that_is_not_there_is_named_with_its_whole_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text("")  # beside the notebook, not in the repository
    with pytest.raises(DataError, match=f"there is no {paths.ROOT}/mine.jsonl"):
        read("questions_file", "mine.jsonl")
    assert read("questions_file", str(tmp_path / "mine.jsonl")).endswith("mine.jsonl")
    assert read("questions_file", "README.md") == "README.md"


def test_a_stage_is_checked_for_the_chosen_notebooks_alone():
    values = {"processes": 2, "sft_batch_size": 26}
    with pytest.raises(DataError, match="batch_size 26 must be"):
        parameters.check_parameters(values | {"sft_batch_size": 26, "processes": 4}, KNOWN)
    parameters.check_parameters(values | {"processes": 4}, KNOWN, ["01_data_curation"])


def test_other_lines_of_a_parameters_cell_are_let_be_and_no_code_is_run(tmp_path):
    cell = {"metadata": {"tags": ["parameters"]}, "source": ["'''what'''\nx = 3\nseed: int = 1"]}
    file = tmp_path / "one.ipynb"
    file.write_text(json.dumps({"cells": [cell]}))
    assert parameters.declared(file) == {"seed": ("int", 1)}
    cell["source"] = ["seed: int = 2 * 3"]
    file.write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(DataError, match=r"one\.ipynb: parameter seed needs a plain value, not s"):
        parameters.declared(file)


# A notebook at work ------------------------------------------------------------------------------


def namespace(**values) -> dict:
    """The variables of notebook 04, whose parameters cell was run."""
    variables = {name: one.default for name, one in KNOWN["04_grpo_stage1_high"].items()}
    types = {name: one.type for name, one in KNOWN["04_grpo_stage1_high"].items()}
    return variables | values | {"__annotations__": types, "In": [""]}


def test_a_notebooks_own_parameters_pass():
    parameters.check_notebook(namespace(mine=3) | {"In": ["", "seed: int = 0"]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grpo_learning_rate": "1e-6"}, "is '1e-6': input should be a valid number"),
        ({"judge_model": 10}, "judge_model is 10: input should be a valid string"),
        ({"strict_format": "false"}, "strict_format is 'false': input should be a valid boolean"),
        ({"grpo_options": "{beta: 1e-3}"}, "grpo_options: input should be a valid dictionary"),
        ({"grpo_options": {"beta": "1e-3"}}, "beta is '1e-3': input should be a valid number"),
        ({"num_generations": 7}, "batch_size 64 must be a multiple of num_generations 7"),
    ],
)
def test_what_papermill_gives_is_checked_in_the_notebook(values, message):
    with pytest.raises(DataError, match=message):
        parameters.check_notebook(namespace(**values))


def test_a_parameter_that_papermill_puts_in_and_no_notebook_has_is_named():
    cells = ["", "seed: int = 0", "# Parameters\nseed = 1\nmax_topics = 2\nsed = 1\n"]
    with pytest.raises(DataError, match="unknown parameter 'sed'; did you mean 'seed'"):
        parameters.check_notebook(namespace(sed=1, max_topics=2) | {"In": cells})
