"""Judges beside GPT-4o's published verdicts: how they err, and a run's rates corrected for that."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from curemed_utils import languages, paths, prompts
from curemed_utils.data import DataError
from curemed_utils.evaluation import calibration, intervals, rates
from curemed_utils.judge import Judge, majority

TASKS = {"la": ("logic", "correct"), "lc": ("language", "in_language")}
BY = ("all", "tier", "language", "model", "length")


def draw(n: int = 600, seed: int = 0, root: str | Path | None = None) -> pd.DataFrame:
    """About `n` published verdicts for each task; each stands for `weight` of them.

    Every k-th of the rows sorted by model, language and verdict: all in proportion.
    """
    parts, strata = [], ["model", "language", "published"]
    for task, _ in TASKS.values():
        rows = calibration.released_outputs(root, task).dropna(subset="published")
        mixed = rows.sample(frac=1, random_state=seed).sort_values(strata)
        k = max(1, round(len(rows) / n))
        drawn = mixed.iloc[seed % k :: k].sample(frac=1, random_state=seed)
        parts.append(drawn.assign(task=task, weight=len(rows) / len(drawn)))
    return pd.concat(parts, ignore_index=True)


def calibrate(judges: list[Judge], sample: pd.DataFrame, run_dir: Path) -> pd.DataFrame:
    """`measure` of each judge on `draw`'s sample, and of the majority of the first three.

    More columns: judge, seconds and usd per 1,000 new answers. Verdicts: `paths.judge_rates`.
    """
    tables, votes = [], []
    for judge in judges:
        began, verdicts = time.monotonic(), []
        for task, rows in sample.groupby("task", sort=False):
            verdicts += judge.score(task, rows.to_dict("records"), f"{judge.model}: {task}")
        seconds, asked = time.monotonic() - began, judge.client.totals()
        values = [verdict.value for verdict in verdicts]
        if all(verdict.reply is None for verdict in verdicts):
            raise DataError(f"{judge.model} did not answer: {verdicts[0].error}")
        per, usd = 1000 / (asked.requests or np.nan), asked.usd or np.nan
        table = measure(sample, values).assign(seconds=per * seconds, usd=per * usd)
        tables.append(table.assign(judge=judge.model))
        votes.append(verdicts)
        kept = sample.drop(columns=["question", "reference", "response"])
        file = paths.judge_rates(run_dir, judge.model)
        file.parent.mkdir(parents=True, exist_ok=True)
        kept.assign(verdict=values, made_by=made_by(judge)).to_csv(file, index=False)
    if len(votes) > 2:
        table = measure(sample, majority(votes[:3]).values)
        tables.append(table.assign(judge="majority of three"))
    return pd.concat(tables, ignore_index=True)


def measure(sample: pd.DataFrame, values: list, by: tuple[str, ...] = BY) -> pd.DataFrame:
    """`rates.agreement` of `values` (True, False, None) with GPT-4o's: a line per task and group.

    settles_2: verdicts on which two such judges that err independently must be compared to settle a
    difference of 2 points (McNemar, level 5%, power 80%). length: thirds of the responses.
    """
    tiers = {language.name: language.tier for language in languages.ALL}
    length = sample["response"].str.len().rank(method="first")
    table = sample.assign(all="all", tier=sample["language"].map(tiers), value=values)
    table["length"] = pd.qcut(length, 3, ["short", "middle", "long"]).astype(str)
    lines = []
    for name in by:
        for (task, group), rows in table.groupby(["task", name]):
            line = {"task": task, "by": name, "group": group, "n": len(rows)}
            line |= rates.agreement(rows["value"], rows["published"])
            differ = line["agreement"] * (100 - line["agreement"]) * 2
            for points in (1, 2, 5):
                line[f"settles_{points}"] = np.round(7.85 * differ / points**2)
            lines.append(line)
    return pd.DataFrame(lines)


def made_by(judge: Judge) -> str:
    return f"prompt {prompts.judge_fingerprint()}, request {sorted(judge.fields.items())}"


def read_verdicts(file: str, judge: Judge) -> pd.DataFrame:
    """What `calibrate` kept; DataError unless it is by this judge, prompt and request."""
    table = pd.read_csv(paths.resolve(file))
    stored, here = table["made_by"][0], made_by(judge)
    if stored != here:
        raise DataError(f"{file} is of {stored}, this run of {here}: calibrate again")
    return table.rename(columns={"published": "truth"})


def corrected(
    verdicts: pd.DataFrame, labels: pd.DataFrame, groups: dict[str, str] | None, seed: int = 0
) -> pd.DataFrame:
    """What each model's judge accepts (value), and what GPT-4o would have (corrected), in percent.

    `labels` are of `read_verdicts`. Intervals (95%) are over other questions, whole `groups`; that
    of `corrected` over other labels too.
    """
    names = {"correct": verdicts["judged_correct"], "in_language": verdicts["judged_language"]}
    judged = verdicts.assign(**names)
    lines = intervals.estimates(judged, groups, ("la", "lc"), seed)
    lines = lines[lines["statistic"] == "micro"].to_dict("records")
    for line in lines:
        share, low, high = (line[name] / 100 for name in ("value", "low", "high"))
        if share < 0.5:
            low, high = 1 - high, 1 - low
        # So many independent questions have this Wilson interval.
        size = 3.84 / (max(share, 1 - share) ** 2 / (low * high) - 1)
        task, name = TASKS[line["metric"]]
        observed = judged.loc[judged["model"] == line["model"], name]
        of_task = labels[labels["task"] == task]
        rate = rates.corrected_rate(observed, of_task, seed, size=size, by_verdict=False)
        line |= {"corrected": 100 * rate.estimate, "corrected_low": 100 * rate.low}
        line |= {"corrected_high": 100 * rate.high, "reason": rate.reason}
    return pd.DataFrame(lines)
