"""Stages of the demo's tiny model with other settings, for the measurements beside this file.

Each stage and each measured checkpoint is kept in its folder, so that a killed measurement goes on.
"""

from pathlib import Path

import pandas as pd

from curemed_utils import data, evaluation, paths, rewards, run, training
from curemed_utils.data import splits
from curemed_utils.training import checkpoints, curricula

DEMO = run.read_profile("demo")
SHARES = (DEMO["test_share"], DEMO["rft_share"], DEMO["rft_seen"])
SAMPLES = 6


def split_rows(per_language: int = 0) -> dict[str, list[data.Row]]:
    """The sample as the demo divides it, by topic; `per_language` 0 takes all of its topics."""
    return splits.load_splits("sample", per_language, DEMO["seed"], *SHARES)


def write_rows(folder: Path, rows: dict[str, list[data.Row]]) -> None:
    """The files that a run's stages train on: those of `rows`, and the pool of stage 1."""
    pool = curricula.pool(rows["rft"], "stage1_high", "retain", DEMO["retain"], DEMO["seed"])
    for name, chosen in {**rows, "stage1_high": pool}.items():
        data.write_jsonl(chosen, paths.rows_file(folder, name))


def start_from_sft(folder: Path, seed: int, steps: int) -> Path:
    """SFT of a new tiny model on the folder's rows."""
    learnt = data.read_jsonl(paths.rows_file(folder, "sft"))
    checkpoints.prepare_base("tiny", folder, learnt, seed)
    changes = {"seed": seed, "max_steps": steps}
    return training.stage("sft", folder, "sft", start="base", parameters=DEMO, **changes)


def reinforce(folder: Path, name: str, pool: str | Path, seed: int, **changes) -> Path:
    """A stage of GRPO called `name`, from SFT, on the rows of `pool`: a name or a file."""
    file = paths.rows_file(folder, pool) if isinstance(pool, str) else pool
    changes |= {"train_file": file, "seed": seed}
    return training.stage("grpo", folder, name, start="sft", parameters=DEMO, **changes)


def ask(folder: Path, name: str, sets: dict[str, list[data.Row]], seed: int) -> pd.DataFrame:
    """Verdicts on SAMPLES responses of a checkpoint to each row, as the probe of notebook 05."""
    how = {"samples": SAMPLES, "max_new_tokens": DEMO["max_completion_length"], "seed": seed}
    how |= {"batch_size": DEMO["eval_batch_size"], "rules": rewards.Rewards()}
    return evaluation.evaluate(folder, name, sets, into="probe", **how)


def topics_of(rows: list[data.Row]) -> dict[str, str]:
    """The topic of each row by id: what makes rows parallel."""
    return {row.id: row.topic for row in rows}
