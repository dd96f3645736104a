"""CUREMED-BENCH for lm-evaluation-harness; `_common_yaml` says how to run it."""

import math
from pathlib import Path

import datasets

from curemed_utils.evaluation import harness


def rows(language: str = "", **_) -> dict[str, datasets.Dataset]:
    """The rows of one language, or all."""
    records = harness.read_records(Path(__file__).parents[1], language)
    return {"test": datasets.Dataset.from_list(records)}


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """The known parts of the score: the harness takes means over rows that have the key."""
    scores = harness.score_response(results[0], doc)
    return {name: value for name, value in scores.items() if not math.isnan(value)}


def total(values: list[float]) -> float:
    return sum(values)
