"""What a run has measured, in the columns of the paper's tables."""

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, evaluation, languages, paths
from curemed_utils.paper import code_switching, curves, style
from curemed_utils.training import checkpoints, memory

LEVELS_FROM = "06_grpo_stage3_low"  # the notebook that measures each checkpoint on each tier


def composition(parts: dict[str, list[data.Row]]) -> pd.DataFrame:
    """Rows per language and split (sft, rft, test) in the columns of Figure 8's table.

    Columns: language, family, tier, n_sft, n_rft, n_test.
    """
    counts = {name: Counter(row.language for row in rows) for name, rows in parts.items()}
    lines = []
    for language in languages.ALL:
        n = {f"n_{name}": counts[name][language.name] for name in data.SPLITS}
        if language.published or any(n.values()):
            about = {"language": language.name, "family": language.family, "tier": language.tier}
            lines.append({**about, **n})
    return pd.DataFrame(lines)


class RunResults(NamedTuple):
    """What a run has to show beside the paper; None where it has not come that far.

    `scores`, of held-out prompts: model (with a dagger where over 5% of its responses were cut off,
    empty or not judged), params_b (billions), metric ('la' or 'lc', as published), language (or
    'all': micro average), value (percent), n. `composition` is as in Figure 8, `rewards` and
    `levels` as `curves` draws them. `missing` says what to run.
    """

    scores: pd.DataFrame | None
    composition: pd.DataFrame | None
    rewards: pd.DataFrame | None
    levels: pd.DataFrame | None
    missing: list[str]


def results_of(run: Path) -> RunResults:
    """The results of the run in `run`, as far as it has come."""
    splits = {name: paths.rows_file(run, name) for name in data.SPLITS}
    logs = {stage: paths.training_log(run, stage) for stage in languages.STAGES}
    missing = [file for file in (*splits.values(), *logs.values()) if not file.exists()]
    parts = {name: data.read_jsonl(file) for name, file in splits.items() if file.exists()}
    logs = {stage: pd.read_json(file, lines=True) for stage, file in logs.items() if file.exists()}
    scores, levels = _scores(run), _levels(run)
    if scores is None:
        missing.append(paths.verdicts_file(run, languages.CHECKPOINTS[-1]))
    names = [file.relative_to(run).as_posix() for file in missing]
    told = [f"{name}: notebook {paths.maker(name)}" for name in names]
    if levels is None:
        told.append(f"the levels of each tier: notebook {LEVELS_FROM[:2]}")
    return RunResults(
        scores=scores,
        composition=composition(parts) if len(parts) == len(splits) else None,
        rewards=curves.rewards(logs) if logs else None,
        levels=levels,
        missing=told,
    )


def _levels(run: Path) -> pd.DataFrame | None:
    file = paths.summary_file(run, LEVELS_FROM)
    summary = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return pd.DataFrame(summary["lab"]) if "lab" in summary else None


def _evaluated(run: Path) -> list[str]:
    """The run's evaluated models, in their order of training."""
    return [name for name in languages.CHECKPOINTS if paths.verdicts_file(run, name).exists()]


def _scores(run: Path) -> pd.DataFrame | None:
    columns = ["model", "params_b", "metric", "language", "value", "n"]
    parts = []
    for name in _evaluated(run):
        verdicts = evaluation.read_verdicts(run, name)
        held_out = verdicts[verdicts["set"].eq("test")]
        overall = evaluation.table(held_out.assign(language="all"), ["language"])
        each = evaluation.table(held_out, ["language"])
        wide = pd.concat([overall, each]).reset_index()
        wide = wide.rename(columns={"la_paper": "LA", "lc_paper": "LC"})
        part = wide.melt(["language", "n"], ["LA", "LC"], "metric", "value")
        part = part.dropna(subset="value")
        part["metric"] = part["metric"].str.lower()
        part["model"] = f"{name} †" if overall["marked"].any() else name
        part["params_b"] = memory.shape(checkpoints.find(run, name)).total / 1e9
        parts.append(part[columns])
    return pd.concat(parts, ignore_index=True) if parts else None


def before_and_after(run: Path, language: str = "Spanish") -> pd.DataFrame | None:
    """The table of Figure 3 from a run: a prompt answered by its first and its last model.

    If possible one that the last answers rightly. Long responses are cut. None where the run has
    not come that far, or asked nothing in the language.
    """
    models = _evaluated(run)
    if len(models) < 2:
        return None
    questions = {}  # a reader's own questions stand in no file of the run
    for name in ("rft", "test"):
        questions |= {row.id: row.question for row in data.read_jsonl(paths.rows_file(run, name))}
    before, after = (evaluation.read_verdicts(run, name) for name in (models[0], models[-1]))
    pairs = before.merge(
        after, on=["id", "sample", "language"], suffixes=("_untrained", "_trained")
    )
    pairs = pairs[pairs["language"].eq(language) & pairs["id"].isin(questions)]
    if pairs.empty:
        return None
    pair = pairs.sort_values("correct_trained", ascending=False, kind="stable").iloc[0]
    parts = []
    for name in ("untrained", "trained"):
        correct, text = pair[f"correct_{name}"], style.boxed(pair[f"response_{name}"])
        part = code_switching.example(
            questions[pair["id"]],
            textwrap.shorten(text, 400, placeholder=" …"),
            language,
            None if pd.isna(correct) else bool(correct),
        )
        part["response"] = part["part"].map({"question": "both"}).fillna(name)
        parts.append(part if not parts else part[part["response"].eq(name)])
    return pd.concat(parts)
