"""Responses of a model by one of three engines: batched, seeded one by one, each with the reason why it ended.

A response's sampling depends on its prompt, its seed and the model alone: a batch's size and company change it only where they
change the last digits of the logits and a draw falls there (hardly ever in float32, now and then in bfloat16 and under vLLM). A
server is sent the seed; whether it heeds it is the server's.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from curemed_utils import paths
from curemed_utils.judge import Client, price_of
from curemed_utils.judge.wire import Reply
from curemed_utils.training import checkpoints

BATCH = {"transformers": 64, "vllm": 512, "server": 256}  # responses asked for at a time, by engine
PROMPT_STYLES = ("chat", "user_only", "plain")


class Response(NamedTuple):
    """`finish_reason`: 'stop' (the model ended its turn), 'length' (cut off at the limit), 'unknown' (a server that didn't say),
    'error' (there is no response: `text` is None, `error` says why), or a server's own word, e.g. 'content_filter'.

    Token counts leave out the end of turn; None where a server didn't tell. A reasoning model's count holds its hidden tokens.
    """

    text: str | None
    finish_reason: str
    n_tokens: int | None
    n_prompt_tokens: int | None = None
    error: str | None = None


def seed_of(seed: int, run: int) -> int:
    """The seed of run number `run` (from 0) among those that `seed` starts: 31 bits, unrelated to those of other seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{run}".encode()).digest()[:4], "big") >> 1


def generate(model: str | Path, prompts: list[list[dict[str, str]]], *settings, **options) -> list[Response]:
    """One response per prompt (a list of chat messages), in the prompts' order; the arguments are those of `in_batches`."""
    responses: dict[int, Response] = {}
    for batch in in_batches(model, prompts, *settings, **options):
        responses |= batch
    return [responses[i] for i in range(len(prompts))]


def in_batches(
    model: str | Path,
    prompts: list[list[dict[str, str]]],
    max_new_tokens: int = 1024,
    temperature: float = 0.8,
    seed: int | list[int] = 0,
    batch_size: int | None = None,
    engine: str = "transformers",
    prompt_style: str = "chat",
    **options,
) -> Iterator[dict[int, Response]]:
    """Responses by the place of their prompt, a batch the moment it is there; temperature 0 is greedy, and nothing else shapes them.

    `engine`: 'transformers' (`model` a checkpoint or hub id; longest prompts first), 'vllm' (the same, if vLLM is installed) or
    'server' (`model` as any OpenAI-compatible server names it; `options` are those of `_server`). `seed` is one for all prompts or
    one for each. `prompt_style`: 'chat' (the model's chat template), 'user_only' (for templates without a system turn: it joins the
    user's) or 'plain' (no template: for base models). Code from a model's repository is never run. ValueError for what can't work.
    """
    if engine not in BATCH or prompt_style not in PROMPT_STYLES:
        raise ValueError(f"engine {engine!r} and prompt_style {prompt_style!r} must be of {tuple(BATCH)} and of {PROMPT_STYLES}")
    size, seeds = BATCH[engine] if batch_size is None else batch_size, [seed] * len(prompts) if isinstance(seed, int) else seed
    if size < 1 or max_new_tokens < 1 or temperature < 0 or len(seeds) != len(prompts):
        raise ValueError(
            f"batch_size {size} and max_new_tokens {max_new_tokens} must be 1 or more, temperature {temperature} 0 or more, "
            f"and seeds ({len(seeds)}) as many as prompts ({len(prompts)})"
        )
    if prompt_style == "user_only":
        prompts = [[{"role": "user", "content": _joined(prompt)}] for prompt in prompts]
    if engine != "server":
        given = dict(tokenizer=checkpoints.load_tokenizer(model))
        prompts = [_text(prompt, given["tokenizer"], prompt_style) for prompt in prompts]
    elif prompt_style == "plain":
        raise ValueError("prompt_style 'plain' needs engine 'transformers' or 'vllm': a server's chat has turns")
    else:
        given = {}
    if prompts:
        run = {"transformers": _transformers, "vllm": _vllm, "server": _server}[engine]
        yield from run(model, prompts, seeds, max_new_tokens, temperature, size, **given, **options)


def _batched(places: Iterable[int], size: int) -> list[list[int]]:
    places = list(places)
    return [places[first : first + size] for first in range(0, len(places), size)]


def _joined(prompt: list[dict[str, str]]) -> str:
    return "\n\n".join(turn["content"] for turn in prompt)


def _text(prompt: list[dict[str, str]], tokenizer, style: str) -> str:
    if style == "plain":
        return f"{tokenizer.bos_token or ''}{_joined(prompt)}\n\n"
    if not tokenizer.chat_template:
        raise ValueError(f"the tokenizer of {paths.show(tokenizer.name_or_path)} has no chat template: choose prompt_style 'plain'")
    try:
        return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template raises what it likes
        hint = "choose prompt_style 'user_only' if its chat template takes no system turn"
        raise ValueError(f"the tokenizer of {paths.show(tokenizer.name_or_path)} refuses the prompt ({error}): {hint}") from None


# transformers -------------------------------------------------------------------------------------------------------


def _transformers(checkpoint, texts, seeds, max_new_tokens, temperature, size, tokenizer) -> Iterator[dict[int, Response]]:
    import torch
    from transformers import AutoModelForCausalLM, LogitsProcessorList

    cuda = torch.cuda.is_available()
    placed = dict(dtype=torch.bfloat16, device_map="auto") if cuda else dict(dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **placed).eval()
    ends = _ends(model, tokenizer)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    _check_context(ids, max_new_tokens, getattr(model.config.get_text_config(), "max_position_embeddings", None))
    for batch in _batched(sorted(range(len(ids)), key=lambda i: -len(ids[i])), size):  # what does not fit into memory fails at once
        inputs = tokenizer([texts[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        width = inputs["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if temperature:
            draws = torch.stack([_draws(texts[i], seeds[i], max_new_tokens) for i in batch]).to(model.device)
            processors.append(_Sampler(draws, width, temperature))
        # On a CPU, growing the cache costs a batch more than attending to its empty end; not so a single response.
        cache = {} if cuda or len(batch) == 1 else {"cache_implementation": "static"}
        with torch.inference_mode():
            output = model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_processor=processors, **cache,
                do_sample=False, repetition_penalty=1.0, max_new_tokens=max_new_tokens,
                eos_token_id=ends, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        yield {
            i: _response(tokens, ends, tokenizer)._replace(n_prompt_tokens=len(ids[i]))
            for i, tokens in zip(batch, output[:, width:].tolist(), strict=True)
        }


class _Sampler:
    """Draws each row's next token from its distribution by one number in 0-1 of the row's own, then leaves no other choice."""

    def __init__(self, draws, start: int, temperature: float):
        self.draws, self.start, self.temperature = draws, start, temperature  # draws: (rows, new tokens)

    def __call__(self, input_ids, scores):
        import torch

        reached = torch.softmax(scores.float() / self.temperature, -1).cumsum(-1, dtype=torch.float64)
        drawn = self.draws[:, input_ids.shape[1] - self.start, None] * reached[:, -1:]
        return scores.scatter(1, torch.searchsorted(reached, drawn, right=True), float("inf"))


def _draws(text: str, seed: int, n: int):
    import torch

    own = int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode(errors="surrogatepass")).digest()[:7], "big")
    return torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(own))


def _ends(model, tokenizer) -> list[int]:
    """Every token that ends a turn: some models have several."""
    listed = model.generation_config.eos_token_id
    listed = listed if isinstance(listed, list) else [listed]
    return sorted({token for token in [*listed, tokenizer.eos_token_id] if token is not None})


def _check_context(ids: list[list[int]], max_new_tokens: int, context: int | None) -> None:
    longest = max(map(len, ids))
    if context and longest + max_new_tokens > context:
        raise ValueError(f"the longest prompt ({longest} tokens) and max_new_tokens {max_new_tokens} exceed the model's {context} tokens")


def _response(tokens: list[int], ends: list[int], tokenizer) -> Response:
    end = next((n for n, token in enumerate(tokens) if token in ends), None)
    body = tokens if end is None else tokens[:end]
    return Response(tokenizer.decode(body, skip_special_tokens=True), "length" if end is None else "stop", len(body))


# vLLM ---------------------------------------------------------------------------------------------------------------


def _vllm(checkpoint, texts, seeds, max_new_tokens, temperature, size, tokenizer) -> Iterator[dict[int, Response]]:
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        hint = "pip install -e '.[vllm]' on a Linux machine with a GPU, or choose engine 'transformers' or 'server'"
        raise ModuleNotFoundError(f"engine 'vllm' needs vLLM, which can't be imported ({error}): {hint}") from None
    import torch

    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    model = LLM(model=str(checkpoint), tensor_parallel_size=max(1, torch.cuda.device_count()))
    for batch in _batched(range(len(ids)), size):
        how = [SamplingParams(temperature=temperature, max_tokens=max_new_tokens, seed=seeds[i]) for i in batch]
        found = model.generate([{"prompt_token_ids": ids[i]} for i in batch], how, use_tqdm=False)
        yield {i: _from_vllm(output.outputs[0], len(ids[i])) for i, output in zip(batch, found, strict=True)}


def _from_vllm(output, n_prompt_tokens: int) -> Response:
    ended = output.finish_reason == "stop"  # then the last token is the end of turn
    return Response(output.text, output.finish_reason or "unknown", len(output.token_ids) - ended, n_prompt_tokens)


# A server -----------------------------------------------------------------------------------------------------------


def _server(
    model, prompts, seeds, max_new_tokens, temperature, size,
    cache: str | Path = "responses.sqlite", base_url: str | None = None, key_name: str = "OPENAI_API_KEY",
    request: dict | None = None, **limits,
) -> Iterator[dict[int, Response]]:  # fmt: skip
    """`cache`: the file that keeps every answer; `base_url`: default OPENAI_BASE_URL; `key_name`: the environment variable that holds
    the key; `request`: further fields of a request, None takes one out (reasoning models want max_tokens and temperature None and
    max_completion_tokens); `limits` go to `judge.Client`.
    """
    key = os.environ.get(key_name)
    if key_name != "OPENAI_API_KEY" and not key:
        raise ValueError(f"{base_url or model}: the environment variable {key_name} is not set; it holds that server's key")
    fields = {"model": str(model), "temperature": temperature, "max_tokens": max_new_tokens} | (request or {})
    seeded = "seed" not in fields  # a server that refuses the field: request={"seed": None}
    fields = {name: value for name, value in fields.items() if value is not None}
    limits = {"timeout": 600.0, "price": price_of(str(model))} | limits
    with Client(cache, base_url, key, **limits) as client:
        for batch in _batched(range(len(prompts)), size):
            asked = [fields | {"messages": prompts[i]} | ({"seed": seeds[i]} if seeded else {}) for i in batch]
            yield {i: _from_server(reply) for i, reply in zip(batch, client.ask(asked), strict=True)}


def _from_server(reply: Reply) -> Response:
    about = reply.answer
    if about is None:
        return Response(None, "error", None, None, reply.error)
    reason = about.finish_reason if about.finish_reason not in ("", "None", None) else "unknown"
    return Response(reply.text, reason, about.completion_tokens or None, about.prompt_tokens or None)
