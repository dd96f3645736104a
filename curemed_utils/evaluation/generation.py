"""Responses of a model by one of three engines: batched, seeded one by one, each with its end.

A response's sampling depends on its prompt, its seed and the model alone: a batch's size and
company change it only where they change the last digits of the logits and a draw falls there
(hardly ever in float32, now and then in bfloat16 and under vLLM). A server is sent the seed;
whether it heeds it is the server's.
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

BATCH = {"transformers": 64, "vllm": 512, "server": 256}  # responses asked for at a time
PROMPT_STYLES = ("chat", "user_only", "plain")


class Response(NamedTuple):
    """What a model said and how it ended.

    `finish_reason`: 'stop' (the model ended its turn), 'length' (cut off at the limit), 'unknown'
    (a server that didn't say), 'error' (there is no response: `text` is None, `error` says why), or
    a server's own word, e.g. 'content_filter'.
    Token counts leave out the end of turn; None where a server didn't tell. A reasoning model's
    count holds its hidden tokens.
    """

    text: str | None
    finish_reason: str
    n_tokens: int | None
    n_prompt_tokens: int | None = None
    error: str | None = None


def seed_of(seed: int, run: int) -> int:
    """The seed of run number `run` (from 0): 31 bits, unrelated to those of other `seed`s."""
    digest = hashlib.sha256(f"{seed}/{run}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


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
    """Responses by the place of their prompt, a batch the moment it is there.

    A prompt is a list of chat messages. Temperature 0 is greedy. `seed` is one for all prompts or
    one for each. Nothing else shapes the responses.
    `engine`: 'transformers' (`model` is a checkpoint or hub id), 'vllm' (the same) or 'server'
    (`model` as any OpenAI-compatible server names it; `options` are those of `_server`).
    `prompt_style`: 'chat' (the model's chat template), 'user_only' (for templates without a system
    turn: it joins the user's) or 'plain' (no template: for base models).
    Code from a model's repository is never run. ValueError for what can't work.
    """
    if engine not in BATCH:
        raise ValueError(f"engine {engine!r} is none of {', '.join(BATCH)}")
    if prompt_style not in PROMPT_STYLES:
        raise ValueError(f"prompt_style {prompt_style!r} is none of {', '.join(PROMPT_STYLES)}")
    size = BATCH[engine] if batch_size is None else batch_size
    seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
    if size < 1 or max_new_tokens < 1 or temperature < 0 or len(seeds) != len(prompts):
        raise ValueError(
            f"batch_size {size} and max_new_tokens {max_new_tokens} must be 1 or more, "
            f"temperature {temperature} 0 or more, "
            f"and seeds ({len(seeds)}) as many as prompts ({len(prompts)})"
        )
    if prompt_style == "user_only":
        prompts = [[{"role": "user", "content": _joined(prompt)}] for prompt in prompts]
    if engine == "server":
        if prompt_style == "plain":
            raise ValueError("prompt_style 'plain' needs another engine: a server's chat has turns")
        run = _server
    else:
        options["tokenizer"] = checkpoints.load_tokenizer(model)
        prompts = [_text(prompt, options["tokenizer"], prompt_style) for prompt in prompts]
        run = _transformers if engine == "transformers" else _vllm
    if prompts:
        yield from run(model, prompts, seeds, max_new_tokens, temperature, size, **options)


def _batched(places: Iterable[int], size: int) -> list[list[int]]:
    places = list(places)
    return [places[first : first + size] for first in range(0, len(places), size)]


def _joined(prompt: list[dict[str, str]]) -> str:
    return "\n\n".join(turn["content"] for turn in prompt)


def _text(prompt: list[dict[str, str]], tokenizer, style: str) -> str:
    """A prompt as the model reads it."""
    if style == "plain":
        return f"{tokenizer.bos_token or ''}{_joined(prompt)}\n\n"
    name = f"the tokenizer of {paths.show(tokenizer.name_or_path)}"
    if not tokenizer.chat_template:
        raise ValueError(f"{name} has no chat template: choose prompt_style 'plain'")
    try:
        return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template raises what it likes
        hint = "choose prompt_style 'user_only' if its chat template takes no system turn"
        raise ValueError(f"{name} refuses the prompt ({error}): {hint}") from None


# transformers -----------------------------------------------------------------------------------


def _transformers(
    checkpoint, texts, seeds, max_new_tokens, temperature, size, tokenizer
) -> Iterator[dict[int, Response]]:
    import torch
    from transformers import AutoModelForCausalLM, LogitsProcessorList

    cuda = torch.cuda.is_available()
    placed = {"dtype": torch.float32}
    if cuda:
        placed = {"dtype": torch.bfloat16, "device_map": "auto"}
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **placed).eval()
    ends = _ends(model, tokenizer)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    _check_context(ids, max_new_tokens, model)
    # Longest first: what does not fit into memory fails at once.
    longest_first = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
    for batch in _batched(longest_first, size):
        inputs = tokenizer.pad({"input_ids": [ids[place] for place in batch]}, return_tensors="pt")
        inputs = inputs.to(model.device)
        start = inputs["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if temperature:
            draws = [_draws(texts[place], seeds[place], max_new_tokens) for place in batch]
            draws = torch.stack(draws).to(model.device)
            processors.append(_Sampler(draws, start, temperature))
        # On a CPU, growing the cache costs a batch (not one response) more than its empty end.
        cache = {} if cuda or len(batch) == 1 else {"cache_implementation": "static"}
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                logits_processor=processors,
                do_sample=False,
                repetition_penalty=1.0,
                max_new_tokens=max_new_tokens,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
                **cache,
            )
        responses = {}
        for place, tokens in zip(batch, output[:, start:].tolist(), strict=True):
            response = _response(tokens, ends, tokenizer)
            responses[place] = response._replace(n_prompt_tokens=len(ids[place]))
        yield responses


class _Sampler:
    """Draws each row's next token by one random number of the row's own.

    `draws`: (rows, new tokens), each in 0-1. The token drawn is the only choice left.
    """

    def __init__(self, draws, start: int, temperature: float):
        self.draws, self.start, self.temperature = draws, start, temperature

    def __call__(self, input_ids, scores):
        import torch

        shares = torch.softmax(scores.float() / self.temperature, -1)
        reached = shares.cumsum(-1, dtype=torch.float64)
        position = input_ids.shape[1] - self.start
        drawn = self.draws[:, position, None] * reached[:, -1:]
        token = torch.searchsorted(reached, drawn, right=True)
        return scores.scatter(1, token, float("inf"))


def _draws(text: str, seed: int, n: int):
    """`n` numbers in 0-1 that depend on prompt and seed alone."""
    import torch

    digest = hashlib.sha256(f"{seed}\n{text}".encode(errors="surrogatepass")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(n, dtype=torch.float64, generator=generator)


def _ends(model, tokenizer) -> list[int]:
    """Every token that ends a turn: some models have several."""
    listed = model.generation_config.eos_token_id
    listed = listed if isinstance(listed, list) else [listed]
    return sorted({token for token in [*listed, tokenizer.eos_token_id] if token is not None})


def _check_context(ids: list[list[int]], max_new_tokens: int, model) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, ids))
    if context and longest + max_new_tokens > context:
        raise ValueError(
            f"the longest prompt ({longest} tokens) and max_new_tokens {max_new_tokens} "
            f"exceed the model's {context} tokens"
        )


def _response(tokens: list[int], ends: list[int], tokenizer) -> Response:
    """A response from its new tokens, up to the first that ends the turn."""
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    body = tokens[:end]
    text = tokenizer.decode(body, skip_special_tokens=True)
    return Response(text, "length" if end is None else "stop", len(body))


# vLLM -------------------------------------------------------------------------------------------


def _vllm(
    checkpoint, texts, seeds, max_new_tokens, temperature, size, tokenizer
) -> Iterator[dict[int, Response]]:
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise ModuleNotFoundError(
            f"engine 'vllm' can't be imported ({error}): pip install -e '.[vllm]' on a Linux "
            "machine with a GPU, or choose engine 'transformers' or 'server'"
        ) from None
    import torch

    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    model = LLM(model=str(checkpoint), tensor_parallel_size=max(1, torch.cuda.device_count()))
    how = {"temperature": temperature, "max_tokens": max_new_tokens}
    for batch in _batched(range(len(ids)), size):
        prompts = [{"prompt_token_ids": ids[place]} for place in batch]
        sampling = [SamplingParams(seed=seeds[place], **how) for place in batch]
        outputs = model.generate(prompts, sampling, use_tqdm=False)
        responses = {}
        for place, output in zip(batch, outputs, strict=True):
            first = output.outputs[0]
            ended = first.finish_reason == "stop"  # then the last token is the end of turn
            n_tokens = len(first.token_ids) - ended
            reason = first.finish_reason or "unknown"
            responses[place] = Response(first.text, reason, n_tokens, len(ids[place]))
        yield responses


# A server ---------------------------------------------------------------------------------------


def _server(
    model,
    prompts,
    seeds,
    max_new_tokens,
    temperature,
    size,
    cache: str | Path = "responses.sqlite",
    base_url: str | None = None,
    key_name: str = "OPENAI_API_KEY",
    request: dict | None = None,
    **limits,
) -> Iterator[dict[int, Response]]:
    """`cache`: the file that keeps every answer. `base_url`: default OPENAI_BASE_URL.

    `key_name`: the environment variable that holds the key. `request`: further fields of a request,
    None takes one out (reasoning models want max_tokens and temperature None and
    max_completion_tokens). `limits` go to `judge.Client`.
    """
    key = os.environ.get(key_name)
    if key_name != "OPENAI_API_KEY" and not key:
        why = f"the environment variable {key_name} is not set; it holds that server's key"
        raise ValueError(f"{base_url or model}: {why}")
    fields = {"model": str(model), "temperature": temperature, "max_tokens": max_new_tokens}
    fields |= request or {}
    seeded = "seed" not in fields  # a server that refuses the field: request={"seed": None}
    fields = {name: value for name, value in fields.items() if value is not None}
    limits = {"timeout": 600.0, "price": price_of(str(model))} | limits
    with Client(cache, base_url, key, **limits) as server:
        for batch in _batched(range(len(prompts)), size):
            asked = []
            for place in batch:
                seed = {"seed": seeds[place]} if seeded else {}
                asked.append(fields | {"messages": prompts[place]} | seed)
            responses = map(_from_server, server.ask(asked))
            yield dict(zip(batch, responses, strict=True))


def _from_server(reply: Reply) -> Response:
    about = reply.answer
    if about is None:
        return Response(None, "error", None, None, reply.error)
    silent = about.finish_reason in ("", "None", None)
    reason = "unknown" if silent else about.finish_reason
    n_tokens, n_prompt_tokens = about.completion_tokens or None, about.prompt_tokens or None
    return Response(reply.text, reason, n_tokens, n_prompt_tokens)
