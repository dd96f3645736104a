"""Progress, whole checkpoints, an early end."""

import json
import os
import socket
from pathlib import Path

import psutil
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from curemed_utils.training import checkpoints, curricula
from curemed_utils.training.launch import LAUNCHER


class Progress(TrainerCallback):
    """Prints each log record as one JSON line, for the launcher."""

    def on_log(self, args, state, control, logs=None, **_):
        if state.is_world_process_zero and logs:
            numbers = {
                name: value for name, value in logs.items() if isinstance(value, int | float)
            }
            step = {"step": state.global_step, "of": state.max_steps}
            print(json.dumps(step | numbers), flush=True)


class Mark(TrainerCallback):
    """Marks a checkpoint once every process has written its part."""

    def on_save(self, args, state, control, **_):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            (folder / checkpoints.MARK).touch()


class Stop(TrainerCallback):
    """Ends training early: `paused` by the stop file or a lost launcher, complete on a plateau."""

    paused = False

    def __init__(self, stop_file: Path, patience: int = 0):
        self.stop_file, self.patience = stop_file, patience

    def on_step_end(self, args, state, control, **_):
        told = [self.stop_file.exists() or _launcher_is_gone()]
        broadcast_object_list(told)  # all must stop at the same step
        if told[0] and state.global_step < state.max_steps:
            self.paused = control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, **_):
        rewards = [record["reward"] for record in state.log_history if "reward" in record]
        if curricula.plateaued(rewards, self.patience):
            control.should_training_stop = True
            control.should_save = self.paused = False  # a resumed run would train on from here


def _launcher_is_gone():
    host, _, pid = os.environ.get(LAUNCHER, "").partition(":")
    return host == socket.gethostname() and not psutil.pid_exists(int(pid))
