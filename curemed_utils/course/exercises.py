"""Exercises: a check takes the reader's function, tries it on small cases and says what is off."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import EllipsisType

from curemed_utils.course.answers import EXERCISES, Exercise


class Off(AssertionError):
    """An answer that is not right yet; the message says for which input, and where it can, what was forgotten."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this instead of a traceback, in which the reader's function doesn't occur
        return [f"not yet: {self}"]


def check(answer: Callable) -> None:
    """Tries the reader's function, known by its name, on the cases of its exercise.

    Prints that it is right, or that it is still open as long as it returns nothing; raises Off where it is wrong.
    """
    name = getattr(answer, "__name__", type(answer).__name__)
    if name not in EXERCISES:
        raise Off(f"no exercise is called {name!r}: give the function itself, under the name that its cell gave it")
    exercise = EXERCISES[name]
    try:
        fault = exercise.fault(answer) if exercise.fault else _first_fault(name, answer, exercise)
    except Off:
        raise
    except Exception as error:
        raise Off(f"{name} ends in {type(error).__name__}: {error}") from error
    if fault is None:
        print(f"{name}: open, it returns nothing yet. Write your answer in place of the dots, with a `return`, and run the cell again.")
    elif fault:
        raise Off(fault)
    else:
        print(f"{name}: right. {exercise.moral}")


def _first_fault(name: str, answer: Callable, exercise: Exercise) -> str | None:
    """What is wrong with the first case that is; '' if all are right, None if the function never returns anything."""
    given, expected = [_call(name, answer, case) for case in exercise.cases], [exercise.right(*case) for case in exercise.cases]
    if all(value is None or isinstance(value, EllipsisType) for value in given):
        return None
    wrong = [n for n, pair in enumerate(zip(given, expected, strict=True)) if not equal(*pair, exercise.tolerance)]
    if not wrong:
        return ""
    first = wrong[0]
    told = f"{_written(name, exercise.cases[first])} gives {_short(given[first])}, but {_short(expected[first])} is right"
    for mistake, function in (exercise.mistakes or {}).items():
        if all(equal(value, function(*case), exercise.tolerance) for value, case in zip(given, exercise.cases, strict=True)):
            return f"{told}. {mistake}"
    return f"{told} ({len(wrong)} of {len(given)} cases are off)"


def _call(name: str, answer: Callable, case: tuple):
    try:
        return plain(answer(*copy.deepcopy(case)))  # what the reader changes in place must not spoil the case
    except Exception as error:
        raise Off(f"{_written(name, case)} raises {type(error).__name__}: {error}") from error


def plain(value):
    """Lists for arrays, series, tuples and generators, floats for NumPy's numbers, fractions and decimals: any may be returned."""
    if isinstance(value, Fraction | Decimal):
        value = float(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | set | Mapping):
        return [plain(part) for part in value]
    return value


def equal(given, expected, tolerance: float = 1e-6) -> bool:
    """Whether two plain values agree, numbers to within a relative tolerance; NaN agrees with NaN."""
    if isinstance(expected, list | tuple):
        return isinstance(given, list) and len(given) == len(expected) and all(map(equal, given, expected, [tolerance] * len(given)))
    if isinstance(expected, bool | str) or expected is None:
        return type(given) is type(expected) and given == expected
    if isinstance(given, bool) or not isinstance(given, int | float):
        return False
    return math.isclose(given, expected, rel_tol=tolerance, abs_tol=1e-12) or (math.isnan(given) and math.isnan(expected))


def _written(name: str, case: tuple) -> str:
    return f"{name}({', '.join(_short(argument) for argument in case)})"


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        return f"{left}{', '.join(map(_short, value))}{right}"
    return repr(value)
