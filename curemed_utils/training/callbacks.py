"""What training does besides training: it says how far it is, marks whole checkpoints, stops."""

import json
import os
import socket
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from curemed_utils.training import checkpoints, curricula
from curemed_utils.training.launch import LAUNCHER


class Progress(TrainerCallback):
    """Prints each log record as one JSON line, for whoever launched this process."""

    def on_log(self, args, state, control, logs=None, **_):
        if state.is_world_process_zero and logs:
            record = {"step": state.global_step, "of": state.max_steps}
            for name, value in logs.items():
                if isinstance(value, int | float):
                    record[name] = value
            print(json.dumps(record), flush=True)


class Mark(TrainerCallback):
    """Marks a checkpoint as whole once every process has written its part.

    One without the mark is never resumed from.
    """

    def on_save(self, args, state, control, **_):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            checkpoints.mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Stop(TrainerCallback):
    """Ends training early.

    `paused`, with a checkpoint, when the stop file appears or the launcher is gone. `plateau`,
    without one, when `patience` is above 0 and the reward has stopped rising, which makes the
    stage complete.
    """

    def __init__(self, stop_file: Path, patience: int = 0):
        self.stop_file = stop_file
        self.patience = patience
        self.paused = self.plateau = False

    def on_step_end(self, args, state, control, **_):
        told = [self.stop_file.exists() or _launcher_is_gone()]
        if PartialState().num_processes > 1:
            broadcast_object_list(told)  # all must stop at the same step
        if told[0] and state.global_step < state.max_steps:
            self.paused = control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, **_):
        rewards = [record["reward"] for record in state.log_history if "reward" in record]
        if curricula.plateaued(rewards, self.patience):
            self.plateau = control.should_training_stop = True
            control.should_save = self.paused = False  # a resumed run would train on from here


def _launcher_is_gone() -> bool:
    host, _, pid = os.environ.get(LAUNCHER, "").partition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    return False
