"""One process of the runs that test_processes.py compares: `python tests/one_rank.py sft|grpo
CONFIG.json`.

It is `python -m curemed_utils.training` with two stand-ins: recorded rollouts, since sampled ones
depend on each process's own random numbers; and DeepSpeed on a CPU, which accelerate by itself
starts on accelerators only.
"""

import json
import os
import sys
from pathlib import Path

import deepspeed
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from trl import GRPOTrainer

from curemed_utils import data, prompts
from curemed_utils.training import process, trainers


def recorded(
    trainer: GRPOTrainer, prompt_ids: list[list[int]], rows: list[data.Row]
) -> tuple[list[list[int]], None]:
    """Token ids of one completion a prompt, by its question and its place in its group, which may
    have begun on another process.
    """
    tokenizer, first = trainer.processing_class, trainer.accelerator.process_index * len(prompt_ids)
    completions = []
    for place, ids in enumerate(prompt_ids, first):
        prompt = tokenizer.decode(ids)
        row = next(row for row in rows if row.question in prompt)
        whole = prompts.completion(row)[0]["content"]
        texts = [whole, whole.replace("<step2>", ""), row.answer, rows[0].answer]
        completions.append(
            [
                *tokenizer(texts[place % trainer.num_generations])["input_ids"],
                tokenizer.eos_token_id,
            ]
        )
    return completions, None


def deepspeed_on_cpu() -> None:
    common = trainers.common
    trainers.common = lambda stage, part: (
        common(stage, part) | {"use_cpu": False}
    )  # else accelerate leaves DeepSpeed out
    PartialState._prepare_backend = lambda self, *_, **__: ("gloo", DistributedType.MULTI_CPU)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = (
        False  # compiled at first use, which takes minutes; gloo does without
    )


def main(kind: str, config: str) -> None:
    rows = data.read_jsonl(json.loads(Path(config).read_text(encoding="utf-8"))["train_file"])
    GRPOTrainer._generate_single_turn = lambda trainer, prompt_ids, *_: recorded(
        trainer, prompt_ids, rows
    )
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        deepspeed_on_cpu()
    process.main([kind, config])


if __name__ == "__main__":
    main(*sys.argv[1:])
