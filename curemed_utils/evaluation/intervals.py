"""Statistics over verdicts: scores with intervals, spread over runs, equity between languages.

Verdicts are a table as `evaluation.read_verdicts` gives it, of one or several models. An item is a question (set and id), a run is a
pair of seed and sample. `groups` maps ids to what makes items parallel, such as a topic asked in 13 languages: items of a group vary
together, so groups are what is drawn. Without it each item is its own group.
"""

import numpy as np
import pandas as pd

from curemed_utils import evaluation, languages
from curemed_utils.data import DataError
from curemed_utils.evaluation.verdicts import HARNESS, MAX_FAULTS, METRICS, measures

RESAMPLES = 2000
OF_LANGUAGE = ("language", "tier", "family")
_FEW = 5  # groups; strata with fewer can't show how much they vary


def scores(
    verdicts: pd.DataFrame,
    by: tuple[str, ...] = ("model",),
    groups: dict[str, str] | None = None,
    metrics: tuple[str, ...] = METRICS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """A line per group of `by` (columns of `verdicts`, and 'family'), metric and statistic, in percent.

    Statistics: micro, over all responses, as published · macro, the mean over languages · worst, the lowest language (`worst` names
    it) · tier_gap, the mean over high-resource languages minus that over low-resource ones, where both are there. Grouped by
    language, only micro. Columns: value, low and high (95% interval), sd (standard deviation of the statistic over runs, NaN with
    one), n_runs, n_languages, n_items, n_groups, n_unknown (responses without a verdict: left out, in *_paper counted as in
    `evaluation.table`), faults (percent of responses with harness faults) and marked (over 5%).

    Intervals speak of other questions, not of other runs; runs of an item are averaged within it. They rest on a Bayesian
    bootstrap (Rubin 1981) over groups, within languages where a group has one language, so that the sizes of languages stay. For
    micro and macro its variance gives the effective number of items of a Wilson score interval, since percentile and BCa limits
    miss the truth too often near 0 and 100%. For tier_gap they are percentiles; NaN if nothing varies. For worst, the lowest of
    the languages' lower limits and of their upper ones, the latter with Bonferroni's correction: cautious, whichever is truly worst;
    its value is the lowest observed and so lies, on average, under the truth.
    """
    by, keys = list(by), [name for name in by if name not in OF_LANGUAGE]
    frame = frame_of(verdicts, keys, groups)
    of, found, group = _codes(frame, by), measures(verdicts)[list(metrics)].to_numpy(float, na_value=np.nan), frame["group"]
    unknown = np.isnan(found)
    for m, metric in enumerate(metrics):  # as published, unless nobody gave a verdict
        asked = np.bincount(of, ~unknown[:, m])[of] > 0
        found[:, m] = np.where(unknown[:, m] & asked & metric.endswith("_paper"), 0, found[:, m])
    known = ~np.isnan(found)
    values = np.concatenate([np.where(known, found, 0), known], axis=1)
    cell = _codes(frame, [*keys, "language"])
    sums = np.split(resampled(group, frame["stratum"], cell, values, seed, resamples), 2, axis=2)
    by_run = [_sums(cell, values * (frame["run"] == run).to_numpy()[:, None]) for run in range(frame["run"].max() + 1)]
    runs = np.split(np.stack(by_run), 2, axis=2)
    faults = [evaluation.outcomes(verdicts, metric).isin(HARNESS).to_numpy() for metric in metrics]
    records = []
    for here in pd.Series(of).groupby(of).indices.values():
        rows, names = frame.iloc[here], dict(zip(cell[here], frame["language"].iloc[here], strict=True))
        at, counts = list(names), {"n_runs": rows["run"].nunique(), "n_items": rows["item"].nunique()}
        for m, metric in enumerate(metrics):
            judged = rows["group"][known[here, m]]
            n = judged.groupby(cell[here][known[here, m]]).nunique().reindex(at, fill_value=0)
            found = _intervals(sums[0][:, at, m], sums[1][:, at, m], [*n, judged.nunique()], list(names.values()))
            spread = _statistics(runs[0][:, at, m], runs[1][:, at, m], list(names.values()))
            harness = 100 * faults[m][here].mean()
            more = counts | {"n_groups": judged.nunique(), "n_languages": int((n > 0).sum()), "n_unknown": int(unknown[here, m].sum())}
            more |= {"faults": harness, "marked": harness > MAX_FAULTS}
            lowest = names[at[int(np.nanargmin(_rates(sums[0][0, at, m], sums[1][0, at, m])))]] if n.any() else ""
            for name in ("micro",) if "language" in by else found:
                said = dict(zip(("value", "low", "high"), found[name], strict=True)) | {"sd": pd.Series(spread[name]).std()}
                said = {key: 100 * share for key, share in said.items()} | {"worst": lowest if name == "worst" else ""}
                records.append(rows.iloc[0][by].to_dict() | {"metric": metric, "statistic": name} | said | more)
    return pd.DataFrame(records)


def frame_of(verdicts: pd.DataFrame, keys: list[str], groups: dict[str, str] | None) -> pd.DataFrame:
    """`verdicts` with language, tier and family, and as numbers: item, run, group (what is drawn together) and stratum."""
    spoken = {name: languages.get(name) for name in verdicts["language"].unique()}
    frame = verdicts[list({*keys, "id", "language"})].reset_index(drop=True)
    frame["tier"], frame["family"] = (frame["language"].map({k: getattr(v, a) for k, v in spoken.items()}) for a in ("tier", "family"))
    names = [name for name in ("set",) if name in verdicts]
    frame["item"] = _codes(verdicts, [*names, "id"])
    frame["run"] = _codes(verdicts, [name for name in ("seed", "sample") if name in verdicts])
    twice = frame.duplicated([*keys, "item", "run"])
    if twice.any():
        raise DataError(
            f"{int(twice.sum())} responses, such as to {frame['id'][twice].iloc[0]!r}, repeat item, seed and sample: "
            "a model is there twice, or `by` lacks the column model"
        )
    frame["group"] = frame["item"]
    if groups is not None:
        named = frame["id"].map(groups)
        if len(strange := frame["id"][named.isna()].unique()):
            raise DataError(f"{len(strange)} ids, such as {strange[0]!r}, are not in `groups`: give every test row its group")
        frame["group"] = pd.factorize(named)[0]
    stratum = _codes(verdicts, [*names, "language"])
    several = pd.Series(stratum).groupby(frame["group"]).transform("nunique") > 1
    frame["stratum"] = np.where(several, -1, stratum)
    if (frame.groupby("stratum")["group"].nunique() < _FEW).any():
        frame["stratum"] = 0
    return frame


def _codes(frame: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Numbers from 0 for the rows' different values of `names`, in order of appearance."""
    return frame.groupby(names, sort=False, dropna=False).ngroup().to_numpy() if names else np.zeros(len(frame), int)


def _sums(code: np.ndarray, values: np.ndarray, size: int = 0) -> np.ndarray:
    """`values` (rows x columns) summed within each code, of which there are `size` or as many as occur."""
    return np.stack([np.bincount(code, column, size) for column in values.T], axis=1)


def resampled(group: pd.Series, stratum: pd.Series, cell: np.ndarray, values: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Sums of `values` (rows x columns) in each cell: as they are at [0], then with groups reweighted, stratum by stratum."""
    rng = np.random.default_rng(seed)
    sums = np.zeros((1 + resamples, cell.max() + 1, values.shape[1]), np.float32)
    for rows in stratum.groupby(stratum).indices.values():
        drawn, cells = pd.factorize(group.iloc[rows])[0], np.unique(cell[rows], return_inverse=True)
        n, wide = drawn.max() + 1, len(cells[0])
        # of this shape, the variance is that of n - 1 degrees of freedom
        weights = rng.standard_gamma(max(n - 2, 0.5) / n, (1 + resamples, n), np.float32)
        weights /= weights.mean(axis=1, keepdims=True)
        weights[0] = 1
        matrix = _sums(drawn * wide + cells[1], values[rows], n * wide).astype(np.float32)
        sums[:, cells[0]] += (weights @ matrix.reshape(n, -1)).reshape(1 + resamples, wide, -1)
    return sums


def _rates(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(hits, of, out=np.full(hits.shape, np.nan), where=of > 0, dtype=float)


def _statistics(hits: np.ndarray, of: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """The statistics of each draw, from sums (draws x languages)."""
    each, tiers = _rates(hits, of), np.array([languages.get(name).tier for name in names])
    found = {"micro": _rates(hits.sum(axis=1), of.sum(axis=1)), "macro": _mean(each), "worst": np.fmin.reduce(each, axis=1)}
    if {"high", "low"} <= set(tiers):
        found["tier_gap"] = _mean(each[:, tiers == "high"]) - _mean(each[:, tiers == "low"])
    return found


def _mean(each: np.ndarray) -> np.ndarray:
    """Mean over the languages that have a rate, NaN where none has."""
    return _rates(np.nansum(each, axis=1), (~np.isnan(each)).sum(axis=1))


def _intervals(hits: np.ndarray, of: np.ndarray, n: list[int], names: list[str]) -> dict[str, tuple[float, float, float]]:
    """Value and 95% limits of each statistic, from sums (draws x languages); `n` groups in each language and, last, in all."""
    draws, each = _statistics(hits, of, names), _rates(hits, of)
    there = np.array(n[:-1]) > 0
    if not there.any():
        return dict.fromkeys(draws, (np.nan, np.nan, np.nan))
    found = {name: (draws[name][0], *_wilson(draws[name][:, None], n[-1:], 0.05)[:, 0]) for name in ("micro", "macro")}
    each, sizes = each[:, there], np.array(n[:-1])[there]
    found["worst"] = draws["worst"][0], _wilson(each, sizes, 0.05)[0].min(), _wilson(each, sizes, 0.05 / len(sizes))[1].min()
    if "tier_gap" in draws:
        gap = draws["tier_gap"]
        varies = not np.isnan(gap[0]) and np.nanstd(gap) > 1e-6
        found["tier_gap"] = gap[0], *(np.nanquantile(gap[1:], [0.025, 0.975]) if varies else (np.nan, np.nan))
    return found


def _wilson(draws: np.ndarray, n: list[int], alpha: float) -> np.ndarray:
    """Wilson's limits (2 x columns) of rates [0] with the variance of [1:]; `n` groups stand for themselves where nothing varies."""
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    rate, variance, n = draws[0], np.nanvar(draws[1:], axis=0), np.asarray(n)
    effective = np.where(variance > 1e-9, rate * (1 - rate) / np.maximum(variance, 1e-9), n)
    effective = effective * (stats.norm.isf(alpha / 2) / stats.t.isf(alpha / 2, np.maximum(n - 1, 1))) ** 2
    return np.array(proportion_confint(rate * effective, effective, alpha, method="wilson"))
