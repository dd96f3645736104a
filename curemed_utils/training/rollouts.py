"""What a GRPO stage does with its rollouts beside TRL: unknown rewards, dead groups, alarms."""

import copy
import json
import random
from pathlib import Path

import numpy as np

from curemed_utils.rewards import filled
from curemed_utils.training import alarms
from curemed_utils.training.stages import GRPO


def filled_in(completion_ids: list[list[int]], log_extra, **_) -> list[None]:
    """A column beside the three parts: what unknown ones are worth, which the trainer puts in."""
    log_extra("tokens", completion_ids)  # the text alone can't be taken back to them
    return [None] * len(completion_ids)


def trainer_class(stage: GRPO, part: Path) -> type:
    """TRL's GRPOTrainer with what this module adds for `stage`, which works in `part`."""
    import torch
    from accelerate.utils import broadcast_object_list
    from trl import GRPOTrainer

    class Trainer(GRPOTrainer):
        """Has `stopped` where one of the stage's alarms to `stop_on` was told."""

        stopped = False

        def _calculate_rewards(self, *rollouts):
            """Gives unknown parts a worth by `filled`; logs and rollouts keep them unknown."""
            parts = super()._calculate_rewards(*rollouts)  # of all processes, groups in a row
            weights = self.reward_weights[:-1].numpy(force=True)
            known = parts[:, :-1].numpy(force=True)
            group = self.num_generations if self.model.training else 1
            whole = filled(known.reshape(-1, group, len(weights)), weights)
            added = whole.reshape(known.shape) - np.nan_to_num(known)
            if self.multi_objective_aggregation == "normalize_then_sum":
                added *= 0.0  # there an unknown part weighs nothing
            parts[:, -1] = torch.as_tensor(added @ weights)
            parts[parts[:, -1].isnan()] = torch.nan
            return parts

        def _generate_and_score_completions(self, inputs):
            made = super()._generate_and_score_completions(inputs)
            if not self.model.training:
                return made
            for attempt in range(1, stage.refill):
                if self._dead_groups().any():
                    made = self._refilled(made, len(inputs), attempt)
            self._metrics["train"]["dead_groups"].append(self._dead_groups().mean())
            return made

        def _dead_groups(self):
            advantages = np.array(self._logs["advantages"])
            return (np.abs(advantages.reshape(-1, self.num_generations)) < 1e-6).all(axis=1)

        def _refilled(self, made, n_local, attempt):
            """`made` with other prompts' groups in the place of dead ones, where those live.

            Every group gets one, so that processes keep in step; the log keeps what the first
            earned.
            """
            dead, logs, metrics = self._dead_groups(), *copy.deepcopy((self._logs, self._metrics))
            rng = random.Random(f"{stage.seed} {self.state.global_step} {attempt}")
            rows = rng.choices(range(len(self.train_dataset)), k=len(dead))
            first = self.accelerator.process_index * n_local
            local = slice(first, first + n_local)
            places = np.repeat(rows, self.num_generations)[local]
            inputs = [self.train_dataset[int(place)] for place in places]
            other = super()._generate_and_score_completions(inputs)
            taken = np.repeat(dead & ~self._dead_groups(), self.num_generations)
            _take(logs, self._logs, np.flatnonzero(taken))
            self._logs, self._metrics = logs, metrics
            for name, rows in made.items():
                if torch.is_tensor(rows) and rows.dim():
                    made[name] = _merged(name, rows, other[name], taken[local])
            tokens = made["completion_mask"].sum()
            made["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
            return made

        def log(self, logs, start_time=None):
            super().log(logs, start_time)  # writes the step's rollouts
            history = [record for record in self.state.log_history if "reward" in record]
            if "reward" in logs:
                told = [None]
                if self.is_world_process_zero():
                    told = [alarms.told(part, history, stage.alarms, stage.max_completion_length)]
                broadcast_object_list(told)  # all must stop at the same step
                self._alarm(told[0])

        def _alarm(self, texts):
            if texts and self.is_world_process_zero():
                self.state.log_history[-1]["alarms"] = "; ".join(texts.values())
                step = {"step": self.state.global_step, "of": self.state.max_steps}
                print(json.dumps(step | {"alarms": list(texts.values())}), flush=True)
            if any(name in texts for name in stage.stop_on):
                self.stopped = True
                self.control.should_save = self.control.should_training_stop = True

        def evaluate(self, *args, **kwargs):
            """Greedy answers, of which training sees nothing: its draws and rollouts stay."""
            kept, self._logs = self._logs, copy.deepcopy(self._logs)
            self.log_completions = False
            generation = vars(self.vllm_generation if self.use_vllm else self.generation_config)
            sampled = generation.copy()
            generation.update(do_sample=False, temperature=0.0)
            with torch.random.fork_rng(range(torch.cuda.device_count())):
                metrics = super().evaluate(*args, **kwargs)
            generation.update(sampled)
            self.log_completions, self._logs = True, kept
            if stage.keep_best and metrics[self.args.metric_for_best_model] is None:
                raise RuntimeError(f"keep_best: {stage.keep_best} of no validated row is known")
            return metrics

    return Trainer


def _take(logs, others, places):
    for name, rows in logs.items():
        if isinstance(rows, dict):
            _take(rows, others[name], places)
        elif rows:
            for place in places:
                rows[place] = others[name][place]


def _merged(name, rows, others, taken):
    """Tensors of rows, those of `others` where `taken`; prompts are padded left, answers right."""
    from torch.nn.utils.rnn import pad_sequence

    if rows.dim() == 2:
        side = "left" if name.startswith("prompt") else "right"
        padded = pad_sequence([*rows, *others], batch_first=True, padding_side=side)
        rows, others = padded[: len(rows)].clone(), padded[len(rows) :]
    rows[taken] = others[taken]
    return rows
