"""Pairs of models on the items that both answered: McNemar's test and the paired bootstrap."""

import numpy as np
import pandas as pd

from curemed_utils.data import DataError
from curemed_utils.evaluation import intervals
from curemed_utils.evaluation.verdicts import measures

FEW = 6  # groups under which a bootstrap's spread says nothing


def compare_all(
    verdicts: pd.DataFrame,
    pairs: list[tuple[str, str]],
    metric: str = "la",
    groups: dict[str, str] | None = None,
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> pd.DataFrame:
    """A line per pair of models, shares in percent, on the items that both answered.

    value_first, value_second, difference (second minus first) with its 95% interval (low, high)
    and p_paired are of each item's mean over runs. Interval and p rest on the difference's standard
    deviation in a paired bootstrap, groups drawn as in `intervals.estimates`, and a t distribution:
    percentiles reject a true null too often where few items are discordant. Where nothing varies
    there is no interval, and p is 1; with under FEW groups there is neither, and `note` says so.

    McNemar's exact test (p_mcnemar) needs one verdict an item: the majority of its runs;
    only_first and only_second are the discordant items, and n_tied those left out because half the
    runs say either. It takes items for independent, so where items are parallel p_paired is the
    one to read. *_holm: Holm's correction over all pairs.

    n_items are compared. Left out are n_only_first and n_only_second (the other model has no
    response) and n_unknown (no verdict for one of them). DataError if nothing is left.
    """
    models = [name for pair in pairs for name in pair]
    of_models = verdicts[verdicts["model"].isin(models)].reset_index(drop=True)
    items, means, asked = _by_item(of_models, metric, groups)
    changes = np.column_stack([means[second] - means[first] for first, second in pairs])
    shared = ~np.isnan(changes)
    for pair, both in zip(pairs, shared.T, strict=True):
        if not both.any():
            raise DataError(f"{pair} share no item with a verdict in {metric!r}")
    values = np.hstack([np.nan_to_num(changes), shared])
    sums = intervals.resampled(items.assign(cell=0), values, seed, resamples)[:, 0].astype(float)
    total, n_shared = np.split(sums, 2, axis=1)
    draws = total / n_shared
    lines = []
    for n, (first, second) in enumerate(pairs):
        both = shared[:, n]
        of_pair = means.loc[both, [first, second]].to_numpy()
        n_groups = items["group"][both].nunique()
        line = {"first": first, "second": second, "metric": metric, "n_items": int(both.sum())}
        line |= _difference(of_pair, draws[1:, n], n_groups)
        line |= _mcnemar(of_pair)
        line["n_only_first"] = int((asked[first] & ~asked[second]).sum())
        line["n_only_second"] = int((asked[second] & ~asked[first]).sum())
        line["n_unknown"] = int((asked[first] & asked[second] & ~both).sum())
        too_few = f"{n_groups} groups are too few for an interval"
        line["note"] = too_few if n_groups < FEW else ""
        lines.append(line)
    table = pd.DataFrame(lines)
    for name in ("p_mcnemar", "p_paired"):
        table[f"{name}_holm"] = _holm(table[name])
    return table


def _by_item(
    verdicts: pd.DataFrame, metric: str, groups: dict[str, str] | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What each item is, each model's mean over its runs (NaN without a verdict), who was asked."""
    frame = intervals.frame_of(verdicts, groups)
    value = measures(verdicts)[metric].astype("Float64")
    if metric.endswith("_paper"):
        value = value.fillna(0)
    frame["value"] = value.astype(float)
    answers = frame.groupby(["item", "model"])["value"]
    items = frame.drop_duplicates("item").set_index("item").sort_index()
    return items, answers.mean().unstack(), answers.size().unstack().notna()


def _difference(means: np.ndarray, draws: np.ndarray, n_groups: int) -> dict:
    """The difference of items' means (items x 2) in percent, its interval from draws, its p."""
    from scipy import stats

    first, second = means.mean(axis=0)
    difference = second - first
    spread = draws.std()
    half, p = np.nan, np.nan
    if n_groups >= FEW and spread > 1e-9:
        half = stats.t.isf(0.025, n_groups - 1) * spread
        p = 2 * stats.t.sf(abs(difference) / spread, n_groups - 1)
    elif n_groups >= FEW:
        p = 1.0
    shares = {"value_first": first, "value_second": second, "difference": difference}
    shares |= {"low": difference - half, "high": difference + half}
    return {name: 100 * share for name, share in shares.items()} | {"p_paired": p}


def _mcnemar(means: np.ndarray) -> dict:
    """McNemar's exact test on the majorities of items' means (items x 2)."""
    from statsmodels.stats.contingency_tables import mcnemar

    tied = (means == 0.5).any(axis=1)
    first, second = (means[~tied] > 0.5).T
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    p = mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue
    counts = {"only_first": only_first, "only_second": only_second, "n_tied": int(tied.sum())}
    return counts | {"p_mcnemar": float(p)}


def _holm(p: pd.Series) -> pd.Series:
    """Holm's correction over the p that are known."""
    from statsmodels.stats.multitest import multipletests

    known = p.dropna()
    if known.empty:
        return p
    return pd.Series(multipletests(known, method="holm")[1], known.index).reindex(p.index)
