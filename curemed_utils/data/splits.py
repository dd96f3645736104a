"""Which rows train and which test: sources to splits."""

import difflib
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from curemed_utils import data, paths
from curemed_utils.data import DataError, Row
from curemed_utils.data.rows import HUB_DATASET

SOURCES = ("sample", "release", "hub", "curated")
_PASSES = 20  # over the groups of a split; three or four suffice as a rule
_GAIN = 1e-12  # what is less is rounding


def draw(key: str, seed: int) -> str:
    """A pseudo-random sort key: the same on every machine, independent of row order."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def load(
    source: str,
    max_per_language: int = 0,
    seed: int = 0,
    test_share: float = 0.2,
    rft_share: float = 0.2,
    rft_seen: float = 0.0,
    release_root: str | Path | None = None,
    hub_dataset: str = HUB_DATASET,
    curated: list[Row] = (),
) -> dict[str, list[Row]]:
    """The rows of `source` as {'sft', 'rft', 'test'} (Section 4.1).

    `sample`, `hub` and `curated` rows (the argument of that name) are split here (`split`); the release comes split, and so does
    a hub dataset that holds all three splits, as an exported folder does. `max_per_language` (0: no limit) keeps a seeded choice
    of each language's rows: of the whole before a split, of each split of what comes split.
    """
    if max_per_language < 0:
        raise ValueError(f"max_per_language must be 0 (no limit) or more, not {max_per_language}")
    if source == "release":
        return {name: limit(rows, max_per_language, seed) for name, rows in data.read_release(release_root).items()}
    if source == "sample":
        parts = {"train": data.read_folder(paths.SAMPLE, "sample")}
    elif source == "curated":
        parts = {"train": list(curated)}
    elif source == "hub":
        parts = data.read_hub(hub_dataset)
        if parts.keys() >= set(data.SPLITS):
            return {name: limit(parts[name], max_per_language, seed) for name in data.SPLITS}
    else:
        near = difflib.get_close_matches(str(source), SOURCES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"data_source is {source!r}, which is none of {', '.join(SOURCES)}{hint}")
    test = limit(parts.pop("test", []), max_per_language, seed)
    rows = limit([row for part in parts.values() for row in part], max_per_language, seed)
    return split(rows, test_share, rft_share, seed, rft_seen, test)


def limit(rows: list[Row], per_language: int, seed: int) -> list[Row]:
    """At most `per_language` rows a language (0: all); whole topics together, so parallel items stay parallel."""
    if not per_language:
        return rows
    taken, kept = Counter(), set()
    for row in sorted(rows, key=lambda r: draw(r.topic or r.id, seed)):
        if taken[row.language] < per_language:
            taken[row.language] += 1
            kept.add(row.id)
    return [row for row in rows if row.id in kept]


def split(
    rows: list[Row], test_share: float, rft_share: float, seed: int, rft_seen: float = 0.0, test: list[Row] = ()
) -> dict[str, list[Row]]:
    """Section 4.1: `test_share` of the rows held out, then `rft_share` of the rest for RFT and what remains for SFT.

    A group never straddles two splits: the rows that a topic, over all languages, or a language's equal questions connect,
    directly or through each other. `rft_seen` is the share of RFT groups that SFT learns as well: 0 in the paper, 0.26 of the rows in the
    released files. A `test` set that the source brings is kept as it is, and `test_share` has no say. Raises DataError if a
    split would be empty.
    """
    for name, share in {"test_share": test_share, "rft_share": rft_share, "rft_seen": rft_seen}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in 0-1, not {share}")
    test, train = (list(test), rows) if test else _part(rows, test_share, seed)
    rft, sft = _part(train, rft_share, seed + 1)
    seen, _ = _part(rft, rft_seen, seed + 2)
    seen_ids = {row.id for row in [*seen, *sft]}
    parts = {"sft": [row for row in train if row.id in seen_ids], "rft": rft, "test": test}
    empty = [name for name, part in parts.items() if not part]
    if empty:
        raise DataError(f"{len(rows)} rows leave {' and '.join(empty)} empty; raise max_per_language or change the shares")
    return parts


def _part(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows in and out of a share: groups in seeded order go in, or out again, where that brings their languages nearer to it."""
    groups = _groups(rows)
    sizes: dict[str, Counter] = defaultdict(Counter)
    for row, group in zip(rows, groups, strict=True):
        sizes[group][row.language] += 1
    total = Counter(row.language for row in rows)
    missing = {language: share * number for language, number in total.items()}
    order, chosen = sorted(sizes, key=lambda g: draw(g, seed)), set()
    for _ in range(_PASSES):
        before = set(chosen)
        for group in order:
            sign = -1 if group in chosen else 1
            left = {language: missing[language] - sign * size for language, size in sizes[group].items()}
            # fsum is exact: neither a machine nor the order of the rows rounds it differently
            if math.fsum((missing[name] ** 2 - left[name] ** 2) / total[name] ** 2 for name in left) > _GAIN:
                chosen ^= {group}
                missing |= left
        if chosen == before:
            break
    sides = [[], []]
    for row, group in zip(rows, groups, strict=True):
        sides[group not in chosen].append(row)
    return sides[0], sides[1]


def _groups(rows: list[Row]) -> list[str]:
    """The group of each row: a row ties its question to its topic, and what is tied together is one group."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    questions = [(1, f"{row.language} {data.normalize(row.question)}") for row in rows]
    for row, question in zip(rows, questions, strict=True):
        first, second = sorted((root(question), root((0, f"topic {row.topic}")) if row.topic else root(question)))
        parent[second] = first  # the smaller name leads, whatever the order of the rows
    return [root(question)[1] for question in questions]


def count(splits: dict[str, list[Row]], by: Callable[[Row], str] = lambda row: row.language) -> pd.DataFrame:
    """Rows per language (or any key) and split, with a total."""
    table = pd.DataFrame({name: Counter(by(row) for row in rows) for name, rows in splits.items()}).fillna(0).astype(int)
    return pd.concat([table.sort_index(), table.sum().to_frame("all").T])
