"""CUREMED-BENCH for lm-evaluation-harness; `_common_yaml` says how to run it.

The means of accuracy and language leave out responses without a verdict, which
accuracy_unknown and language_unknown count.
"""

from pathlib import Path

import datasets

from curemed_utils.evaluation import harness


def rows(language: str = "", **_) -> dict[str, datasets.Dataset]:
    """The rows of one language, or all; the harness hands over its metadata too."""
    records = harness.read_records(Path(__file__).parents[1], language)
    return {"test": datasets.Dataset.from_list(records)}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """The known parts of the score: the harness takes a mean over the rows that have the key."""
    parts = harness.score_response(results[0], doc)
    values = {name: value for name, value in parts.items() if value is not None}
    for name in ("accuracy", "language"):
        values[f"{name}_unknown"] = float(parts[name] is None)
    return values


def total(values: list[float]) -> float:
    return sum(values)
