"""TRL's trainers with a stage's settings: SFTTrainer for Section 3.2, GRPOTrainer for Sections 3.3 and 3.4."""

import itertools
import json
import os
import random
import socket
from pathlib import Path

from curemed_utils import data, judge, prompts
from curemed_utils.training import checkpoints, curricula, sft
from curemed_utils.training.stages import GRPO, SFT, Stage

ROW_FIELDS = ("accepted", "id", "question", "language", "answer")  # what the rewards see of a row


def common(stage: Stage, part: Path) -> dict:
    """The settings that both of TRL's configs take: AdamW and its schedule, the batch, bf16 on a GPU, checkpoints, loggers."""
    import torch

    cuda = torch.cuda.is_available()
    return dict(
        output_dir=str(part),
        seed=stage.seed,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.scheduler,
        warmup_steps=stage.warmup,
        weight_decay=stage.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        per_device_train_batch_size=stage.micro_batch,
        gradient_accumulation_steps=stage.accumulation,
        bf16=cuda,
        use_cpu=not cuda,
        ddp_backend="gloo" if stage.world_size > 1 and not cuda else None,
        gradient_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_strategy="steps" if stage.save_steps else "no",
        save_steps=stage.save_steps or 500,
        save_total_limit=stage.keep_checkpoints,
        report_to=stage.report_to,
        disable_tqdm=True,
    )


def _lora(stage: Stage):
    if not stage.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=stage.lora_rank, lora_alpha=2 * stage.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")


def sft_trainer(stage: SFT, part: Path):
    """TRL's SFTTrainer with loss on the completion alone (Section 3.2), by the fastest kernels that are here.

    With FlashAttention a micro-batch is one long sequence without padding; else it is padded to its longest row, so that
    `micro_batch` 1 pads nothing. Packed rows don't see each other either way.
    """
    import datasets
    from trl import SFTConfig, pack_dataset

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    examples, left_out = sft.encode(tokenizer, rows, stage.max_length, stage.traces)
    _some(examples, rows, f"max_length {stage.max_length}")
    table = datasets.Dataset.from_list(examples)
    if stage.packing:
        table = pack_dataset(table.shuffle(seed=stage.seed), stage.max_length, "bfd")
    places = list(range(len(table)))
    table = table.select(places + _fill(places, stage.batch_size, stage.seed))
    kernels = sft.kernels()
    config = SFTConfig(
        **common(stage, part),
        num_train_epochs=stage.epochs,
        max_steps=stage.max_steps or -1,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=stage.packing,
        padding_free=kernels["attention"] == "flash_attention_2" and stage.micro_batch > 1,
        use_liger_kernel=kernels["liger"],
        model_init_kwargs={"attn_implementation": kernels["attention"]},
    )
    trainer = sft.trainer_class()(model=stage.start, args=config, train_dataset=table, processing_class=tokenizer, peft_config=_lora(stage))
    return _quiet(trainer), {"rows": len(examples), "rows_over_length": left_out} | kernels


def _fill(rows: list, batch_size: int, seed: int) -> list:
    """Rows that make the last batch of an epoch whole: accelerate would repeat others for each number of processes."""
    drawn = random.Random(seed).sample(rows, len(rows))
    return [drawn[place % len(rows)] for place in range(-len(rows) % batch_size)]


def grpo_trainer(stage: GRPO, part: Path):
    """TRL's GRPOTrainer with the three rewards of Section 3.3; prompts over `max_prompt_length` are left out and counted."""
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    kept = [row for row in rows if _tokens(tokenizer, prompts.messages(row)) <= stage.max_prompt_length]
    _some(kept, rows, f"max_prompt_length {stage.max_prompt_length}")
    counted = {"rows": len(kept), "rows_over_length": len(rows) - len(kept)}
    if mixed := stage.curriculum == "mixture":
        n_prompts = stage.steps * stage.batch_size // stage.num_generations
        kept = list(itertools.islice(curricula.mixture(kept, stage.alpha, stage.seed), n_prompts))
    columns = [dict(prompt=prompts.messages(r)) | {name: getattr(r, name) for name in ROW_FIELDS} for r in kept]
    config = GRPOConfig(
        **common(stage, part),
        **_engine(stage),
        max_steps=stage.steps,
        shuffle_dataset=not mixed,
        num_generations=stage.num_generations,
        max_completion_length=stage.max_completion_length,
        temperature=stage.temperature,
        loss_type=stage.loss_type,
        beta=stage.beta,
        reward_weights=[stage.accuracy_weight, stage.language_weight, stage.format_weight],
        model_init_kwargs={"attn_implementation": sft.kernels()["attention"]},
        log_completions=True,
        num_completions_to_print=0,
    )
    trainer = GRPOTrainer(
        model=stage.start,
        args=config,
        reward_funcs=stage.rewards(_judge(stage)).functions(),
        train_dataset=datasets.Dataset.from_list(columns, features=_columns()),
        processing_class=tokenizer,
        peft_config=_lora(stage),
    )
    return _quiet(trainer), counted


def _judge(stage: GRPO) -> judge.Judge | None:
    """The stage's judge; with several machines each keeps verdicts in a file of its own, since SQLite can't be shared by machines."""
    if not stage.judge_model:
        return None
    cache = Path(stage.judge_cache)
    if stage.world_size > int(os.environ.get("LOCAL_WORLD_SIZE", stage.world_size)):
        cache = cache.with_stem(f"{cache.stem}-{socket.gethostname()}")
    return judge.Judge(stage.judge_model, cache=cache, max_usd=stage.judge_max_usd or None)


def _engine(stage: GRPO) -> dict:
    """GRPOConfig's settings for where rollouts are generated."""
    if stage.engine == "transformers":
        return {}
    settings = dict(use_vllm=True, vllm_max_model_length=stage.max_prompt_length + stage.max_completion_length)
    if stage.engine == "vllm_server":
        return settings | dict(vllm_mode="server", vllm_server_base_url=stage.vllm_server_url)
    memory = dict(vllm_gpu_memory_utilization=stage.vllm_memory, vllm_tensor_parallel_size=stage.vllm_tensor_parallel)
    return settings | dict(vllm_mode="colocate", vllm_enable_sleep_mode=True) | memory


def _columns():
    from datasets import Features, List, Value

    text = Value("string")
    turns = List({"role": text, "content": text})
    return Features({"prompt": turns, "accepted": List(text)} | dict.fromkeys(ROW_FIELDS[1:], text))


def _tokens(tokenizer, messages: list[dict]) -> int:
    return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


def _some(kept: list, rows: list, limit: str) -> None:
    print(json.dumps({"rows": len(kept), "left_out": len(rows) - len(kept), "limit": limit}), flush=True)
    if not kept:
        raise data.DataError(f"all {len(rows)} rows are longer than {limit}; raise it or choose shorter rows")


def _quiet(trainer):
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer
