"""Agreement beyond chance, and a check's rate corrected by labels (Rogan and Gladen 1978)."""

import math
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


def kappa(a: pd.Series, b: pd.Series) -> float:
    """Cohen's kappa of two raters' booleans, of pairs without NA; NaN if a rater never varies."""
    pairs = pd.DataFrame({"a": list(a), "b": list(b)}).dropna().astype(bool)
    if pairs.nunique().min() < 2:
        return math.nan
    a, b = pairs.to_numpy().T
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance))


def rogan_gladen(apparent, sensitivity, specificity):
    """The true share behind an apparent one, maybe outside 0-1; NaN if chance does as well."""
    better = sensitivity + specificity - 1
    return (apparent + specificity - 1) / np.where(better > 1e-12, better, np.nan)


def corrected_rate(
    observed: pd.Series, labels: pd.DataFrame, seed: int = 0, draws: int = 4000
) -> Rate:
    """The true share behind a check's verdicts `observed` (boolean, NA left out).

    `labels` are of `labels.weigh`. The interval is of a Bayesian bootstrap (Rubin 1981) of share,
    sensitivity and specificity, with half a label of each truth added to each verdict.
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
    sensitivity, specificity = _error_rates(share, *yes)
    apparent = random.beta(seen.sum() + 0.5, (~seen).sum() + 0.5, draws)
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
