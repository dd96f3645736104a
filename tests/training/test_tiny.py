"""The laptop's model: its tokenizer loses nothing, and its checkpoint is an ordinary one."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from curemed_utils import languages, prompts
from curemed_utils.training import tiny


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return AutoTokenizer.from_pretrained(tiny_base)


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def equal(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("language", languages.NAMES)
def test_every_sample_text_survives_encoding_and_decoding(sample, tokenizer, language):
    texts = [
        text
        for row in sample
        if row.language == language
        for text in (row.question, row.reasoning, row.answer)
    ]
    assert len(texts) == 3 * 15
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts


@pytest.mark.parametrize(
    "text", ["  two  spaces \n\n\tand a tab ", "日本語 emoji 🩺 ½ µg", "don't — can't", "Ìbà"]
)
def test_text_it_never_saw_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("tag", tiny.TAGS)
def test_each_tag_is_one_token_even_between_words(tokenizer, tag):
    (token,) = tokenizer.encode(tag)
    assert token in tokenizer.encode(f"x{tag}y")
    assert tokenizer.decode([token], skip_special_tokens=True) == tag


def test_the_chat_template_is_chatml(tokenizer, make_row):
    row = make_row(
        question="Quel mal ?", reasoning="<thinking></thinking>", answer="<answer>grippe</answer>"
    )
    system = prompts.SYSTEM.format(language="French")
    prompt = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nQuel mal ?<|im_end|>\n"
    prompt += "<|im_start|>assistant\n"
    whole = prompt + "<thinking></thinking>\n<answer>grippe</answer><|im_end|>\n"
    assert (
        tokenizer.apply_chat_template(
            prompts.messages(row), tokenize=False, add_generation_prompt=True
        )
        == prompt
    )
    assert (
        tokenizer.apply_chat_template(
            prompts.messages(row) + prompts.completion(row), tokenize=False
        )
        == whole
    )


def test_a_turn_ends_with_the_end_token(tokenizer):
    assert tokenizer.eos_token == "<|im_end|>"
    assert len(tokenizer.encode("<|im_end|>")) == 1
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_checkpoint_holds_safetensors_and_no_pickle(tiny_base):
    names = {path.name for path in tiny_base.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_the_checkpoint_loads_and_has_about_a_million_parameters(tiny_base, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert 0.5e6 <= sum(p.numel() for p in model.parameters()) <= 2e6
    assert model.config.vocab_size == len(tokenizer) == 2048
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_vllm_takes_its_heads(tiny_base):
    config = AutoConfig.from_pretrained(tiny_base)
    assert config.hidden_size == 32 * config.num_attention_heads  # vLLM reads no head_dim of Qwen2
    assert "head_dim" not in config.to_diff_dict()


def test_the_model_turns_a_prompt_into_tokens_of_its_vocabulary(tiny_base, tokenizer):
    inputs = tokenizer("Quel mal ?", return_tensors="pt")
    output = AutoModelForCausalLM.from_pretrained(tiny_base).generate(
        **inputs, max_new_tokens=3, do_sample=False
    )
    assert inputs["input_ids"].shape[1] < output.shape[1] <= inputs["input_ids"].shape[1] + 3
    assert int(output.max()) < len(tokenizer)


def test_weights_depend_on_the_seed_alone(sample, tmp_path):
    texts = [row.question for row in sample]
    first, again, other = (
        weights(tiny.build(texts, tmp_path / name, seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert equal(first, again)
    assert not equal(first, other)


def test_the_tokenizer_does_not_depend_on_the_seed(sample, tmp_path):
    texts = [row.question for row in sample]
    first, other = (
        (tiny.build(texts, tmp_path / str(seed), seed) / "tokenizer.json").read_text()
        for seed in (1, 2)
    )
    assert first == other
