"""SFT and GRPO by TRL, one stage a call; `python -m curemed_utils.training sft|grpo CONFIG.json` runs one in its own process.

A stage trains in `<output>.partial`, where an interrupted run goes on from its last checkpoint, and takes its final name only
when everything is written. The finished folder is an ordinary checkpoint plus `stage.json` (what made it) and `log.jsonl`.
"""

import difflib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from curemed_utils import checkpoints, data, judge, paths, prompts, rewards


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What SFT and GRPO share. `batch_size` counts sequences per optimizer step over all processes; `micro_batch` is what
    one process holds at a time. `warmup` is a share of all steps. `save_steps` 0 keeps no intermediate checkpoint."""

    start: str
    train_file: str
    output: str
    seed: int = 0
    learning_rate: float
    scheduler: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    batch_size: int
    micro_batch: int = 1
    save_steps: int = 0

    def __post_init__(self):
        processes = int(os.environ.get("WORLD_SIZE", 1))
        if self.micro_batch < 1 or self.batch_size < 1 or self.batch_size % (self.micro_batch * processes):
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of micro_batch {self.micro_batch} x {processes} process(es)")
        if not Path(self.train_file).exists():
            raise FileNotFoundError(f"train_file {paths.show(self.train_file)} is missing: run notebook 01 first")

    @property
    def accumulation(self) -> int:
        return self.batch_size // (self.micro_batch * int(os.environ.get("WORLD_SIZE", 1)))


@dataclass(frozen=True, kw_only=True)
class SFT(Stage):
    """Supervised fine-tuning; the defaults are the paper's (Appendix B.4.1). `max_steps`, where not 0, takes
    the place of `epochs`. `max_length` is in tokens; longer rows are left out and counted, never cut, since a cut row would
    teach a response without its end."""

    learning_rate: float = 1e-5
    batch_size: int = 32
    epochs: float = 3
    max_steps: int = 0
    max_length: int = 4096


@dataclass(frozen=True, kw_only=True)
class GRPO(Stage):
    """Group relative policy optimisation; the defaults are the paper's (Appendix B.4.2). `batch_size` counts completions per
    step, so batch_size / num_generations prompts. `beta` weighs the KL term to the start checkpoint (0, TRL's default: none).
    The rules of the reward are those of `rewards.Rewards`; `judge_max_usd` (0: no limit) caps what `judge_cache` may have cost."""

    learning_rate: float = 1e-6
    weight_decay: float = 0.1
    batch_size: int = 16
    steps: int = 500
    num_generations: int = 16
    max_prompt_length: int = 1024
    max_completion_length: int = 1024
    temperature: float = 1.0
    beta: float = 0.0
    accuracy_weight: float = rewards.WEIGHTS["accuracy"]
    language_weight: float = rewards.WEIGHTS["language"]
    format_weight: float = rewards.WEIGHTS["format"]
    accuracy_by: str = "accepted"
    language_by: str = "offline"
    language_over: str = "answer"
    strict_format: bool = True
    judge_model: str = ""
    judge_cache: str = "judge.sqlite"
    judge_max_usd: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self.rewards(judge=self.judge_model or None)
        if self.num_generations < 2 or self.batch_size % self.num_generations:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of num_generations {self.num_generations} (2 or more)")

    def rewards(self, judge) -> rewards.Rewards:
        """The reward functions by this stage's rules; `judge` is None where no rule needs one."""
        return rewards.Rewards(self.accuracy_by, self.language_by, self.language_over, self.strict_format, judge)


KINDS = {"sft": SFT, "grpo": GRPO}


def settings(kind: str, config: dict) -> Stage:
    """The settings of one stage from a flat mapping; an unknown name raises ValueError with the nearest known one."""
    known = [field.name for field in fields(KINDS[kind])]
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"unknown {kind} setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return KINDS[kind](**config)


def made_from(stage: Stage) -> dict:
    """Everything that shapes the stage's weights: settings, data, the checkpoint it starts from, the prompt."""
    start = checkpoints.info(stage.start).get("fingerprint") or str(Path(stage.start).resolve())
    config = {
        k: v for k, v in asdict(stage).items() if k not in ("start", "train_file", "output", "save_steps", "micro_batch", "judge_cache")
    }
    if config.get("judge_model"):
        config["judge_prompt"] = prompts.judge_fingerprint()
    return config | {"start": start, "train_file": checkpoints.digest(Path(stage.train_file).read_bytes()), "prompt": prompts.fingerprint()}


def is_done(stage: Stage) -> bool:
    """Whether the stage's output is there and was made from just these settings, data and start."""
    return checkpoints.info(stage.output).get("fingerprint") == checkpoints.fingerprint(made_from(stage))


# Training -----------------------------------------------------------------------------------------------------------


def train(kind: str, stage: Stage) -> Path:
    """Runs one stage to its end and returns its checkpoint; done work is left alone, half-done work is resumed."""
    output = Path(stage.output)
    if is_done(stage):
        return output
    part = _partial(stage)
    trainer, rows = (sft_trainer if kind == "sft" else grpo_trainer)(stage, part)
    trainer.train(resume_from_checkpoint=_last_checkpoint(part))
    trainer.save_model(str(part))
    if trainer.is_world_process_zero():
        trainer.processing_class.save_pretrained(part)
        data.write_jsonl(trainer.state.log_history, part / "log.jsonl")
        for leftover in (*part.glob("checkpoint-*"), part / "training_args.bin", part / "fingerprint"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        checkpoints.finish(part, output, {"kind": kind, "made_from": made_from(stage), **rows})
    trainer.accelerator.wait_for_everyone()
    return output


def _partial(stage: Stage) -> Path:
    """The stage's working folder; one left by other settings or data is set aside."""
    part = Path(stage.output).with_name(Path(stage.output).name + ".partial")
    mark, fingerprint = part / "fingerprint", checkpoints.fingerprint(made_from(stage))
    if int(os.environ.get("RANK", 0)) == 0 and not (mark.exists() and mark.read_text() == fingerprint):
        checkpoints.set_aside(part)
        part.mkdir(parents=True)
        mark.write_text(fingerprint)
    return part


def _last_checkpoint(part: Path) -> str | None:
    from transformers.trainer_utils import get_last_checkpoint

    return get_last_checkpoint(str(part)) if part.exists() else None


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
        gradient_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_strategy="steps" if stage.save_steps else "no",
        save_steps=stage.save_steps or 500,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )


def sft_trainer(stage: SFT, part: Path):
    """TRL's SFTTrainer on prompt and completion columns: loss on the completion alone (Section 3.2)."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    kept = [row for row in rows if _tokens(tokenizer, prompts.messages(row) + prompts.completion(row)) <= stage.max_length]
    _some(kept, rows, f"max_length {stage.max_length}")
    table = datasets.Dataset.from_list([{"prompt": prompts.messages(r), "completion": prompts.completion(r)} for r in kept])
    config = SFTConfig(**_common(stage, part), num_train_epochs=stage.epochs, max_steps=stage.max_steps or -1, max_length=stage.max_length)
    trainer = SFTTrainer(model=stage.start, args=config, train_dataset=table, processing_class=tokenizer, callbacks=[_progress()])
    return _quiet(trainer), {"rows": len(kept), "rows_over_length": len(rows) - len(kept)}


def grpo_trainer(stage: GRPO, part: Path):
    """TRL's GRPOTrainer with the three rewards of Section 3.3; prompts over `max_prompt_length` are left out and counted."""
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    kept = [row for row in rows if _tokens(tokenizer, prompts.messages(row)) <= stage.max_prompt_length]
    _some(kept, rows, f"max_prompt_length {stage.max_prompt_length}")
    columns = [
        dict(prompt=prompts.messages(r), question=r.question, language=r.language, answer=r.answer, accepted=r.accepted) for r in kept
    ]
    asked = judge.Judge(stage.judge_model, cache=stage.judge_cache, max_usd=stage.judge_max_usd or None) if stage.judge_model else None
    config = GRPOConfig(
        **_common(stage, part),
        max_steps=stage.steps,
        num_generations=stage.num_generations,
        max_completion_length=stage.max_completion_length,
        temperature=stage.temperature,
        beta=stage.beta,
        reward_weights=[stage.accuracy_weight, stage.language_weight, stage.format_weight],
    )
    trainer = GRPOTrainer(
        model=stage.start,
        args=config,
        reward_funcs=stage.rewards(asked).functions(),
        train_dataset=datasets.Dataset.from_list(columns, features=_columns()),
        processing_class=tokenizer,
        callbacks=[_progress()],
    )
    return _quiet(trainer), {"rows": len(kept), "rows_over_length": len(rows) - len(kept)}


def _columns():
    from datasets import Features, List, Value

    text = Value("string")
    turns = List({"role": text, "content": text})
    return Features({"prompt": turns, "question": text, "language": text, "answer": text, "accepted": List(text)})


def _tokens(tokenizer, messages: list[dict]) -> int:
    return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


def _some(kept: list, rows: list, limit: str) -> None:
    print(json.dumps({"rows": len(kept), "left_out": len(rows) - len(kept), "limit": limit}), flush=True)
    if not kept:
        raise data.DataError(f"all {len(rows)} rows are longer than {limit}; raise it or choose shorter rows")


def _progress():
    """A callback that prints each log record as one JSON line, for whoever launched this process."""
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            if state.is_world_process_zero and logs:
                numbers = {k: v for k, v in logs.items() if isinstance(v, int | float)}
                print(json.dumps({"step": state.global_step, "of": state.max_steps} | numbers), flush=True)

    return Progress()


def _quiet(trainer):
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[0] not in KINDS:
        raise SystemExit("usage: python -m curemed_utils.training sft|grpo CONFIG.json")
    kind, config = argv[0], json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    train(kind, settings(kind, config))


if __name__ == "__main__":
    main(sys.argv[1:])
