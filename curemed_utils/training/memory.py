"""The memory and disk that a stage may need, by an estimate that tends high, and what there is.

`papermill_params/README.md` says where each formula comes from.
"""

import math
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils.training import checkpoints, devices, weights
from curemed_utils.training.stages import SFT, Stage

GIB = 2**30
GPU, MAIN, DISK = "memory of a GPU", "main memory of a node", "disk for checkpoints"


class DoesNotFit(ValueError):
    """The disk can't hold a stage's checkpoints."""


class Machine(NamedTuple):
    """GiB of the smallest GPU (0: none), free main memory and free disk."""

    gpu: float
    main: float
    disk: float


def machine(output: Path) -> Machine:
    """This machine, or its share of a Slurm job, for a stage that writes `output`."""
    import psutil

    gpu = min((gib for _, gib in devices.gpus()), default=0)
    job = float(os.environ.get("SLURM_MEM_PER_NODE") or "inf") / 1024
    main = min(psutil.virtual_memory().available / GIB, job)
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free
    for file in checkpoints.partial(output).rglob("*"):  # is replaced
        free += file.stat().st_size if file.is_file() else 0
    return Machine(gpu, main, free / GIB)


class Shape(NamedTuple):
    """Parameters in all, in the largest layer, of adapters of rank 1."""

    total: int
    largest: int
    adapters: int


def shape(checkpoint: str | Path) -> Shape:
    """The sizes of any causal language model, by the heads of its weight files."""
    from safetensors import safe_open

    layers, adapters = Counter(), 0
    for file in Path(checkpoint).glob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            names = opened.keys()
            for name in names:
                size = opened.get_slice(name).get_shape()
                layer = re.match(r".*?\.\d+\.", name)
                layers[layer[0] if layer else name] += math.prod(size)
                if layer and len(size) == 2:
                    adapters += sum(size)
    return Shape(layers.total(), max(layers.values(), default=0), adapters)


def estimate(
    stage: Stage, processes: int, nodes: int, strategy: str, machine: Machine
) -> pd.DataFrame:
    """GiB `needed` of each item, and `available` but for parts of a sum.

    `processes` counts GPUs on each node, or processes on a CPU.
    """
    plan = _Plan(stage, processes, nodes, strategy, machine.gpu)
    parts = {
        "model states": plan.states(),
        "reference model": plan.reference(),
        "activations": plan.activations(),
        "LM head": plan.head(),
        "rollouts": plan.rollouts(),
        "kept free": (2 + 0.05 * machine.gpu) * GIB if machine.gpu else 0,
    }
    either = parts["activations"] + parts["LM head"], parts["rollouts"]  # in turn
    process = sum(parts.values()) - min(either)
    rows = [(name, size, None) for name, size in parts.items()]
    if machine.gpu:
        rows.append((GPU, process, machine.gpu))
    host = plan.host() if machine.gpu else process * processes
    rows += [(MAIN, host, machine.main), (DISK, plan.disk(), machine.disk)]
    table = pd.DataFrame(rows, columns=["item", "needed", "available"])
    return table.assign(needed=table["needed"] / GIB)


class _Plan:
    """The bytes of each part."""

    def __init__(self, stage, processes, nodes, strategy, gpu):
        self.stage, self.strategy, self.gpu = stage, strategy, gpu
        self.processes, self.nodes, self.world = processes, nodes, processes * nodes
        self.zero, self.whole = strategy.startswith("zero"), strategy in ("none", "ddp", "zero2")
        self.model = shape(stage.start)
        self.trained, self.frozen = self.model.total, 0
        if stage.lora_rank:
            self.trained, self.frozen = self.model.adapters * stage.lora_rank, self.model.total
        config = weights.config(stage.start)
        self.config = config.get("text_config", config)
        self.size, self.inner = self.config["hidden_size"], self.config["intermediate_size"]
        n_heads = self.config["num_attention_heads"]
        self.heads = n_heads * (self.config.get("head_dim") or self.size // n_heads)
        self.layers, self.vocabulary = self.config["num_hidden_layers"], self.config["vocab_size"]
        if isinstance(stage, SFT):
            self.length = stage.max_length
        else:
            self.length = stage.max_prompt_length + stage.max_completion_length
        self.tokens = stage.micro_batch * self.length
        self.activation = 2 if gpu else 4  # bytes, of frozen weights too

    def states(self):
        trained, frozen, largest = self.trained, self.frozen, self.model.largest
        held = self.activation * frozen
        if self.stage.load_in_4bit:  # all but embeddings and head
            held = 0.52 * frozen + 2 * self.activation * self.vocabulary * self.size
        each = 18 if self.gpu else 16  # without autocast's copy
        return {
            "none": each * trained + held,
            "ddp": (each + 4) * trained + held,
            "zero2": 2 * (trained + frozen) + 18 * trained / self.world,
            "zero3": 4 * largest + (18 * trained + 2 * frozen) / self.world,
            "zero3_offload": 4 * largest,
            "fsdp2": 8 * largest + (16 * trained + 4 * frozen) / self.world,
        }[self.strategy]

    def host(self):
        total, n = self.model.total, self.processes
        needed = {
            "none": 0,
            "ddp": 4 * total * n,
            "zero2": 6 * total * n,
            "zero3": 6 * self.model.largest * n,
            "zero3_offload": (27 * self.trained + 3 * self.frozen) / self.nodes,
            "fsdp2": total * max(4 * n, 12),
        }[self.strategy]
        return max(needed, 4 * total) if self.frozen else needed  # to merge adapters

    def reference(self):
        if not getattr(self.stage, "beta", 0) or self.frozen:
            return 0
        shards = 1 if self.whole else self.world
        return (2 if self.zero else 4) * self.model.total / shards

    def activations(self):
        if not self.gpu:
            each = 10 * self.size + 7 * self.heads + 4 * self.inner
            return 4 * self.layers * self.tokens * each
        inputs = self.layers * self.tokens * self.size * (2 if self.zero else 4)
        return inputs + 4 * self.tokens * (8 * self.size + 4 * self.inner)

    def head(self):
        tile = min(self.tokens, 4096) * min(self.vocabulary, 32768) * self.activation
        if not self.gpu:  # copies of SFT's whole logits, of GRPO's tile
            logits = 12 * self.tokens * self.vocabulary
            tile = logits if isinstance(self.stage, SFT) else 8 * tile
        weights = 0 if self.frozen else 4  # gradient; gathered where sharded
        weights += 0 if self.whole else 4
        return tile + 4 * self.tokens * self.size + weights * self.vocabulary * self.size

    def rollouts(self):
        engine, config = getattr(self.stage, "engine", ""), self.config
        if engine == "vllm":
            return self.stage.vllm_memory * self.gpu * GIB
        if engine != "transformers":
            return 0
        width = self.heads // config["num_attention_heads"] * config["num_key_value_heads"]
        token = 2 * self.activation * self.layers * width
        each = self.length * token + 16 * self.vocabulary
        gathered = 2 * self.model.total if self.strategy.startswith("zero3") else 0
        return self.stage.batch_size // self.world * each + gathered

    def disk(self):
        saves = self.stage.keep_checkpoints + 1 if self.stage.save_steps else 0
        return (2 if self.zero else 4) * self.model.total + 16 * self.trained * saves
