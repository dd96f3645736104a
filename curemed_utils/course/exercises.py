"""Exercises: a check tries the reader's function on small cases and says what is off.

What is right is what the solution folded into the notebook returns.
"""

import copy
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from types import EllipsisType

from curemed_utils import languages, paths
from curemed_utils.course.answers import EXERCISES

_SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)\n```", re.DOTALL)


class Off(AssertionError):
    """An answer that is not right yet; says for which input, and what was forgotten if known."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows this in place of a traceback, which would not reach the reader's function.
        return [f"not yet: {self}"]


def check(answer: Callable) -> None:
    """Tries the reader's function, known by its name, on the cases of its exercise.

    Prints that it is right, or that it is open as long as it returns nothing; else raises Off.
    """
    name = getattr(answer, "__name__", type(answer).__name__)
    if name not in EXERCISES:
        raise Off(f"no exercise is called {name!r}: give the function itself, named as in its cell")
    inspection = EXERCISES[name].fault
    right = None if inspection else solution(name)
    try:
        fault = inspection(answer) if inspection else _first_fault(name, answer, right)
    except Off:
        raise
    except Exception as error:
        raise Off(f"{name} ends in {type(error).__name__}: {error}") from error
    if fault is None:
        print(
            f"{name}: open, it returns nothing yet. Write your answer in place of the dots, "
            "with a `return`, and run the cell again."
        )
    elif fault:
        raise Off(fault)
    else:
        print(f"{name}: right. {EXERCISES[name].moral}")


def solution(name: str) -> Callable:
    """The right function, out of the folded solution of whichever notebook has the exercise."""
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            folded = _SOLUTION.search("".join(cell["source"]))
            if folded and f"def {name}(" in folded[1]:
                scope = {"languages": languages}
                exec(folded[1], scope)
                return scope[name]
    folder = paths.show(paths.NOTEBOOKS)
    raise LookupError(f"no notebook in {folder} holds the solution of {name!r}: restore them")


def _first_fault(name: str, answer: Callable, right: Callable) -> str | None:
    """What is wrong with the first case that is; '' for none, None if all return nothing."""
    exercise = EXERCISES[name]
    given = []
    for case in exercise.cases:
        try:
            given.append(_call(answer, case))
        except Exception as error:
            raise Off(f"{_written(name, case)} raises {type(error).__name__}: {error}") from error
    if all(value is None or isinstance(value, EllipsisType) for value in given):
        return None
    expected = [_call(right, case) for case in exercise.cases]
    wrong = _differences(given, expected, exercise.tolerance)
    if not wrong:
        return ""
    first = wrong[0]
    told = f"{_written(name, exercise.cases[first])} gives {_short(given[first])}"
    told += f", but {_short(expected[first])} is right"
    for sentence, mistake in (exercise.mistakes or {}).items():
        mistaken = [_call(mistake, (right, *case)) for case in exercise.cases]
        if not _differences(given, mistaken, exercise.tolerance):
            return f"{told}. {sentence}"
    return f"{told} ({len(wrong)} of {len(given)} cases are off)"


def _differences(values: list, others: list, tolerance: float) -> list[int]:
    """The places at which two lists of plain values differ."""
    pairs = enumerate(zip(values, others, strict=True))
    return [place for place, pair in pairs if not equal(*pair, tolerance)]


def _call(function: Callable, case: tuple):
    return plain(function(*copy.deepcopy(case)))  # what is changed in place must not spoil a case


def plain(value):
    """Lists for arrays, series, tuples and generators, Python's values for NumPy's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | set | Mapping):
        return [plain(part) for part in value]
    return value


def equal(value, other, tolerance: float = 1e-6) -> bool:
    """Whether two plain values agree, numbers within a relative tolerance; NaN agrees with NaN."""
    if isinstance(other, list):
        if not isinstance(value, list) or len(value) != len(other):
            return False
        return all(equal(*pair, tolerance) for pair in zip(value, other, strict=True))
    if isinstance(other, bool | str) or other is None:
        return type(value) is type(other) and value == other
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    if math.isnan(value) and math.isnan(other):
        return True
    return math.isclose(value, other, rel_tol=tolerance, abs_tol=1e-12)


def _written(name: str, case: tuple) -> str:
    return f"{name}({', '.join(_short(argument) for argument in case)})"


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        return f"{left}{', '.join(map(_short, value))}{right}"
    return repr(value)
