"""One GPU at the shape of Qwen2.5-1.5B with random weights: SFT padded and packed, GRPO, by our own
training path.

`python benchmarks/gpu.py` needs a CUDA GPU and writes "gpu" in benchmarks/results.json; `--tiny`
runs the same code at a toy's size on any machine and writes nothing. Weights are float32 under bf16
autocast with gradient checkpointing, as in training. The share of the peak counts 6 FLOPs a
parameter and token; what checkpointing computes again is not counted.
"""

import argparse
import gc
import importlib.util
import json
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sft import Clock
from transformers import Qwen2Config, Qwen2ForCausalLM

from curemed_utils import data, paths, prompts
from curemed_utils.training import stages, tiny, trainers

RESULTS = Path(__file__).with_name("results.json")
PEAK = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
}  # dense bf16 FLOP/s by the maker's data sheets


@dataclass(frozen=True)
class Size:
    """What to measure: model shape, rows, tokens and steps; `warm` steps at the start are left
    out.
    """

    shape: dict
    n_rows: int
    batch_size: int
    padded_micro: int
    packed_length: int
    packed_batch: int
    packed_micro: int
    steps: int
    warm: int
    completion: int
    grpo_batch: int
    grpo_micro: int


QWEN_1_5B = Size(
    shape=dict(
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        vocab_size=151936,
    ),
    n_rows=512,
    batch_size=32,
    padded_micro=8,
    packed_length=4096,
    packed_batch=4,
    packed_micro=2,
    steps=6,
    warm=2,
    completion=512,
    grpo_batch=16,
    grpo_micro=4,
)
TINY = Size(
    shape=dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=2048,
    ),
    n_rows=16,
    batch_size=4,
    padded_micro=2,
    packed_length=2048,
    packed_batch=2,
    packed_micro=1,
    steps=3,
    warm=1,
    completion=8,
    grpo_batch=4,
    grpo_micro=2,
)


def measure(size: Size = QWEN_1_5B) -> dict:
    """Tokens a second, share of the peak, seconds a GRPO step and peak memory (GB) of every way."""
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else "CPU"
    results = {"device": device, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = _rows(size.n_rows)
        results["parameters"] = parameters = _model(size, rows, folder / "base")
        file = data.write_jsonl(rows, folder / "rows.jsonl")
        shared = {
            "start": str(folder / "base"),
            "train_file": str(file),
            "output": str(folder / "out"),
        }
        padded = {"batch_size": size.batch_size, "micro_batch": size.padded_micro}
        packed = {
            "batch_size": size.packed_batch,
            "micro_batch": size.packed_micro,
            "packing": True,
        }
        for name, how in {"padded": padded, "packed": packed}.items():
            stage = stages.settings(
                "sft", shared | how | {"max_steps": size.steps, "max_length": size.packed_length}
            )
            results[name] = _sft(stage, size.warm, parameters, device)
            print(name, results[name], flush=True)
        results["packed_to_padded"] = round(
            results["packed"]["tokens_per_second"] / results["padded"]["tokens_per_second"], 2
        )
        grpo = {
            "batch_size": size.grpo_batch,
            "micro_batch": size.grpo_micro,
            "num_generations": size.grpo_batch,
            "steps": size.steps,
        }
        for engine in ["transformers"] + ["vllm"] * (
            cuda and importlib.util.find_spec("vllm") is not None
        ):
            how = grpo | {"engine": engine, "max_completion_length": size.completion}
            results[f"grpo_{engine}"] = _grpo(stages.settings("grpo", shared | how), size.warm)
            print(f"grpo_{engine}", results[f"grpo_{engine}"], flush=True)
    return results


def _rows(n: int) -> list[data.Row]:
    """The sample's rows, the reasoning of each one to five times over, so that lengths differ about
    as the released rows' do.
    """
    sample, draw = data.read_folder(paths.SAMPLE, "sample"), random.Random(0)
    drawn = [(k, draw.choice(sample), draw.randint(1, 5)) for k in range(n)]
    return [
        row.model_copy(update={"id": f"{k}", "reasoning": " ".join([row.reasoning] * times)})
        for k, row, times in drawn
    ]


def _model(size: Size, rows: list[data.Row], folder: Path) -> int:
    """Writes a checkpoint with random weights; returns its number of parameters. Token ids use the
    low end of the vocabulary.
    """
    tokenizer = tiny.build_tokenizer(
        [
            turn["content"]
            for row in rows
            for turn in [*prompts.messages(row), *prompts.completion(row)]
        ]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        **size.shape, max_position_embeddings=32768, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return model.num_parameters()


def _sft(stage: stages.SFT, warm: int, parameters: int, device: str) -> dict:
    trainer, made, seconds, memory = _run(trainers.sft_trainer, stage, warm)
    per_step = statistics.mean(map(len, trainer.train_dataset["input_ids"])) * stage.batch_size
    peak = next((flops for name, flops in PEAK.items() if name in device), None)
    share = {"share_of_peak": round(6 * parameters * per_step / seconds / peak, 3)} if peak else {}
    rate = round(per_step / seconds, 1)
    return {
        "tokens_per_second": rate,
        **share,
        "peak_GB": memory,
        "attention": made["attn_implementation"],
        "kernels": made["use_kernels"],
    }


def _grpo(stage: stages.GRPO, warm: int) -> dict:
    trainer, _, seconds, memory = _run(trainers.grpo_trainer, stage, warm)
    lengths = [
        record["completions/mean_length"]
        for record in trainer.state.log_history
        if "completions/mean_length" in record
    ]
    counts = {
        "completions": stage.batch_size,
        "mean_completion_tokens": round(statistics.mean(lengths), 1),
    }
    return {"seconds_per_step": round(seconds, 2), **counts, "peak_GB": memory}


def _run(make: Callable, stage: stages.Stage, warm: int) -> tuple:
    """The trainer after its steps, what made it, median seconds of a step, and the most GPU memory
    in use at once (GB; None on a CPU).
    """
    gc.collect()  # the trainer before this one, whose parts refer to one another
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer, made = make(stage, Path(stage.output))
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    memory = round(torch.cuda.max_memory_allocated() / 1e9, 1) if cuda else None
    return trainer, made, statistics.median(clock.seconds[warm:]), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="the same code at a toy's size, on any machine; writes nothing",
    )
    tiny_size = parser.parse_args().tiny
    if not tiny_size and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU is here; --tiny tries the same code on a CPU")
    results = measure(TINY if tiny_size else QWEN_1_5B)
    if not tiny_size:
        recorded = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(recorded | {"gpu": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
