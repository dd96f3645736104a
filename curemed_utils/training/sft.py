"""SFT's data path, from rows to token ids and loss masks, and the fastest way that this machine has to train on them."""

from collections.abc import Sequence

from curemed_utils import data, prompts


def encode(tokenizer, rows: Sequence[data.Row], max_length: int, traces: str = "code_switched") -> tuple[list[dict], int]:
    """Each row as `input_ids` and `labels`, and how many rows of more than `max_length` tokens were left out.

    Labels are the ids of the completion (Section 3.2) and -100 before it. They are just those of TRL's path for prompts and
    completions, but a whole data set is rendered and tokenised in one call; a token that spans the border counts to the completion.
    Raises DataError for a row without a token to learn, ValueError for a chat template that renders the prompt otherwise
    before a completion than for generation. The tokenizer must be a fast one.
    """
    posed = [prompts.messages(row) for row in rows]
    starts = tokenizer.apply_chat_template(posed, tokenize=False, add_generation_prompt=True)
    whole = [turns + prompts.completion(row, traces) for turns, row in zip(posed, rows, strict=True)]
    texts = tokenizer.apply_chat_template(whole, tokenize=False)
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
    examples = []
    for number, (row, start, text, ids) in enumerate(zip(rows, starts, texts, encoded["input_ids"], strict=True)):
        if not text.startswith(start):
            raise ValueError(f"the chat template renders the prompt of row {row.id!r} otherwise before a completion than for generation")
        learnt = (encoded.char_to_token(number, character) for character in range(len(start), len(text)))
        first = next((token for token in learnt if token is not None), None)
        if first is None:
            raise data.DataError(f"row {row.id!r} has no token to learn: the chat template leaves its completion out")
        if len(ids) <= max_length:
            examples.append({"input_ids": ids, "labels": [-100] * first + ids[first:]})
    return examples, len(rows) - len(examples)


def kernels() -> dict:
    """What this machine has for speed: `attention` as `attn_implementation` names it, `liger` whether Liger's layers are there."""
    import torch
    from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

    cuda = torch.cuda.is_available()
    flash = cuda and torch.cuda.get_device_capability() >= (8, 0) and is_flash_attn_2_available()
    return {"attention": "flash_attention_2" if flash else "sdpa", "liger": cuda and is_liger_kernel_available()}


def trainer_class() -> type:
    """TRL's SFTTrainer; on a CPU with logits for the positions that have a label only, which TRL has on GPUs alone."""
    import torch
    from trl import SFTTrainer

    class CPUTrainer(SFTTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            following = torch.nn.functional.pad(inputs["labels"], (0, 1), value=-100)[:, 1:]
            kept = (following != -100).any(0).nonzero().flatten()
            inputs = inputs | {"use_cache": False, "logits_to_keep": kept, "shift_labels": following[:, kept]}
            return super(SFTTrainer, self).compute_loss(model, inputs, return_outputs, num_items_in_batch)

    return SFTTrainer if torch.cuda.is_available() else CPUTrainer
