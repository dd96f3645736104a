"""Checks of the reader's functions; what the folded solution returns is right."""

import copy
import json
import re
from collections.abc import Callable, Iterable
from numbers import Real

import numpy as np

from curemed_utils import languages, paths
from curemed_utils.course import answers, inspections

OPEN = "open, it returns nothing yet. Replace the dots with a `return` and run the cell again."
_SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)\n```", re.DOTALL)


class Off(AssertionError):
    """An answer that is not right yet; says for which input, and what was forgotten if known."""

    def _render_traceback_(self):
        # IPython shows this in place of a traceback.
        return [f"not yet: {self}"]


def check(answer: Callable) -> None:
    """Tries the reader's function, known by its name, on the cases of its exercise.

    Prints that it is right, or open while it returns nothing; else raises Off.
    """
    name = getattr(answer, "__name__", type(answer).__name__)
    if name not in answers.MORALS:
        raise Off(f"no exercise is called {name!r}: give the function itself, named as in its cell")
    judged = _tried if name in answers.CASES else _inspected
    fault = judged(name, answer)
    if fault:
        raise Off(fault)
    print(f"{name}: {OPEN if fault is None else f'right. {answers.MORALS[name]}'}")


def solution(name: str) -> Callable:
    """The right function, out of the folded solution of the notebook that has the exercise."""
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(path.read_bytes())["cells"]:
            folded = _SOLUTION.search("".join(cell["source"]))
            if folded and f"def {name}(" in folded[1]:
                scope = {"languages": languages}
                exec(folded[1], scope)
                return scope[name]
    raise LookupError(f"no notebook holds the solution of {name!r}: restore notebooks/")


def _inspected(name, answer):
    try:
        return getattr(inspections, name)(answer)
    except Exception as error:
        return f"{name} ends in {type(error).__name__}: {error}"


def _tried(name, answer):
    cases = [tuple(case) for case in answers.CASES[name]]
    tolerance = answers.TOLERANCES.get(name, 1e-6)
    values = []
    for case in cases:
        try:
            values.append(_call(answer, case))
        except Exception as error:
            return f"{name}{_short(case)} raises {type(error).__name__}: {error}"
    if all(value is None for value in values):
        return None
    right = solution(name)
    expected = [_call(right, case) for case in cases]
    wrong = _differences(values, expected, tolerance)
    if not wrong:
        return ""
    case, value, due = [_short(each[wrong[0]]) for each in (cases, values, expected)]
    told = f"{name}{case} gives {value}, but {due} is right"
    for kind, mistake in answers.MISTAKES[name].items():
        mistaken = [_call(mistake, (right, *case)) for case in cases]
        if not _differences(values, mistaken, tolerance):
            return f"{told}. {answers.SENTENCES[name][kind]}"
    return f"{told} ({len(wrong)} of {len(values)} cases are off)"


def _differences(values, others, tolerance):
    pairs = enumerate(zip(values, others, strict=True))
    return [place for place, pair in pairs if not _equal(*pair, tolerance)]


def _call(function, case):
    return plain(function(*copy.deepcopy(case)))  # what is changed in place must not spoil a case


def plain(value):
    """Lists for arrays, series, tuples and generators, Python's values for NumPy's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, str | set | dict):
        return [plain(part) for part in value]
    return value


def _equal(value, other, tolerance):
    if isinstance(other, list):
        alike = isinstance(value, list) and len(value) == len(other)
        return alike and not _differences(value, other, tolerance)
    if isinstance(other, str) or other is None:
        return type(value) is type(other) and value == other
    if isinstance(other, bool):
        return isinstance(value, Real) and value == other  # 1 and 0 will do
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and np.isclose(float(value), other, tolerance, tolerance / 10, equal_nan=True)


def _short(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        return f"{left}{', '.join(map(_short, value))}{right}"
    return repr(value)
