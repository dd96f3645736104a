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
    response) and n_unknown (no verdict for one of them); `note` names an id of each.
    DataError if nothing is left, or a model is not there.
    """
    models = list(dict.fromkeys(name for pair in pairs for name in pair))
    evaluated = verdicts["model"].unique().tolist()
    strange = [name for name in models if name not in evaluated]
    if strange:
        names = ", ".join(map(repr, strange))
        raise DataError(f"no verdicts of {names}; there are {', '.join(map(repr, evaluated))}")
    of_models = verdicts[verdicts["model"].isin(models)].reset_index(drop=True)
    items, means, asked = _by_item(of_models, metric, groups)
    changes = np.column_stack([means[second] - means[first] for first, second in pairs])
    shared = ~np.isnan(changes)
    left_out = []
    for pair, both in zip(pairs, shared.T, strict=True):
        left_out.append(_left_out(items["id"], asked[list(pair)].to_numpy(), both))
        if not both.any():
            no_item = f"{pair[0]!r} and {pair[1]!r} share no item with a verdict in {metric!r}"
            raise DataError(f"{no_item} ({left_out[-1]['note']})")
    values = np.hstack([np.nan_to_num(changes), shared])
    sums = intervals.resampled(items.assign(cell=0), values, seed, resamples)[:, 0].astype(float)
    total, n_shared = np.split(sums, 2, axis=1)
    draws = total / n_shared
    lines = []
    for n, (first, second) in enumerate(pairs):
        both = shared[:, n]
        means_of_pair = means.loc[both, [first, second]].to_numpy()
        n_groups = items["group"][both].nunique()
        line = {"first": first, "second": second, "metric": metric, "n_items": int(both.sum())}
        line |= _difference(means_of_pair, draws[1:, n], n_groups)
        line |= _mcnemar(means_of_pair)
        line |= left_out[n]
        if n_groups < FEW:
            few = f"{n_groups} groups are too few for an interval"
            line["note"] = "; ".join(filter(None, [few, line["note"]]))
        lines.append(line)
    table = pd.DataFrame(lines)
    for name in ("p_mcnemar", "p_paired"):
        table[f"{name}_holm"] = _holm(table[name])
    return table


def _by_item(
    verdicts: pd.DataFrame, metric: str, groups: dict[str, str] | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Items x columns: what each item is, every model's mean over runs, and who was asked.

    A mean is NaN where no run has a verdict.
    """
    frame = intervals.frame_of(verdicts, ["model"], groups)
    value = measures(verdicts)[metric].astype("Float64")
    if metric.endswith("_paper"):
        value = value.fillna(0)
    frame["value"] = value.astype(float)
    answers = frame.groupby(["item", "model"])["value"]
    items = frame.drop_duplicates("item").set_index("item").sort_index()
    return items, answers.mean().unstack(), answers.size().unstack().notna()


def _left_out(ids: pd.Series, asked: np.ndarray, both: np.ndarray) -> dict:
    """Counts of items that aren't compared, and a note that names one of each kind."""
    first, second = asked.T
    kinds = {
        "only_first": first & ~second,
        "only_second": second & ~first,
        "unknown": first & second & ~both,
    }
    counts, notes = {}, []
    for name, is_left_out in kinds.items():
        counts[f"n_{name}"] = int(is_left_out.sum())
        if is_left_out.any():
            some = f"{is_left_out.sum()}, such as {ids[is_left_out].iloc[0]!r}"
            notes.append(f"{name.replace('_', ' ')}: {some}")
    return counts | {"note": "; ".join(notes)}


def _difference(means: np.ndarray, draws: np.ndarray, n_groups: int) -> dict:
    """The difference of items' means (items x 2) in percent, its interval from draws, its p."""
    from scipy import stats

    first, second = means.mean(axis=0)
    difference = second - first
    spread = draws.std()
    half, p = np.nan, np.nan
    if n_groups >= FEW and spread > 1e-9:
        freedom = n_groups - 1
        half = stats.t.isf(0.025, freedom) * spread
        p = 2 * stats.t.sf(abs(difference) / spread, freedom)
    elif n_groups >= FEW:
        p = 1.0
    return {
        "value_first": 100 * float(first),
        "value_second": 100 * float(second),
        "difference": 100 * float(difference),
        "low": 100 * float(difference - half),
        "high": 100 * float(difference + half),
        "p_paired": float(p),
    }


def _mcnemar(means: np.ndarray) -> dict:
    """McNemar's exact test on the majorities of items' means (items x 2)."""
    from statsmodels.stats.contingency_tables import mcnemar

    tied = (means == 0.5).any(axis=1)
    first, second = (means[~tied] > 0.5).T
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    p = 1.0
    if only_first + only_second:
        p = mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue
    counts = {"only_first": only_first, "only_second": only_second, "n_tied": int(tied.sum())}
    return counts | {"p_mcnemar": min(float(p), 1.0)}


def _holm(p: pd.Series) -> pd.Series:
    """Holm's correction over the p that are known."""
    from statsmodels.stats.multitest import multipletests

    known = p.dropna()
    if known.empty:
        return p
    return pd.Series(multipletests(known, method="holm")[1], known.index).reindex(p.index)
