"""Exercises that no list of cases can check: a function of the same name says what is off.

'' for nothing, None while the reader's function returns nothing.
"""

from collections.abc import Callable
from statistics import fmean
from unittest import mock

from curemed_utils import data, paths, rewards, trace

_FOUR = ("French", "Amharic", "Japanese", "Yoruba")


def near_miss(answer: Callable) -> str | None:
    """A response to a row that earns all but accuracy."""
    for row, text in _responses(answer):
        if text is None:
            return None
        parts = rewards.score(text, row)
        if parts == {"accuracy": 0.0, "language": 1.0, "format": 1.0}:
            continue
        total = rewards.composite(parts)
        told = f"the parts are {parts}, which make {total:.2f} and not 0.35"
        if None in parts.values():
            told += "; None: too short to tell the language, write a sentence"
        return f"for the {row.language} row {told}"
    return ""


def held_out(answer: Callable) -> str | None:
    """Which rows are held out: a fifth, topics whole, the same in every process."""
    rows = []
    for topic in range(400):
        for name in ("Hausa", "Thai"):
            fields = {"id": f"{topic} {name}", "topic": f"topic {topic}", "language": name}
            rows.append(data.Row(question="q", answer="a", **fields))
    parts = [answer(row, 0) for row in rows]
    if all(part is None for part in parts):
        return None
    if strange := [part for part in parts if part not in (0, 1)]:
        return f"the answer must be True or False, and is {strange[0]!r}"
    if [answer(row, 0) for row in reversed(rows)] != parts[::-1]:
        return "a row is held out in one call and not in the next: only row and seed may decide"
    if parts[::2] != parts[1::2]:
        return "a topic is held out in Thai and trained on in Hausa, which gives its answer away"
    if not 0.13 < fmean(parts) < 0.27:
        return f"{fmean(parts):.0%} of 400 topics are held out, and not about 20%"
    if [answer(row, 1) for row in rows] == parts:
        return "seed 1 holds out the same topics as seed 0"
    here = hash
    with mock.patch("builtins.hash", lambda value: here(("another process", value))):
        if [answer(row, 0) for row in rows] != parts:
            return "Python's own hash changes from process to process: take hashlib.sha256"
    return ""


def loophole(answer: Callable) -> str | None:
    """A response that the loose format rule pays although nothing was thought."""
    for row, text in _responses(answer):
        if text is None:
            return None
        around = trace.without_blocks(text, "answer")
        words = trace.without_tags(around).split()
        fault = ""
        if words:
            fault = f"words stand outside the answer ({' '.join(words[:3])} …)"
        elif rewards.score(text, row)["accuracy"] != 1:
            fault = "the answer is not right"
        elif not rewards.format_reward(text, strict=False):
            fault = "the loose rule doesn't pay it"
        elif "step" in around:
            fault = "empty steps are the hole that the table above shows: find another"
        if fault:
            return f"for the {row.language} row, {fault}"
    return ""


def _responses(answer):
    for row in data.read_folder(paths.SAMPLE, "sample"):
        if row.topic == "malaria" and row.language in _FOUR:
            yield row, answer(row)
