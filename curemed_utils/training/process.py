"""One stage of SFT or GRPO, in a process that `launch` starts.

A stage trains in `<output>.partial` and takes its final name at the end: a checkpoint plus
`stage.json`, `log.jsonl` and, after GRPO, `rollouts.parquet`.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from torch import distributed
from transformers import PrinterCallback

from curemed_utils import data, paths
from curemed_utils.training import callbacks, checkpoints, devices, stages, trainers
from curemed_utils.training.launch import LAUNCHER
from curemed_utils.training.stages import Paused, Stage

WAIT = 600  # seconds for another process to end


def train(kind: str, stage: Stage) -> Path:
    """Runs one stage to its end, resuming half-done work, and returns its checkpoint.

    Raises Paused, and RuntimeError for another number of processes than `world_size` or where
    another process trains the same output.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != stage.world_size:
        raise RuntimeError(f"world_size is {stage.world_size}, but {started} process(es) started")
    made_from = stages.made_from(stage)
    if checkpoints.is_made_from(stage.output, made_from):
        return stage.output
    with _alone(stage.output):
        if not checkpoints.is_made_from(stage.output, made_from):
            return _train(kind, stage, made_from)
        if stage.world_size > 1:  # the other ranks don't wait: they are about to train
            raise RuntimeError(f"another process has finished {stage.output.name}; call again")
    return stage.output


def _train(kind, stage, made_from):
    part, fingerprint = checkpoints.partial(stage.output), checkpoints.fingerprint(made_from)
    if int(os.environ.get("RANK", 0)) == 0:
        checkpoints.prepare(part, fingerprint)
    curve = f"{stage.run_dir.name}-{stage.output.name}-{fingerprint}"
    # A logger goes on with the same curve after a kill, and begins another for other settings.
    os.environ |= {"WANDB_RUN_ID": curve, "WANDB_RESUME": "allow"}
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(paths.events(stage.run_dir) / curve)
    build = {"sft": trainers.sft_trainer, "grpo": trainers.grpo_trainer}[kind]
    trainer, made = build(stage, part)
    trainer.args.run_name = trainer.args.run_name or curve
    for weight in trainer.model.parameters():
        if stage.load_in_4bit and weight.requires_grad:  # bfloat16 by TRL: no scaler takes it
            weight.data = weight.data.float()
    trainer.remove_callback(PrinterCallback)
    trainer.accelerator.wait_for_everyone()
    stop_file = Path(stage.stop_file or paths.stop_file(stage.run_dir))
    stop = callbacks.Stop(stop_file, getattr(stage, "patience", 0))
    trainer.add_callback(stop)
    trainer.add_callback(callbacks.Progress)
    trainer.add_callback(callbacks.Mark)
    trainer.train(resume_from_checkpoint=checkpoints.last_whole(part))
    if stop.paused or getattr(trainer, "stopped", False):
        _pause(trainer, stage, stop_file)
    _save(trainer, stage, part)
    trainer.accelerator.wait_for_everyone()  # to write their last checkpoints
    if trainer.is_world_process_zero():
        if trainer.state.best_global_step:
            made |= {"best_step": trainer.state.best_global_step}
        made |= {"kind": kind, "made_from": made_from, "world_size": stage.world_size}
        _finish(trainer, stage, part, made)
    trainer.accelerator.wait_for_everyone()
    return stage.output


def _pause(trainer, stage, stop_file):
    if trainer.is_world_process_zero():
        stop_file.unlink(missing_ok=True)
        checkpoints.pause_mark(stage.output).touch()  # accelerate hides the exit code
    done = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
    raise Paused(f"{stage.output.name} paused after {done}; the same call goes on")


@contextlib.contextmanager
def _alone(output):
    if int(os.environ.get("RANK", 0)):
        yield
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    other = f"another process still trains {paths.show(output)}"
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"{other}; waiting until it has saved and ended", flush=True)
        try:
            held = lock.acquire(timeout=WAIT)
        except Timeout:
            raise RuntimeError(f"{other} after {WAIT} s; stop it, then call again") from None
    with held:
        yield


def _save(trainer, stage, part):
    trainer.save_model(str(part / "adapter" if stage.lora_rank else part))
    if not trainer.is_world_process_zero():
        return
    trainer.processing_class.save_pretrained(part)
    if stage.lora_rank:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(stage.start, dtype="auto")
        model = PeftModel.from_pretrained(model, part / "adapter")
        model.merge_and_unload().save_pretrained(part)


def _finish(trainer, stage, part, made):
    if not any(part.glob("*.safetensors")):
        why = "with ZeRO-3, zero3_save_16bit_model must be true"
        raise RuntimeError(f"{paths.show(part)} holds no weights after saving; {why}")
    steps, log = trainer.state.global_step, trainer.state.log_history
    data.write_jsonl(log, part / "log.jsonl")
    files = sorted(part.glob("completions/*.parquet"))
    if files:
        rollouts = pd.concat(map(pd.read_parquet, files))
        rollouts = rollouts[rollouts["step"] <= steps]
        rollouts.to_parquet(part / "rollouts.parquet", index=False)
    checkpoints.finish(part, stage.output, made | {"steps": steps}, log)


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[0] not in stages.KINDS:
        raise SystemExit("usage: python -m curemed_utils.training sft|grpo CONFIG.json")
    kind, file = argv
    stage = stages.settings(kind, json.loads(Path(file).read_bytes()))
    if LAUNCHER not in os.environ:  # which has checked it
        stages.check_files(stage)
        devices.gpus()  # an error where torch can't use those that are here
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing forks: use every core
    code = 0
    try:
        train(kind, stage)
    except Paused as pause:
        print(pause, flush=True)
        code = os.EX_TEMPFAIL
    if distributed.is_initialized():  # else its threads may abort the process
        distributed.destroy_process_group()
    if code:
        sys.exit(code)
