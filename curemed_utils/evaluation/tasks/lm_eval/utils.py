"""CUREMED-BENCH for lm-evaluation-harness: rows and verdicts; `_common_yaml` says how to run it.

The means of accuracy and language leave out responses without a verdict; accuracy_unknown and language_unknown count these.
"""

from pathlib import Path

import datasets

from curemed_utils import harness


def rows(language: str = "", **_) -> dict[str, datasets.Dataset]:
    """The rows of one language, or all; the harness hands over its metadata too."""
    return {"test": datasets.Dataset.from_list(harness.read(Path(__file__).parents[1], language))}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """The known parts of the response's score: the harness takes a mean over the documents that have the key."""
    scores = harness.score(results[0], doc)
    known = {name: score for name, score in scores.items() if score is not None}
    return known | {f"{name}_unknown": float(scores[name] is None) for name in ("accuracy", "language")}


def total(values: list[float]) -> float:
    return sum(values)
