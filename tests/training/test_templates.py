"""Chat templates of the kinds that models have: they take our turns, or say why not."""

import shutil

import pytest

from curemed_utils import prompts
from curemed_utils.evaluation import generation
from curemed_utils.training import checkpoints, sft, templates, tiny

# Short forms of our own, with the behaviour of each family.
_EACH = "{% for m in messages %}"
_ROLES = "{{ raise_exception('roles must alternate') }}"
_ALTERNATE = f"{{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}}{_ROLES}{{% endif %}}"
_TURN = "[{{ m['role'] }}]{{ m['content'] | trim }}[end]{% endfor %}"
_OPEN = "{% if add_generation_prompt %}[assistant]{% endif %}"
GEMMA2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + _EACH + _ALTERNATE + _TURN + _OPEN
)
GEMMA3 = (
    "{% set first = '' %}{% set rest = messages %}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}{% endif %}"
    "{% for m in rest %}[{{ m['role'] }}]{{ first if loop.first else '' }}{{ m['content'] }}[end]"
    "{% endfor %}" + _OPEN
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
LLAMA3 = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y %H:%M:%S.%f') "
    "%}{% endif %}Today: {{ date_string }}\n" + _EACH + _TURN + _OPEN
)
R1 = (
    _EACH + "{% if m['role'] == 'assistant' %}[A]{{ m['content'].split('</think>')[-1] }}[end]"
    "{% else %}[{{ m['role'] }}]{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[A]<think>\n{% endif %}"
)
QWEN3 = (  # an empty thought before the last answer, and where thinking is off
    _EACH
    + "[{{ m['role'] }}]{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n"
    "{% endif %}{{ m['content'] }}[end]{% endfor %}" + _OPEN + "{% if add_generation_prompt and "
    "enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
PHI = (
    _EACH
    + "<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    + ("{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}")
)
ENDLESS = _EACH + "[{{ m['role'] }}]{{ m['content'] }}{% endfor %}" + _OPEN
FALLS = "{{ messages[0]['content'].nothing() }}"
WORK = {
    "chatml": tiny.CHATML,
    "gemma 2": GEMMA2,
    "gemma 3": GEMMA3,
    "mistral 0.1": MISTRAL1,
    "mistral 0.3": MISTRAL3,
    "without system": DROPS,
    "llama 3": LLAMA3,
    "qwen 3": QWEN3,
    "phi": PHI,
}
JOIN = {"gemma 2", "mistral 0.1", "mistral 0.3", "without system"}
THINKS = QWEN3.replace(_OPEN, "{% if add_generation_prompt %}[assistant]<think>\n{% endif %}")
HARMONY = (
    _EACH + "[{{ m['role'] }}]{% if m['role'] == 'assistant' %}<channel>final{% endif %}"
    "{{ m['content'] }}[end]{% endfor %}" + _OPEN
)
REFUSED = {
    "r1": (R1, r"ends a prompt in .*<think>.*choose one"),
    "always thinks": (THINKS, r"ends a prompt in .*<think>.*choose one"),
    "channels": (HARMONY, "where a completion doesn't follow"),
    "endless": (ENDLESS, "marks no end of an answer"),
    "falls": (FALLS, "fails: "),
}


@pytest.fixture
def start(tiny_base, tmp_path):
    """A function that makes a model with a chat template."""

    def make_start(template):
        folder = shutil.copytree(tiny_base, tmp_path / "model")
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return make_start


@pytest.mark.parametrize("kind", WORK)
def test_a_template_takes_our_turns_alike_in_training_and_generation(kind, start, sample):
    row, folder = sample[0], start(WORK[kind])
    checkpoints.check_start(folder, row)
    tokenizer = checkpoints.load_tokenizer(folder)
    prompt, completion = prompts.messages(row), prompts.completion(row)
    (example,), _ = sft.encode(tokenizer, [row], 4096)
    asked = generation._text(prompt, tokenizer, "chat")
    whole = tokenizer.decode(example["input_ids"])
    assert whole.startswith(asked) and all(turn["content"] in asked for turn in prompt)
    learnt = tokenizer.decode([label for label in example["labels"] if label != -100])
    assert learnt.strip().startswith(completion[0]["content"])
    joined = f"{prompt[0]['content']}\n\n{prompt[1]['content']}"
    assert (tokenizer.chat_template.startswith(templates.JOINED)) == (kind in JOIN)
    assert kind not in JOIN or joined in asked


@pytest.mark.parametrize("kind", WORK)
def test_what_was_settled_is_saved_and_stays(kind, start, tmp_path):
    tokenizer = checkpoints.load_tokenizer(start(WORK[kind]))
    tokenizer.save_pretrained(tmp_path / "trained")
    again = checkpoints.load_tokenizer(tmp_path / "trained")
    assert again.chat_template == tokenizer.chat_template


def test_a_template_that_takes_our_turns_is_not_touched(start):
    for kind in ("chatml", "gemma 3", "phi"):
        folder = start(WORK[kind])
        assert checkpoints.load_tokenizer(folder).chat_template == WORK[kind]
        shutil.rmtree(folder)


def test_a_date_is_fixed(start, sample):
    tokenizer = checkpoints.load_tokenizer(start(LLAMA3))
    texts = {templates.render(tokenizer, prompts.messages(sample[0])) for _ in range(3)}
    assert len(texts) == 1 and "Today: 26 Jul 2024" in texts.pop()


@pytest.mark.parametrize("kind", REFUSED)
def test_a_template_that_can_not_work_is_refused_before_training(kind, start, sample):
    template, message = REFUSED[kind]
    with pytest.raises(ValueError, match=f"(?s)start .*model: its chat template .*{message}"):
        checkpoints.check_start(start(template), sample[0])


def test_evaluation_takes_a_template_that_opens_a_thought(start, sample):
    tokenizer = checkpoints.load_tokenizer(start(R1))
    assert generation._text(prompts.messages(sample[0]), tokenizer, "chat").endswith("<think>\n")


def test_evaluation_says_which_template_loses_a_turn_before_it_loads(start, sample, monkeypatch):
    monkeypatch.setattr(generation, "_transformers", None)
    loses = "{% for m in messages if m['role'] == 'assistant' %}" + _TURN + _OPEN
    settings = generation.GenerationSettings()
    batches = generation.in_batches(start(loses), [prompts.messages(sample[0])], [0], settings)
    with pytest.raises(ValueError, match=r"model: .*leaves out the turn of the system.*'plain"):
        next(batches)


def test_the_default_of_several_templates_counts(tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    tokenizer.chat_template = {"default": GEMMA2, "tool_use": tiny.CHATML}
    templates.settle(tokenizer)
    assert tokenizer.chat_template == templates.JOINED + GEMMA2


def test_a_tokenizer_that_can_not_be_loaded_is_named(start, sample):
    folder = start(tiny.CHATML)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"start .*model: its tokenizer can't be loaded"):
        checkpoints.check_start(folder, sample[0])
