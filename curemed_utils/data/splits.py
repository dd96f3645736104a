"""Which rows train and which test: sources to splits."""

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from operator import attrgetter

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from curemed_utils import data, languages, paths
from curemed_utils.data import DataError, Row
from curemed_utils.data.sources import HUB_DATASET

SOURCES = ("sample", "release", "hub", "curated")
_PASSES = 20  # over the groups of a split; three or four suffice as a rule
_ROUNDING = 1e-12


def draw(key: str, seed: int) -> str:
    """A pseudo-random sort key, the same on every machine."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def load_splits(
    source: str,
    max_per_language: int = 0,
    seed: int = 0,
    test_share: float = 0.2,
    rft_share: float = 0.2,
    rft_seen: float = 0.0,
    hub_dataset: str = HUB_DATASET,
    curated: list[Row] = (),
) -> dict[str, list[Row]]:
    """The rows of `source` as {'sft', 'rft', 'test'} (Section 4.1).

    A source that holds all three splits keeps them; others are split here. `max_per_language`
    (0: no limit) counts within each split that the source brings, else before the split.
    """
    if max_per_language < 0:
        raise ValueError(f"max_per_language must be 0 or more, not {max_per_language}")
    if source == "release":
        parts = data.read_release()
    elif source == "hub":
        parts = data.read_hub(hub_dataset)
    elif source == "sample":
        parts = {"train": data.read_folder(paths.SAMPLE, "sample")}
    elif source == "curated":
        parts = {"train": list(curated)}
    else:
        raise ValueError(f"data_source is {source!r}{languages.nearest(source, SOURCES)}")
    if parts.keys() >= set(data.SPLITS):
        return {name: limit(parts[name], max_per_language, seed) for name in data.SPLITS}
    test = limit(parts.pop("test", []), max_per_language, seed)
    rows = limit(list(itertools.chain(*parts.values())), max_per_language, seed)
    return split(rows, test_share, rft_share, seed, rft_seen, test)


def limit(rows: list[Row], per_language: int, seed: int) -> list[Row]:
    """At most `per_language` rows a language (0: all), of the same topics in all languages."""
    if not per_language:
        return rows
    order = sorted(range(len(rows)), key=lambda n: draw(rows[n].topic or rows[n].id, seed))
    numbers = pd.Series(order).groupby([rows[n].language for n in order]).head(per_language)
    return [rows[n] for n in sorted(numbers)]


def split(
    rows: list[Row],
    test_share: float,
    rft_share: float,
    seed: int,
    rft_seen: float = 0.0,
    test: list[Row] = (),
) -> dict[str, list[Row]]:
    """Holds out `test_share` of the rows, then `rft_share` of the rest for RFT (Section 4.1).

    Groups (`groups_of`) stay whole. SFT learns `rft_seen` of the RFT groups as well: 0 in the
    paper, 0.26 of the rows in the released files. A `test` set is kept. DataError for an empty
    split.
    """
    shares = {"test_share": test_share, "rft_share": rft_share, "rft_seen": rft_seen}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in 0-1, not {share}")
    test, train = (list(test), rows) if test else _part(rows, test_share, seed)
    rft, sft = _part(train, rft_share, seed + 1)
    seen, _ = _part(rft, rft_seen, seed + 2)
    sft_ids = {row.id for row in [*seen, *sft]}
    parts = {"sft": [row for row in train if row.id in sft_ids], "rft": rft, "test": test}
    empty = [name for name, part in parts.items() if not part]
    if empty:
        advice = "raise max_per_language or change the shares"
        raise DataError(f"{len(rows)} rows leave {' and '.join(empty)} empty; {advice}")
    return parts


def _part(rows, share, seed):
    """Rows inside a share and the others: groups go in or out where that brings it nearer."""
    groups = groups_of(rows)
    sizes = defaultdict(Counter)
    for row, group in zip(rows, groups, strict=True):
        sizes[group][row.language] += 1
    total = Counter(row.language for row in rows)
    missing = {language: share * number for language, number in total.items()}
    order = sorted(sizes, key=lambda group: draw(group, seed))
    chosen = set()
    for _ in range(_PASSES):
        before = set(chosen)
        for group in order:
            sign = -1 if group in chosen else 1
            left = {name: missing[name] - sign * size for name, size in sizes[group].items()}
            gains = [(missing[name] ** 2 - left[name] ** 2) / total[name] ** 2 for name in left]
            # fsum is exact, whatever the order of the rows
            if math.fsum(gains) > _ROUNDING:
                chosen ^= {group}
                missing |= left
        if chosen == before:
            break
    inside, others = [], []
    for row, group in zip(rows, groups, strict=True):
        (inside if group in chosen else others).append(row)
    return inside, others


def groups_of(rows: list[Row]) -> list[str]:
    """The group of each row: equal questions and topics hold rows together."""
    ties, questions = DisjointSet(), []
    for row in rows:
        question = (1, f"{row.language} {data.normalize(row.question)}")
        topic = (0, f"topic {row.topic}") if row.topic else question
        ties.add(question)
        ties.add(topic)
        ties.merge(question, topic)
        questions.append(question)
    group = {}
    for tied in ties.subsets():
        group |= dict.fromkeys(tied, min(tied)[1])  # whatever the order of the rows
    return [group[question] for question in questions]


def count(
    splits: dict[str, list[Row]], by: Callable[[Row], str] = attrgetter("language")
) -> pd.DataFrame:
    """Rows per language (or any key) and split, with a total."""
    counts = {name: Counter(map(by, rows)) for name, rows in splits.items()}
    table = pd.DataFrame(counts).fillna(0).astype(int).sort_index()
    table.loc["all"] = table.sum()
    return table
