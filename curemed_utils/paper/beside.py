"""A run's own results laid beside the published ones."""

import pandas as pd

from curemed_utils.paper.sources import published


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
