"""SFT's data path: from rows to token ids and loss masks."""

from collections.abc import Sequence

from curemed_utils import data, prompts


def encode(
    tokenizer, rows: Sequence[data.Row], max_length: int, traces: str = "code_switched"
) -> tuple[list[dict], int]:
    """Each row as `input_ids` and `labels`, and how many rows of over `max_length` tokens went.

    Labels are as TRL's, made twenty times as fast: -100 before the completion (Section 3.2); a
    token that spans the border belongs to it. The tokenizer must be a fast one.
    ValueError for a chat template that renders the prompt otherwise before a completion.
    """
    posed = [prompts.messages(row) for row in rows]
    whole = [prompts.messages(row) + prompts.completion(row, traces) for row in rows]
    render = tokenizer.apply_chat_template
    starts = render(posed, tokenize=False, add_generation_prompt=True)
    texts = render(whole, tokenize=False)
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
    examples = []
    for number, (row, start, text) in enumerate(zip(rows, starts, texts, strict=True)):
        if not text.startswith(start):
            otherwise = "otherwise before a completion than for generation"
            raise ValueError(f"the chat template renders the prompt of row {row.id!r} {otherwise}")
        tokens = (encoded.char_to_token(number, place) for place in range(len(start), len(text)))
        first = next(token for token in tokens if token is not None)
        ids = encoded["input_ids"][number]
        if len(ids) <= max_length:
            examples.append({"input_ids": ids, "labels": [-100] * first + ids[first:]})
    return examples, len(rows) - len(examples)
