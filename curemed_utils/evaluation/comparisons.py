"""Pairs of models on the items that both answered: McNemar's test and the paired bootstrap."""

import numpy as np
import pandas as pd

from curemed_utils.data import DataError
from curemed_utils.evaluation import intervals
from curemed_utils.evaluation.verdicts import measures


def compare_all(
    verdicts: pd.DataFrame,
    pairs: list[tuple[str, str]],
    metric: str = "la",
    groups: dict[str, str] | None = None,
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> pd.DataFrame:
    """A line per pair of models, on the n_items that both answered, in n_groups.

    difference (second minus first, in points), its 95% interval and p_paired are of the mean change
    of an item, over runs, by a paired bootstrap of groups; NaN under `intervals.FEW` groups.
    McNemar's exact test (p_mcnemar) is of the items that by the majority of runs (n_tied have none)
    only one gets right: right_first, right_second. *_holm is corrected over all pairs;
    docs/evaluation.md has the method.

    Left out are items without a response of one (n_no_first, n_no_second) or a verdict (n_unknown).
    DataError if nothing is left.
    """
    of_models = verdicts[verdicts["model"].isin(np.ravel(pairs))].reset_index(drop=True)
    items, means, asked = _by_item(of_models, metric, groups)
    means = means.reindex(columns=np.unique(pairs))
    changes = np.column_stack([means[second] - means[first] for first, second in pairs])
    shared = ~np.isnan(changes)
    values = np.hstack([np.nan_to_num(changes), shared])
    sums = intervals.resampled(items.assign(cell=0), values, seed, resamples)[:, 0].astype(float)
    total, n_shared = np.split(sums, 2, axis=1)
    lines = []
    for n, (first, second) in enumerate(pairs):
        both = shared[:, n]
        if not both.any():
            raise DataError(f"{pairs[n]} share no item with a verdict in {metric!r}")
        changed = pd.Series(changes[both, n]).groupby(items["group"].to_numpy()[both]).sum()
        line = {"first": first, "second": second, "metric": metric}
        line |= {"n_items": both.sum(), "n_groups": len(changed)}
        line |= _difference(changed, both.sum(), total[1:, n] / n_shared[1:, n])
        line |= _mcnemar(means.loc[both, [first, second]].to_numpy())
        line["n_no_first"] = (asked[second] & ~asked[first]).sum()
        line["n_no_second"] = (asked[first] & ~asked[second]).sum()
        line["n_unknown"] = (asked[first] & asked[second] & ~both).sum()
        lines.append(line)
    table = pd.DataFrame(lines)
    for name in ("p_mcnemar", "p_paired"):
        table[f"{name}_holm"] = _holm(table[name])
    return table


def _by_item(verdicts, metric, groups):
    """What each item is, each model's mean over its runs, and who was asked."""
    frame = intervals.frame_of(verdicts, groups)
    truths = measures(verdicts)[[metric]]
    frame["value"] = intervals.as_numbers(truths, verdicts["model"])[metric]
    answers = frame.groupby(["item", "model"])["value"]
    items = frame.drop_duplicates("item").set_index("item").sort_index()
    return items, answers.mean().unstack(), answers.size().unstack().notna()


def _difference(changed, n_items, draws):
    from scipy import stats

    difference, n = changed.sum() / n_items, len(changed)
    low = high = p = np.nan
    if n >= intervals.FEW:
        size = changed.abs() * n / n_items
        n_changed = (size > 1e-9).sum()
        largest = size.max() if n_changed else 1
        square = draws.var() * (n - 1) + difference**2
        square = (square * n + 2 * largest**2) / (n + 2)
        middle = difference * n / (n + 2)
        spread = np.sqrt((square - middle**2) / (n + 2))
        half = stats.t.isf(0.025, n - 1) * spread
        low, high = np.clip([middle - half, middle + half], -1, 1)
        p = max(2 * stats.t.sf(abs(middle) / spread, n - 1), 2.0 ** (1 - n_changed))
    points = {"difference": 100 * difference, "low": 100 * low, "high": 100 * high}
    return points | {"p_paired": min(p, 1)}


def _mcnemar(means):
    from statsmodels.stats.contingency_tables import mcnemar

    tied = (means == 0.5).any(axis=1)
    first, second = (means[~tied] > 0.5).T
    right_first, right_second = (first & ~second).sum(), (second & ~first).sum()
    p = mcnemar([[0, right_first], [right_second, 0]], exact=True).pvalue
    counts = {"right_first": right_first, "right_second": right_second, "n_tied": tied.sum()}
    return counts | {"p_mcnemar": p}


def _holm(p):
    from statsmodels.stats.multitest import multipletests

    present = p.dropna()
    corrected = multipletests(present, method="holm")[1] if len(present) else []
    return pd.Series(corrected, present.index, dtype=float).reindex(p.index)
