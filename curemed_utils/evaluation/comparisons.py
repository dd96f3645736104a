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

    difference (second minus first), its 95% interval (low, high) and p_paired are of items' means
    over runs, by a paired bootstrap of groups; under FEW groups have neither. McNemar's exact test
    (p_mcnemar) takes the majority of an item's runs (n_tied have none) and items for independent.
    *_holm is corrected over all pairs. docs/evaluation.md has the method.

    Left out are n_only_first and n_only_second (the other model has no response) and n_unknown (no
    verdict for one of them). DataError if nothing is left.
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
        of_pair = means.loc[both, [first, second]].to_numpy()
        changed = pd.Series(changes[both, n]).groupby(items["group"].to_numpy()[both]).sum()
        line = {"first": first, "second": second, "metric": metric, "n_items": both.sum()}
        line |= _difference(of_pair, total[1:, n] / n_shared[1:, n], changed)
        line |= _mcnemar(of_pair)
        line["n_only_first"] = (asked[first] & ~asked[second]).sum()
        line["n_only_second"] = (asked[second] & ~asked[first]).sum()
        line["n_unknown"] = (asked[first] & asked[second] & ~both).sum()
        line["note"] = ""
        if len(changed) < FEW:
            line["note"] = f"too few groups: {len(changed)}"
        lines.append(line)
    table = pd.DataFrame(lines)
    for name in ("p_mcnemar", "p_paired"):
        table[f"{name}_holm"] = _holm(table[name])
    return table


def _by_item(
    verdicts: pd.DataFrame, metric: str, groups: dict[str, str] | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What each item is, each model's mean over its runs, and who was asked."""
    frame = intervals.frame_of(verdicts, groups)
    truths = measures(verdicts)[[metric]]
    frame["value"] = intervals.as_numbers(truths, verdicts["model"])[metric]
    answers = frame.groupby(["item", "model"])["value"]
    items = frame.drop_duplicates("item").set_index("item").sort_index()
    return items, answers.mean().unstack(), answers.size().unstack().notna()


def _difference(means: np.ndarray, draws: np.ndarray, changed: pd.Series) -> dict:
    from scipy import stats

    first, second = means.mean(axis=0)
    difference, n = second - first, len(changed)
    low = high = p = np.nan
    if n >= FEW:
        size = changed.abs() * n / len(means)
        n_changed = (size > 1e-9).sum()
        largest = size.max() if n_changed else 1
        square = draws.var() * (n - 1) + difference**2
        square = (square * n + 2 * largest**2) / (n + 2)
        middle = difference * n / (n + 2)
        spread = np.sqrt((square - middle**2) / (n + 2))
        half = stats.t.isf(0.025, n - 1) * spread
        low, high = np.clip([middle - half, middle + half], -1, 1)
        p = max(2 * stats.t.sf(abs(middle) / spread, n - 1), 2.0 ** (1 - n_changed))
    names = ["value_first", "value_second", "difference", "low", "high"]
    shares = 100 * np.array([first, second, difference, low, high])
    return dict(zip(names, shares, strict=True)) | {"p_paired": min(p, 1)}


def _mcnemar(means: np.ndarray) -> dict:
    from statsmodels.stats.contingency_tables import mcnemar

    tied = (means == 0.5).any(axis=1)
    first, second = (means[~tied] > 0.5).T
    only_first, only_second = (first & ~second).sum(), (second & ~first).sum()
    p = mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue
    counts = {"only_first": only_first, "only_second": only_second, "n_tied": tied.sum()}
    return counts | {"p_mcnemar": p}


def _holm(p: pd.Series) -> pd.Series:
    """Over the p that are known."""
    from statsmodels.stats.multitest import multipletests

    present = p.dropna()
    corrected = multipletests(present, method="holm")[1] if len(present) else []
    return pd.Series(corrected, present.index, dtype=float).reindex(p.index)
