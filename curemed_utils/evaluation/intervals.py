"""Scores with 95% intervals, their spread over runs, and equity between languages.

An item is a set and an id, a run a seed and a sample. `groups` maps ids to what makes items
parallel, such as a topic in all languages: they vary together, so groups are what is drawn.
"""

import numpy as np
import pandas as pd

from curemed_utils import languages
from curemed_utils.data import DataError
from curemed_utils.evaluation.verdicts import METRICS, measures

RESAMPLES = 2000
FEW = 6  # groups; fewer can't show how much they vary


def estimates(
    verdicts: pd.DataFrame,
    groups: dict[str, str] | None = None,
    metrics: tuple[str, ...] = METRICS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """A line per model, metric and statistic of `verdicts`.

    Statistics: micro, each response with a verdict counts once, as in `evaluation.table` · macro,
    the mean of the languages' shares · worst, the lowest of them (`worst` names it) · tier_gap, the
    mean of high-resource less that of low-resource ones. In percent: value, low and high (95%
    interval), sd (over runs). n_unknown responses have no verdict: left out, in *_paper counted as
    in `evaluation.table`. n_groups have one.

    Intervals speak of other questions, not of other runs; docs/evaluation.md has the method. NaN
    under FEW groups: micro's in all, the others' in a language. tier_gap's too if nothing varies.
    """
    frame = frame_of(verdicts, groups)
    frame["cell"] = _codes(frame, ["model", "language"])
    truths = measures(verdicts)[list(metrics)].reset_index(drop=True)
    answers = as_numbers(truths, frame["model"])
    has_verdict = answers.notna().to_numpy()
    values = np.hstack([answers.fillna(0.0), has_verdict])
    draws = np.split(resampled(frame, values, seed, resamples), 2, axis=2)
    in_run = frame["run"].to_numpy()[:, None]
    by_run = [_sums(frame["cell"], values * (in_run == run)) for run in np.unique(in_run)]
    runs = np.split(np.stack(by_run), 2, axis=2)
    lines = []
    for model in frame["model"].unique():
        place = np.flatnonzero(frame["model"] == model)
        part = frame.iloc[place]
        names = part.drop_duplicates("cell").set_index("cell")["language"]
        for m, metric in enumerate(metrics):
            judged = part[has_verdict[place, m]]
            n_groups = judged.groupby("cell")["group"].nunique().reindex(names.index, fill_value=0)
            counts = {"n_groups": judged["group"].nunique()}
            counts["n_unknown"] = truths[metric].iloc[place].isna().sum()
            of_runs = _statistics(names, *(sums[:, names.index, m] for sums in runs))
            cells = [sums[:, names.index, m] for sums in draws]
            drawn, rates = _statistics(names, *cells), _divided(*cells)
            observed = pd.Series(rates[0], names).dropna()
            lowest = observed.idxmin() if len(observed) else ""
            limits = _limits(drawn, rates, n_groups.to_numpy(), counts["n_groups"])
            for statistic, (value, low, high) in limits.items():
                line = {"model": model, "metric": metric, "statistic": statistic}
                line |= {"value": 100 * value, "low": 100 * low, "high": 100 * high}
                line["sd"] = 100 * pd.Series(of_runs[statistic]).std()
                line["worst"] = lowest if statistic == "worst" else ""
                lines.append(line | counts)
    return pd.DataFrame(lines)


def frame_of(verdicts: pd.DataFrame, groups: dict[str, str] | None) -> pd.DataFrame:
    """`verdicts` as numbers: item, run, group (drawn together) and stratum (drawn among)."""
    frame = verdicts[["model", "id", "language"]].reset_index(drop=True)
    frame["item"] = _codes(verdicts, ["set", "id"])
    frame["run"] = _codes(verdicts, ["seed", "sample"])
    repeated = frame.loc[frame.duplicated(["model", "item", "run"]), "id"]
    if len(repeated):
        some = f"{len(repeated)} responses, such as to {repeated.iloc[0]!r}"
        raise DataError(f"{some}, repeat item, seed and sample: a model is there twice")
    frame["group"] = frame["item"]
    if groups is not None:
        strange = set(frame["id"]) - set(groups)
        if strange:
            some = f"{len(strange)} ids, such as {min(strange)!r}"
            raise DataError(f"{some}, are not in `groups`: give every test row its group")
        frame["group"] = pd.factorize(frame["id"].map(groups))[0]
    frame["stratum"] = _codes(verdicts, ["set", "language"])
    spans_several = frame.groupby("group")["stratum"].transform("nunique") > 1
    frame["stratum"] = frame["stratum"].mask(spans_several, -1)
    if (frame.groupby("stratum")["group"].nunique() < FEW).any():
        frame["stratum"] = 0
    return frame


def as_numbers(truths: pd.DataFrame, models: pd.Series) -> pd.DataFrame:
    """1, 0, NaN unknown; as published, unknown is wrong, unless a model has no verdict at all."""
    numbers = truths.astype("Float64").astype(float)
    for metric in numbers.filter(like="_paper"):
        has_any = numbers[metric].groupby(models).transform("count") > 0
        numbers.loc[numbers[metric].isna() & has_any, metric] = 0.0
    return numbers


def _codes(frame, names):
    return frame.groupby(names, sort=False, dropna=False).ngroup().to_numpy()


def resampled(frame: pd.DataFrame, values: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Sums of `values` (rows x columns) in each cell: (1 + resamples) x cells x columns.

    The first are of the rows as they are; then each group has a random weight, of mean 1.
    """
    rng = np.random.default_rng(seed)
    sums = np.zeros((1 + resamples, frame["cell"].max() + 1, values.shape[1]), np.float32)
    for rows in frame.groupby("stratum").indices.values():
        stratum = frame.iloc[rows]
        groups = pd.factorize(stratum["group"])[0]
        cells, place = np.unique(stratum["cell"], return_inverse=True)
        n_groups, n_cells = groups.max() + 1, len(cells)
        # the variance is that of n - 1 degrees of freedom
        shape = max(n_groups - 2, 0.5) / n_groups
        weights = rng.standard_gamma(shape, (1 + resamples, n_groups), np.float32)
        weights /= weights.mean(axis=1, keepdims=True)
        weights[0] = 1
        of_group = _sums(groups * n_cells + place, values[rows], n_groups * n_cells)
        of_group = of_group.astype(np.float32).reshape(n_groups, -1)
        sums[:, cells] += (weights @ of_group).reshape(1 + resamples, n_cells, -1)
    return sums


def _sums(code, values, size=0):
    return np.stack([np.bincount(code, column, size) for column in values.T], axis=1)


def _statistics(names, right, known):
    """Of right answers and those with a verdict: draws (or runs) x languages."""
    rates = _divided(right, known)
    statistics = {
        "micro": _divided(right.sum(axis=1), known.sum(axis=1)),
        "macro": _mean_of_known(rates),
        "worst": np.fmin.reduce(rates, axis=1),
    }
    tiers = np.array([languages.get(name).tier for name in names])
    if {"high", "low"} <= set(tiers):
        high, low = rates[:, tiers == "high"], rates[:, tiers == "low"]
        statistics["tier_gap"] = _mean_of_known(high) - _mean_of_known(low)
    return statistics


def _divided(part, whole):
    nan = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=nan, where=whole > 0, dtype=float)


def _mean_of_known(rates):
    return _divided(np.nansum(rates, axis=1), np.isfinite(rates).sum(axis=1))


def _limits(statistics, rates, n_groups, n):
    """Value and limits of each statistic; `n_groups` in each language, `n` in all."""
    from scipy import stats

    if not n:
        return dict.fromkeys(statistics, (np.nan, np.nan, np.nan))
    limits = {}
    for name in ("micro", "macro"):
        low, high = _wilson(statistics[name][:, None], np.array([n]), 0.05)
        limits[name] = statistics[name][0], low[0], high[0]
    rates, sizes = rates[:, n_groups > 0], n_groups[n_groups > 0]
    low, _ = _wilson(rates, sizes, 0.05)
    _, high = _wilson(rates, sizes, 0.05 / len(sizes))
    limits["worst"] = statistics["worst"][0], low.min(), high.min()
    if "tier_gap" in statistics:
        gap = statistics["tier_gap"]
        varies = not np.isnan(gap[0]) and np.nanstd(gap) > 1e-6
        half = stats.t.isf(0.025, n - 1) * np.nanstd(gap) if varies else np.nan
        limits["tier_gap"] = gap[0], *np.clip([gap[0] - half, gap[0] + half], -1, 1)
    for name, (value, *_) in limits.items():
        if (n if name == "micro" else sizes.min()) < FEW:
            limits[name] = value, np.nan, np.nan
    return limits


def _wilson(rates, n, alpha):
    """Limits of the first of `rates` (draws x columns); `n` groups where nothing varies."""
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    rate, variance = rates[0], np.nanvar(rates[1:], axis=0)
    effective = rate * (1 - rate) / np.maximum(variance, 1e-9)
    effective = np.where(variance > 1e-9, effective, n)
    normal, student = stats.norm.isf(alpha / 2), stats.t.isf(alpha / 2, np.maximum(n - 1, 1))
    effective = effective * (normal / student) ** 2
    return proportion_confint(rate * effective, effective, alpha, method="wilson")
