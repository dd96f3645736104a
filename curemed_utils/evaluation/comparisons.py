"""Pairs of models on the items that both answered: McNemar's test and the paired bootstrap, with Holm's correction."""

import numpy as np
import pandas as pd

from curemed_utils.data import DataError
from curemed_utils.evaluation import intervals
from curemed_utils.evaluation.verdicts import measures

FEW = 6  # groups under which a bootstrap's spread says nothing


def compare(verdicts: pd.DataFrame, first: str, second: str, metric: str = "la", groups: dict[str, str] | None = None, **more) -> pd.Series:
    """One line of `compare_all`, without Holm's correction; `more` are its seed and resamples."""
    return compare_all(verdicts, [(first, second)], metric, groups, **more).drop(columns=["p_mcnemar_holm", "p_paired_holm"]).iloc[0]


def compare_all(
    verdicts: pd.DataFrame,
    pairs: list[tuple[str, str]],
    metric: str = "la",
    groups: dict[str, str] | None = None,
    seed: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> pd.DataFrame:
    """A line per pair of models, shares in percent, on the items that both answered.

    value_first, value_second, difference (second minus first) with its 95% interval (low, high) and p_paired are of each item's mean
    over runs. Interval and p rest on the difference's standard deviation in a paired bootstrap, groups drawn as in
    `statistics.scores`, and a t distribution: percentiles reject a true null too often where few items are discordant. Where
    nothing varies there is no interval, and p is 1; with under FEW groups there is neither, and `note` says so.

    McNemar's exact test (p_mcnemar) needs one verdict an item: the majority of its runs; only_first and only_second are the
    discordant items, and n_tied those left out because half the runs say either. It takes items for independent, so where items are
    parallel p_paired is the one to read. *_holm: Holm's correction over all pairs.

    n_items are compared. Left out are n_only_first and n_only_second (the other model has no response) and n_unknown (no verdict for
    one of them); `note` names an id of each. DataError if nothing is left, or a model is not there.
    """
    from statsmodels.stats.multitest import multipletests

    models = list(dict.fromkeys(name for pair in pairs for name in pair))
    known = verdicts["model"].unique().tolist()
    if strange := [name for name in models if name not in known]:
        raise DataError(f"no verdicts of {', '.join(map(repr, strange))}; there are {', '.join(map(repr, known))}")
    items, means, asked = _means(verdicts[verdicts["model"].isin(models)].reset_index(drop=True), models, metric, groups)
    sides = np.array([[models.index(name) for name in pair] for pair in pairs])
    change = means[:, sides[:, 1]] - means[:, sides[:, 0]]
    shared = ~np.isnan(change)
    left_out = [_left_out(items["id"], asked[:, side], both) for side, both in zip(sides, shared.T, strict=True)]
    for pair, both, said in zip(pairs, shared.T, left_out, strict=True):
        if not both.any():
            raise DataError(f"{pair[0]!r} and {pair[1]!r} share no item with a verdict in {metric!r} ({said['note']})")
    values = np.concatenate([np.where(shared, change, 0), shared], axis=1)
    sums = intervals.resampled(items["group"], items["stratum"], np.zeros(len(items), int), values, seed, resamples)[:, 0].astype(float)
    draws = sums[:, : len(pairs)] / sums[:, len(pairs) :]
    records = []
    for n, (pair, side, both) in enumerate(zip(pairs, sides, shared.T, strict=True)):
        means_of_pair = means[both][:, side]
        named = dict(zip(("first", "second"), pair, strict=True)) | {"metric": metric, "n_items": int(both.sum())}
        n_groups = items["group"][both].nunique()
        found = _difference(means_of_pair, draws[1:, n], n_groups) | _mcnemar(means_of_pair)
        few = f"{n_groups} groups are too few for an interval" if n_groups < FEW else ""
        records.append(named | found | left_out[n] | {"note": "; ".join(filter(None, [few, left_out[n]["note"]]))})
    table = pd.DataFrame(records)
    for name in ("p_mcnemar", "p_paired"):
        there = table[name].notna()
        table.loc[there, f"{name}_holm"] = multipletests(table.loc[there, name], method="holm")[1] if there.any() else []
    return table.reindex(columns=[*records[0], "p_mcnemar_holm", "p_paired_holm"])


def _means(
    verdicts: pd.DataFrame, models: list[str], metric: str, groups: dict[str, str] | None
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The items (id, group, stratum), each model's mean over runs on each (NaN without a verdict), and whether it has a response."""
    frame = intervals.frame_of(verdicts, ["model"], groups)
    value = measures(verdicts)[metric].astype("Float64")
    value = value.fillna(0) if metric.endswith("_paper") else value
    items = frame.drop_duplicates("item").sort_values("item", ignore_index=True)
    cells = value.to_numpy(float, na_value=np.nan), frame["item"].to_numpy(), pd.Categorical(frame["model"], models).codes
    total, of, asked = (np.zeros((len(items), len(models))) for _ in range(3))
    for sums, values in ((total, np.nan_to_num(cells[0])), (of, ~np.isnan(cells[0])), (asked, 1)):
        np.add.at(sums, cells[1:], values)
    return items, np.divide(total, of, out=np.full_like(total, np.nan), where=of > 0), asked > 0


def _left_out(ids: pd.Series, asked: np.ndarray, both: np.ndarray) -> dict:
    """Counts of items that aren't compared, and a note that names one of each kind; `asked` has the pair's two columns."""
    kinds = {
        "only_first": asked[:, 0] & ~asked[:, 1],
        "only_second": asked[:, 1] & ~asked[:, 0],
        "unknown": asked.all(axis=1) & ~both,
    }
    said = [f"{name.replace('_', ' ')}: {mask.sum()}, such as {ids[mask].iloc[0]!r}" for name, mask in kinds.items() if mask.any()]
    return {f"n_{name}": int(mask.sum()) for name, mask in kinds.items()} | {"note": "; ".join(said)}


def _difference(means: np.ndarray, draws: np.ndarray, n_groups: int) -> dict:
    """The paired difference from the items' means (items x 2) and its bootstrap draws, in percent, and its p value."""
    from scipy import stats

    first, second = means.mean(axis=0)
    spread = draws.std()
    if n_groups < FEW:
        half, p = np.nan, np.nan
    elif spread > 1e-9:
        freedom = max(n_groups - 1, 1)
        half, p = stats.t.isf(0.025, freedom) * spread, 2 * stats.t.sf(abs(second - first) / spread, freedom)
    else:
        half, p = np.nan, 1.0
    low, high = second - first - half, second - first + half
    shares = {"value_first": first, "value_second": second, "difference": second - first, "low": low, "high": high}
    return {name: 100 * float(value) for name, value in shares.items()} | {"p_paired": float(p)}


def _mcnemar(means: np.ndarray) -> dict:
    """McNemar's exact test on the majorities of items' means (items x 2)."""
    from statsmodels.stats.contingency_tables import mcnemar

    tied = (means == 0.5).any(axis=1)
    first, second = (means[~tied] > 0.5).T
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    p = mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue if only_first + only_second else 1.0
    return {"only_first": only_first, "only_second": only_second, "n_tied": int(tied.sum()), "p_mcnemar": min(float(p), 1.0)}
