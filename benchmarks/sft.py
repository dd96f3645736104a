"""SFT beside a plain loop of ours that does what the authors' released script does: the same rows,
model, batch and threads, in one run.

What the released script does (SFT/code_switch_sft.py of AikyamLab/cure-med), and so the plain loop:
rows go one at a time through the chat template into a tensor, where a search from the front
compares the tokens of the assistant's turn, made a tensor anew at each position, to find where the
completion starts; batches of MICRO_BATCH rows, the default of its Trainer, are padded to their
longest row; the cache is emptied after each step. Optimizer, clipping and loss are those of our
path, so both must lose the same. Training takes one thread on either side, since two wait for each
other as soon as anything else runs; our tokenizer takes every core.
"""

import os
import random
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from curemed_utils import data, paths, prompts
from curemed_utils.training import checkpoints, sft, stages, tiny, trainers

ROUNDS = 3
BATCH, STEPS = 32, 2  # the paper's batch
MICRO_BATCH = 8
EVERY = 20  # of the rows that ours prepares, how many one by one stands for
TURN = "<|im_start|>assistant\n"


def measure() -> dict:
    """Seconds to prepare all rows and tokens a second in training, of both, and the ratios; best of
    ROUNDS taken in turns.
    """
    released = bool(os.environ.get("CUREMED_RELEASE"))
    rows = data.read_release()["sft"] if released else data.read_folder(paths.SAMPLE, "sample")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # as in a training process
    with tempfile.TemporaryDirectory() as folder:
        texts = [
            turn["content"]
            for row in rows[::EVERY]
            for turn in [*prompts.messages(row), *prompts.completion(row)]
        ]
        base = tiny.build(texts, Path(folder) / "base")
        return (
            {"rows": "released" if released else "sample"}
            | _preparation(base, rows)
            | _training(base, rows, Path(folder))
        )


def _preparation(base: Path, rows: list[data.Row]) -> dict:
    tokenizer = checkpoints.load_tokenizer(base)
    ours = one_by_one = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        examples, _ = sft.encode(tokenizer, rows, 10**6)
        ours = min(ours, time.perf_counter() - started)
        started = time.perf_counter()
        plain = prepare_one_by_one(tokenizer, rows[::EVERY])
        one_by_one = min(one_by_one, (time.perf_counter() - started) * len(rows) / len(plain))
        assert examples[::EVERY] == plain
    print(
        f"{len(rows):,} rows to ids and masks: {ours:.1f} s; one by one {one_by_one:.1f} s, "
        f"{one_by_one / ours:.1f}x as long"
    )
    return {
        "n_rows": len(rows),
        "preparation_s": round(ours, 2),
        "one_by_one_s": round(one_by_one, 2),
        "preparation_ratio": round(one_by_one / ours, 1),
    }


def prepare_one_by_one(tokenizer, rows: list[data.Row]) -> list[dict]:
    """Ids and labels as the released script makes them."""
    turn = tokenizer(TURN, add_special_tokens=False)["input_ids"]
    examples = []
    for row in rows:
        whole = prompts.messages(row) + prompts.completion(row)
        ids = tokenizer.apply_chat_template(
            whole, tokenize=True, return_dict=True, return_tensors="pt"
        )["input_ids"][0]
        labels = ids.clone()
        for start in range(len(ids) - len(turn) + 1):
            if torch.all(ids[start : start + len(turn)] == torch.tensor(turn)):
                labels[: start + len(turn)] = -100
                break
        examples.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    return examples


def _training(base: Path, rows: list[data.Row], folder: Path) -> dict:
    some = random.Random(0).sample(
        rows, BATCH
    )  # every step sees them all, so order can't tell the losses apart
    file = data.write_jsonl(some, folder / "sft.jsonl")
    settings = {
        "start": str(base),
        "train_file": str(file),
        "output": str(folder / "sft"),
        "scheduler": "constant",
        "warmup": 0.0,
    }
    stage = stages.settings(
        "sft",
        settings
        | {"learning_rate": 1e-3, "batch_size": BATCH, "max_steps": STEPS, "max_length": 10**6},
    )
    examples, _ = sft.encode(checkpoints.load_tokenizer(base), some, stage.max_length)
    n_tokens = sum(len(example["input_ids"]) for example in examples)
    rates = {"ours": 0.0, "plain loop": 0.0}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        losses = {}
        for name, run in {"ours": _our_steps, "plain loop": _plain_steps}.items():
            seconds, losses[name] = run(stage, examples, folder / "part")
            rates[name] = max(rates[name], n_tokens / min(seconds))
        apart = max(
            abs(one - other)
            for one, other in zip(losses["ours"], losses["plain loop"], strict=True)
        )
        assert apart < 1e-3, f"the losses differ by {apart}: {losses}"
    torch.set_num_threads(threads)
    ratio = rates["ours"] / rates["plain loop"]
    for name, rate in rates.items():
        print(
            f"{name:10s} {rate:7,.0f} tokens/s over {BATCH} rows of {n_tokens / BATCH:.0f} "
            "tokens on average"
        )
    print(f"ratio {ratio:.2f}, losses at most {apart:.1e} apart")
    return {
        "tokens_per_second": {k: round(v) for k, v in rates.items()},
        "training_ratio": round(ratio, 2),
        "loss_difference": float(f"{apart:.1e}"),
    }


class Clock(TrainerCallback):
    """Seconds of every optimizer step, and the GPU's work in them."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *_, **__):
        self.started = now()

    def on_step_end(self, *_, **__):
        self.seconds.append(now() - self.started)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _our_steps(
    stage: stages.SFT, examples: list[dict], part: Path
) -> tuple[list[float], list[float]]:
    trainer, clock = trainers.sft_trainer(stage, part)[0], Clock()
    trainer.add_callback(clock)
    trainer.train()
    return clock.seconds, [
        record["loss"] for record in trainer.state.log_history if "loss" in record
    ]


def _plain_steps(
    stage: stages.SFT, examples: list[dict], part: Path
) -> tuple[list[float], list[float]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(stage.start).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay
    )
    n_labels = sum(label != -100 for example in examples for label in example["labels"])
    seconds, losses = [], []
    for _ in range(stage.max_steps):
        started, total = now(), 0.0
        for first in range(0, len(examples), MICRO_BATCH):
            batch = {
                name: tensor.to(device)
                for name, tensor in padded(examples[first : first + MICRO_BATCH]).items()
            }
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = model(**batch, num_items_in_batch=n_labels).loss
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.empty_cache()
        seconds.append(now() - started)
        losses.append(total)
    return seconds, losses


def padded(examples: list[dict]) -> dict[str, torch.Tensor]:
    """Ids, labels and attention mask (rows, longest row)."""
    longest = max(len(example["input_ids"]) for example in examples)
    gaps = [longest - len(example["input_ids"]) for example in examples]
    columns = {"input_ids": 0, "labels": -100}
    batch = {
        name: [e[name] + [fill] * gap for e, gap in zip(examples, gaps, strict=True)]
        for name, fill in columns.items()
    }
    batch["attention_mask"] = [[1] * (longest - gap) + [0] * gap for gap in gaps]
    return {name: torch.tensor(values) for name, values in batch.items()}


if __name__ == "__main__":
    measure()
