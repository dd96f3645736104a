"""SFT and GRPO by TRL, one stage a call, in the process that `launch` starts.

A stage trains in `<output>.partial`, where an interrupted run goes on from its last whole
checkpoint, and takes its final name only when everything is written. The finished folder is an
ordinary checkpoint plus `stage.json` (what made it), `log.jsonl` and, after GRPO,
`rollouts.parquet`. The stage's stop file pauses training after the step at work.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from curemed_utils import data, paths
from curemed_utils.training import callbacks, checkpoints, stages, trainers
from curemed_utils.training.launch import LAUNCHER
from curemed_utils.training.stages import Paused, Stage

WAIT = 600  # seconds for another process to save and end


def train(kind: str, stage: Stage) -> Path:
    """Runs one stage to its end and returns its checkpoint.

    Done work is left alone, half-done work is resumed. Raises Paused where it was asked to stop
    early, and RuntimeError where another number of processes was started than `world_size` or
    another process still trains the same output.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != stage.world_size:
        raise RuntimeError(
            f"world_size is {stage.world_size}, but {started} process(es) were started"
        )
    made_from = stages.made_from(stage)
    if checkpoints.is_made_from(stage.output, made_from):
        checkpoints.tidy(stage.output)
        return stage.output
    with _alone(stage.output):
        if not checkpoints.is_made_from(stage.output, made_from):
            return _train(kind, stage, made_from)
        if stage.world_size > 1:  # the other ranks don't wait: they are about to train
            raise RuntimeError(
                f"{stage.output.name} was finished by another process meanwhile; "
                "call again to use it"
            )
        return stage.output


def _train(kind: str, stage: Stage, made_from: dict) -> Path:
    part = checkpoints.partial(stage.output)
    if int(os.environ.get("RANK", 0)) == 0:
        checkpoints.prepare(part, checkpoints.fingerprint(made_from))
    build = {"sft": trainers.sft_trainer, "grpo": trainers.grpo_trainer}[kind]
    trainer, made = build(stage, part)
    trainer.accelerator.wait_for_everyone()
    stop = callbacks.Stop(_stop_file(stage), getattr(stage, "patience", 0))
    for callback in (stop, callbacks.Progress(), callbacks.Mark()):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=checkpoints.last_whole(part))
    if stop.paused:
        _pause(trainer, stage, stop.stop_file)
    _save(trainer, stage, part)
    trainer.accelerator.wait_for_everyone()  # a slower process may still write its last checkpoint
    if trainer.is_world_process_zero():
        made |= {"kind": kind, "made_from": made_from, "world_size": stage.world_size}
        _finish(trainer, stage, part, made)
    trainer.accelerator.wait_for_everyone()
    return stage.output


def _stop_file(stage: Stage) -> Path:
    return Path(stage.stop_file or paths.stop_file(stage.output.parents[1]))


def _pause(trainer, stage: Stage, stop_file: Path) -> None:
    if trainer.is_world_process_zero():
        stop_file.unlink(missing_ok=True)
        checkpoints.pause_mark(stage.output).touch()  # accelerate hides this process's exit code
    state = trainer.state
    raise Paused(
        f"{stage.output.name} paused after step {state.global_step} of {state.max_steps}; "
        "the same call goes on"
    )


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Holds the output for this stage alone.

    A process left behind by a launcher that died ends after its step at work: wait for it.
    """
    if int(os.environ.get("RANK", 0)):
        yield
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    other = f"another process still trains {paths.show(output)}"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{other}; waiting until it has saved and ended", flush=True)
        try:
            lock.acquire(timeout=WAIT)
        except Timeout:
            raise RuntimeError(f"{other} after {WAIT} s; stop it, then call again") from None
    try:
        yield
    finally:
        lock.release()


def _save(trainer, stage: Stage, part: Path) -> None:
    """The finished weights and the tokenizer; adapters are merged into what they trained on."""
    trainer.save_model(str(part / "adapter" if stage.lora_rank else part))
    if not trainer.is_world_process_zero():
        return
    trainer.processing_class.save_pretrained(part)
    if stage.lora_rank:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        whole = AutoModelForCausalLM.from_pretrained(stage.start, dtype="auto")
        adapted = PeftModel.from_pretrained(whole, part / "adapter")
        adapted.merge_and_unload().save_pretrained(part)


def _finish(trainer, stage: Stage, part: Path, made: dict) -> None:
    """Writes the logs beside the weights and gives the folder its final name."""
    if not any(part.glob("*.safetensors")):
        raise RuntimeError(
            f"{paths.show(part)} holds no weights after saving; "
            "with ZeRO-3, zero3_save_16bit_model must be true"
        )
    steps, log = trainer.state.global_step, trainer.state.log_history
    data.write_jsonl(log, part / "log.jsonl")
    _join_rollouts(part, steps)
    checkpoints.finish(part, stage.output, made | {"steps": steps}, log)


def _join_rollouts(part: Path, last_step: int) -> None:
    """One table of what each step sampled, in place of TRL's file a step."""
    import pandas as pd

    tables = []
    for file in sorted(part.glob("completions/*.parquet")):
        if int(file.stem.split("_")[1]) <= last_step:
            tables.append(pd.read_parquet(file))
    if tables:
        pd.concat(tables).to_parquet(part / "rollouts.parquet", index=False)


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[0] not in stages.KINDS:
        raise SystemExit("usage: python -m curemed_utils.training sft|grpo CONFIG.json")
    kind, config = argv[0], json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    stage = stages.settings(kind, config)
    if LAUNCHER not in os.environ:  # else the launcher has checked it once for all processes
        stages.check(stage)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # this process forks no other: use every core
    try:
        train(kind, stage)
    except Paused as pause:
        print(pause, flush=True)
        sys.exit(os.EX_TEMPFAIL)
