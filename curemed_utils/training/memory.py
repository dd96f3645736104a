"""Before a stage starts: what the machine has, what the stage needs of it, how long a step may take.

Estimates that tend high, from the checkpoint's config.json alone, read off TRL 1.16, accelerate 1.15 and DeepSpeed 0.19. With T
tokens a process holds at a time, h hidden size, i intermediate size, P parameters, n GPUs in all:
- Weights: TRL loads float32 whatever the checkpoint says (`create_model_from_path`); DeepSpeed casts to bf16 and keeps a float32 copy.
- none: 18 bytes a trained parameter (weight 4, autocast's bf16 copy 2, gradient 4, AdamW 8), 4 a frozen one; ddp: 4 more for buckets.
- zero2, zero3, zero3_offload: DeepSpeed's `estimate_zero{2,3}_model_states_mem_needs`, repeated here since importing them looks for GPUs.
- fsdp2: accelerate trains in float32, 16 P/n, and the largest layer stands gathered, the next one too, with its gradient: 8 bytes.
- Activations: each layer's input and one layer with its gradients, 4 T (8h + 4i); PyTorch's MemTracker counts a tenth less at 1.5B
  and 7B. Attention is FlashAttention or PyTorch's memory-efficient one: no T x T matrix. On a CPU nothing is recomputed: all layers.
- LM head: TRL makes no full logits but tiles of 4096 x 32768 (`chunked_logprob`); the gathered head and its float32 gradient.
- Rollouts by transformers: keys and values of a process's share of the batch; under ZeRO-3 also the whole model gathered in bf16
  (`ds3_gather_for_generation`). By vLLM: its share, given back while training (sleep mode).
- Kept free: 2 GiB and 5% of the GPU for CUDA's context, NCCL and fragmentation; a rule of thumb.
- Disk: the finished weights, and for each of `keep_checkpoints` + 1 saves 16 bytes a trained parameter (weights and AdamW's states).
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from curemed_utils.training import checkpoints
from curemed_utils.training.stages import Stage

GIB = 2**30
PLANNED = ("micro_batch", "lora_rank", "save_steps", "vllm_memory", "vllm_tensor_parallel")
SPEEDS = {"A100": (312e12, 2.0e12), "H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}  # bf16 FLOP/s, bytes/s of memory: data sheets


class DoesNotFit(ValueError):
    """A stage that this machine can't hold; `fits` lists changes, each a dict of parameters, with which it would."""

    def __init__(self, message: str, fits: list[dict]):
        super().__init__(message)
        self.fits = fits


@cache
def gpus() -> list[str]:
    """The GPUs of this machine as 'name, MiB', asked of the driver's own tool: the process that asks never touches CUDA."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True)
    found = done.stdout.strip().splitlines() if done.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len([one for one in visible.split(",") if one.strip() not in ("", "-1")])]


@dataclass(frozen=True)
class Shape:
    """A model's sizes: parameters in all, in the largest layer and of adapters of rank 1; its config.json."""

    total: int
    largest: int
    adapters: int
    config: dict


def shape(checkpoint: str | Path) -> Shape:
    """The sizes of a checkpoint, from its config.json alone; a Qwen2.5 is counted by hand, since importing its class takes seconds."""
    c = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
    if c["model_type"] != "qwen2":
        return measured_shape(checkpoint)
    h, inner, kv = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"] * c["num_key_value_heads"]
    layer = 2 * h * h + 2 * h * kv + 3 * h * inner + (h + 2 * kv) + 2 * h  # q and o, k and v, the MLP, biases, norms
    embedding = c["vocab_size"] * h
    adapters = c["num_hidden_layers"] * (2 * (h + h) + 2 * (h + kv) + 3 * (h + inner))
    total = c["num_hidden_layers"] * layer + embedding * (1 if c.get("tie_word_embeddings") else 2) + h
    return Shape(total, max(layer, embedding), adapters, c)


def measured_shape(checkpoint: str | Path) -> Shape:
    """The same for any causal language model, from accelerate's estimator and a model built without memory."""
    import torch
    from accelerate import init_empty_weights
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(checkpoint)
    with init_empty_weights(include_buffers=True):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not model.get_output_embeddings()]
    adapters = sum(m.in_features + m.out_features for m in linear)
    return Shape(model.num_parameters(), calculate_maximum_sizes(model)[1][0] // 4, adapters, config.get_text_config().to_dict())


def check(
    kind: str,
    stage: Stage,
    processes: int = 1,
    nodes: int = 1,
    strategy: str = "none",
    gpu_gib: float | None = None,
    cpu_gib: float | None = None,
    disk_gib: float | None = None,
) -> pd.DataFrame:
    """What a stage ('sft' or 'grpo') needs, one row an item: GiB `needed` and `there` (empty for a part of a sum).

    `processes` counts GPUs per node. The machine is this one unless told: `gpu_gib` memory of a GPU, `cpu_gib` free main memory
    of a node, `disk_gib` free where the checkpoint goes. Without a GPU the run is taken to be on a CPU.
    Raises DoesNotFit, a ValueError that says what is short and what would fit.
    """
    model = shape(stage.start)
    if gpu_gib is None and gpus():
        gpu_gib = min(float(gpu.split(",")[-1]) for gpu in gpus()) / 1024
    there = (gpu_gib, _main_memory() if cpu_gib is None else cpu_gib, _free_disk(Path(stage.output)) if disk_gib is None else disk_gib)
    plan = {"strategy": strategy, "processes": processes, "nodes": nodes}
    plan |= {name: value for name, value in vars(stage).items() if name in PLANNED[: 5 if vars(stage).get("engine") == "vllm" else 3]}
    table = pd.DataFrame(_needs(kind, stage, model, plan, there), columns=["item", "needed", "there"])
    short = table[table.needed > table.there]
    if short.empty:
        return table
    fits = list(itertools.islice(_fitting(kind, stage, model, plan, there), 5))
    said = "; or ".join(map(_written, fits)) or "nothing among other strategies, batches, numbers of GPUs and LoRA"
    lines = "; ".join(f"{row.item}: {row.needed:.1f} GiB needed, {row.there:.1f} there" for row in short.itertuples())
    given = _written(plan | {name: value for name, value in vars(stage).items() if name.startswith("max_") and name.endswith("length")})
    raise DoesNotFit(f"{kind} of {model.total / 1e9:.2f}B parameters can't run with {given}. {lines}. What would fit: {said}", fits)


def _needs(kind: str, stage: Stage, model: Shape, plan: dict, there: tuple) -> list[tuple]:
    """(item, GiB needed, GiB there or None) by the formulas at the top of this file."""
    gpu, cpu, disk = there
    strategy, node, total, lora = plan["strategy"], plan["processes"], model.total, plan["lora_rank"]
    world, zero, c = node * plan["nodes"], strategy.startswith("zero"), model.config
    h, inner, layers, vocab = (c[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"))
    trained, frozen = (model.adapters * lora, total) if lora else (total, 0)
    states, host = {
        "none": (18 * trained + 4 * frozen, 0),
        "ddp": (22 * trained + 4 * frozen, 4 * total * node),
        "zero2": (2 * (trained + frozen) + 18 * trained / world, 6 * total * node),
        "zero3": (4 * model.largest + (18 * trained + 2 * frozen) / world, 6 * model.largest * node),
        "zero3_offload": (4 * model.largest, (27 * trained + 3 * frozen) / plan["nodes"]),
        "fsdp2": (8 * model.largest + (16 * trained + 4 * frozen) / world, total * max(4 * node, 12)),
    }[strategy]
    length = stage.max_length if kind == "sft" else stage.max_prompt_length + stage.max_completion_length
    tokens, item = plan["micro_batch"] * length, 2 if gpu else 4
    inputs, layer = layers * tokens * h * (2 if zero else 4), 4 * tokens * (8 * h + 4 * inner)
    activations = inputs + layer if gpu else layers * 4 * tokens * (13 * h + 4 * inner)
    head = min(tokens, 4096) * 32768 * item + 4 * tokens * h + (4 if lora else 8) * vocab * h
    reference = rollouts = share = 0
    if kind == "grpo":
        if stage.beta and not lora:  # with adapters, the reference is the model without them
            reference = (2 if zero else 4) * total / (1 if strategy in ("none", "ddp", "zero2") else world)
        sequence = length * 2 * item * layers * c["num_key_value_heads"] * (c.get("head_dim") or h // c["num_attention_heads"])
        if stage.engine == "transformers":
            rollouts = stage.batch_size // world * (sequence + 16 * vocab) + (2 * total if strategy.startswith("zero3") else 0)
        elif stage.engine == "vllm" and gpu:
            rollouts = plan["vllm_memory"] * gpu * GIB
            share = (2 * total + sequence) / plan["vllm_tensor_parallel"] + 3 * GIB
    spare = (2 + 0.05 * gpu) * GIB if gpu else 0
    parts = {"model states": states, "reference model": reference, "activations": activations, "LM head": head, "rollouts": rollouts}
    process = states + reference + max(activations + head, rollouts) + spare
    table = [(name, size, None) for name, size in (parts | {"kept free": spare}).items()]
    if gpu:
        table.append(("GPU memory (the larger of training and rollouts)", process, gpu))
    if share:
        table.append(("vllm_memory's share: weights and one sequence", share, plan["vllm_memory"] * gpu))
    host = max(host, 4 * total if lora else 0) if gpu else process * node  # the process that merges adapters holds the whole model
    saves = stage.keep_checkpoints + 1 if plan["save_steps"] else 0
    table += [("main memory of a node", host, cpu), ("disk for checkpoints", (2 if zero else 4) * total + 16 * trained * saves, disk)]
    return [(name, size / GIB, limit) for name, size, limit in table]


def _fitting(kind: str, stage: Stage, model: Shape, plan: dict, there: tuple) -> Iterator[dict]:
    """Changes to a plan with which it fits, those of the fewest parameters first and none that contains another."""
    tried = {"micro_batch": [plan["micro_batch"] // k for k in (2, 4, 8, 16) if plan["micro_batch"] % k == 0]}
    if there[0]:
        tried = {"strategy": [name for name in ("ddp", "zero2", "zero3", "fsdp2", "zero3_offload") if name != plan["strategy"]]} | tried
        tried["processes"] = [n for n in (2, 4, 8) if plan["processes"] < n <= (len(gpus()) or 8)]
        tried["nodes"] = [plan["nodes"] * k for k in (2, 4)]
    if "vllm_memory" in plan:
        tried["vllm_memory"] = [share for share in (0.2, 0.3, 0.4, 0.5) if share != plan["vllm_memory"]]
        tried["vllm_tensor_parallel"] = [n for n in (2, 4, 8) if plan["vllm_tensor_parallel"] < n <= plan["processes"]]
    tried |= {"lora_rank": [] if plan["lora_rank"] else [16], "save_steps": [0] if plan["save_steps"] else []}
    found, seen = [], set()
    for names in itertools.chain(*(itertools.combinations(tried, k) for k in (1, 2, 3))):
        for values in itertools.product(*(tried[name] for name in names)):
            change = dict(zip(names, values, strict=True))
            new, like = plan | change, (names, change.get("strategy"))
            world = new["processes"] * new["nodes"]
            idle = like in seen or any(other.items() <= change.items() for other in found)  # a smaller change of the same kind does
            if idle or stage.batch_size % (new["micro_batch"] * world) or (new["strategy"] == "none" and world > 1):
                continue
            if all(limit is None or needed <= limit for _, needed, limit in _needs(kind, stage, model, new, there)):
                found.append(change)
                seen.add(like)
                yield change


def _written(change: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in change.items())


def _main_memory() -> float:
    import psutil

    return min(psutil.virtual_memory().available / GIB, float(os.environ.get("SLURM_MEM_PER_NODE") or "inf") / 1024)


def _free_disk(output: Path) -> float:
    """GiB free where `output` will lie; what an interrupted stage left counts as free, since the resumed one replaces it."""
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    left = checkpoints.partial(output).rglob("*")
    return (shutil.disk_usage(folder).free + sum(file.stat().st_size for file in left if file.is_file())) / GIB


def step_seconds(kind: str, stage: Stage, processes: int = 1, nodes: int = 1, gpu_name: str = "") -> float | None:
    """A guess at the seconds of an optimizer step at full length; None where the GPU is unknown.

    Training: 8 P FLOPs a token (6 P and the recomputed forward pass) at 40% of the bf16 peak of the data sheet. Rollouts: each new
    token reads all weights once at half of the memory's speed; with transformers it takes at least 1 ms a layer. Not in it: offloading
    to main memory, the judge's answers, a slow network between nodes.
    """
    name = gpu_name or (gpus() or [""])[0]
    speed = next((speed for gpu, speed in SPEEDS.items() if gpu in name), None)
    if speed is None:
        return None
    model, length = shape(stage.start), stage.max_length if kind == "sft" else stage.max_prompt_length + stage.max_completion_length
    seconds = 8 * model.total * stage.batch_size * length / (0.4 * speed[0] * processes * nodes)
    if kind == "sft":
        return seconds
    reading = 2 * model.total / (0.5 * speed[1] * (stage.vllm_tensor_parallel if stage.engine == "vllm" else 1))
    slowest = 1e-3 * model.config["num_hidden_layers"] if stage.engine == "transformers" else 0
    return seconds + stage.max_completion_length * max(reading, slowest)
