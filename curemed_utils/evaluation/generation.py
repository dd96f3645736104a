"""Responses of a model by one of three engines, from prompt, seed and model alone.

A batch changes only last digits of logits: they hardly ever matter in float32, now and then in
bfloat16.
"""

import asyncio
import gc
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from pydantic import BaseModel, Field, field_validator

from curemed_utils import extras
from curemed_utils.judge import Client, models
from curemed_utils.judge.wire import ending
from curemed_utils.training import checkpoints, templates, weights

BATCH = {"transformers": 64, "vllm": 512, "server": 256}


@dataclass(frozen=True)
class Response:
    """What a model said and how it ended.

    `finish_reason` is one of `wire.ending`. After 'error' (nothing came) and 'content_filter'
    (refused by the model or a filter) `text` is None, and `error` has the model's or the server's
    words. Token counts leave out the end of turn. `served`: the model that a server named.
    """

    text: str | None
    finish_reason: str
    n_tokens: int | None
    n_prompt_tokens: int | None = None
    error: str | None = None
    served: str | None = field(default=None, compare=False)


class GenerationSettings(BaseModel, frozen=True, extra="forbid"):
    """How responses are had; the head of `models.yaml` explains most fields.

    Temperature 0 is greedy. `base_url` and what follows are for engine 'server' alone: `cache`
    keeps every answer, `max_usd` is the most that all may have cost.
    """

    engine: Literal["transformers", "vllm", "server"] = "transformers"
    temperature: float = Field(0.8, ge=0)
    max_new_tokens: int = Field(1024, ge=1)
    prompt_style: Literal["chat", "user_only", "plain"] = "chat"
    batch_size: int | None = Field(None, ge=1)
    base_url: str = ""
    key_name: str = "OPENAI_API_KEY"
    request: dict | None = None
    served: str = ""
    cache: Path = Path("responses.sqlite")
    max_usd: float | None = None

    @field_validator("prompt_style")
    @classmethod
    def _takes_turns(cls, style, info):
        if style == "plain" and info.data.get("engine") == "server":
            raise ValueError("'plain' needs another engine: a server's chat has turns")
        return style


class _Prompt(NamedTuple):
    place: int
    seed: int
    prompt: str | list[dict[str, str]]
    ids: Sequence[int] = ()


def seed_of(seed: int, run: int) -> int:
    """The seed of run number `run` (from 0): 31 bits."""
    digest = hashlib.sha256(f"{seed}/{run}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def in_batches(
    model: str | Path,
    prompts: list[list[dict[str, str]]],
    seeds: list[int],
    settings: GenerationSettings,
) -> Iterator[dict[int, Response]]:
    """Responses by the place of their prompt, batch by batch.

    `model` is a checkpoint, or what the server calls it. A prompt is a list of chat messages;
    each has its seed. Code from a model's repository is never run.
    """
    if not prompts:
        return
    if settings.prompt_style == "user_only":
        prompts = [[{"role": "user", "content": _joined(prompt)}] for prompt in prompts]
    ids, tokenizer = [()] * len(prompts), None
    if settings.engine != "server":
        extras.need("torch", "transformers")
        weights.check(Path(model))
        tokenizer = checkpoints.load_tokenizer(model)
        prompts = [_text(prompt, tokenizer, settings.prompt_style) for prompt in prompts]
        ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    asked = list(map(_Prompt, range(len(prompts)), seeds, prompts, ids))
    asked.sort(key=lambda each: -len(each.ids))  # what doesn't fit into memory fails at once
    engine = {"transformers": _transformers, "vllm": _vllm, "server": _server}[settings.engine]
    size = settings.batch_size or BATCH[settings.engine]
    batches = [asked[first : first + size] for first in range(0, len(asked), size)]
    for batch, responses in zip(batches, engine(model, batches, settings, tokenizer), strict=True):
        yield dict(zip([each.place for each in batch], responses, strict=True))


def _joined(prompt):
    return "\n\n".join(turn["content"] for turn in prompt)


def _text(prompt, tokenizer, style):
    if style == "plain":
        return f"{tokenizer.bos_token or ''}{_joined(prompt)}\n\n"
    try:
        return templates.render(tokenizer, prompt)
    except ValueError as error:
        raise ValueError(f"{error}; prompt_style 'plain' needs none") from None


def _transformers(checkpoint, batches, settings, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM, LogitsProcessorList

    cuda = torch.cuda.is_available()
    how = {"dtype": checkpoints.precision(), "device_map": "auto" if cuda else None}
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **how).eval()
    n_new, longest = settings.max_new_tokens, len(batches[0][0].ids)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context and longest + n_new > context:
        longest = f"the longest prompt ({longest} tokens) and max_new_tokens {n_new}"
        raise ValueError(f"{longest} exceed the model's {context} tokens")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    ends = model.generation_config.eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    for batch in batches:
        ids = {"input_ids": [each.ids for each in batch]}
        inputs = tokenizer.pad(ids, return_tensors="pt").to(model.device)
        start = inputs["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if settings.temperature:
            draws = torch.stack([_draws(each, n_new) for each in batch]).to(model.device)
            processors.append(_Sampler(draws, start, settings.temperature))
        # On a CPU, growing the cache costs a batch more than its empty end.
        cache = {} if cuda or len(batch) == 1 else {"cache_implementation": "static"}
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                logits_processor=processors,
                do_sample=False,
                repetition_penalty=1.0,
                max_new_tokens=n_new,
                eos_token_id=sorted(ends),
                pad_token_id=tokenizer.pad_token_id,
                **cache,
            )
        responses = []
        for each, tokens in zip(batch, output[:, start:].tolist(), strict=True):
            responses.append(_response(tokens, ends, tokenizer, len(each.ids)))
        yield responses
    del model, inputs, output
    gc.collect()
    torch.cuda.empty_cache()  # for the next model's engine, which may be another process


class _Sampler:
    """Leaves each row one token, drawn by a number of its own in `draws` (rows x new tokens)."""

    def __init__(self, draws, start, temperature):
        self.draws, self.start, self.temperature = draws, start, temperature

    def __call__(self, input_ids, scores):
        import torch

        shares = torch.softmax(scores.float() / self.temperature, -1)
        reached = shares.cumsum(-1, dtype=torch.float64)
        position = input_ids.shape[1] - self.start
        drawn = self.draws[:, position, None] * reached[:, -1:]
        token = torch.searchsorted(reached, drawn, right=True)
        return scores.scatter(1, token, float("inf"))


def _seed(asked):
    seeded = f"{asked.seed}\n{asked.prompt}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(seeded).digest()[:7], "big")


def _draws(asked, n):
    import torch

    generator = torch.Generator().manual_seed(_seed(asked))
    return torch.rand(n, dtype=torch.float64, generator=generator)


def _response(tokens, ends, tokenizer, n_prompt_tokens):
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
    reason = "length" if end is None else "stop"
    return Response(text, reason, len(tokens[:end]), n_prompt_tokens)


def _vllm(checkpoint, batches, settings, tokenizer):
    extras.need("vllm")
    import torch
    from transformers import AutoConfig
    from vllm import AsyncEngineArgs, AsyncLLMEngine

    config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    n_gpus = torch.cuda.device_count()
    shared = tensor_parallel(heads, kv_heads, n_gpus)
    how = {"tensor_parallel_size": shared, "dtype": checkpoints.precision()}
    how["data_parallel_size"] = n_gpus // shared or 1  # copies
    how["max_model_len"] = len(batches[0][0].ids) + settings.max_new_tokens
    if torch.cuda.is_available():  # other models may hold memory
        free, whole = torch.cuda.mem_get_info()
        how["gpu_memory_utilization"] = 0.9 * free / whole
    else:
        how["enable_chunked_prefill"] = False  # seeds fail at a cut prompt
    engine = AsyncLLMEngine.from_engine_args(AsyncEngineArgs(str(checkpoint), **how))
    loop = asyncio.new_event_loop()  # a notebook's own is busy
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        for batch in batches:
            asked = [_ask(engine, each, settings, tokenizer) for each in batch]
            tasks = [asyncio.run_coroutine_threadsafe(each, loop) for each in asked]
            yield [task.result() for task in tasks]
    finally:
        holding = [child for child in psutil.Process().children(True) if "VLLM" in child.name()]
        if engine.output_handler:  # it would report the end as a fault
            loop.call_soon_threadsafe(engine.output_handler.cancel)
        engine.shutdown()
        psutil.wait_procs(holding, timeout=60)  # till the GPUs' memory is free
        loop.call_soon_threadsafe(loop.call_later, 1, loop.stop)


async def _ask(engine, asked, settings, tokenizer):
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    how = {"temperature": settings.temperature, "max_tokens": settings.max_new_tokens}
    how |= {"detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
    sampling = SamplingParams(seed=_seed(asked), **how)
    prompt = {"prompt_token_ids": asked.ids}
    async for output in engine.generate(prompt, sampling, str(asked.place)):
        last = output.outputs[0]
        ends = last.token_ids[-1:] if last.finish_reason == "stop" else []
        return _response(last.token_ids, ends, tokenizer, len(asked.ids))


def tensor_parallel(heads: int, kv_heads: int, n_gpus: int) -> int:
    """The most of `n_gpus` that vLLM lets share a model: they divide its heads, and 64, as a padded
    vocabulary needs; they divide the key-value heads or are a multiple of them.
    """
    for size in range(n_gpus, 1, -1):
        shared = heads % size == 64 % size == 0
        if shared and (kv_heads % size == 0 or size % kv_heads == 0):
            return size
    return 1


def _server(model, batches, settings, _):
    name = settings.key_name
    key = os.environ.get(name)
    if name != "OPENAI_API_KEY" and not key:
        raise ValueError(f"{settings.base_url}: {name} is not set; it holds that server's key")
    longest = settings.max_new_tokens
    fields = {"model": model, "temperature": settings.temperature, "max_tokens": longest}
    for name, value in models.request_of(model, {}).items():
        fields[name] = longest if type(value) is int else value  # the family's limit of tokens
    fields |= settings.request or {}
    limits = {"price": models.price_of(model), "max_usd": settings.max_usd}
    limits |= {"timeout": 600.0, "served": settings.served}
    with Client(settings.cache, settings.base_url, key, **limits) as server:
        for batch in batches:
            requests = []
            for each in batch:
                request = {"seed": each.seed, "messages": each.prompt} | fields
                requests.append({key: value for key, value in request.items() if value is not None})
            yield [_from_server(reply) for reply in server.ask(requests)]


def _from_server(reply):
    answer = reply.answer
    if answer is None:
        return Response(None, "error", None, None, reply.error)
    reason, text, error = ending(answer.finish_reason), answer.text, None
    if reason == "content_filter":
        text, error = None, f"refused or filtered: {text}"
    counts = answer.completion_tokens or None, answer.prompt_tokens or None
    return Response(text, reason, *counts, error, answer.served)
