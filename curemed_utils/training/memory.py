"""How much memory and disk a training stage may need, and what this machine has.

An estimate that tends high, from the checkpoint's config.json alone, read off TRL 1.16, accelerate
1.15 and DeepSpeed 0.19. With T tokens that a process holds at a time, h hidden size, i intermediate
size, P parameters, n GPUs in all:

- Weights: TRL loads float32; DeepSpeed casts to bf16 and keeps a float32 copy.
- none: 18 bytes a trained parameter (weight 4, autocast's bf16 copy 2, gradient 4, AdamW 8),
  4 a frozen one. ddp: 4 more for buckets.
- zero2, zero3, zero3_offload: DeepSpeed's `estimate_zero{2,3}_model_states_mem_needs`, repeated
  here since importing them looks for GPUs.
- fsdp2: float32, 16 P/n; the largest layer gathered, the next one too, with its gradient: 8 bytes.
- Activations: each layer's input, and one layer with its gradients, 4 T (8h + 4i). Attention makes
  no T x T matrix. On a CPU nothing is recomputed: all layers.
- LM head: TRL's tiles of 4096 x 32768 logits; the gathered head and its float32 gradient.
- Rollouts by transformers: keys and values of a process's share of the batch; under ZeRO-3 also the
  whole model gathered in bf16. By vLLM: its share of the GPU.
- Kept free: 2 GiB and 5% of the GPU, a rule of thumb.
- Disk: the finished weights, and for each of `keep_checkpoints` + 1 saves 16 bytes a trained
  parameter (weights and AdamW's states).
"""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils.training import checkpoints
from curemed_utils.training.stages import SFT, Stage

GIB = 2**30
GPU, MAIN, DISK = "memory of a GPU", "main memory of a node", "disk for checkpoints"


class DoesNotFit(ValueError):
    """A stage whose checkpoints this machine's disk can't hold."""


# The machine -------------------------------------------------------------------------------------


@cache
def gpus() -> list[str]:
    """The GPUs of this machine as 'name, MiB', asked of the driver's own tool.

    The process that asks never touches CUDA.
    """
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True)
    names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    chosen = [number for number in visible.split(",") if number.strip() not in ("", "-1")]
    return names[: len(chosen)]


def _main_memory() -> float:
    import psutil

    job = float(os.environ.get("SLURM_MEM_PER_NODE") or "inf")  # MiB
    return min(psutil.virtual_memory().available / GIB, job / 1024)


def _free_disk(output: Path) -> float:
    """GiB free for `output`; what an interrupted stage left counts, since it is replaced."""
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free
    for file in checkpoints.partial(output).rglob("*"):
        free += file.stat().st_size if file.is_file() else 0
    return free / GIB


# The model ---------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """A model's sizes: parameters in all, in its largest layer, of adapters of rank 1."""

    total: int
    largest: int
    adapters: int
    config: dict  # its config.json


def shape(checkpoint: str | Path) -> Shape:
    """The sizes of a checkpoint, from its config.json alone.

    A Qwen2.5 is counted by hand, since importing its class takes seconds.
    """
    c = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
    if c["model_type"] != "qwen2":
        return measured_shape(checkpoint)
    h, inner, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    kv = h // c["num_attention_heads"] * c["num_key_value_heads"]
    attention = 2 * h * h + 2 * h * kv + h + 2 * kv  # q and o, k and v, biases
    layer = attention + 3 * h * inner + 2 * h  # the MLP and two norms
    embedding = c["vocab_size"] * h
    adapters = layers * (2 * (h + h) + 2 * (h + kv) + 3 * (h + inner))
    tied = c.get("tie_word_embeddings")
    total = layers * layer + embedding * (1 if tied else 2) + h
    return Shape(total, max(layer, embedding), adapters, c)


def measured_shape(checkpoint: str | Path) -> Shape:
    """The same for any causal language model, built without memory."""
    import torch
    from accelerate import init_empty_weights
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(checkpoint)
    with init_empty_weights(include_buffers=True):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()
    head, adapters = model.get_output_embeddings(), 0
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            adapters += module.in_features + module.out_features
    largest = calculate_maximum_sizes(model)[1][0] // 4
    text = config.get_text_config().to_dict()
    return Shape(model.num_parameters(), largest, adapters, text)


# The estimate ------------------------------------------------------------------------------------


def estimate(
    stage: Stage,
    processes: int = 1,
    nodes: int = 1,
    strategy: str = "none",
    gpu_gib: float | None = None,
    cpu_gib: float | None = None,
    disk_gib: float | None = None,
) -> pd.DataFrame:
    """What a stage may need: GiB `needed` of each item, and `available` but for parts of a sum.

    `processes` counts GPUs on each node. The machine is this one unless told: `gpu_gib` memory
    of a GPU, `cpu_gib` free main memory of a node, `disk_gib` free where the checkpoint goes.
    Without a GPU the run is taken to be on a CPU.
    """
    if gpu_gib is None and gpus():
        gpu_gib = min(float(gpu.split(",")[-1]) for gpu in gpus()) / 1024
    cpu_gib = _main_memory() if cpu_gib is None else cpu_gib
    disk_gib = _free_disk(stage.output) if disk_gib is None else disk_gib
    plan = _Plan(stage, shape(stage.start), processes, nodes, strategy, gpu_gib or 0)
    parts = {
        "model states": plan.states(),
        "reference model": plan.reference(),
        "activations": plan.activations(),
        "LM head": plan.head(),
        "rollouts": plan.rollouts(),
        "kept free": (2 + 0.05 * gpu_gib) * GIB if gpu_gib else 0,
    }
    training = parts["activations"] + parts["LM head"]
    process = parts["model states"] + parts["reference model"] + parts["kept free"]
    process += max(training, parts["rollouts"])
    rows = [(name, size, None) for name, size in parts.items()]
    if gpu_gib:
        rows.append((GPU, process, gpu_gib))
    host = plan.host() if gpu_gib else process * processes
    rows += [(MAIN, host, cpu_gib), (DISK, plan.disk(), disk_gib)]
    table = pd.DataFrame(rows, columns=["item", "needed", "available"])
    return table.assign(needed=table["needed"] / GIB)


class _Plan:
    """The formulas at the top of this file, in bytes."""

    def __init__(self, stage, model, processes, nodes, strategy, gpu_gib):
        self.stage, self.model, self.strategy, self.gpu = stage, model, strategy, gpu_gib
        self.processes, self.nodes, self.world = processes, nodes, processes * nodes
        self.zero = strategy.startswith("zero")
        self.size, self.inner = model.config["hidden_size"], model.config["intermediate_size"]
        self.layers, self.vocabulary = model.config["num_hidden_layers"], model.config["vocab_size"]
        self.trained, self.frozen = model.total, 0
        if stage.lora_rank:
            self.trained, self.frozen = model.adapters * stage.lora_rank, model.total
        if isinstance(stage, SFT):
            self.length = stage.max_length
        else:
            self.length = stage.max_prompt_length + stage.max_completion_length
        self.tokens = stage.micro_batch * self.length
        self.activation = 2 if gpu_gib else 4  # bytes: bf16 or float32

    def states(self) -> float:
        """Weights, gradients and optimizer of one process."""
        trained, frozen, largest = self.trained, self.frozen, self.model.largest
        return {
            "none": 18 * trained + 4 * frozen,
            "ddp": 22 * trained + 4 * frozen,
            "zero2": 2 * (trained + frozen) + 18 * trained / self.world,
            "zero3": 4 * largest + (18 * trained + 2 * frozen) / self.world,
            "zero3_offload": 4 * largest,
            "fsdp2": 8 * largest + (16 * trained + 4 * frozen) / self.world,
        }[self.strategy]

    def host(self) -> float:
        """Main memory of a node with GPUs; whoever merges adapters holds the whole model."""
        total, n = self.model.total, self.processes
        needed = {
            "none": 0,
            "ddp": 4 * total * n,
            "zero2": 6 * total * n,
            "zero3": 6 * self.model.largest * n,
            "zero3_offload": (27 * self.trained + 3 * self.frozen) / self.nodes,
            "fsdp2": total * max(4 * n, 12),
        }[self.strategy]
        return max(needed, 4 * total) if self.frozen else needed

    def reference(self) -> float:
        """The start checkpoint beside a KL term; with adapters, the model without them."""
        if not getattr(self.stage, "beta", 0) or self.frozen:
            return 0
        whole = self.strategy in ("none", "ddp", "zero2")
        return (2 if self.zero else 4) * self.model.total / (1 if whole else self.world)

    def activations(self) -> float:
        if not self.gpu:
            return self.layers * 4 * self.tokens * (13 * self.size + 4 * self.inner)
        inputs = self.layers * self.tokens * self.size * (2 if self.zero else 4)
        return inputs + 4 * self.tokens * (8 * self.size + 4 * self.inner)

    def head(self) -> float:
        tile = min(self.tokens, 4096) * 32768 * self.activation
        weights = (4 if self.frozen else 8) * self.vocabulary * self.size
        return tile + 4 * self.tokens * self.size + weights

    def rollouts(self) -> float:
        engine, c = getattr(self.stage, "engine", ""), self.model.config
        if engine == "vllm":
            return self.stage.vllm_memory * self.gpu * GIB
        if engine != "transformers":
            return 0
        head = c.get("head_dim") or self.size // c["num_attention_heads"]
        token = 2 * self.activation * self.layers * c["num_key_value_heads"] * head
        each = self.length * token + 16 * self.vocabulary
        gathered = 2 * self.model.total if self.strategy.startswith("zero3") else 0
        return self.stage.batch_size // self.world * each + gathered

    def disk(self) -> float:
        saves = self.stage.keep_checkpoints + 1 if self.stage.save_steps else 0
        return (2 if self.zero else 4) * self.model.total + 16 * self.trained * saves
