"""A run's own results laid beside the published ones."""

import pandas as pd

from curemed_utils.paper.sources import published

MEASURES = {"clinicians": "medical_correctness", "native speakers": "language_quality"}


def table05(means: pd.DataFrame) -> pd.DataFrame:
    """Table 5 beside the means that `ratings.agreement.rating_means` gives.

    Columns: language, measure, published, mean, low, high, n_items, difference; NaN where nobody
    rated.
    """
    printed = published("table05").melt("language", list(MEASURES.values()), "measure", "published")
    ours = means.assign(measure=means["group"].map(MEASURES))
    ours = ours[["language", "measure", "mean", "low", "high", "n_items"]]
    both = printed.merge(ours, how="left", on=["language", "measure"]).astype({"n_items": "Int64"})
    return both.assign(difference=both["mean"] - both["published"])


def overall_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """A run's models with the micro averages `la` and `lc` (NaN where not measured)."""
    rows = scores[scores["language"].eq("all")]
    keys = ["model", "params_b"]
    wide = rows.pivot_table(index=keys, columns="metric", values="value", sort=False)
    return wide.reindex(columns=["la", "lc"]).reset_index().rename_axis(columns=None)


def last_scores(scores: pd.DataFrame | None) -> pd.DataFrame:
    """The scores per language of a run's last model; no rows without a run."""
    if scores is None:
        return pd.DataFrame(columns=["model", "metric", "language", "value"])
    last = scores["model"].eq(scores["model"].iloc[-1])
    return scores[last & scores["language"].ne("all")]
