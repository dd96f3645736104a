"""What the exercises' checks know beside the folded solutions of the notebooks.

A mistake is a sentence and a function that makes it: of the right function, then of a case.
"""

import math
import operator
from collections.abc import Callable
from itertools import compress
from pathlib import Path
from statistics import fmean, pstdev, variance
from typing import NamedTuple

import numpy as np
import yaml

from curemed_utils import trace
from curemed_utils.course import inspections


class Exercise(NamedTuple):
    """One exercise; where no list of cases can tell, `fault` looks at the reader's function."""

    cases: tuple[tuple, ...] = ()  # the arguments of each call
    mistakes: dict[str, Callable] | None = None
    fault: Callable[[Callable], str | None] | None = None
    tolerance: float = 1e-6  # relative


def _texts(name: str) -> dict:
    return yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))


CASES = _texts("cases.yaml")
MORALS = _texts("morals.yaml")  # what is said of a right answer
EXERCISES: dict[str, Exercise] = {}  # by the name of the reader's function


def _listed(name: str, mistakes: dict[str, Callable], tolerance: float = 1e-6) -> None:
    cases = tuple(tuple(case) for case in CASES[name])
    EXERCISES[name] = Exercise(cases, mistakes, tolerance=tolerance)


# 00 start here

_listed(
    "composite",
    {
        "None is not 0: divide by the known weights": lambda right, *s: right(*[x or 0 for x in s]),
        "0 is known: ask for `is not None`": lambda right, *s: right(*[x or None for x in s]),
    },
)

EXERCISES["near_miss"] = Exercise(fault=inspections.near_miss)

# 01 data curation

EXERCISES["held_out"] = Exercise(fault=inspections.held_out)

_listed(
    "kept_rows",
    {
        "Each stage shares out the original pool": lambda right, n, r, k: right(n, r ** (k - 1), k),
        "Here 0.29 * 100 is 28.999999999999996": lambda right, n, r, k: n if k == 1 else int(r * n),
    },
)

_listed(
    "too_easy",
    {
        "A vote that could not be read is no right answer": lambda right, v: False not in v,
        "All three must be right, a majority is not enough": lambda right, v: v.count(True) > 1,
    },
)

_listed(
    "no_straddle",
    {
        "A topic's rows may also all fall to training": lambda right, t, n, s: s ** (n * t),
        "That is for one topic; none at all may straddle": lambda right, t, n, s: right(1, n, s),
    },
)

# 02 verification statistics

_listed(
    "half_width",
    {
        "That is one standard error; 95% takes 1.96": lambda right, sd, n: sd / math.sqrt(n),
        "That is the whole interval; half was asked for": lambda right, sd, n: 2 * right(sd, n),
    },
    5e-3,
)


def _words_shared(right, one, other):
    one, other = set(one.split()), set(other.split())
    return len(one & other) / len(one | other)


_listed("similarity", {"Those are words, and Thai has no spaces between them": _words_shared})

_STEPS = trace.render_steps(["a", "b"])
EXERCISES["well_numbered"] = Exercise(
    (
        (_STEPS,),
        (_STEPS.replace("step2", "step3"),),
        (_STEPS.replace("/step1", "/step2"),),
        (_STEPS.replace("/step1", "step1"),),
        (trace.render_steps([]),),
        (trace.render_steps("abcdefghijk"),),
    ),
    {
        "A trace without a step is not well numbered": lambda right, t: right(t) or "step" not in t,
    },
)

# 03 code-switched SFT

_listed(
    "labels",
    {
        "The labels have the whole sequence's length": lambda right, p, whole: whole[len(p) :],
        "The model itself shifts by one": lambda right, p, whole: [*right(p[1:], whole[1:]), -100],
    },
)


def _nats(probabilities) -> list[float]:
    return [-math.log(p) for p in probabilities]


_listed(
    "sft_loss",
    {
        "The prompt's tokens are not in the loss": lambda right, p, counted: fmean(_nats(p)),
        "That is the sum, not the mean": lambda right, p, counted: sum(compress(_nats(p), counted)),
    },
)

_listed(
    "batch_loss",
    {"Weigh tokens alike, not rows": lambda right, rows: fmean(fmean(_nats(r)) for r in rows)},
)

# 04 GRPO


def _with_n(right, values):
    centred = np.array(values, dtype=float)
    centred -= np.nanmean(centred)
    return np.nan_to_num(centred / (np.nanstd(centred) + 1e-4))


_listed(
    "group_advantages",
    {
        "None is not 0: leave it out of the mean": lambda right, v: right([x or 0 for x in v]),
        "The deviation is the sample's, with G - 1": _with_n,
    },
    5e-3,
)

_listed(
    "kl_penalty",
    {
        "That can be negative for a token; this one can't": lambda right, own, ref: own - ref,
        "The ratio is the reference's over the policy's": lambda right, own, ref: right(ref, own),
    },
)

_listed(
    "signal",
    {
        "A group in which all are right teaches nothing": lambda right, p, n: 1 - (1 - p) ** n,
        "That is a group that teaches nothing": lambda right, p, n: 1 - right(p, n),
    },
)

EXERCISES["loophole"] = Exercise(fault=inspections.loophole)

# 05 and 06 curriculum

_listed(
    "shares",
    {
        "Stage 2's batches are a mixture: put D_2 in": lambda right, a: [a / 2, a / 2, 1 - a],
        "Alpha is the share of the old": lambda right, a: right(1 - a),
    },
)

_listed(
    "forgotten",
    {"Compare with the best of all earlier ones": lambda right, levels: -np.diff(levels)},
)

_listed(
    "plateaued",
    {"Compare means, not steps": lambda right, r, k: len(r) >= 2 * k > 0 and r[-1] <= r[-2]},
)

_listed(
    "tier_gap",
    {
        "High less low, so that a wide gap is positive": lambda right, v: -right(v),
        "Between tiers, not two languages": lambda right, v: max(v.values()) - min(v.values()),
    },
)


def _wald(right, n_right, n):
    share = n_right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return [share - half, share + half]


_listed("wilson", {"That is Wald's interval, which has no width at 0": _wald}, 5e-3)

_listed(
    "why_narrower",
    {
        "Ask first whether it is narrower at all": lambda right, before, after: (
            "low rose" if after["low"] > before["low"] else "high fell"
        ),
    },
)

# 07 evaluation

EXERCISES["micro_macro"] = Exercise(
    (
        ([("French", True), ("French", True), ("French", False), ("Hausa", False)],),
        ([("French", True), ("French", None), ("Hausa", False)],),
        ([("Thai", None), ("Hausa", True), ("Hausa", False), ("Hausa", False), ("French", True)],),
    ),
    {
        "Unknown is not wrong": lambda right, verdicts: right([(n, bool(v)) for n, v in verdicts]),
    },
)

_listed(
    "holm",
    {
        "Only the smallest p is multiplied by m": lambda right, p: [min(1, v * len(p)) for v in p],
        "No adjusted p is smaller than that of a smaller p": lambda right, p: [
            min(1, value * (len(p) - sorted(p).index(value))) for value in p
        ],
    },
)

# 08 figures

_listed(
    "per_doubling",
    {"Per doubling, not per pair of sizes": lambda right, params, values: np.diff(values)},
    1e-4,
)

_listed(
    "comes_out",
    {
        "Take the decimals as printed": lambda right, text, value: (
            abs(float(text) - value) <= 0.005
        ),
    },
)


def _linear(right, color):
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return float(np.dot((0.2126, 0.7152, 0.0722), channels))


_listed(
    "luminance",
    {"Screen values are no amounts of light: undo sRGB's curve first": _linear},
    5e-3,
)

# 09 trust

_listed(
    "kappa",
    {"Take out what chance would give": lambda right, a, b: fmean(map(operator.eq, a, b))},
)

_listed(
    "true_rate",
    {
        "What it accepts wrongly counts too": lambda right, p, se, sp: min(1.0, p / se),
        "Sensitivity and specificity are swapped": lambda right, p, se, sp: right(p, sp, se),
    },
)

# 10 ablation

_listed(
    "over_seeds",
    {
        "Seeds are a sample of all seeds: divide by n - 1": lambda right, v: [fmean(v), pstdev(v)],
        "One seed says nothing about the spread": lambda right, v: np.nan_to_num(right(v)),
    },
)


def _unpaired(right, first, second):
    error = math.sqrt((variance(first) + variance(second)) / len(first))
    return [fmean(second) - fmean(first), error]


_listed(
    "paired_gain",
    {
        "The arms have the same seeds: take the differences seed by seed": _unpaired,
        "The gain is the second less the first": lambda right, a, b: right(b, a),
    },
)
