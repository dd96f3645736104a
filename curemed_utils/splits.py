"""Which rows train and which test: sources to splits."""

import difflib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from curemed_utils import data, paths
from curemed_utils.data import DataError, Row

SOURCES = ("sample", "release", "hub")


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
    hub_dataset: str = data.HUB_DATASET,
) -> dict[str, list[Row]]:
    """The rows of `source` as {'sft', 'rft', 'test'} (Section 4.1).

    `sample` and `hub` rows are split here (`split`); the release comes split. `max_per_language` (0: no limit) keeps a
    seeded choice of each language's rows: of the whole before a split, of each split of the release.
    """
    if max_per_language < 0:
        raise ValueError(f"max_per_language must be 0 (no limit) or more, not {max_per_language}")
    if source == "release":
        return {name: limit(rows, max_per_language, seed) for name, rows in data.read_release(release_root).items()}
    if source == "sample":
        parts = {"train": data.read_folder(paths.SAMPLE, "sample")}
    elif source == "hub":
        parts = data.read_hub(hub_dataset)
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

    A group never straddles two splits: all rows of a topic, over all languages, or, where rows have no topic, a language's
    equal questions. `rft_seen` is the share of RFT groups that SFT learns as well: 0 in the paper, 0.26 of the rows in the
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
    """Rows in and out of a share of the groups, drawn within each stratum (topics, or one language)."""
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups["" if row.topic else row.language].add(_group(row))
    taken = set()
    for stratum in groups.values():
        taken |= set(sorted(stratum, key=lambda g: draw(g, seed))[: round(share * len(stratum))])
    return [r for r in rows if _group(r) in taken], [r for r in rows if _group(r) not in taken]


def _group(row: Row) -> str:
    return f"topic {row.topic}" if row.topic else f"{row.language} {data.normalize(row.question)}"


def count(splits: dict[str, list[Row]], by: Callable[[Row], str] = lambda row: row.language) -> pd.DataFrame:
    """Rows per language (or any key) and split, with a total."""
    table = pd.DataFrame({name: Counter(by(row) for row in rows) for name, rows in splits.items()}).fillna(0).astype(int)
    return pd.concat([table.sort_index(), table.sum().to_frame("all").T])
