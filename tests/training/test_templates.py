"""Chat templates of the kinds that models have: one text in training, rollouts and evaluation."""

import os
import re
import shutil
from pathlib import Path

import make
import pandas as pd
import pytest
import trl
from transformers import AutoTokenizer

from curemed_utils import data, paths, prompts, rewards
from curemed_utils.evaluation import generation
from curemed_utils.training import checkpoints, process, sft, stages, templates, tiny

JOINED = templates.PARTS["joined"]
# Templates as their families publish them, from TRL; the test reads them where they lie.
PUBLISHED = {
    "qwen 2.5": "qwen2_5",
    "qwen 3": "qwen3",
    "qwen 3.5": "qwen3_5_think",
    "r1": "deepseek_r1_distill",
    "gemma": "gemma",
    "gemma 3": "gemma3",
    "llama 3.2": "llama3_2",
    "phi 3": "phi3",
    "gpt-oss": "gptoss",
}


def published(name: str) -> str:
    folder = Path(trl.__file__).parent / "chat_templates"
    return (folder / f"{PUBLISHED[name]}.jinja").read_text(encoding="utf-8")


# Short forms of our own, with the behaviour of each family.
_EACH = "{% for m in messages %}"
_ROLES = "{{ raise_exception('roles must alternate') }}"
_ALTERNATE = f"{{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}}{_ROLES}{{% endif %}}"
_TURN = "[{{ m['role'] }}]{{ m['content'] | trim }}<end_of_turn>{% endfor %}"
_OPEN = "{% if add_generation_prompt %}[assistant]{% endif %}"
GEMMA2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + _EACH + _ALTERNATE + _TURN + _OPEN
)
MISTRAL1 = (
    "<s>" + _EACH + _ALTERNATE + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
MISTRAL3 = (  # the system text before the last turn, if that is a user's
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}<s>"
    "{% for m in rest %}{% if m['role'] == 'user' %}[INST] {% if loop.last and system is defined %}"
    "{{ system + '\n\n' }}{% endif %}{{ m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>"
    "{% endif %}{% endfor %}"
)
DROPS = "{% for m in messages if m['role'] != 'system' %}" + _TURN + _OPEN
BRACKETS = _EACH + _TURN + "{% if add_generation_prompt %}[assistant][THINK]{% endif %}\n"
OTHERWISE = _EACH + _TURN + "{% if add_generation_prompt %}[assistant, think first]{% endif %}"
SHORT = {
    "chatml": tiny.CHATML,
    "gemma 2": GEMMA2,
    "mistral 0.1": MISTRAL1,
    "mistral 0.3": MISTRAL3,
    "without system": DROPS,
    "thinks in brackets": BRACKETS,
    "asks otherwise": OTHERWISE,
}
KINDS = [*SHORT, *PUBLISHED, "none"]
JOIN = {"gemma 2", "mistral 0.1", "mistral 0.3", "without system", "gemma"}
# What a prompt of generation ends in, where that isn't what the template wrote.
CLOSED = {
    "qwen 3": "<think>\n\n</think>\n\n",
    "qwen 3.5": "<think>\n\n</think>\n\n",
    "r1": "<think>\n\n</think>\n\n",
    "thinks in brackets": "[THINK]\n[/THINK]\n\n",
    "gpt-oss": "<|start|>assistant<|channel|>final<|message|>",
}
ENDS = {
    "gemma 2": "<end_of_turn>",
    "mistral 0.1": "</s>",
    "r1": "<｜end▁of▁sentence｜>",
    "gemma": "<end_of_turn>",
    "llama 3.2": "<|eot_id|>",
    "phi 3": "<|end|>",
    "gpt-oss": "<|return|>",
    "none": "<|im_end|>",
}
CONTROL = re.compile(r"<[|｜][^<>\s]+[|｜]>|</?s>|<(?:start|end)_of_turn>")


def text_of(kind: str) -> str:
    return SHORT.get(kind) or published(kind)


@pytest.fixture(scope="module")
def base(sample, tmp_path_factory):
    """A tiny model whose vocabulary has the control tokens of all these families."""
    every = "".join(text_of(kind) for kind in KINDS if kind != "none")
    tokens = list(dict.fromkeys(tiny.SPECIAL + CONTROL.findall(every)))
    texts = [text for row in sample for text in (row.question, row.reasoning, row.answer)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SPECIAL", tokens)
        return tiny.build(texts, tmp_path_factory.mktemp("families") / "base")


@pytest.fixture
def start(base, tmp_path):
    """A function that makes a model with a chat template; with '', without one."""

    def make_start(template):
        folder = shutil.copytree(base, tmp_path / "model")
        (folder / "chat_template.jinja").unlink()
        if template:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return folder

    return make_start


@pytest.fixture
def make_base(start, tmp_path):
    """A function that makes a run's base of a kind, as notebook 03 does."""

    def make(kind):
        model = start("" if kind == "none" else text_of(kind))
        template = "plain" if kind == "none" else ""
        return checkpoints.prepare_base(str(model), tmp_path / "run", [], 0, template)

    return make


def ids_of_three(tokenizer, row):
    """The prompt as GRPO in TRL, our evaluation and a harness tokenize it."""
    turns = prompts.messages(row)
    asks = {"add_generation_prompt": True}
    ours = generation._text(turns, tokenizer, "chat")
    theirs = tokenizer.apply_chat_template(turns, tokenize=False, **asks)
    return (
        tokenizer.apply_chat_template([turns], tokenize=True, return_dict=True, **asks)[
            "input_ids"
        ][0],
        tokenizer(ours, add_special_tokens=False)["input_ids"],
        tokenizer(theirs, add_special_tokens=False)["input_ids"],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_training_rollouts_evaluation_and_harness_have_one_text(kind, make_base, sample):
    base, row = make_base(kind), sample[0]
    checkpoints.check_start(base, row)
    tokenizer = checkpoints.load_tokenizer(base)
    raw = AutoTokenizer.from_pretrained(base)  # what others load
    assert (raw.chat_template, raw.eos_token) == (tokenizer.chat_template, tokenizer.eos_token)
    (example,), _ = sft.encode(tokenizer, [row], 4096)
    ids, labels = example["input_ids"], example["labels"]
    rollout, asked, harness = ids_of_three(raw, row)
    assert rollout == asked == harness
    assert ids[: len(asked)] == asked and labels[: len(asked)] == [-100] * len(asked)
    assert labels[len(asked) :] == ids[len(asked) :]
    learnt = tokenizer.decode(ids[len(asked) :])
    answer, end = prompts.completion(row)[0]["content"], tokenizer.eos_token
    assert learnt.lstrip(" ").startswith(answer + end) and "think>" not in learnt.split("<th")[0]
    text = tokenizer.decode(asked)
    assert all(turn["content"] in text for turn in prompts.messages(row))
    assert text.endswith(CLOSED.get(kind, "")) and end == ENDS.get(kind, end)
    assert tokenizer.chat_template.startswith(JOINED) == (kind in JOIN)
    joined = "\n\n".join(turn["content"] for turn in prompts.messages(row))
    assert kind not in JOIN or joined in text


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_settled_is_saved_and_stays(kind, make_base, tmp_path):
    tokenizer = checkpoints.load_tokenizer(make_base(kind))
    tokenizer.save_pretrained(tmp_path / "trained")
    again = AutoTokenizer.from_pretrained(tmp_path / "trained")
    assert not templates.settle(again)
    assert (again.chat_template, again.eos_token) == (tokenizer.chat_template, tokenizer.eos_token)


def test_a_template_that_takes_our_turns_is_not_touched(base):
    tokenizer = checkpoints.load_tokenizer(base)
    assert tokenizer.chat_template == tiny.CHATML
    tokenizer.chat_template = published("qwen 2.5")
    assert not templates.settle(tokenizer)
    assert tokenizer.chat_template == published("qwen 2.5")


def test_a_date_is_fixed(start, sample):
    tokenizer = checkpoints.load_tokenizer(start(published("llama 3.2")))
    text = templates.render(tokenizer, prompts.messages(sample[0]))
    assert "Today Date: 26 Jul 2024" in text


REFUSED = {
    "glm": (_EACH + "[{{ m['role'] }}]{{ m['content'] }}{% endfor %}" + _OPEN, "tokenizer has no"),
    "text ends": (tiny.CHATML.replace("<|im_end|>", "[end]"), "tokenizer has no token that ends"),
    "falls": ("{{ messages[0]['content'].nothing() }}", "chat template fails: "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_template_that_can_not_work_is_refused_before_training(kind, start, sample):
    template, message = REFUSED[kind]
    with pytest.raises(ValueError, match=f"(?s)model: its {message}"):
        checkpoints.check_start(start(template), sample[0])


def test_evaluation_says_which_template_loses_a_turn_before_it_loads(start, sample, monkeypatch):
    monkeypatch.setattr(generation, "_transformers", None)
    loses = "{% for m in messages if m['role'] == 'assistant' %}" + _TURN + _OPEN
    settings = generation.GenerationSettings()
    batches = generation.in_batches(start(loses), [prompts.messages(sample[0])], [0], settings)
    with pytest.raises(ValueError, match=r"model: .*leaves out the turn of the system.*'plain"):
        next(batches)


def test_the_default_of_several_templates_counts(base):
    tokenizer = checkpoints.load_tokenizer(base)
    tokenizer.chat_template = {"default": GEMMA2, "tool_use": tiny.CHATML}
    templates.settle(tokenizer)
    assert tokenizer.chat_template == JOINED + GEMMA2


def test_a_tokenizer_that_can_not_be_loaded_is_named(start, sample):
    folder = start(tiny.CHATML)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"model: its tokenizer can't be loaded"):
        checkpoints.check_start(folder, sample[0])


# A model without a template, or with another ------------------------------------------------------


def test_plain_poses_a_question_as_an_evaluation_of_a_base_model_does(start, sample):
    tokenizer = checkpoints.load_tokenizer(start(""), "plain")
    tokenizer.bos_token = "<s>"
    turns = prompts.messages(sample[0])
    assert templates.render(tokenizer, turns) == generation._text(turns, tokenizer, "plain")


def test_a_users_own_folder_stays_as_it_is(start, tmp_path):
    model = start("")
    before = {file: file.read_bytes() for file in model.iterdir()}
    base = checkpoints.prepare_base(str(model), tmp_path / "run", [], chat_template="plain")
    assert not base.is_symlink() and (base / "model.safetensors").is_symlink()
    assert make.same_weights(base, model)
    checkpoints.add_results(base, pd.DataFrame({"la": [12.0]}, index=["test"]), "strict")
    assert {file: file.read_bytes() for file in model.iterdir()} == before


def test_another_template_makes_another_base_and_the_same_is_kept(start, tmp_path):
    model, run, seen = start(""), tmp_path / "run", {}
    (tmp_path / "own.jinja").write_text(published("gemma"), encoding="utf-8")
    for template in ("", "plain", str(tmp_path / "own.jinja"), "plain"):
        base = checkpoints.prepare_base(str(model), run, [], chat_template=template)
        assert seen.setdefault(template, checkpoints.identity(base)) == checkpoints.identity(base)
    assert len(set(seen.values())) == 3
    made = (base / "stage.json").stat().st_mtime_ns
    checkpoints.prepare_base(str(model), run, [], chat_template="plain")
    assert (base / "stage.json").stat().st_mtime_ns == made
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    checkpoints.prepare_base(str(model), run, [], chat_template="plain")
    assert checkpoints.identity(base) != seen["plain"]


def test_the_tiny_model_takes_a_template_too(sample, tmp_path):
    bases = []
    for template in ("", "plain"):
        base = checkpoints.prepare_base("tiny", tmp_path, sample[:3], chat_template=template)
        bases.append(checkpoints.identity(base))
    assert AutoTokenizer.from_pretrained(base).chat_template == templates.PARTS["plain"]
    assert len(set(bases)) == 2


def test_a_template_that_is_not_there_is_named(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="chat_template 'plan' is neither 'plain' nor"):
        checkpoints.prepare_base(str(start("")), tmp_path / "run", [], chat_template="plan")


# Trained ------------------------------------------------------------------------------------------


def learn(folder: Path, name: str, start: Path, rows: list, kind: str, **changes) -> Path:
    file = data.write_jsonl(rows, paths.rows_file(folder, name))
    places = {"start": start, "train_file": file, "output": paths.checkpoint(folder, name)}
    stage = stages.settings(kind, places | changes)
    stages.check_files(stage)
    return process.train(kind, stage)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["gemma", "qwen 3", "r1", "none"])
def test_what_sft_teaches_is_paid_and_measured(kind, make_base, sample, tmp_path):
    """SFT learns one row by heart, two steps of GRPO sample it, an evaluation asks for it."""
    base, rows = make_base(kind), [sample[0]]
    settings = {"learning_rate": 0.005, "batch_size": 1, "scheduler": "constant", "max_steps": 30}
    trained = learn(tmp_path / "run", "sft", base, rows, "sft", **settings)
    settings = {"learning_rate": 1e-4, "batch_size": 2, "micro_batch": 2, "num_generations": 2}
    settings |= {"steps": 2, "max_completion_length": 128, "temperature": 0.1}
    last = learn(tmp_path / "run", "stage1_high", trained, rows, "grpo", **settings)
    for checkpoint in (trained, last):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        assert not templates.settle(tokenizer)
        assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
        assert tokenizer.eos_token == ENDS.get(kind, "<|im_end|>")
    rollouts = pd.read_parquet(last / "rollouts.parquet")
    assert len(rollouts) == 4 and list(rollouts["prompt"][0]) == prompts.messages(rows[0])
    for rollout in rollouts.itertuples():
        text = rollout.completion[0]["content"]
        assert text == prompts.completion(rows[0])[0]["content"]
        assert rewards.score(text, rows[0])["format"] == rollout.format == 1
    settings = generation.GenerationSettings(temperature=0, max_new_tokens=128)
    asked = generation.in_batches(last, [prompts.messages(rows[0])], [0], settings)
    (response,) = next(asked).values()
    assert (response.text, response.finish_reason) == (text, "stop")


# Published tokenizers, where they lie -------------------------------------------------------------


def published_tokenizers() -> list[Path]:
    folder = os.environ.get("CUREMED_TOKENIZERS")
    return sorted(Path(folder).iterdir()) if folder else []


@pytest.mark.parametrize("folder", published_tokenizers(), ids=lambda folder: folder.name)
def test_published_tokenizers_have_one_text(folder, sample):
    """CUREMED_TOKENIZERS holds folders with tokenizer.json and tokenizer_config.json."""
    tokenizer = checkpoints.load_tokenizer(folder)
    examples, _ = sft.encode(tokenizer, sample, 4096)
    for row, example in zip(sample, examples, strict=True):
        rollout, asked, harness = ids_of_three(tokenizer, row)
        assert rollout == asked == harness == example["input_ids"][: len(asked)]
        assert example["labels"][: len(asked)] == [-100] * len(asked)
        assert example["labels"][len(asked) :] == example["input_ids"][len(asked) :]
        assert tokenizer.eos_token_id in example["labels"]
