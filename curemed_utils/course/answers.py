"""What the exercises' checks know beside the folded solutions of the notebooks.

A mistake is a function that makes it, of the right function, then of a case; `mistakes.yaml` has
what is said of it.
"""

import math
import operator
from collections.abc import Callable
from itertools import compress
from statistics import fmean, pstdev, variance

import numpy as np

from curemed_utils import paths

# All by the name of the reader's function.
MORALS = paths.beside(__file__, "morals.yaml")  # what is said of a right answer
SENTENCES = paths.beside(__file__, "mistakes.yaml")
CASES = paths.beside(__file__, "cases.yaml")  # the arguments of each call
TOLERANCES = paths.beside(__file__, "tolerances.yaml")


def _words_shared(right, one, other):
    one, other = set(one.split()), set(other.split())
    return len(one & other) / len(one | other)


def _nats(probabilities):
    return [-math.log(p) for p in probabilities]


def _with_n(right, values):
    known = [value for value in values if value is not None] or [0]
    mean, spread = fmean(known), pstdev(known) + 1e-4
    return [0 if value is None else (value - mean) / spread for value in values]


def _wald(right, n_right, n):
    share = n_right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return [share - half, share + half]


def _not_monotone(right, p):
    return [min(1, value * (len(p) - sorted(p).index(value))) for value in p]


def _linear(right, color):
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return float(np.dot((0.2126, 0.7152, 0.0722), channels))


def _unpaired(right, first, second):
    error = math.sqrt((variance(first) + variance(second)) / len(first))
    return [fmean(second) - fmean(first), error]


MISTAKES: dict[str, dict[str, Callable]] = {  # in the order of `cases.yaml`
    "composite": {
        "None as 0": lambda right, *s: right(*[x or 0 for x in s]),
        "0 as None": lambda right, *s: right(*[x or None for x in s]),
    },
    "kept_rows": {
        "of the original pool": lambda right, n, r, k: right(n, r ** (k - 1), k),
        "float cut off": lambda right, n, r, k: n if k == 1 else int(r * n),
    },
    "too_easy": {
        "None as right": lambda right, v: False not in v,
        "majority": lambda right, v: v.count(True) > 1,
    },
    "no_straddle": {
        "all in test": lambda right, t, n, s: s ** (n * t),
        "one topic": lambda right, t, n, s: right(1, n, s),
    },
    "half_width": {
        "standard error": lambda right, sd, n: sd / math.sqrt(n),
        "whole": lambda right, sd, n: 2 * right(sd, n),
    },
    "similarity": {"words": _words_shared},
    "well_numbered": {"no step": lambda right, t: right(t) or "step" not in t},
    "labels": {
        "too short": lambda right, p, whole: whole[len(p) :],
        "shifted": lambda right, p, whole: [*right(p[1:], whole[1:]), -100],
    },
    "sft_loss": {
        "with the prompt": lambda right, p, counted: fmean(_nats(p)),
        "sum": lambda right, p, counted: sum(compress(_nats(p), counted)),
    },
    "batch_loss": {"mean of rows": lambda right, rows: fmean(fmean(_nats(r)) for r in rows)},
    "group_advantages": {
        "None as 0": lambda right, v: right([x or 0 for x in v]),
        "divided by n": _with_n,
    },
    "kl_penalty": {
        "log ratio": lambda right, own, ref: own - ref,
        "swapped": lambda right, own, ref: right(ref, own),
    },
    "signal": {
        "any right": lambda right, p, n: 1 - (1 - p) ** n,
        "none": lambda right, p, n: 1 - right(p, n),
    },
    "shares": {
        "D_2 alone": lambda right, a: [a / 2, a / 2, 1 - a],
        "swapped": lambda right, a: right(1 - a),
    },
    "forgotten": {"with the last": lambda right, levels: -np.diff(levels)},
    "plateaued": {"steps": lambda right, r, k: len(r) >= 2 * k > 0 and r[-1] <= r[-2]},
    "tier_gap": {
        "swapped": lambda right, v: -right(v),
        "two languages": lambda right, v: max(v.values()) - min(v.values()),
    },
    "wilson": {"Wald": _wald},
    "micro_macro": {
        "None as wrong": lambda right, verdicts: right([(n, bool(v)) for n, v in verdicts]),
    },
    "holm": {
        "Bonferroni": lambda right, p: [min(1, v * len(p)) for v in p],
        "not monotone": _not_monotone,
    },
    "per_doubling": {"per pair": lambda right, params, values: np.diff(values)},
    "comes_out": {"two decimals": lambda right, text, value: abs(float(text) - value) <= 0.005},
    "luminance": {"screen values": _linear},
    "kappa": {"agreement": lambda right, a, b: fmean(map(operator.eq, a, b))},
    "true_rate": {
        "right alone": lambda right, p, se, sp: min(1.0, p / se),
        "swapped": lambda right, p, se, sp: right(p, sp, se),
    },
    "over_seeds": {
        "divided by n": lambda right, v: [fmean(v), pstdev(v)],
        "one seed": lambda right, v: np.nan_to_num(right(v)),
    },
    "paired_gain": {
        "unpaired": _unpaired,
        "swapped": lambda right, a, b: right(b, a),
    },
    "questions_needed": {
        "independent": lambda right, g, d, deff: right(g, d, 1),
        "no power": lambda right, g, d, deff: 0.49 * right(g, d, deff),
    },
}
