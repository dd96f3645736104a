"""What a run has measured, in the columns of the paper's tables."""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, evaluation, languages, paths
from curemed_utils.data import splits
from curemed_utils.paper import curves

LEVELS_FROM = "06_grpo_stage3_low"  # the notebook that measures each checkpoint on each tier


def count_rows(parts: dict[str, list[data.Row]]) -> pd.DataFrame:
    """Figure 8's table. Columns: language, family, tier, n_sft, n_rft, n_test (rows)."""
    table = pd.DataFrame(languages.ALL).rename(columns={"name": "language"})
    counts = splits.count(parts).reindex(languages.NAMES, fill_value=0).reset_index(drop=True)
    shown = table["published"] | counts.any(axis=1)
    return table[["language", "family", "tier"]].join(counts.add_prefix("n_"))[shown]


class RunResults(NamedTuple):
    """What a run has to show beside the paper; None where it has not come that far.

    `scores`, of held-out prompts: model (a dagger: over 5% HARNESS faults), metric ('la' or 'lc',
    as published), language (or 'all': micro average), value (percent), n.
    `rewards` and `levels` as `curves` draws them. `missing` says what to run.
    """

    scores: pd.DataFrame | None
    composition: pd.DataFrame | None
    rewards: pd.DataFrame | None
    levels: pd.DataFrame | None
    missing: list[str]


def results_of(run: Path) -> RunResults:
    """The results of the run in `run`, as far as it has come."""
    parts = {name: paths.rows_file(run, name) for name in data.SPLITS}
    logs = {stage: paths.training_log(run, stage) for stage in languages.STAGES}
    needed = [*parts.values(), *logs.values()]
    needed.append(paths.verdicts_file(run, languages.CHECKPOINTS[-1]))
    names = [file.relative_to(run).as_posix() for file in needed if not file.exists()]
    missing = [f"{name}: notebook {paths.maker(name)}" for name in names]
    levels = _levels(run)
    if levels is None:
        missing.append(f"the levels of each tier: notebook {LEVELS_FROM[:2]}")
    counts = None
    if all(file.exists() for file in parts.values()):
        counts = count_rows({name: data.read_jsonl(file) for name, file in parts.items()})
    logs = {stage: pd.read_json(file, lines=True) for stage, file in logs.items() if file.exists()}
    rewards = curves.rewards(logs) if logs else None
    return RunResults(_scores(run, missing), counts, rewards, levels, missing)


def _levels(run):
    file = paths.summary_file(run, LEVELS_FROM)
    summary = json.loads(file.read_bytes()) if file.exists() else {}
    return pd.DataFrame(summary["lab"]) if summary.get("lab") else None


def _scores(run, missing):
    parts = []
    for name in languages.CHECKPOINTS:
        if not paths.verdicts_file(run, name).exists():
            continue
        verdicts = evaluation.read_verdicts(run, name)
        held_out = verdicts[verdicts["set"].eq("test")]
        if held_out.empty:
            missing.append(f"held-out verdicts of {name}: notebook 07")
            continue
        overall = evaluation.table(held_out.assign(language="all"), ["language"])
        each = evaluation.table(held_out, ["language"])
        part = pd.concat([overall, each]).reset_index()
        part = part.melt(["language", "n"], ["la_paper", "lc_paper"], "metric").dropna()
        part["metric"] = part["metric"].str.removesuffix("_paper")
        part["model"] = f"{name} †" if overall["marked"].any() else name
        parts.append(part[["model", "metric", "language", "value", "n"]])
    return pd.concat(parts, ignore_index=True) if parts else None
