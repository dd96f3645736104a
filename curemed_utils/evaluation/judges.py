"""Judges beside GPT-4o's published verdicts: how they err, and a run's rates corrected for that."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from curemed_utils import languages, paths, prompts
from curemed_utils.data import DataError
from curemed_utils.data.files import write_whole
from curemed_utils.evaluation import calibration, intervals, rates
from curemed_utils.evaluation.release import METRICS
from curemed_utils.judge import Judge, majority


def draw(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """About `n` published verdicts for each task: every k-th by model, language and verdict."""
    parts = []
    for task in METRICS:
        rows = calibration.released_outputs(task=task).dropna(subset="published")
        mixed = rows.sample(frac=1, random_state=seed)
        mixed = mixed.sort_values(["model", "language", "published"])
        k = max(1, round(len(rows) / n))
        drawn = mixed.iloc[seed % k :: k].sample(frac=1, random_state=seed)
        parts.append(drawn.assign(task=task))
    return pd.concat(parts, ignore_index=True)


def calibrate(models: list[str], sample: pd.DataFrame, run_dir: Path, **settings) -> pd.DataFrame:
    """`measure` of each judge on `draw`'s sample, and of the majority of the first three.

    `settings` are those of `Judge`. More columns: seconds and usd per 1,000 new answers. Kept in
    `paths.judge_rates`. DataError for a judge that answers nothing.
    """
    tables, votes = [], []
    for model in models:
        began, verdicts = time.monotonic(), []
        with Judge(model, cache=paths.judge_cache(run_dir), **settings) as judge:
            judge.client.asks_cut_again = False
            for task, rows in sample.groupby("task", sort=False):
                items = rows.to_dict("records")
                print(f"{model}, {task}, still to ask: {judge.quote(task, items)}", flush=True)
                verdicts += judge.score(task, items, f"{model}: {task}")
        if all(verdict.reply is None for verdict in verdicts):
            raise DataError(f"{model} did not answer: {verdicts[0].error}")
        votes.append(verdicts)
        table = measure(model, sample, [verdict.value for verdict in verdicts])
        asked = judge.client.totals()
        thousands = asked.requests / 1000 or np.nan
        table["seconds"] = (time.monotonic() - began) / thousands
        table["usd"] = (asked.usd or np.nan) / thousands
        tables.append(table)
        kept = table.assign(made_by=_made_by(judge)).to_csv(index=False)
        write_whole(paths.judge_rates(run_dir, model), kept)
    if len(votes) > 2:
        tables.append(measure("majority of three", sample, majority(votes[:3])))
    return pd.concat(tables, ignore_index=True)


def measure(judge: str, sample: pd.DataFrame, values: list) -> pd.DataFrame:
    """`rates.agreements` of `values` (True, False, None) with GPT-4o's, in lines by task and group.

    settles_2: verdicts on which two such judges that err independently must be compared to settle a
    difference of 2 points (McNemar, level 5%, power 80%). length: thirds of the responses.
    """
    length = sample["response"].str.len().rank(method="first")
    table = sample.assign(all="all", tier=sample["language"].map(languages.TIER_OF), verdict=values)
    table["length"] = pd.qcut(length, 3, ["short", "middle", "long"]).astype(str)
    parts = []
    for by in ("all", "tier", "length", "model", "language"):
        part = rates.agreements(table, ["task", by]).rename_axis(["task", "group"])
        parts.append(part.reset_index().assign(judge=judge, by=by))
    lines = pd.concat(parts, ignore_index=True)
    differ = lines["agreement"] * (100 - lines["agreement"]) * 2
    return lines.assign(settles_2=(7.85 * differ / 2**2).round(-2))


def shown(lines: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """Such lines as text, a column for each judge: `measures`, or all, with their intervals."""
    numbers = lines.round(1).assign(**lines.filter(regex="kappa|usd").round(2))
    texts = numbers.map(lambda value: f"{value:,g}" if isinstance(value, float) else value)
    for name in ("agreement", "kappa", "sensitivity", "specificity"):
        texts[name] += " (" + texts.pop(f"{name}_low") + " to " + texts.pop(f"{name}_high") + ")"
    texts = texts.drop(columns="by").set_index(["task", "group", "judge"])
    return texts[[*measures] or [*texts]].stack().unstack("judge", sort=False)


def _made_by(judge):
    return f"prompt {prompts.judge_fingerprint()}, request {sorted(judge.fields.items())}"


def read_rates(file: str, judge: Judge) -> pd.DataFrame:
    """What `calibrate` kept; DataError unless it is of this judge, prompt and request."""
    lines = pd.read_csv(paths.resolve(file))
    stored, here = lines["made_by"][0], _made_by(judge)
    if stored != here:
        raise DataError(f"{file} is of {stored}, this run of {here}: calibrate again")
    return lines


def corrected(
    verdicts: pd.DataFrame, calibrated: pd.DataFrame, groups: dict[str, str] | None, seed: int = 0
) -> pd.DataFrame:
    """What each model's judge accepts (value), and what GPT-4o would have (corrected), in percent.

    Intervals (95%) are over other questions, whole `groups`; that of `corrected` over other
    calibrations too.
    """
    of_judge = {"correct": verdicts["judged_correct"], "in_language": verdicts["judged_language"]}
    lines = intervals.estimates(verdicts.assign(**of_judge), groups, ("la", "lc"), seed)
    lines = lines.query("statistic == 'micro'")[["model", "metric", "value", "low", "high"]]
    errs = calibrated.query("by == 'all'").set_index("task").rename(METRICS)
    columns = []
    for line in lines.to_dict("records"):
        err = errs.loc[line["metric"]]
        shares = [[line["value"], line["low"], line["high"]]]
        for name in ("sensitivity", "specificity"):
            shares.append([err[name], err[f"{name}_low"], err[f"{name}_high"]])
        true = np.full(3, np.nan)
        if err["kappa_low"] > 0:
            true = rates.true_share(*np.divide(shares, 100)).clip(0, 1)
        columns.append([*np.multiply(true, 100), err["note"]])
    names = ["corrected", "corrected_low", "corrected_high", "note"]
    return lines.assign(**pd.DataFrame(columns, lines.index, names))
