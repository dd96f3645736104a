"""SFT and GRPO by TRL, one stage a call; `python -m curemed_utils.training sft|grpo CONFIG.json` runs one in its own process.

A stage trains in `<output>.partial`, where an interrupted run goes on from its last whole checkpoint, and takes its final name only
when everything is written. The finished folder is an ordinary checkpoint plus `stage.json` (what made it), `log.jsonl` and,
after GRPO, `rollouts.parquet`. A file `stop` in the run directory pauses training after the step at work.
"""

import contextlib
import itertools
import json
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from curemed_utils import callbacks, checkpoints, curricula, data, judge, paths, prompts, sft, stages
from curemed_utils.stages import GRPO, SFT, Stage

ROW_FIELDS = ("accepted", "id", "question", "language", "answer")  # what the rewards see of a row
WAIT = 600  # seconds for another process to save and end


class Paused(Exception):
    """Training saved a checkpoint and ended before its last step, since it was asked to; the same call goes on from there."""


def train(kind: str, stage: Stage) -> Path:
    """Runs one stage to its end and returns its checkpoint; done work is left alone, half-done work is resumed.

    Raises Paused where it was asked to stop early, and RuntimeError where another number of processes was started than
    `world_size` or another process still trains the same output.
    """
    output, started = Path(stage.output), int(os.environ.get("WORLD_SIZE", 1))
    if started != stage.world_size:
        raise RuntimeError(f"world_size is {stage.world_size}, but {started} process(es) were started")
    if stages.is_done(stage):
        checkpoints.tidy(output)
        return output
    with _alone(output):
        if stages.is_done(stage):  # by the process that was waited for
            if stage.world_size > 1:
                raise RuntimeError(f"{output.name} was finished by another process meanwhile; call again to use it")
            return output
        return _train(kind, stage, output)


def _train(kind: str, stage: Stage, output: Path) -> Path:
    part, made_from = checkpoints.partial(output), stages.made_from(stage)
    if int(os.environ.get("RANK", 0)) == 0:
        checkpoints.prepare(part, checkpoints.fingerprint(made_from))
    trainer, made = (sft_trainer if kind == "sft" else grpo_trainer)(stage, part)
    trainer.accelerator.wait_for_everyone()
    stop = callbacks.Stop(output.parents[1] / "stop", getattr(stage, "patience", 0))
    for callback in (stop, callbacks.Progress(), callbacks.Mark()):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=checkpoints.last_whole(part))
    if stop.paused:
        if trainer.is_world_process_zero():
            stop.stop_file.unlink(missing_ok=True)
        raise Paused(f"{output.name} paused after step {trainer.state.global_step} of {trainer.state.max_steps}; the same call goes on")
    _save(trainer, stage, part)
    trainer.accelerator.wait_for_everyone()  # a slower process may still be writing its part of the last checkpoint
    if trainer.is_world_process_zero():
        if not any(part.glob("*.safetensors")):
            raise RuntimeError(f"{paths.show(part)} holds no weights after saving; with ZeRO-3, zero3_save_16bit_model must be true")
        data.write_jsonl(trainer.state.log_history, part / "log.jsonl")
        _join_rollouts(part, trainer.state.global_step)
        made |= {"kind": kind, "made_from": made_from, "steps": trainer.state.global_step, "world_size": stage.world_size}
        checkpoints.finish(part, output, made)
    trainer.accelerator.wait_for_everyone()
    return output


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Holds the output for this stage; a process left behind by a launcher that died ends after its step at work."""
    if int(os.environ.get("RANK", 0)):
        yield
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    try:
        with lock.acquire(timeout=0):
            yield
            return
    except Timeout:
        print(f"another process still trains {paths.show(output)}; waiting until it has saved and ended", flush=True)
    try:
        with lock.acquire(timeout=WAIT):
            yield
    except Timeout:
        raise RuntimeError(f"another process has trained {paths.show(output)} for {WAIT} s more; stop it, then call again") from None


def _save(trainer, stage: Stage, part: Path) -> None:
    """The finished weights and the tokenizer; adapters are merged into the weights that they were trained on."""
    trainer.save_model(str(part / "adapter" if stage.lora_rank else part))
    if not trainer.is_world_process_zero():
        return
    trainer.processing_class.save_pretrained(part)
    if stage.lora_rank:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        whole = AutoModelForCausalLM.from_pretrained(stage.start, dtype="auto")
        PeftModel.from_pretrained(whole, part / "adapter").merge_and_unload().save_pretrained(part)


def _join_rollouts(part: Path, last_step: int) -> None:
    """One table of what each step sampled, in place of TRL's file a step."""
    import pandas as pd

    files = [file for file in sorted(part.glob("completions/*.parquet")) if int(file.stem.split("_")[1]) <= last_step]
    if files:
        pd.concat(map(pd.read_parquet, files)).to_parquet(part / "rollouts.parquet", index=False)


def _common(stage: Stage, part: Path) -> dict:
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
        **_common(stage, part),
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
        **_common(stage, part),
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


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[0] not in stages.KINDS:
        raise SystemExit("usage: python -m curemed_utils.training sft|grpo CONFIG.json")
    kind, config = argv[0], json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # this process forks no other, so its tokenizer may take every core
    try:
        train(kind, stages.settings(kind, config))
    except Paused as pause:
        print(pause, flush=True)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    main(sys.argv[1:])
