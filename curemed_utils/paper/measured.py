"""What is measured beside the paper, in the columns of its tables: on the release, and by a run."""

import json
import textwrap
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, evaluation, languages, paths
from curemed_utils.evaluation import calibration
from curemed_utils.paper import code_switching, curves, style
from curemed_utils.training import checkpoints, memory

LEVELS_FROM = "06_grpo_stage3_low"  # the notebook that measures each checkpoint on each tier


def on_release(root: str | Path | None = None) -> dict[str, pd.DataFrame]:
    """The source tables measured on the released files, by name, without `source`.

    figure08_composition, lc_decomposition and verifier_agreement; takes half a minute. The files
    lie under `root` or `CUREMED_RELEASE`.
    """
    judged = calibration.judge_offline(calibration.released_outputs(root))
    agreement = calibration.compare(judged, ["model", "language"])
    return {
        "figure08_composition": composition(data.read_release(root)),
        "lc_decomposition": calibration.decompose(judged).round(4).reset_index(),
        "verifier_agreement": agreement.round(4).reset_index(),
    }


def composition(parts: dict[str, list[data.Row]]) -> pd.DataFrame:
    """Rows per language and split (sft, rft, test) in the columns of Figure 8's table.

    Columns: language, family, tier, n_sft, n_rft, n_test.
    """
    counts = {}
    for name, rows in parts.items():
        spoken = pd.Series([row.language for row in rows], dtype=str)
        counts[name] = spoken.value_counts().to_dict()
    lines = []
    for language in languages.ALL:
        line = {"language": language.name, "family": language.family, "tier": language.tier}
        for name in data.SPLITS:
            line[f"n_{name}"] = counts[name].get(language.name, 0)
        if language.published or any(line[f"n_{name}"] for name in data.SPLITS):
            lines.append(line)
    return pd.DataFrame(lines)


# A run -------------------------------------------------------------------------------------------


class RunResults(NamedTuple):
    """What a run has to show beside the paper; None where it has not come that far.

    `scores` are those of held-out prompts: model, params_b (billions), metric ('la' or 'lc', as
    published), language (a name, or 'all': micro average), value (percent), n. A model has a dagger
    where over 5% of its responses were cut off, empty or not judged. `composition` is as in Figure
    8, `rewards` and `levels` as `curves` draws them. `missing` says what to run.
    """

    scores: pd.DataFrame | None
    composition: pd.DataFrame | None
    rewards: pd.DataFrame | None
    levels: pd.DataFrame | None
    missing: list[str]


def results_of(run: Path) -> RunResults:
    """The results of the run in `run`, as far as it has come."""
    missing = []
    rows = {}
    for name in data.SPLITS:
        file = paths.rows_file(run, name)
        if file.exists():
            rows[name] = data.read_jsonl(file)
        else:
            missing.append(_how_to_make(run, file))
    logs = {}
    for stage in languages.STAGES:
        file = paths.training_log(run, stage)
        if file.exists():
            logs[stage] = pd.read_json(file, lines=True)
        else:
            missing.append(_how_to_make(run, paths.checkpoint(run, stage)))
    levels = _levels(run)
    if levels is None:
        missing.append(f"the levels of each tier: notebook {LEVELS_FROM[:2]}")
    scores = _scores(run)
    if scores is None:
        missing.append(_how_to_make(run, run / "evaluation"))
    complete = len(rows) == len(data.SPLITS)
    return RunResults(
        scores=scores,
        composition=composition(rows) if complete else None,
        rewards=curves.rewards(logs) if logs else None,
        levels=levels,
        missing=missing,
    )


def _how_to_make(run: Path, path: Path) -> str:
    name = path.relative_to(run).as_posix()
    return f"{name}: notebook {paths.maker(name)}"


def _levels(run: Path) -> pd.DataFrame | None:
    file = paths.summary_file(run, LEVELS_FROM)
    if not file.exists():
        return None
    summary = json.loads(file.read_text(encoding="utf-8"))
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


# Figures 2 and 3 with a run's texts --------------------------------------------------------------


def examples_of(run: Path, language: str = "Spanish") -> dict[str, pd.DataFrame]:
    """The tables of Figures 2 and 3 from a run, as far as it has come.

    'fig02' is a trained row; 'fig03' is one prompt answered by the first and by the last evaluated
    model, if possible one that the last answers rightly. Long responses are cut.
    """
    examples = {}
    file = paths.rows_file(run, "sft")
    trained = data.read_jsonl(file) if file.exists() else []
    trained = [row for row in trained if row.language == language and row.reasoning]
    if trained:
        row = trained[0]
        examples["fig02"] = code_switching.example(
            row.question, row.reasoning + row.answer, language
        )
    models = _evaluated(run)
    if len(models) > 1:
        pair = _answered_twice(run, models[0], models[-1], language)
        if pair is not None:
            examples["fig03"] = pair
    return examples


def _answered_twice(run: Path, first: str, last: str, language: str) -> pd.DataFrame | None:
    questions = {}  # those of the run; a reader's own questions stand in no file of it
    for name in ("rft", "test"):
        questions |= {row.id: row.question for row in data.read_jsonl(paths.rows_file(run, name))}
    after = evaluation.read_verdicts(run, last)
    after = after[after["language"].eq(language) & after["id"].isin(questions)]
    if after.empty:
        return None
    after = after.sort_values("correct", ascending=False, kind="stable").iloc[0]
    before = evaluation.read_verdicts(run, first)
    before = before[before["id"].eq(after["id"])].iloc[0]
    question = questions[after["id"]]
    parts = []
    for name, verdict in (("untrained", before), ("trained", after)):
        text = textwrap.shorten(style.boxed(verdict["response"]), 400, placeholder=" …")
        correct = None if pd.isna(verdict["correct"]) else bool(verdict["correct"])
        part = code_switching.example(question, text, language, correct)
        asked = part["part"].eq("question")
        if not parts:
            parts.append(part[asked].assign(response="both"))
        parts.append(part[~asked].assign(response=name))
    return pd.concat(parts)
