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


def agreement(verdicts: pd.Series, truths: pd.Series) -> dict:
    """How booleans agree with another rater's, over the n_scored pairs without NA.

    In percent: agreement, sensitivity, specificity; Cohen's kappa is a share, NaN if a rater never
    varies. Each has a 95% interval, *_low to *_high.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    pairs = pd.DataFrame({"verdict": list(verdicts), "truth": list(truths)}).dropna().astype(bool)
    accepted, true = pairs["verdict"], pairs["truth"]
    right = accepted == true
    measures = {
        "agreement": share(right),
        "sensitivity": share(right[true]),
        "specificity": share(right[~true]),
        "kappa": np.full(3, np.nan),
    }
    note = "no kappa: a side never varies" if len(pairs) else "no verdict"
    if accepted.nunique() == true.nunique() == 2:
        kappa = cohens_kappa(pd.crosstab(accepted, true))
        measures["kappa"] = np.array([kappa.kappa, kappa.kappa_low, kappa.kappa_upp]) / 100
        note = "" if kappa.kappa_low > 0 else "no better than chance"
    line = {"n_scored": len(pairs)}
    for name, values in measures.items():
        line[name], line[f"{name}_low"], line[f"{name}_high"] = 100 * values
    wrong = {"false_accept": sum(accepted & ~true), "false_reject": sum(~accepted & true)}
    return line | wrong | {"note": note}


def share(truths: pd.Series, weights: pd.Series | float = 1.0) -> np.ndarray:
    """The share of True with Wilson's 95% interval, for Kish's effective number."""
    from statsmodels.stats.proportion import proportion_confint

    weights = weights + 0.0 * truths
    total = weights.sum() or np.nan
    n, value = total**2 / (weights**2).sum(), (truths * weights).sum() / total
    return np.array([value, *proportion_confint(n * value, n, method="wilson")])


def agreements(table: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """`agreement` of verdict with published, and n, in each group of `by`."""
    groups = table.groupby(by, sort=False)
    lines = [agreement(rows["verdict"], rows["published"]) for _, rows in groups]
    return pd.DataFrame(lines, groups.size().index).assign(n=groups.size())


def rogan_gladen(apparent, sensitivity, specificity):
    """The true share behind an apparent one, maybe outside 0-1; NaN if chance does as well."""
    better = sensitivity + specificity - 1
    return (apparent + specificity - 1) / np.where(better > 1e-12, better, np.nan)


def corrected_rate(observed: pd.Series, labels: pd.DataFrame) -> Rate:
    """The true share behind a check's verdicts `observed` (boolean, NA left out).

    `labels`: verdict, truth and weight, how many verdicts each stands for.
    """
    seen = observed.dropna().astype(bool)
    labels = labels.dropna(subset=["verdict", "truth"]).astype({"verdict": bool, "truth": bool})
    unknown = Rate(math.nan, math.nan, math.nan, len(labels))
    if seen.empty:
        return unknown._replace(reason="no verdict to correct")
    if min(labels["verdict"].nunique(), labels["truth"].nunique()) < 2:
        return unknown._replace(reason="no label of one verdict, or of one truth")
    right = labels["verdict"] == labels["truth"]
    errors = [share(right[of], labels["weight"][of]) for of in (labels["truth"], ~labels["truth"])]
    errs = "sensitivity {:.2f}, specificity {:.2f}".format(*(values[0] for values in errors))
    true, low, high = true_share(share(seen), *errors)
    if np.isnan(true):
        return unknown._replace(reason=f"the check is no better than chance: {errs}")
    reason = "" if 0 <= true <= 1 else f"{true:.2f}, cut to 0-1"
    if high < 0 or low > 1:
        reason = f"{seen.mean():.2f} accepted is beyond {errs}: it errs otherwise here"
        return unknown._replace(reason=reason)
    if errors[0][1] + errors[1][1] <= 1:
        low, high, reason = 0, 1, "the labels may mean chance"
    return Rate(*np.clip([true, low, high], 0, 1).tolist(), len(labels), reason)


def true_share(*shares: np.ndarray) -> np.ndarray:
    """Rogan and Gladen's share with its interval, of those of what is accepted, of sensitivity and
    of specificity (value, low, high, 0-1); its parts add as in the delta method."""
    shares = np.array(shares)
    true = rogan_gladen(*shares[:, 0])
    better = shares[1, 0] + shares[2, 0] - 1
    slopes = np.array([1, -true, 1 - true]) / (better or np.nan)
    steps = slopes[:, None] * (shares - shares[:, :1])
    below, above = np.linalg.norm([steps.min(axis=1), steps.max(axis=1)], axis=1)
    return np.array([true, true - below, true + above])
