"""SFT's data path: from rows to token ids and loss masks."""

from collections.abc import Sequence

from curemed_utils import data, prompts
from curemed_utils.training import templates


def encode(
    tokenizer, rows: Sequence[data.Row], max_length: int, traces: str = "code_switched"
) -> tuple[list[dict], int]:
    """Each row as `input_ids` and `labels`, and how many rows of over `max_length` tokens went.

    Labels are as TRL's, made six times as fast: -100 before the completion (Section 3.2); a
    token that spans the border belongs to it. The tokenizer must be a fast one.
    """
    between, tail = templates.around(tokenizer)
    starts = [templates.render(tokenizer, prompts.messages(row)) for row in rows]
    texts = []
    for start, row in zip(starts, rows, strict=True):
        answer = prompts.completion(row, traces)[0]["content"]
        texts.append(start + between + answer + tail)
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
    examples = []
    for number, (start, text) in enumerate(zip(starts, texts, strict=True)):
        tokens = (encoded.char_to_token(number, place) for place in range(len(start), len(text)))
        first = next(token for token in tokens if token is not None)
        ids = encoded["input_ids"][number]
        if len(ids) <= max_length:
            examples.append({"input_ids": ids, "labels": [-100] * first + ids[first:]})
    return examples, len(rows) - len(examples)
