"""Do intervals hold? Simulated verdicts with known rates: how often the 95% interval covers them,
how often a true null is rejected.
"""

from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from curemed_utils import languages
from curemed_utils.evaluation import comparisons, intervals

DRAWS = 2000
AT_ONCE = 100  # simulated models in one table
TOPICS = 140
FEW_TOPICS = (2, 6, 10, 20, 40)
ICC = 0.3  # how much alike a topic's answers are: the correlation between two of its items
OF_TIER = {"high": 0.7, "medium": 0.5, "low": 0.3}  # true rates, so the true gap is 40 points


def measure() -> dict:
    """Percent of DRAWS covered (aim: 93-97) by setting and rate, for independent items and for
    topics in 13 languages; percent of true nulls rejected (aim: 5) by McNemar's test and by the
    paired bootstrap. By `intervals.estimates` and `comparisons.compare_all`."""
    covered = {}
    for rate in (0.05, 0.5, 0.95):
        for n in (100, 1431):
            covered[f"{n} items, rate {rate}"] = _coverage(_independent(n, rate), rate)
        name = f"{TOPICS} topics x 13 languages, rate {rate}"
        covered[name] = _coverage(_by_topic(rate), rate, "topics")
    name = f"{TOPICS} topics x 13 languages, rate 0.5, taken for independent"
    covered[name] = _coverage(_by_topic(0.5), 0.5)
    rejected = {"1431 items": _rejected(_independent(1431, 0.5), None)}
    rejected[f"{TOPICS} topics x 13 languages"] = _rejected(_by_topic(0.5), "topics")
    by_topics = {f"{topics} topics": _equity(topics) for topics in FEW_TOPICS}
    result = {"draws": DRAWS, "coverage": covered, "null rejected": rejected}
    return result | {"coverage by statistic, topics x 13 languages": by_topics}


def _independent(n: int, rate: float):
    ids = pd.DataFrame({"id": [f"q-{k}" for k in range(n)], "language": "French"})
    return ids, lambda rng, models: rng.random((models, n)) < rate


def _by_topic(rate: float):
    ids = _parallel(TOPICS)

    def answers(rng, models):
        rates = rng.beta(rate * (1 / ICC - 1), (1 - rate) * (1 / ICC - 1), (models, TOPICS))
        return rng.random((models, len(ids))) < np.tile(rates, len(languages.ALL))

    return ids, answers


def _by_tier(topics: int):
    """Rates that differ by tier; a normal threshold model, correlated by ICC within a topic."""
    ids = _parallel(topics)
    tiers = ids["language"].map({each.name: each.tier for each in languages.ALL})
    threshold = stats.norm.ppf(tiers.map(OF_TIER))

    def answers(rng, models):
        shared = np.tile(rng.normal(size=(models, topics)), len(languages.ALL))
        alone = rng.normal(size=(models, len(ids)))
        return np.sqrt(ICC) * shared + np.sqrt(1 - ICC) * alone < threshold

    return ids, answers


def _parallel(topics: int) -> pd.DataFrame:
    pairs = product(languages.ALL, range(topics))
    ids = [(f"{each.code}-{k}", each.name) for each, k in pairs]
    return pd.DataFrame(ids, columns=["id", "language"])


def _tables(make, models: int, groups: str | None):
    """Verdicts of `models` simulated models at a time, and what makes their items parallel."""
    ids, answers = make
    rng = np.random.default_rng(7)
    topics = {i: i.split("-")[1] for i in ids["id"]} if groups else None
    fixed = dict(set="test", seed=0, sample=0, response="a", finish_reason="stop")
    fixed |= dict(in_language=True, complete=True)
    for _ in range(DRAWS // AT_ONCE):
        table = pd.concat([ids] * models, ignore_index=True)
        table = table.assign(**fixed, model=np.repeat([f"m{k}" for k in range(models)], len(ids)))
        table["correct"] = answers(rng, models).ravel()
        yield table.astype(dict.fromkeys(["correct", "in_language", "complete"], "boolean")), topics


def _estimates(make, groups: str | None) -> pd.DataFrame:
    parts = []
    for n, (table, topics) in enumerate(_tables(make, AT_ONCE, groups)):
        parts.append(intervals.estimates(table, topics, ("la",), seed=n, resamples=1000))
    return pd.concat(parts, ignore_index=True)


def _percent(lines: pd.DataFrame, true: float) -> float | None:
    """Of `lines`, in how many the interval holds the `true` percentage; None without intervals."""
    if lines["low"].isna().all():
        return None
    holds = lines["low"].le(true + 1e-9) & lines["high"].ge(true - 1e-9)
    return round(100 * float(holds.mean()), 1)


def _coverage(make, rate: float, groups: str | None = None) -> float:
    lines = _estimates(make, groups).query("statistic == 'micro'")
    share = _percent(lines, 100 * rate)
    unit = "by topic" if groups else "by item"
    print(f"{unit}, {len(make[0])} items, rate {rate}: {share}% covered", flush=True)
    return share


def _equity(topics: int) -> dict[str, float | None]:
    lines = _estimates(_by_tier(topics), "topics").groupby("statistic")
    mean = 100 * np.mean([OF_TIER[each.tier] for each in languages.ALL])
    true = {"micro": mean, "macro": mean, "worst": 30, "tier_gap": 40}
    shares = {name: _percent(lines.get_group(name), value) for name, value in true.items()}
    print(f"{topics} topics: {shares}% covered", flush=True)
    return shares


def _rejected(make, groups: str | None) -> dict[str, float]:
    pairs = [(f"m{2 * k}", f"m{2 * k + 1}") for k in range(AT_ONCE)]
    parts = []
    for n, (table, topics) in enumerate(_tables(make, 2 * AT_ONCE, groups)):
        parts.append(comparisons.compare_all(table, pairs, groups=topics, seed=n, resamples=1000))
    table = pd.concat(parts)
    shares = {}
    for name in ("mcnemar", "paired"):
        shares[name] = round(100 * float((table[f"p_{name}"] < 0.05).mean()), 1)
    print(f"{len(make[0])} items, true null rejected: {shares}", flush=True)
    return shares


if __name__ == "__main__":
    measure()
