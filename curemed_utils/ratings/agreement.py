"""What ratings say: means with intervals, agreement between raters, Table 5 beside them; what to revise, and revising it."""

from collections import defaultdict

import numpy as np
import pandas as pd

from curemed_utils import paper
from curemed_utils.data import DataError, Row
from curemed_utils.ratings import Ratings, by_id
from curemed_utils.ratings.sheets import GROUPS

RESAMPLES = 1000


def summary(ratings: Ratings, seed: int = 0) -> pd.DataFrame:
    """A line per group and language, and 'all': n_items, n_raters, n_ratings, n_unrated (places on sheets without a rating), mean with
    its 95% interval (low, high), share_4_5, n_shared (items that two or more rated), Krippendorff's ordinal alpha with its interval,
    and a note where a number is missing.

    An item counts once, whoever rated it: mean and share are of the items' means, and items are what the bootstrap draws. BCa, as
    ratings crowd at 5, where t intervals go beyond the scale. The intervals speak of other items, not of other raters. Alpha is
    NaN where nobody shared an item or all said the same; in 'all', differences between languages raise it.
    """
    parts = [((group, lang), part) for (group, lang), part in ratings.table.groupby(["group", "language"])]
    parts += [((group, "all"), part) for group, part in ratings.table.groupby("group")]
    parts.sort(key=lambda p: (p[0][0], p[0][1] == "all", p[0][1]))
    return pd.DataFrame([{"group": group, "language": language} | _summary(part, seed) for (group, language), part in parts])


def _summary(part: pd.DataFrame, seed: int) -> dict:
    rated = part.dropna(subset=["rating"]).astype({"rating": int})
    by_item = rated.groupby("id")["rating"]
    means = by_item.mean().to_numpy(float)
    low, high, said = _interval(means, seed)
    counts = pd.crosstab(rated["id"], rated["rating"]).reindex(columns=range(1, 6), fill_value=0).to_numpy()
    counts = counts[counts.sum(axis=1) >= 2]
    alpha, alpha_low, alpha_high, alpha_said = _alpha(counts, seed)
    return {
        **{"n_items": len(means), "n_raters": rated["rater"].nunique(), "n_ratings": len(rated), "n_unrated": len(part) - len(rated)},
        **{"mean": means.mean() if len(means) else np.nan, "low": low, "high": high},
        "share_4_5": (rated["rating"] >= 4).groupby(rated["id"]).mean().mean(),
        **{"n_shared": len(counts), "alpha": alpha, "alpha_low": alpha_low, "alpha_high": alpha_high},
        "note": "; ".join(filter(None, [said, alpha_said])),
    }


def _interval(means: np.ndarray, seed: int) -> tuple[float, float, str]:
    from scipy.stats import bootstrap

    if len(set(means)) < 2:
        return np.nan, np.nan, "all items rated alike: no interval" if len(means) > 1 else "fewer than two items: no interval"
    found = bootstrap((means,), np.mean, n_resamples=2000, method="BCa", batch=100, rng=np.random.default_rng(seed)).confidence_interval
    return float(found.low), float(found.high), ""


def _alpha(counts: np.ndarray, seed: int) -> tuple[float, float, float, str]:
    """Krippendorff's alpha of `counts` (items x the values 1-5), with a percentile bootstrap over items."""
    if not len(counts):
        return np.nan, np.nan, np.nan, "no item has two ratings: no alpha"
    if not _varied(counts):
        return np.nan, np.nan, np.nan, "all shared ratings equal: alpha is undefined"
    draws = (counts[chosen] for chosen in np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts))))
    values = [krippendorff_alpha(drawn) for drawn in draws if _varied(drawn)]
    left_out = RESAMPLES - len(values)
    said = f"alpha's interval leaves out {left_out} of {RESAMPLES} resamples, in which all ratings were equal" if left_out else ""
    return krippendorff_alpha(counts), *np.quantile(values, [0.025, 0.975]), said


def _varied(counts: np.ndarray) -> bool:
    return (counts.sum(axis=0) > 0).sum() > 1


def krippendorff_alpha(counts: np.ndarray) -> float:
    """Ordinal alpha of how many raters gave each item (rows) each value (columns, in order)."""
    import krippendorff

    return float(krippendorff.alpha(value_counts=counts, value_domain=range(counts.shape[1]), level_of_measurement="ordinal"))


def revisions(ratings: Ratings, below: int = 4) -> pd.DataFrame:
    """Items that anyone rated under `below`, lowest first: language, id, question, lowest, mean, and for each group its ratings and its
    comments, rater by rater."""
    rated = ratings.table.dropna(subset=["rating"])
    found = rated.groupby(["language", "id", "question"])["rating"].agg(lowest="min", mean="mean").query("lowest < @below").reset_index()
    for group in GROUPS:
        given = ratings.table[(ratings.table["group"] == group)].sort_values("rater")
        for column, name in (("rating", "ratings"), ("comment", "comments")):
            said = given[given[column].notna() & (given[column].astype(str) != "")]
            texts = (said["rater"] + ": " + said[column].astype(str)).groupby(said["id"]).agg("; ".join)
            found[f"{group}: {name}"] = found["id"].map(texts).fillna("")
    return found.sort_values(["lowest", "mean", "language", "id"], ignore_index=True)


def apply_edits(rows: list[Row], edits: pd.DataFrame, date: str = "") -> list[Row]:
    """Rows with `Ratings.edits` made and noted in `lineage['edits']` (rater, field, before, after, and `date` if given).

    A changed answer empties `accepted`, which was made for the old one. Raises DataError, and changes nothing, where raters differ on
    a text or it is no longer the one they saw: drop lines of `edits` until it holds.
    """
    changes, made = defaultdict(dict), defaultdict(list)
    known = by_id(rows)
    for edit in edits.drop_duplicates(["id", "field", "after"]).itertuples():
        row = known.get(edit.id)
        if row is None or getattr(row, edit.field) != edit.before:
            raise DataError(f"edit of {edit.id!r} by {edit.rater!r}: the {edit.field} is not, or no longer, the one that was rated")
        if edit.field in changes[edit.id]:
            raise DataError(f"edits of {edit.id!r}: raters want different texts for the {edit.field}; keep one line in edits")
        changes[edit.id][edit.field] = edit.after
        note = {"rater": edit.rater, "field": edit.field, "before": edit.before, "after": edit.after} | ({"date": date} if date else {})
        made[edit.id].append(note)
        if edit.field == "answer" and row.accepted:
            changes[edit.id]["accepted"] = []
            made[edit.id].append(note | {"field": "accepted", "before": row.accepted, "after": []})
    lineages = {i: known[i].lineage | {"edits": [*known[i].lineage.get("edits", []), *notes]} for i, notes in made.items()}
    return [row.model_copy(update=changes[row.id] | {"lineage": lineages[row.id]}) if row.id in made else row for row in rows]


def beside_published(table: pd.DataFrame) -> pd.DataFrame:
    """Table 5 beside a `summary`: language, measure, published, mean, low, high, n_items, difference; NaN where nobody rated."""
    published = paper.published("table05").melt("language", list(GROUPS.values()), "measure", "published")
    ours = table.assign(measure=table["group"].map(GROUPS))[["language", "measure", "mean", "low", "high", "n_items"]]
    joined = published.merge(ours, how="left", on=["language", "measure"]).astype({"n_items": "Int64"})
    return joined.assign(difference=joined["mean"] - joined["published"])
