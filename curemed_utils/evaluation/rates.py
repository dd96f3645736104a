"""Agreement beyond chance, and a check's rate corrected by labels (Rogan and Gladen 1978)."""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd


class Rate(NamedTuple):
    """A corrected share with its 95% interval, 0-1; `reason` says why NaN, all open or cut."""

    estimate: float
    low: float
    high: float
    n: int  # labels
    reason: str = ""


def agreement(verdicts: pd.Series, truths: pd.Series) -> dict:
    """How booleans agree with another rater's, over the n_scored pairs without NA.

    In percent, with 95% intervals (*_low, *_high) by a Bayesian bootstrap: agreement, sensitivity,
    specificity, bias (accepted more). As shares: Cohen's kappa, NaN if a rater never varies.
    """
    pairs = pd.DataFrame({"truth": list(truths), "verdict": list(verdicts)}).dropna()
    cells = pairs.value_counts()
    counts = [cells.get(pair, 0) for pair in product([True, False], repeat=2)]
    line = {"n_scored": len(pairs), "false_accept": counts[2], "false_reject": counts[1]}
    drawn = np.random.default_rng(0).dirichlet(np.add(counts, 0.5), 4000)
    with np.errstate(invalid="ignore"):
        hit, missed, taken, rejected = np.vstack([counts / np.sum(counts), drawn]).T
        true, accepted, equal = hit + missed, hit + taken, hit + rejected
        chance = true * accepted + (1 - true) * (1 - accepted)
        varies = 0 < true[0] < 1 and 0 < accepted[0] < 1
        measures = {"agreement": equal, "sensitivity": hit / true, "bias": accepted - true}
        measures["specificity"] = rejected / (1 - true)
        measures["kappa"] = (equal - chance) / (1 - chance) / (100 if varies else np.nan)
    for name, values in measures.items():
        low, high = 100 * np.quantile(values[1:], [0.025, 0.975])
        value = 100 * values[0]
        line |= {name: value, f"{name}_low": np.minimum(low, value)}
        line[f"{name}_high"] = np.maximum(high, value)
    notes = ["no verdict", "no kappa: a side never varies", "no better than chance", ""]
    line["note"] = notes[sum((len(pairs) > 0, varies, varies and line["kappa_low"] > 0))]
    return line


def rogan_gladen(apparent, sensitivity, specificity):
    """The true share behind an apparent one, maybe outside 0-1; NaN if chance does as well."""
    better = sensitivity + specificity - 1
    return (apparent + specificity - 1) / np.where(better > 1e-12, better, np.nan)


def corrected_rate(
    observed: pd.Series,
    labels: pd.DataFrame,
    seed: int = 0,
    draws: int = 4000,
    size: float | None = None,
    by_verdict: bool = True,
) -> Rate:
    """The true share behind a check's verdicts `observed` (boolean, NA left out).

    `labels` are of `labels.weigh`. The interval is of a Bayesian bootstrap (Rubin 1981) of share,
    sensitivity and specificity, with half a label of each truth added to each verdict. `observed`
    counts as `size` independent ones (default: all). Labels not drawn `by_verdict` tell the share
    that they accept no better than the rest.
    """
    seen = observed.dropna().to_numpy(bool)
    labels = labels.dropna(subset=["verdict", "truth"])
    truth = labels["truth"].to_numpy(bool)
    weight = labels["weight"].to_numpy(float)
    accepted = labels["verdict"].to_numpy(bool)
    unknown = Rate(math.nan, math.nan, math.nan, len(labels))
    if not len(seen):
        return unknown._replace(reason="no verdict to correct")
    if min(len({*accepted}), len({*truth})) < 2:
        return unknown._replace(reason="no label of one verdict, or of one truth")
    share = np.average(accepted, weights=weight)
    yes = [np.average(truth[side], weights=weight[side]) for side in (accepted, ~accepted)]
    sensitivity, specificity = _error_rates(share, *yes)
    errs = f"sensitivity {sensitivity:.2f}, specificity {specificity:.2f}"
    estimate = rogan_gladen(seen.mean(), sensitivity, specificity)
    if np.isnan(estimate):
        return unknown._replace(reason=f"the check is no better than chance: {errs}")

    random = np.random.default_rng(seed)
    yes = [_drawn(truth[side], weight[side], draws, random) for side in (accepted, ~accepted)]
    if not by_verdict:
        share = random.beta(accepted.sum() + 0.5, (~accepted).sum() + 0.5, draws)
    sensitivity, specificity = _error_rates(share, *yes)
    yes = seen.mean() * (size or len(seen))
    apparent = random.beta(yes + 0.5, (size or len(seen)) - yes + 0.5, draws)
    rates = rogan_gladen(apparent, sensitivity, specificity)
    low, high, reason = 0, 1, "the labels may mean chance"
    if np.isnan(rates).mean() <= 0.05:
        reason = ""
        low, high = np.nanquantile(rates, [0.025, 0.975])
        if ((rates >= 0) & (rates <= 1)).mean() < 0.05:
            reason = f"{seen.mean():.2f} accepted is beyond {errs}: it errs otherwise here"
            return unknown._replace(reason=reason)
    if not 0 <= estimate <= 1:
        reason = f"{estimate:.2f}, cut to 0-1"
    return Rate(*np.clip([estimate, low, high], 0, 1).tolist(), len(labels), reason)


def _error_rates(accepted, yes_accepted, yes_rejected):
    hit = accepted * yes_accepted
    miss = (1 - accepted) * yes_rejected
    return hit / (hit + miss), (1 - accepted - miss) / (1 - hit - miss)


def _drawn(truth: np.ndarray, weight: np.ndarray, draws: int, random) -> np.ndarray:
    both = np.column_stack([weight * truth, weight * ~truth])
    mass = random.exponential(size=(draws, len(truth))) @ both
    mass += weight.mean() * random.gamma(0.5, size=(draws, 2))
    return mass[:, 0] / mass.sum(axis=1)
