"""What ratings say: means, agreement between raters, and what to revise."""

import numpy as np
import pandas as pd

from curemed_utils.data import DataError
from curemed_utils.ratings.forms import GROUPS, Ratings

RESAMPLES = 1000
FEW = 10  # shared items: of fewer the resamples of alpha hardly differ
NO_INTERVAL = (np.nan, np.nan)


def rating_means(ratings: Ratings, seed: int = 0) -> pd.DataFrame:
    """A line for each group and language, and for 'all' languages.

    Columns: n_items, n_raters, n_unrated (places without a rating); mean with its 95% BCa interval
    (low, high), of other items, not of other raters; share_4_5; n_shared (items that two or more
    rated) and their ordinal alpha, with an interval of `FEW` or more; a note where one is missing.
    """
    if ratings.table.empty:
        raise DataError(f"no rating to read; faults: {len(ratings.faults)}")
    places = pd.concat([ratings.table, ratings.table.assign(language="all")])
    lines = []
    for (group, language), part in places.groupby(["group", "language"]):
        lines.append(_group_means(group, language, part, seed))
    return pd.DataFrame(lines)


def _group_means(group, language, places, seed):
    rated = places.dropna(subset=["rating"]).astype({"rating": int})
    means = rated.groupby("id")["rating"].mean().to_numpy(float)
    line = {"group": group, "language": language, "n_items": len(means)}
    line["n_raters"] = rated["rater"].nunique()
    line["n_unrated"] = len(places) - len(rated)
    line["mean"] = means.mean() if len(means) else np.nan
    line["low"], line["high"], mean_note = _interval(means, seed)
    line["share_4_5"] = (rated["rating"] >= 4).groupby(rated["id"]).mean().mean()
    counts = pd.crosstab(rated["id"], rated["rating"]).reindex(columns=range(1, 6), fill_value=0)
    shared = counts[counts.sum(axis=1) >= 2].to_numpy()
    line["n_shared"] = len(shared)
    line["alpha"], line["alpha_low"], line["alpha_high"], alpha_note = _alpha(shared, seed)
    line["note"] = "; ".join(filter(None, [mean_note, alpha_note]))
    return line


def _interval(means, seed):
    from scipy.stats import bootstrap

    if len(means) < 2:
        return *NO_INTERVAL, "fewer than two items: no interval"
    if len(set(means)) < 2:
        return *NO_INTERVAL, "all items rated alike: no interval"
    rng = np.random.default_rng(seed)
    drawn = bootstrap((means,), np.mean, n_resamples=2000, method="BCa", batch=100, rng=rng)
    return *map(float, drawn.confidence_interval), ""


def _alpha(counts, seed):
    if not len(counts):
        return np.nan, *NO_INTERVAL, "no item has two ratings: no alpha"
    alpha = krippendorff_alpha(counts)
    if np.isnan(alpha):
        return np.nan, *NO_INTERVAL, "all shared ratings equal: alpha is undefined"
    if len(counts) < FEW:
        return alpha, *NO_INTERVAL, f"fewer than {FEW} shared items: no interval of alpha"
    draws = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts)))
    values = [krippendorff_alpha(counts[items]) for items in draws]
    note, n_equal = "", np.isnan(values).sum()
    if n_equal:
        note = f"alpha's interval leaves out {n_equal} of {RESAMPLES} resamples"
        note += ", in which all ratings were equal"
    return alpha, *np.nanquantile(values, [0.025, 0.975]), note


def krippendorff_alpha(counts: np.ndarray) -> float:
    """Ordinal alpha of how many raters gave each item (rows) each value (columns, in order).

    NaN where all that share an item are equal.
    """
    import krippendorff

    shared = counts[counts.sum(axis=1) >= 2]
    if shared.any(axis=0).sum() < 2:
        return np.nan
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal"))


def revisions(ratings: Ratings) -> pd.DataFrame:
    """Items that anyone rated under 4, lowest first, with each group's ratings and comments.

    Columns: language, id, question, lowest, mean; '<group>: ratings', '<group>: comments'.
    """
    by_item = ratings.table.dropna(subset=["rating"]).groupby(["language", "id", "question"])
    items = by_item["rating"].agg(lowest="min", mean="mean").query("lowest < 4").reset_index()
    for group in GROUPS:
        of_group = ratings.table[ratings.table["group"] == group].sort_values("rater")
        for column in ("rating", "comment"):
            texts = of_group[column].astype("string").fillna("")
            texts = (of_group["rater"] + ": " + texts)[texts != ""]
            of_item = texts.groupby(of_group["id"]).agg("; ".join)
            items[f"{group}: {column}s"] = items["id"].map(of_item).fillna("")
    return items.sort_values(["lowest", "mean", "language", "id"], ignore_index=True)
