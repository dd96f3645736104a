"""Verdicts on one response, by checks and by a judge, and tables over many."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from curemed_utils import data, languages, paths, prompts, rewards, trace
from curemed_utils.evaluation.generation import Response
from curemed_utils.judge import Judge
from curemed_utils.judge.wire import ending

MODELS = languages.CHECKPOINTS
METRICS = ("la", "lc", "complete", "la_paper", "lc_paper")
HARNESS = ("error", "truncated", "refused", "empty", "judge_failed")  # faults of the run
MAX_FAULTS = 5.0  # percent
TRUTHS = ("correct", "in_language", "complete", "well_formed", "judged_correct", "judged_language")


def verdict(response: Response, row: data.Row) -> dict:
    """What can be said of one response; None where nothing can tell, or nothing came.

    `correct` is exact match against the row's accepted answers, `in_language` the offline check of
    the answer (an accepted one is), `well_formed` Eq. 3, whatever a run was trained for;
    `complete`: turn ended and answer closed. Without an answer, a response is not in the language.
    """
    ended = ending(response.finish_reason)
    if response.text is None or ended in ("error", "content_filter"):
        return dict.fromkeys(("correct", "in_language", "complete", "well_formed"))
    truths = {}
    for name, score in rewards.score(response.text, row).items():
        truths[name] = None if score is None else score == 1.0
    has_answer = trace.answer_of(response.text) is not None
    complete = has_answer and ended == "stop"
    if has_answer and ended not in ("stop", "length", "tool_calls"):
        complete = None  # the server's word says nothing
    return {
        "correct": truths["accuracy"],
        "in_language": truths["language"],
        "complete": complete,
        "well_formed": truths["format"],
    }


def rewarded(
    table: pd.DataFrame, rows: list[data.Row], samples: int, rules: rewards.Rewards
) -> pd.DataFrame:
    """Adds the reward by the `rules` that a run was trained by, as training pays it.

    `table` has `samples` responses a row, in the order of `rows`: a group of `rewards.filled`.
    Columns: reward (NaN for none), PAID (NaN where unknown), rules.
    """
    came = table["response"].notna()
    asked = [dict(row) for row in rows for _ in range(samples)]
    items = [item for item, is_there in zip(asked, came, strict=True) if is_there]
    scored = rules.score_at_once(table["response"][came].tolist(), items)
    parts = pd.DataFrame(scored, table.index[came], list(rewards.WEIGHTS), float)
    parts = parts.reindex(table.index).to_numpy()
    weights = [rules.weights[name] for name in rewards.WEIGHTS]
    whole = rewards.filled(parts.reshape(len(rows), samples, len(weights)), weights)
    table = table.assign(reward=(whole @ weights).ravel().round(4), rules=str(rules))
    table[list(rewards.PAID)] = np.where(weights, parts * weights, 0)
    return table


def judge_items(verdicts: pd.DataFrame, rows: dict[str, data.Row]) -> list[dict]:
    """What a judge sees of each response; `rows` by id."""
    items = []
    for row_id, response in zip(verdicts["id"], verdicts["response"], strict=True):
        row = rows[row_id]
        item = {"question": row.question, "language": row.language, "response": response}
        items.append(item | {"reference": trace.answer_of(row.answer) or row.answer})
    return items


def judged(verdicts: pd.DataFrame, rows: dict[str, data.Row], judge: Judge) -> pd.DataFrame:
    """Adds a judge's verdicts (Appendix A), NA where it failed; `rows` by id.

    New columns: judge (its model), judge_prompt (a digest), judged_correct, judged_language,
    judge_error. Without accepted answers, `correct` is the judge's.
    """
    items = judge_items(verdicts, rows)
    logic = judge.score("logic", items, progress="correct?")
    language = judge.score("language", items, progress="language?")
    table = verdicts.assign(judge=judge.model, judge_prompt=prompts.judge_fingerprint())
    table["judged_correct"] = [each.value for each in logic]
    table["judged_language"] = [each.value for each in language]
    table["judge_error"] = [
        " · ".join(each.error for each in both if each.error) or None
        for both in zip(logic, language, strict=True)
    ]
    table = typed(table)
    has_accepted = [bool(rows[row_id].accepted) for row_id in table["id"]]
    return table.assign(correct=table["correct"].where(has_accepted, table["judged_correct"]))


def read_verdicts(run_dir: Path, model: str, into: str = "evaluation") -> pd.DataFrame:
    """One model's verdicts as `evaluate` wrote them; FileNotFoundError if there are none."""
    file = paths.verdicts_file(run_dir, model, into)
    if not file.exists():
        raise paths.missing(run_dir, file)
    records = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return typed(pd.DataFrame(records)).assign(model=model)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Truths as booleans that know NA, rewards as floats."""
    kinds = dict.fromkeys(TRUTHS, "boolean") | dict.fromkeys(("reward", *rewards.PAID), "float")
    return table.astype({name: kind for name, kind in kinds.items() if name in table})


def table(verdicts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Percentages, the mean reward and counts for each group of `by`.

    `la`, `lc`, `complete`, `well_formed` are shares of the responses with a verdict, NaN without
    any; `*_least` and `*_most` if all `n_unknown_*` others were wrong, or right. `la_paper` and
    `lc_paper` are the judge's verdicts where there are any, else exact match, and language with
    completeness; no verdict counts as wrong. `reward` is `rewards.mean_paid`; `faults` the share
    of HARNESS (`outcomes`), `marked` if over MAX_FAULTS.
    """
    truths = measures(verdicts).assign(well_formed=verdicts["well_formed"])
    how = {"by": [verdicts[name] for name in by], "sort": False, "dropna": False}
    groups = truths.groupby(**how)
    n = groups.size()
    result = pd.DataFrame(index=n.index)
    for name in ("la", "lc", "complete", "well_formed"):
        result[name] = 100 * groups[name].mean().astype("Float64").astype(float)
    for name in ("la_paper", "lc_paper"):
        result[name] = 100 * groups[name].sum(min_count=1).astype("Float64") / n
    result["reward"] = rewards.mean_paid(verdicts, by)
    result["n"] = n
    for name in ("la", "lc"):
        unknown = n - groups[name].count()
        result[f"{name}_least"] = 100 * groups[name].sum().astype(float) / n
        result[f"{name}_most"] = result[f"{name}_least"] + 100 * unknown / n
        result[f"n_unknown_{name}"] = unknown
    faults = outcomes(verdicts).isin(HARNESS)
    result["faults"] = 100 * faults.groupby(**how).mean()
    result["marked"] = result["faults"] > MAX_FAULTS
    return result


def measures(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The METRICS of each response, NA without a verdict; `table` says what they mean."""
    if verdicts.empty:
        raise data.DataError("no verdicts: the table is empty")
    values = verdicts[["correct", "in_language", "complete"]].set_axis(METRICS[:3], axis=1)
    values["la_paper"] = values["la"]
    values["lc_paper"] = values["lc"] & values["complete"]
    if "judge" in verdicts:
        was_judged = verdicts["judge"].notna()
        values["la_paper"] = verdicts["judged_correct"].where(was_judged, values["la"])
        values["lc_paper"] = verdicts["judged_language"].where(was_judged, values["lc_paper"])
    return values.astype("boolean")


def outcomes(verdicts: pd.DataFrame) -> pd.Series:
    """What became of each response, the first that holds: error (none came), truncated (at the
    token limit), refused (by the model or a filter), empty, judge_failed, undecided (nothing could
    tell), wrong or right (by `la_paper`).
    """
    truth = measures(verdicts)["la_paper"]
    outcome = truth.map({True: "right", False: "wrong"}).astype(object).fillna("undecided")
    if "judge_error" in verdicts:
        failed = truth.isna() & verdicts["judge_error"].notna()
        outcome = outcome.mask(failed, "judge_failed")
    outcome = outcome.mask(verdicts["response"].fillna("").map(trace.is_blank), "empty")
    ended = verdicts["finish_reason"].fillna("").map(ending)
    faults = {"error": "error", "length": "truncated", "content_filter": "refused"}
    return outcome.mask(ended.isin(faults), ended.map(faults))
