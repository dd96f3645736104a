"""Exercises that no list of cases can check: a function of the same name says what is off.

'' for nothing, None while the reader's function returns nothing.
"""

from collections.abc import Callable
from statistics import fmean
from unittest import mock

from curemed_utils import data, paths, rewards, trace

SENTENCES = paths.beside(__file__, ".yaml")
_FOUR = ("French", "Amharic", "Japanese", "Yoruba")


def near_miss(answer: Callable) -> str | None:
    """A response to a row that earns all but accuracy."""
    for row, text in _responses(answer):
        if text is None:
            return None
        parts = rewards.score(text, row)
        if parts == {"accuracy": 0.0, "language": 1.0, "format": 1.0}:
            continue
        sentences = SENTENCES["near_miss"]
        told = sentences["parts"].format(parts=parts, total=rewards.composite(parts))
        if None in parts.values():
            told += sentences["unknown"]
        return f"for the {row.language} row {told}"
    return ""


def held_out(answer: Callable) -> str | None:
    """Which rows are held out: a fifth, topics whole, the same in every process."""
    rows, sentences = [], SENTENCES["held_out"]
    for topic in range(400):
        for name in ("Hausa", "Thai"):
            fields = {"id": f"{topic} {name}", "topic": f"topic {topic}", "language": name}
            rows.append(data.Row(question="q", answer="a", **fields))
    parts = [answer(row, 0) for row in rows]
    if all(part is None for part in parts):
        return None
    if strange := [part for part in parts if part not in (0, 1)]:
        return sentences["value"].format(strange[0])
    if [answer(row, 0) for row in reversed(rows)] != parts[::-1]:
        return sentences["another call"]
    if parts[::2] != parts[1::2]:
        return sentences["torn"]
    if not 0.13 < fmean(parts) < 0.27:
        return sentences["share"].format(fmean(parts))
    if [answer(row, 1) for row in rows] == parts:
        return sentences["seed"]
    here = hash
    with mock.patch("builtins.hash", lambda value: here(("another process", value))):
        if [answer(row, 0) for row in rows] != parts:
            return sentences["hash"]
    return ""


def loophole(answer: Callable) -> str | None:
    """A response that the loose format rule pays although nothing was thought."""
    for row, text in _responses(answer):
        if text is None:
            return None
        around = trace.without_blocks(text, "answer")
        words = trace.without_tags(around).split()
        fault, sentences = "", SENTENCES["loophole"]
        if words:
            fault = sentences["words"].format(" ".join(words[:3]))
        elif rewards.score(text, row)["accuracy"] != 1:
            fault = sentences["wrong"]
        elif not rewards.format_reward(text, strict=False):
            fault = sentences["unpaid"]
        elif "step" in around:
            fault = sentences["steps"]
        if fault:
            return f"for the {row.language} row, {fault}"
    return ""


def _responses(answer):
    for row in data.read_folder(paths.SAMPLE, "sample"):
        if row.topic == "malaria" and row.language in _FOUR:
            yield row, answer(row)
