"""SFT and GRPO by TRL, one stage a call; `python -m curemed_utils.training sft|grpo CONFIG.json` runs one in its own process.

A stage trains in `<output>.partial`, where an interrupted run goes on from its last whole checkpoint, and takes its final name only
when everything is written. The finished folder is an ordinary checkpoint plus `stage.json` (what made it), `log.jsonl` and,
after GRPO, `rollouts.parquet`. A file `stop` in the run directory pauses training after the step at work.
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
from curemed_utils.training.stages import Stage

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
    trainer, made = (trainers.sft_trainer if kind == "sft" else trainers.grpo_trainer)(stage, part)
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
