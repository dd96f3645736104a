"""What the exercises' checks know beside the folded solutions of the notebooks.

`EXERCISES` has the cases to try and the mistakes to name, by the name of the reader's function.
A mistake is a sentence and a function that makes it: of the right function, then of a case.
`MORALS` has what is said of a right answer.
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


MORALS = yaml.safe_load(Path(__file__).with_name("morals.yaml").read_text(encoding="utf-8"))
EXERCISES: dict[str, Exercise] = {}

# 00 start here

EXERCISES["composite"] = Exercise(
    ((1, 1, 1), (0, 1, 1), (1, 0, 1), (0.5, 1, 0), (0, 0, 0), (None, 1, 1), (None, None, None)),
    {
        "Where nothing is known it is math.nan": lambda right, *s: right(*[x or 0 for x in s]),
        "0 is known: ask for `is not None`": lambda right, *s: right(*[x or None for x in s]),
    },
)

EXERCISES["near_miss"] = Exercise(fault=inspections.near_miss)

# 01 data curation

EXERCISES["held_out"] = Exercise(fault=inspections.held_out)

EXERCISES["kept_rows"] = Exercise(
    ((421, 0.85, 1), (421, 0.85, 2), (421, 0.85, 3), (3, 0.85, 3), (140, 0.5, 2), (100, 0.29, 2)),
    {
        "Each stage shares out the original pool": lambda right, n, r, k: right(n, r ** (k - 1), k),
        "Here 0.29 * 100 is 28.999999999999996": lambda right, n, r, k: n if k == 1 else int(r * n),
    },
)

EXERCISES["too_easy"] = Exercise(
    (([True, True, True],), ([True, False, True],), ([True, None, True],), ([None, None, None],)),
    {
        "A vote that could not be read is no right answer": lambda right, v: False not in v,
        "All three must be right, a majority is not enough": lambda right, v: v.count(True) > 1,
    },
)

EXERCISES["no_straddle"] = Exercise(
    ((1, 2, 0.5), (1, 13, 0.2), (2, 3, 0.2), (15, 2, 0.1)),
    {
        "A topic's rows may also all fall to training": lambda right, t, n, s: s ** (n * t),
        "That is for one topic; none at all may straddle": lambda right, t, n, s: right(1, n, s),
    },
)

# 02 verification statistics

EXERCISES["half_width"] = Exercise(
    ((0.3, 50), (0.5, 8), (1.0, 100)),
    {
        "That is one standard error; 95% takes 1.96": lambda right, sd, n: sd / math.sqrt(n),
        "That is the whole interval; half was asked for": lambda right, sd, n: 2 * right(sd, n),
    },
    tolerance=5e-3,
)


def _words_shared(right, one, other):
    one, other = set(one.split()), set(other.split())
    return len(one & other) / len(one | other)


EXERCISES["similarity"] = Exercise(
    (("a b", "a b"), ("une forte fièvre", "une fièvre forte"), ("ปวดหัวมากและมีไข้", "ปวดหัวและมีไข้")),
    {"Those are words, and Thai has no spaces between them": _words_shared},
)

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

EXERCISES["labels"] = Exercise(
    (([5, 6, 7], [5, 6, 7, 8, 9]), ([1], [1, 2]), ([4, 4], [4, 4, 4, 4])),
    {
        "The labels have the whole sequence's length": lambda right, p, whole: whole[len(p) :],
        "The model itself shifts by one": lambda right, p, whole: [*right(p[1:], whole[1:]), -100],
    },
)


def _nats(probabilities) -> list[float]:
    return [-math.log(p) for p in probabilities]


EXERCISES["sft_loss"] = Exercise(
    (([0.5, 0.25, 0.125], [True] * 3), ([0.9, 0.9, 0.5, 0.25], [False, False, True, True])),
    {
        "The prompt's tokens are not in the loss": lambda right, p, counted: fmean(_nats(p)),
        "That is the sum, not the mean": lambda right, p, counted: sum(compress(_nats(p), counted)),
    },
)

EXERCISES["batch_loss"] = Exercise(
    (([[0.5], [0.25, 0.25, 0.25]],), ([[0.5, 0.5]],), ([[0.9], [0.1], [0.5, 0.5]],)),
    {"Weigh tokens alike, not rows": lambda right, rows: fmean(fmean(_nats(r)) for r in rows)},
)

# 04 GRPO


def _with_n(right, values):
    centred = np.array(values, dtype=float)
    centred -= np.nanmean(centred)
    return np.nan_to_num(centred / (np.nanstd(centred) + 1e-4))


EXERCISES["group_advantages"] = Exercise(
    (([1.0, 0.35, 0.95, 0.35],), ([1.0] * 4,), ([1.0] * 7 + [0.35],), ([1.0, None, 0.35, 0.35],)),
    {
        "None is not 0: leave it out of the mean": lambda right, v: right([x or 0 for x in v]),
        "The deviation is the sample's, with G - 1": _with_n,
    },
    tolerance=5e-3,
)

EXERCISES["kl_penalty"] = Exercise(
    ((-1.0, -1.0), (-1.0, -2.0), (-2.0, -1.0), (-0.5, -3.0)),
    {
        "That can be negative for a token; this one can't": lambda right, own, ref: own - ref,
        "The ratio is the reference's over the policy's": lambda right, own, ref: right(ref, own),
    },
)

EXERCISES["signal"] = Exercise(
    ((0.5, 2), (0.02, 8), (0.02, 16), (0.9, 8), (0.0, 8), (1.0, 8)),
    {
        "A group in which all are right teaches nothing": lambda right, p, n: 1 - (1 - p) ** n,
        "That is a group that teaches nothing": lambda right, p, n: 1 - right(p, n),
    },
)

EXERCISES["loophole"] = Exercise(fault=inspections.loophole)

# 05 and 06 curriculum

EXERCISES["shares"] = Exercise(
    ((0.85,), (0.5,), (0.0,)),
    {
        "Stage 2's batches are a mixture: put D_2 in": lambda right, a: [a / 2, a / 2, 1 - a],
        "Alpha is the share of the old": lambda right, a: right(1 - a),
    },
)

EXERCISES["forgotten"] = Exercise(
    (([0.5, 0.8, 0.6],), ([0.8, 0.5, 0.6],), ([0.1, 0.2, 0.3, 0.4],), ([0.4, 0.4],)),
    {"Compare with the best of all earlier ones": lambda right, levels: -np.diff(levels)},
)

EXERCISES["plateaued"] = Exercise(
    (
        ([0.1, 0.3, 0.4, 0.4], 1),
        ([0.1, 0.3, 0.4, 0.4], 2),
        ([0.5, 0.4, 0.3], 2),
        ([0.2, 0.6, 0.5, 0.3], 2),
        ([0.4, 0.1], 1),
        ([0.3, 0.3], 0),
    ),
    {"Compare means, not steps": lambda right, r, k: len(r) >= 2 * k > 0 and r[-1] <= r[-2]},
)

EXERCISES["tier_gap"] = Exercise(
    (
        ({"French": 68.0, "Japanese": 69.0, "Thai": 40.0, "Swahili": 0.0, "Yoruba": 4.0},),
        ({"Spanish": 80.0, "Korean": 20.0, "Hindi": 60.0, "Hausa": 20.0, "Amharic": 10.0},),
    ),
    {
        "High less low, so that a wide gap is positive": lambda right, v: -right(v),
        "Between tiers, not two languages": lambda right, v: max(v.values()) - min(v.values()),
    },
)


def _wald(right, n_right, n):
    share = n_right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return [share - half, share + half]


EXERCISES["wilson"] = Exercise(
    ((0, 75), (30, 75), (75, 75), (41, 100)),
    {"That is Wald's interval, which has no width at 0": _wald},
    tolerance=5e-3,
)

EXERCISES["why_narrower"] = Exercise(
    (
        (dict(high=80, low=20), dict(high=80, low=50)),
        (dict(high=80, low=20), dict(high=40, low=20)),
        (dict(high=80, low=20), dict(high=70, low=30)),
        (dict(high=80, low=20), dict(high=95, low=30)),
        (dict(high=80, low=20), dict(high=90, low=70)),
        (dict(high=80, low=40), dict(high=50, low=30)),
    ),
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

EXERCISES["holm"] = Exercise(
    (([0.01, 0.04, 0.03],), ([0.2, 0.001],), ([0.6, 0.5, 0.9],), ([0.04],)),
    {
        "Only the smallest p is multiplied by m": lambda right, p: [min(1, v * len(p)) for v in p],
        "No adjusted p is smaller than that of a smaller p": lambda right, p: [
            min(1, value * (len(p) - sorted(p).index(value))) for value in p
        ],
    },
)

# 08 figures

EXERCISES["per_doubling"] = Exercise(
    (([1.5, 3.0, 7.0], [28.0, 43.0, 54.0]), ([1, 2, 4, 16], [10, 20, 25, 35])),
    {"Per doubling, not per pair of sizes": lambda right, params, values: np.diff(values)},
    tolerance=1e-4,
)

EXERCISES["comes_out"] = Exercise(
    (
        ("44.54", 44.536),
        ("44.54", 44.53),
        ("95", 94.6),
        ("95", 94.4),
        ("0.30", 0.304),
        ("0.3", 0.26),
    ),
    {
        "Take the decimals as printed": lambda right, text, value: (
            abs(float(text) - value) <= 0.005
        ),
    },
)


def _linear(right, color):
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return float(np.dot((0.2126, 0.7152, 0.0722), channels))


EXERCISES["luminance"] = Exercise(
    (("#0072B2",), ("#E69F00",), ("#000000",), ("#FFFFFF",), ("#0A0A0A",)),
    {"Screen values are no amounts of light: undo sRGB's curve first": _linear},
    tolerance=5e-3,
)

# 09 trust

EXERCISES["kappa"] = Exercise(
    (
        ([True, True, True, True, False], [True, True, True, False, True]),
        ([True, True, False, False], [True, False, True, False]),
        ([True, True, True, False], [True, True, False, False]),
    ),
    {"Take out what chance would give": lambda right, a, b: fmean(map(operator.eq, a, b))},
)

EXERCISES["true_rate"] = Exercise(
    ((0.55, 0.9, 0.8), (0.95, 0.9, 0.9), (0.05, 0.8, 0.9), (0.4, 0.5, 0.5), (0.4, 0.3, 0.6)),
    {
        "What it accepts wrongly counts too": lambda right, p, se, sp: min(1.0, p / se),
        "Sensitivity and specificity are swapped": lambda right, p, se, sp: right(p, sp, se),
    },
)

# 10 ablation

EXERCISES["over_seeds"] = Exercise(
    (([0.4, 0.5, 0.6],), ([53.1, 53.9],), ([0.25],)),
    {
        "Seeds are a sample of all seeds: divide by n - 1": lambda right, v: [fmean(v), pstdev(v)],
        "One seed says nothing about the spread": lambda right, v: np.nan_to_num(right(v)),
    },
)


def _unpaired(right, first, second):
    error = math.sqrt((variance(first) + variance(second)) / len(first))
    return [fmean(second) - fmean(first), error]


EXERCISES["paired_gain"] = Exercise(
    (([0.4, 0.5, 0.6], [0.45, 0.56, 0.67]), ([0.5, 0.1, 0.9, 0.7], [0.4, 0.3, 0.8, 0.9])),
    {
        "The arms have the same seeds: take the differences seed by seed": _unpaired,
        "The gain is the second less the first": lambda right, a, b: right(b, a),
    },
)
