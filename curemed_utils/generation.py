"""Responses of a checkpoint: batched, seeded, each with the reason why it ended."""

from pathlib import Path
from typing import NamedTuple

from curemed_utils import checkpoints


class Response(NamedTuple):
    """`finish_reason` is 'stop' (the model ended its turn) or 'length' (cut off at the limit)."""

    text: str
    finish_reason: str
    n_tokens: int


def generate(
    checkpoint: str | Path,
    prompts: list[list[dict[str, str]]],
    max_new_tokens: int = 1024,
    temperature: float = 0.8,
    seed: int = 0,
    batch_size: int = 64,
) -> list[Response]:
    """One response per prompt (a list of chat messages), in the prompts' order; temperature 0 is greedy.

    Prompts are batched by length. The same checkpoint, prompts, batch size, seed and machine give the same responses.
    """
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    tokenizer = checkpoints.load_tokenizer(checkpoint)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).to(device).eval()
    sampling = dict(do_sample=True, temperature=temperature, top_p=1.0, top_k=0) if temperature else dict(do_sample=False)
    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    responses: dict[int, Response] = {}
    set_seed(seed)
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        inputs = tokenizer([texts[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False).to(device)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id, **sampling)
        for i, tokens in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            responses[i] = _response(tokens, tokenizer)
    return [responses[i] for i in range(len(texts))]


def _response(tokens: list[int], tokenizer) -> Response:
    end = next((n for n, token in enumerate(tokens) if token == tokenizer.eos_token_id), None)
    body = tokens if end is None else tokens[:end]
    return Response(tokenizer.decode(body, skip_special_tokens=True), "length" if end is None else "stop", len(body))
