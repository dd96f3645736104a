"""Do intervals hold? Simulated verdicts with known rates: how often the 95% interval covers them,
how often a true null is rejected.
"""

import numpy as np
import pandas as pd

from curemed_utils import languages
from curemed_utils.evaluation import comparisons, intervals

DRAWS = 2000
AT_ONCE = 100  # simulated models in one table
TOPICS = 140
ICC = 0.3  # how much alike a topic's answers are: the correlation between two of its items


def measure() -> dict:
    """Percent of DRAWS covered (aim: 93-97) by setting and rate, for independent items and for
    topics in 13 languages; percent of true nulls rejected (aim: 5) by McNemar's test and by the
    paired bootstrap. By `intervals.estimates` and `comparisons.compare_all`."""
    found = {"draws": DRAWS, "coverage": {}, "null rejected": {}}
    for rate in (0.05, 0.5, 0.95):
        for n in (100, 1431):
            found["coverage"][f"{n} items, rate {rate}"] = _coverage(_independent(n, rate), rate)
        found["coverage"][f"{TOPICS} topics x 13 languages, rate {rate}"] = _coverage(
            _by_topic(rate), rate, "topics"
        )
    found["coverage"][f"{TOPICS} topics x 13 languages, rate 0.5, taken for independent"] = (
        _coverage(_by_topic(0.5), 0.5)
    )
    for name, make, groups in (
        ("1431 items", _independent(1431, 0.5), None),
        (f"{TOPICS} topics x 13 languages", _by_topic(0.5), "topics"),
    ):
        found["null rejected"][name] = _rejected(make, groups)
    return found


def _independent(n: int, rate: float):
    ids = pd.DataFrame({"id": [f"q-{k}" for k in range(n)], "language": "French"})
    return ids, lambda rng, models: rng.random((models, n)) < rate


def _by_topic(rate: float):
    ids = pd.DataFrame(
        [(f"{each.code}-{k}", each.name) for each in languages.ALL for k in range(TOPICS)],
        columns=["id", "language"],
    )

    def answers(rng, models):
        rates = rng.beta(rate * (1 / ICC - 1), (1 - rate) * (1 / ICC - 1), (models, TOPICS))
        return rng.random((models, len(ids))) < np.tile(rates, len(languages.ALL))

    return ids, answers


def _tables(make, models: int, groups: str | None):
    """Verdicts of `models` simulated models at a time, and what makes their items parallel."""
    ids, answers = make
    rng = np.random.default_rng(7)
    topics = {i: i.split("-")[1] for i in ids["id"]} if groups else None
    fixed = dict(set="test", seed=0, sample=0, response="a", finish_reason="stop")
    fixed |= dict(in_language=True, complete=True)
    for _ in range(DRAWS // AT_ONCE):
        table = pd.concat([ids] * models, ignore_index=True).assign(
            **fixed, model=np.repeat([f"m{k}" for k in range(models)], len(ids))
        )
        table["correct"] = answers(rng, models).ravel()
        yield table.astype(dict.fromkeys(["correct", "in_language", "complete"], "boolean")), topics


def _coverage(make, rate: float, groups: str | None = None) -> float:
    covered = []
    for n, (table, topics) in enumerate(_tables(make, AT_ONCE, groups)):
        scores = intervals.estimates(
            table, groups=topics, metrics=("la",), seed=n, resamples=1000
        ).query("statistic == 'micro'")
        covered.append((scores["low"] <= 100 * rate + 1e-9) & (100 * rate <= scores["high"] + 1e-9))
    share = round(100 * float(pd.concat(covered).mean()), 1)
    print(
        f"{'by topic' if groups else 'by item'}, {len(make[0])} items, rate {rate}: {share}% "
        "covered",
        flush=True,
    )
    return share


def _rejected(make, groups: str | None) -> dict[str, float]:
    pairs = [(f"m{2 * k}", f"m{2 * k + 1}") for k in range(AT_ONCE)]
    found = pd.concat(
        comparisons.compare_all(table, pairs, groups=topics, seed=n, resamples=1000)
        for n, (table, topics) in enumerate(_tables(make, 2 * AT_ONCE, groups))
    )
    shares = {
        name: round(100 * float((found[f"p_{name}"] < 0.05).mean()), 1)
        for name in ("mcnemar", "paired")
    }
    print(f"{len(make[0])} items, true null rejected: {shares}", flush=True)
    return shares


if __name__ == "__main__":
    measure()
