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


def other_benchmarks(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Tables 4, 11 and 12 in columns like '7B cure-med', beside `benchmarks.accuracy_table`'s.

    A language that one side lacks is NaN there.
    """
    printed = pd.concat([published(name) for name in ("table04", "table11", "table12")])
    printed["name"] = printed["model_size"] + " " + printed["variant"]
    names = printed["name"].unique()
    wide = printed.pivot(index=["benchmark", "language"], columns="name", values="accuracy")
    wide = wide[names].reset_index().rename_axis(columns=None)
    return wide.merge(accuracies, on=["benchmark", "language"], how="outer")
