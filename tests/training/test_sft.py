"""SFT's data path: ids and masks as TRL makes them, and losses that no shortcut changes."""

import functools
import sys
from types import SimpleNamespace

import datasets
import pytest
import torch
from transformers.integrations import hub_kernels
from transformers.utils import import_utils
from trl import SFTConfig, SFTTrainer

from curemed_utils import data, languages, prompts
from curemed_utils.training import checkpoints, sft, stages, tiny, trainers

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def rows(sample):
    """Two rows a language, and one whose tokens may merge over the border of prompt and completion.

    Its completion begins as the prompt ends.
    """
    some = []
    for language in languages.NAMES:
        some += [row for row in sample if row.language == language][:2]
    merging = {"id": "merges", "reasoning": "\n\n" + some[0].reasoning}
    return [*some, some[0].model_copy(update=merging)]


def plain_trainer(base, tokenizer, rows, part, **settings):
    """TRL's own way: prompt and completion columns, rows padded to the longest."""
    table = datasets.Dataset.from_list(
        [{"prompt": prompts.messages(row), "completion": prompts.completion(row)} for row in rows]
    )
    config = SFTConfig(
        output_dir=str(part),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        max_length=4096,
        **settings,
    )
    return SFTTrainer(model=str(base), args=config, train_dataset=table, processing_class=tokenizer)


@pytest.mark.parametrize("tags", [True, False])
def test_ids_and_labels_are_those_of_trl(tags, rows, tiny_base, tmp_path, monkeypatch):
    if not tags:
        monkeypatch.setattr(tiny, "TAGS", [])
    tokenizer = tiny.build_tokenizer(
        [
            text
            for row in rows
            for text in (row.question, row.reasoning, row.answer, "assistant\n\n\n")
        ]
    )
    assert bool(set(tokenizer.get_added_vocab()) - set(tiny.SPECIAL)) == tags
    expected = plain_trainer(tiny_base, tokenizer, rows, tmp_path).train_dataset
    examples, left_out = sft.encode(tokenizer, rows, 4096)
    assert left_out == 0 and len({row.language for row in rows}) == len(languages.NAMES)
    assert [e["input_ids"] for e in examples] == list(expected["input_ids"])
    assert [e["labels"] for e in examples] == list(expected["labels"])


def test_the_labels_spell_the_completion(rows, tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    examples, _ = sft.encode(tokenizer, rows[:1], 4096)
    learnt = tokenizer.decode([label for label in examples[0]["labels"] if label != -100])
    assert learnt == f"{rows[0].reasoning}\n{rows[0].answer}<|im_end|>\n"


def test_the_other_traces_are_learnt_where_they_are_asked_for(rows, tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    examples, _ = sft.encode(tokenizer, rows[:1], 4096, "monolingual")
    assert rows[0].reasoning_monolingual in tokenizer.decode(examples[0]["input_ids"])


def test_longer_rows_are_left_out_whole(rows, tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    examples, _ = sft.encode(tokenizer, rows, 4096)
    lengths = [len(example["input_ids"]) for example in examples]
    limit = sorted(lengths)[len(lengths) // 2]
    kept, left_out = sft.encode(tokenizer, rows, limit)
    assert kept == [example for example in examples if len(example["input_ids"]) <= limit]
    assert left_out == len(rows) - len(kept) > 0


def test_a_row_is_learnt_behind_the_prompt_of_generation(rows, tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    tokenizer.chat_template = tiny.CHATML.replace("assistant\n{", "assistant, think first\n{")
    (example,), _ = sft.encode(tokenizer, rows[:1], 4096)
    text = tokenizer.decode(example["input_ids"])
    assert f"assistant, think first\n{rows[0].reasoning}" in text


# Losses ------------------------------------------------------------------------------------------


def losses(trainer):
    trainer.train()
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


@pytest.fixture(scope="module")
def plain_losses(rows, tiny_base, tmp_path_factory):
    """Three steps on four rows of different lengths, padded, by TRL alone."""
    settings = {
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
    }
    settings |= {"weight_decay": 0.0, "disable_tqdm": True}
    tokenizer, part = checkpoints.load_tokenizer(tiny_base), tmp_path_factory.mktemp("plain")
    return losses(plain_trainer(tiny_base, tokenizer, rows[:8:2], part, **settings))


@pytest.fixture
def stage(rows, tiny_base, tmp_path):
    """A function that makes the settings of the same three steps."""
    file = data.write_jsonl(rows[:8:2], tmp_path / "sft.jsonl")
    same = {
        "start": str(tiny_base),
        "train_file": str(file),
        "output": str(tmp_path / "sft"),
        "learning_rate": 1e-3,
    }
    same |= {"scheduler": "constant", "warmup": 0.0, "max_steps": 3}
    return lambda **changes: stages.settings("sft", same | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 4, "batch_size": 4},
        {"micro_batch": 1, "batch_size": 4},
        {"packing": True, "batch_size": 1},
    ],
)
def test_losses_are_those_of_padded_training(changes, stage, plain_losses, tmp_path):
    trainer, made = trainers.sft_trainer(stage(**changes), tmp_path)
    assert made["rows"] == 4
    assert len(trainer.train_dataset) == (1 if "packing" in changes else 4)
    assert losses(trainer) == pytest.approx(plain_losses, abs=1e-5)
    assert len(set(plain_losses)) == 3


def test_packed_rows_do_not_see_each_other(stage, tmp_path):
    trainer, _ = trainers.sft_trainer(stage(packing=True, batch_size=1), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    *starts, end = batch["cu_seq_lens_q"].tolist()
    assert len(starts) == 4
    with torch.no_grad():
        packed = trainer.model(batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            alone = trainer.model(batch["input_ids"][:, start:stop]).logits[0]
            torch.testing.assert_close(packed[start:stop], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [(None, "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")],
)
def test_precision_is_what_the_gpu_has(gpu, expected, stage, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    assert checkpoints.precision() == expected
    taken = trainers.common(stage(), tmp_path)
    assert (taken["bf16"], taken["fp16"]) == (expected == "bfloat16", expected == "float16")
    assert trainers._loading(stage(), {})["dtype"] == "float32"
    assert trainers._loading(stage(lora_rank=2), {})["dtype"] == expected
    four = trainers._loading(stage(lora_rank=2, load_in_4bit=True), {})["quantization_config"]
    assert str(four.bnb_4bit_compute_dtype) == f"torch.{expected}"
    assert (four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == ("nf4", True)


def test_frozen_weights_are_half_and_trained_ones_whole(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "precision", lambda: "bfloat16")
    trainer, _ = trainers.sft_trainer(stage(lora_rank=2, batch_size=4), tmp_path)
    dtypes = {True: set(), False: set()}
    for weight in trainer.model.parameters():
        dtypes[weight.requires_grad].add(weight.dtype)
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    assert all(loss > 0 for loss in losses(trainer))


class Hub:
    """Stands in for the package `kernels`, whose hub gives what is in `has`."""

    def __init__(self, *has: str):
        self.has, self.asked = has, []

    def get_kernel(self, name: str, **_):
        self.asked.append(name)
        if name not in self.has:
            raise OSError(f"{name} can't be fetched")

    def mapping(self) -> dict:
        names = {"RMSNorm": "norm", "rotary_pos_emb": "rotary", "SiLU": "silu"}
        load = {layer: functools.partial(self.get_kernel, name) for layer, name in names.items()}
        return {layer: {"cuda": {"any": SimpleNamespace(load=load[layer])}} for layer in load}


@pytest.fixture
def hub(monkeypatch):
    """A function that gives this machine a GPU of a capability, and a hub that it reaches."""

    def make(capability, *has: str) -> Hub:
        hub = Hub(*has)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setitem(sys.modules, "kernels", hub)
        monkeypatch.setattr(import_utils, "is_kernels_available", lambda: True)
        for name, answer in (("register", lambda: None), ("get", hub.mapping)):
            name = f"{name}_kernel_mapping_transformers"
            monkeypatch.setattr(hub_kernels, name, answer, raising=False)
        import_utils.is_flash_attn_2_available.cache_clear()
        return hub

    yield make
    import_utils.is_flash_attn_2_available.cache_clear()


FLASH = "kernels-community/flash-attn2"  # as transformers calls it
LAYERS = ("norm", "rotary", "silu")


@pytest.mark.parametrize("capability", [None, (7, 5)])
def test_without_bfloat16_nothing_is_fetched(hub, capability):
    here = hub(capability, FLASH, *LAYERS)
    assert trainers.kernels() == {"attn_implementation": "sdpa", "use_kernels": False}
    assert here.asked == []


@pytest.mark.parametrize(
    ("has", "attention", "layers", "line"),
    [
        ((FLASH, *LAYERS), "flash_attention_2", True, "attention by flash_attention_2"),
        (LAYERS, "sdpa", True, "attention by sdpa"),
        (
            (FLASH, "norm", "silu"),
            "flash_attention_2",
            False,
            "no layers from the hub: rotary can't be",
        ),
        ((), "sdpa", False, "no layers from the hub: norm can't be fetched"),
    ],
)
def test_what_the_hub_lacks_is_left_to_torch(hub, has, attention, layers, line, capsys):
    hub((8, 0), *has)
    loading = {"attn_implementation": attention, "use_kernels": layers}
    assert trainers.kernels() == loading
    assert line in capsys.readouterr().out


def test_without_the_package_kernels_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "precision", lambda: "bfloat16")
    assert trainers.kernels() == {"attn_implementation": "sdpa", "use_kernels": False}
    assert "requires `kernels` to be installed" in capsys.readouterr().out
