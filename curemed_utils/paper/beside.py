"""A run's own results laid beside the published ones."""

import pandas as pd

from curemed_utils.paper.sources import published

MEASURES = {"clinicians": "medical_correctness", "native speakers": "language_quality"}
NO_RUN = pd.DataFrame(  # the scores (of `measured.results_of`) where there is no run
    {"model": [], "params_b": [], "metric": [], "language": [], "value": []}
).astype({"model": str, "metric": str, "language": str})


def table05(means: pd.DataFrame) -> pd.DataFrame:
    """Table 5 beside the means that `ratings.agreement.rating_means` gives.

    Columns: language, measure, published, mean, low, high; NaN where nobody rated.
    """
    keys = ["language", "measure"]
    printed = published("table05").melt("language", list(MEASURES.values()), "measure", "published")
    ours = means.assign(measure=means["group"].map(MEASURES))
    return printed.merge(ours[[*keys, "mean", "low", "high"]], how="left", on=keys)


def overall_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """A run's models with their micro averages `la` and `lc` (or NaN)."""
    rows = scores[scores["language"].eq("all")]
    wide = rows.pivot_table("value", ["model", "params_b"], "metric", sort=False)
    return wide.reindex(columns=["la", "lc"]).reset_index().rename_axis(columns=None)


def last_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores per language of a run's last model."""
    last = scores["model"].isin(scores["model"].tail(1))
    return scores[last & scores["language"].ne("all")]


def benchmarks() -> pd.DataFrame:
    """Tables 4, 11 and 12."""
    return pd.concat([published(name) for name in ("table04", "table11", "table12")])


def other_benchmarks(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Tables 4, 11 and 12 in columns like '7B cure-med', beside `benchmarks.accuracy_table`'s.

    A language that one side lacks is NaN there.
    """
    printed = benchmarks()
    printed["name"] = printed["model_size"] + " " + printed["variant"]
    keys = ["benchmark", "language"]
    wide = printed.pivot_table("accuracy", keys, "name", sort=False)
    wide = wide.reset_index().rename_axis(columns=None)
    return wide.merge(accuracies, on=keys, how="outer")
