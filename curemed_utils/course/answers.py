"""What the exercises' checks know: the cases, the right answers, and the mistakes that readers make."""

import math
import re
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple
from unittest import mock

import numpy as np

from curemed_utils import audit, data, languages, paths, rewards
from curemed_utils.audit import duplicates
from curemed_utils.evaluation import rates
from curemed_utils.training import curricula


class Exercise(NamedTuple):
    """One exercise of a notebook.

    `moral` is said of a right answer. `cases` are tried one by one against `right`; an answer that equals one of the functions in
    `mistakes` on all cases is told the sentence by which that one is filed. Where no list of cases can tell, `fault` takes the
    reader's function and gives what is off: '' for nothing, None while it returns nothing.
    """

    notebook: str
    moral: str
    cases: list[tuple] = ()
    right: Callable | None = None
    mistakes: dict[str, Callable] | None = None
    fault: Callable[[Callable], str | None] | None = None
    tolerance: float = 1e-6


# 00 start here ------------------------------------------------------------------------------------------------------


def _composite(accuracy, language, format):
    return rewards.composite({"accuracy": accuracy, "language": language, "format": format})


def _near_miss(answer: Callable) -> str | None:
    for row in _sample("French", "Amharic", "Japanese", "Yoruba"):
        text = answer(row)
        if text is None:
            return None
        parts = rewards.score(text, row)
        if parts != {"accuracy": 0.0, "language": 1.0, "format": 1.0}:
            told = "; None: too short to tell the language, write a sentence" if None in parts.values() else ""
            return f"for the {row.language} row the parts are {parts}, which make {rewards.composite(parts):.2f} and not 0.35{told}"
    return ""


def _sample(*names: str) -> list[data.Row]:
    return [row for row in data.read_folder(paths.SAMPLE, "sample") if row.topic == "malaria" and row.language in names]


# 01 data curation ---------------------------------------------------------------------------------------------------


def _held_out(answer: Callable) -> str | None:
    given = dict(question="q", answer="a")
    rows = [
        data.Row(id=f"{topic} {name}", language=name, topic=f"topic {topic}", **given) for topic in range(400) for name in ("Hausa", "Thai")
    ]
    first = [answer(row, 0) for row in rows]
    if all(part is None for part in first):
        return None
    if not all(isinstance(part, bool | np.bool_) for part in first):
        return f"the answer must be True or False, and is {next(part for part in first if not isinstance(part, bool | np.bool_))!r}"
    if [answer(row, 0) for row in reversed(rows)] != first[::-1]:
        return "the same row is held out in one call and not in the next, or by the order of the calls: nothing but row and seed may decide"
    if any(hausa != thai for hausa, thai in zip(first[::2], first[1::2], strict=True)):
        return "a topic is held out in Thai and trained on in Hausa: its answer can be carried over from one to the other"
    if not 0.13 < (share := sum(first) / len(first)) < 0.27:
        return f"{share:.0%} of 400 topics are held out, and not about 20%"
    if [answer(row, 1) for row in rows] == first:
        return "seed 1 holds out the same topics as seed 0"
    with mock.patch("builtins.hash", lambda value, own=hash: own(("another process", value))):
        if [answer(row, 0) for row in rows] != first:
            return "Python's own hash of a text changes from process to process: take hashlib.sha256"
    return ""


def _kept_rows(n, retain, stage):
    return n if stage == 1 else math.floor(retain * n + 1e-9)


def _no_straddle(topics, languages_, share):
    return (share**languages_ + (1 - share) ** languages_) ** topics


# 02 verification statistics -----------------------------------------------------------------------------------------


def _words_shared(one, other):
    return duplicates.jaccard(set(one.split()), set(other.split()))


def _smaller_shared(one, other):
    one, other = duplicates.grams(one), duplicates.grams(other)
    return len(one & other) / min(len(one), len(other))


def _tags(trace, slash=""):
    return re.findall(rf"<{slash}step(\d+)>", trace)


def _in_order(numbers):
    return numbers == [str(n) for n in range(1, len(numbers) + 1)] and bool(numbers)


# 03 code-switched SFT -----------------------------------------------------------------------------------------------


def _nats(probabilities):
    return [-math.log(p) for p in probabilities]


def _sft_loss(probabilities, in_loss):
    return statistics.fmean(_nats(p for p, counted in zip(probabilities, in_loss, strict=True) if counted))


# 04 GRPO ------------------------------------------------------------------------------------------------------------


def _advantages(values, ddof=1, scaled=True):
    values = np.array([math.nan if value is None else value for value in values])
    centred = values - np.nanmean(values)
    return np.nan_to_num(centred / (np.nanstd(values, ddof=ddof) + 1e-4) if scaled else centred).tolist()


def _kl_penalty(own, reference):
    return math.exp(reference - own) - (reference - own) - 1


def _loophole(answer: Callable) -> str | None:
    for row in _sample("French", "Amharic", "Japanese", "Yoruba"):
        text = answer(row)
        if text is None:
            return None
        loose, strict = rewards.format_reward(text, strict=False), rewards.format_reward(text)
        words = re.sub(r"<answer>.*?</answer>|<[^<>]*>", "", text, flags=re.DOTALL).split()
        for off, fault in {
            f"words stand outside the answer ({' '.join(words[:3])} …)": words,
            "the answer is not right": rewards.score(text, row)["accuracy"] != 1,
            "the loose rule doesn't pay it": not loose,
            "the strict rule pays it as well, so it is no loophole": strict,
            "empty steps are the hole that the table above shows: find another": "<step" in text,
        }.items():
            if fault:
                return f"for the {row.language} row, {off}"
    return ""


# 05 and 06 curriculum -----------------------------------------------------------------------------------------------


def _forgotten(levels):
    return [max(levels[:n]) - levels[n] for n in range(1, len(levels))]


def _tier_gap(levels, high="high", low=("low",)):
    def of(*tiers):
        return statistics.fmean(value for name, value in levels.items() if languages.get(name).tier in tiers)

    return of(high) - of(*low)


def _wilson(right, n):
    from statsmodels.stats.proportion import proportion_confint

    return list(proportion_confint(right, n, method="wilson"))


def _wald(right, n):
    half = 1.96 * math.sqrt(right / n * (1 - right / n) / n)
    return [right / n - half, right / n + half]


def _why_narrower(before, after):
    rose, fell = after["low"] > before["low"], after["high"] < before["high"]
    if after["high"] - after["low"] >= before["high"] - before["low"]:
        return "not narrower"
    return "both" if rose and fell else "low rose" if rose else "high fell"


# 07 evaluation ------------------------------------------------------------------------------------------------------


def _micro_macro(verdicts, unknown=None):
    known = [(name, unknown if right is None else right) for name, right in verdicts]
    known = [(name, right) for name, right in known if right is not None]
    each = [statistics.fmean(right for other, right in known if other == name) for name in dict.fromkeys(name for name, _ in known)]
    return [100 * statistics.fmean(right for _, right in known), 100 * statistics.fmean(each)]


def _kappa(a, b):
    import pandas as pd

    return rates.kappa(pd.Series(a), pd.Series(b))


def _agreement(a, b):
    return statistics.fmean(x == y for x, y in zip(a, b, strict=True))


def _corrected(p, method):
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method=method)[1].tolist()


def _holm_without_order(p):
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__))}
    return [min(1, value * (len(p) - ranks[place])) for place, value in enumerate(p)]


# 09 trust and 10 ablation -------------------------------------------------------------------------


def _true_rate(apparent, sensitivity, specificity):
    if sensitivity + specificity <= 1:
        return math.nan
    return min(1.0, max(0.0, _rogan_gladen(apparent, sensitivity, specificity)))


def _rogan_gladen(apparent, sensitivity, specificity):
    return (apparent + specificity - 1) / (sensitivity + specificity - 1)


def _over_seeds(values):
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return [statistics.fmean(values), deviation]


def _paired_gain(first, second):
    gains = [after - before for before, after in zip(first, second, strict=True)]
    return [statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))]


def _unpaired_gain(first, second):
    gain = statistics.fmean(second) - statistics.fmean(first)
    variances = statistics.variance(first) + statistics.variance(second)
    return [gain, math.sqrt(variances / len(first))]


def _gain_of_one_seed(first, second):
    gain, error = _paired_gain(first, second)
    return [gain, error * math.sqrt(len(first))]


# 08 figures ---------------------------------------------------------------------------------------------------------


def _per_doubling(params, values, log=math.log2):
    pairs = zip(params, params[1:], values, values[1:], strict=False)
    return [(after - before) / log(larger / smaller) for smaller, larger, before, after in pairs]


def _comes_out(printed, value):
    return abs(float(printed) - value) <= 0.5 * 10.0 ** -_decimals(printed) + 1e-9


def _decimals(printed):
    return len(printed.partition(".")[2])


def _luminance(color, weights=(0.2126, 0.7152, 0.0722), linear=True):
    channels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    if linear:
        channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip(weights, channels, strict=True))


EXERCISES = {
    "composite": Exercise(
        "00", "Three numbers decide what a model is pushed towards; notebook 04 takes each apart.",
        [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0.5, 1, 0), (0, 0, 0), (None, 1, 1), (None, None, None)], _composite,
        {
            "Where nothing is known the reward is unknown, math.nan, and not 0": lambda *s: sum(
                w * (x or 0) for w, x in zip((0.65, 0.3, 0.05), s, strict=True)
            ),
            "0 is known and None is not: ask for `is not None`, since 0 counts as false as well": lambda *s: (
                sum(w * x for w, x in zip((0.65, 0.3, 0.05), s, strict=True) if x) if any(s) else math.nan
            ),
            "A part that is unknown is left out; the other weights stay as they are": lambda *s: _composite(*s)
            / (sum(w for w, x in zip((0.65, 0.3, 0.05), s, strict=True) if x is not None) or math.nan),
            "The weights of accuracy and language are swapped": lambda accuracy, language, format: _composite(language, accuracy, format),
        },
    ),
    "near_miss": Exercise("00", "A fluent answer in the right language earns a third without being right.", fault=_near_miss),
    "held_out": Exercise("01", "Topics move as one, and the same rows give the same test everywhere.", fault=_held_out),
    "kept_rows": Exercise(
        "01", "The share is always taken of the language's own pool, and rounded down.",
        [(421, 0.85, 1), (421, 0.85, 2), (421, 0.85, 3), (10, 0.85, 2), (3, 0.85, 3), (140, 0.5, 2), (100, 0.29, 2)],
        _kept_rows,
        {
            "Each stage takes its share of the original pool, not of what the stage before had kept": lambda n, r, s: math.floor(
                r ** (s - 1) * n + 1e-9
            ),
            "The released files round down": lambda n, r, s: n if s == 1 else round(r * n),
            "Rows are whole: round down": lambda n, r, s: n if s == 1 else r * n,
            "0.29 * 100 is 28.999999999999996 to a computer, and 29 is meant": lambda n, r, s: n if s == 1 else math.floor(r * n),
        },
    ),
    "too_easy": Exercise(
        "01", "A vote that can't be read counts for neither side.",
        [([True, True, True],), ([True, False, True],), ([True, None, True],), ([None, None, None],), ([False, False, False],)],
        lambda votes: all(vote is True for vote in votes),
        {
            "A vote that could not be read is not a right answer": lambda votes: all(vote is not False for vote in votes),
            "All three have to be right, a majority is not enough": lambda votes: sum(vote is True for vote in votes) >= 2,
        },
    ),
    "no_straddle": Exercise(
        "01", "With 15 topics in 13 languages it is about 1 in 10 to the 19th: rows dealt at random always leak.",
        [(1, 2, 0.5), (1, 13, 0.2), (2, 3, 0.2), (15, 2, 0.1)], _no_straddle,
        {
            "All rows of a topic may also fall on the training side": lambda t, n, s: s ** (n * t),
            "That is for one topic; no topic at all may straddle": lambda t, n, s: _no_straddle(1, n, s),
            "That is the chance that some topic stays whole; all of them have to": lambda t, n, s: 1 - (1 - _no_straddle(1, n, s)) ** t,
            "All rows of a topic may also be held out together": lambda t, n, s: (1 - s) ** (n * t),
        },
    ),
    "half_width": Exercise(
        "02", "With 50 items and a deviation of 0.3 it is 0.08, so 4.95 and 5.00 can't be told apart.",
        [(0.3, 50), (0.5, 8), (1.0, 100)], lambda sd, n: 1.959964 * sd / math.sqrt(n),
        {
            "That is one standard error; 95% takes 1.96 of them": lambda sd, n: sd / math.sqrt(n),
            "2 is the rule of thumb; take 1.96": lambda sd, n: 2 * sd / math.sqrt(n),
            "That is the whole interval, and half of it was asked for": lambda sd, n: 2 * 1.959964 * sd / math.sqrt(n),
            "The error falls with the square root of n": lambda sd, n: 1.959964 * sd / n,
        },
        tolerance=5e-3,
    ),
    "similarity": Exercise(
        "02", "No spaces are needed, so Thai and Japanese are served like French.",
        [("la toux", "la toux"), ("une forte fièvre", "une fièvre forte"), ("ปวดหัวมากและมีไข้", "ปวดหัวและมีไข้"), ("a b", "a b")],
        lambda a, b: duplicates.jaccard(duplicates.grams(a), duplicates.grams(b)),
        {
            "Words are compared there; Thai has no spaces between them": _words_shared,
            "The shared sequences are counted against the shorter text; divide by those of both together": _smaller_shared,
            "Single characters are compared there, of which most texts share most": lambda a, b: duplicates.jaccard(set(a), set(b)),
        },
    ),
    "well_numbered": Exercise(
        "02", "One in four released traces fails this.",
        [
            ("<step1>a</step1><step2>b</step2>",), ("<step1>a</step1><step3>b</step3>",), ("<step1>a</step2>",),
            ("<step1>a<step2>b</step2>",), ("<step2>a</step2><step1>b</step1>",), ("no steps",),
            ("".join(f"<step{n}>x</step{n}>" for n in range(1, 12)),),
        ],
        lambda trace: not audit.step_fault(trace),
        {
            "Only the opening tags are looked at": lambda trace: _in_order(_tags(trace)),
            "The numbers have to run 1 to n, not only to match": lambda trace: _tags(trace) == _tags(trace, "/") != [],
            "A trace without a step is not well numbered": lambda trace: not audit.step_fault(trace) or not _tags(trace),
            "Opening and closing tags are only counted": lambda trace: len(_tags(trace)) == len(_tags(trace, "/")) > 0,
            "The order of the steps counts as well": lambda trace: _in_order(sorted(_tags(trace), key=int)) and _in_order(
                sorted(_tags(trace, "/"), key=int)
            ),
        },
    ),
    "labels": Exercise(
        "03", "-100 is what PyTorch's cross-entropy leaves out.",
        [([5, 6, 7], [5, 6, 7, 8, 9]), ([1], [1, 2]), ([4, 4], [4, 4, 4, 4])],
        lambda prompt, whole: [-100] * len(prompt) + whole[len(prompt) :],
        {
            "The prompt is condition and not target: mask it": lambda prompt, whole: whole,
            "0 is a token like any other; -100 is what the loss leaves out": lambda prompt, whole: [0] * len(prompt) + whole[len(prompt) :],
            "The labels have the length of the whole sequence": lambda prompt, whole: whole[len(prompt) :],
            "The model itself shifts by one; labels stand at their own tokens": lambda prompt, whole: [-100] * (len(prompt) - 1)
            + whole[len(prompt) :] + [-100],
            "Mask by place and not by value: a prompt's token may occur in the answer": lambda prompt, whole: [
                -100 if token in prompt else token for token in whole
            ],
        },
    ),
    "sft_loss": Exercise(
        "03", "This is the number that TRL logs as `loss`.",
        [([0.5, 0.25, 0.125], [True] * 3), ([0.9, 0.9, 0.5, 0.25], [False, False, True, True]), ([0.1, 1.0], [False, True])], _sft_loss,
        {
            "The prompt's tokens are not in the loss": lambda p, counted: _sft_loss(p, [True] * len(p)),
            "That is the sum; the mean per completion token is reported": lambda p, counted: _sft_loss(p, counted) * sum(counted),
            "A loss is the *negative* logarithm": lambda p, counted: -_sft_loss(p, counted),
            "Take the mean of the logarithms, not the logarithm of the mean": lambda p, counted: -math.log(
                statistics.fmean(x for x, c in zip(p, counted, strict=True) if c)
            ),
            "The logarithm is the natural one": lambda p, counted: _sft_loss(p, counted) / math.log(2),
            "Divide by the completion's tokens, not by all": lambda p, counted: _sft_loss(p, counted) * sum(counted) / len(p),
        },
    ),
    "batch_loss": Exercise(
        "03", "Every token weighs the same, so a long trace weighs more than a short one.",
        [([[0.5], [0.25, 0.25, 0.25]],), ([[0.5, 0.5]],), ([[0.9], [0.1], [0.5, 0.5]],)],
        lambda rows: statistics.fmean(_nats(p for row in rows for p in row)),
        {
            "That weighs rows alike; the trainer weighs tokens alike": lambda rows: statistics.fmean(
                statistics.fmean(_nats(row)) for row in rows
            ),
            "Divide by the number of tokens, not of rows": lambda rows: sum(_nats(p for row in rows for p in row)) / len(rows),
        },
    ),
    "group_advantages": Exercise(
        "04", "A rollout that nobody could judge neither gains nor loses, and doesn't move the others.",
        [([1.0, 0.35, 0.95, 0.35],), ([1.0] * 4,), ([1.0] * 7 + [0.35],), ([1.0, None, 0.35, 0.35],)], _advantages,
        {
            "None is not 0: the mean and the deviation are those of the rollouts that were judged": lambda values: [
                0.0 if value is None else part
                for value, part in zip(values, _advantages([value or 0 for value in values]), strict=True)
            ],
            "A rollout without a verdict gets the advantage 0": lambda values: _advantages([value or 0 for value in values]),
            "One advantage for each rollout, and 0, not NaN, for one without a verdict": lambda values: [
                math.nan if value is None else part for value, part in zip(values, _advantages(values), strict=True)
            ],
            "The deviation is the sample's, with G - 1": lambda values: _advantages(values, ddof=0),
            "The differences are still to be divided by the deviation": lambda values: _advantages(values, scaled=False),
        },
        tolerance=5e-3,
    ),
    "kl_penalty": Exercise(
        "04", "It is never negative, and its mean over the policy's own tokens is the divergence.",
        [(-1.0, -1.0), (-1.0, -2.0), (-2.0, -1.0), (-0.1, -0.1), (-0.5, -3.0)], _kl_penalty,
        {
            "That can be negative for a single token; this estimator can't": lambda own, reference: own - reference,
            "The ratio is the reference's probability over the policy's own": lambda own, reference: _kl_penalty(reference, own),
            "Both are logarithms already: the logarithm of the ratio is their difference": lambda own, reference: (
                reference / own - math.log(reference / own) - 1
            ),
            "The 1 is still to be taken off: equal probabilities cost nothing": lambda own, reference: _kl_penalty(own, reference) + 1,
        },
    ),
    "signal": Exercise(
        "04", "At 2% right answers, 15% of the groups of 8 teach something and 28% of those of 16: groups are large, and tiers easy first.",
        [(0.5, 2), (0.02, 8), (0.02, 16), (0.9, 8), (0.0, 8), (1.0, 8)], lambda p, n: 1 - p**n - (1 - p) ** n,
        {
            "A group in which all are right teaches nothing either": lambda p, n: 1 - (1 - p) ** n,
            "That is the chance of a group that teaches nothing": lambda p, n: p**n + (1 - p) ** n,
        },
    ),
    "loophole": Exercise(
        "04", "The loose rule of Appendix B.3.2 pays for tags; Equation 3 read strictly asks for steps with words.", fault=_loophole
    ),
    "shares": Exercise(
        "05", "At 0.85 the tier that a third stage is about makes up 15% of its batches.",
        [(0.85,), (0.5,), (0.0,)], lambda alpha: [alpha * alpha, alpha * (1 - alpha), 1 - alpha],
        {
            "Stage 2's batches are a mixture themselves: put D_2 in": lambda alpha: [alpha / 2, alpha / 2, 1 - alpha],
            "Alpha is the share of the old": lambda alpha: [(1 - alpha) ** 2, alpha * (1 - alpha), alpha],
        },
    ),
    "forgotten": Exercise(
        "05", "Only against the best that was reached does a loss show that a later gain has covered in part.",
        [([0.5, 0.8, 0.6],), ([0.8, 0.5, 0.6],), ([0.1, 0.2, 0.3, 0.4],), ([0.4, 0.4],)], _forgotten,
        {
            "Compare with the best of all earlier checkpoints, not only with the last": lambda levels: [
                a - b for a, b in pairwise(levels)
            ],
            "Positive means forgotten: the earlier level less the present one": lambda levels: [-value for value in _forgotten(levels)],
            "The best of the *earlier* ones, so that a gain is negative": lambda levels: [max(0, value) for value in _forgotten(levels)],
            "Compare with the best of the earlier checkpoints, not with the first": lambda levels: [levels[0] - v for v in levels[1:]],
        },
    ),
    "plateaued": Exercise(
        "05", "Patience trades steps for certainty: noise looks like a plateau to an impatient rule.",
        [
            ([0.1, 0.3, 0.4, 0.4], 1), ([0.1, 0.3, 0.4, 0.4], 2), ([0.5, 0.4, 0.3], 2), ([0.2, 0.6, 0.5, 0.3], 2), ([0.4, 0.1], 1),
            ([0.3, 0.3], 0),
        ],
        curricula.plateaued,
        {
            "No higher also means equal": lambda r, k: bool(k) and len(r) >= 2 * k and sum(r[-k:]) < sum(r[-2 * k : -k]),
            "With fewer than twice `patience` steps nothing can be compared": lambda r, k: bool(k) and (
                len(r) < 2 * k or curricula.plateaued(r, k)
            ),
            "Compare means over `patience` steps, not the last two": lambda r, k: bool(k) and len(r) >= 2 * k and r[-1] <= r[-2],
            "A patience of 0 means never": lambda r, k: curricula.plateaued(r, k) or k == 0,
        },
    ),
    "tier_gap": Exercise(
        "06", "One number for equity, and it needs the levels beside it.",
        [
            ({"French": 68.0, "Japanese": 69.0, "Thai": 40.0, "Swahili": 0.0, "Yoruba": 4.0},),
            ({"Spanish": 80.0, "Korean": 20.0, "Hindi": 60.0, "Hausa": 20.0, "Amharic": 10.0},),
        ],
        _tier_gap,
        {
            "High less low, so that a wide gap is a large number": lambda levels: -_tier_gap(levels),
            "The gap is between tiers, not between two languages": lambda levels: max(levels.values()) - min(levels.values()),
            "The medium tier is on neither side": lambda levels: _tier_gap(levels, low=("medium", "low")),
        },
    ),
    "wilson": Exercise(
        "06", "At 0 of 75 it reaches to 4.9%: nothing seen is not nothing there.",
        [(0, 75), (30, 75), (75, 75), (41, 100)], _wilson,
        {
            "That is Wald's interval, which has no width at 0 and leaves 0-1 elsewhere": _wald,
            "In percent; shares were asked for": lambda right, n: [100 * limit for limit in _wilson(right, n)],
        },
        tolerance=5e-3,
    ),
    "why_narrower": Exercise(
        "06", "A gap that closes from above is no progress.",
        [
            ({"high": 80, "low": 20}, {"high": 80, "low": 50}), ({"high": 80, "low": 20}, {"high": 40, "low": 20}),
            ({"high": 80, "low": 20}, {"high": 70, "low": 30}), ({"high": 80, "low": 20}, {"high": 95, "low": 30}),
            ({"high": 80, "low": 20}, {"high": 90, "low": 70}), ({"high": 80, "low": 40}, {"high": 50, "low": 30}),
        ],
        _why_narrower,
        {
            "Ask first whether it is narrower at all": lambda b, a: "low rose" if a["low"] > b["low"] else "high fell",
            "Both can happen at once": lambda b, a: (
                _why_narrower(b, a) if _why_narrower(b, a) != "both" else "low rose" if a["low"] > b["low"] else "high fell"
            ),
        },
    ),
    "micro_macro": Exercise(
        "07", "Micro is what the paper prints as its average over languages; macro lets a small language count in full.",
        [
            ([("French", True), ("French", True), ("French", False), ("Hausa", False)],),
            ([("French", True), ("French", None), ("Hausa", False)],),
            ([("Thai", None), ("Hausa", True), ("Hausa", False), ("Hausa", False), ("French", True)],),
        ],
        _micro_macro,
        {
            "Unknown is not wrong: leave it out": lambda verdicts: _micro_macro(verdicts, unknown=False),
            "Micro comes first": lambda verdicts: _micro_macro(verdicts)[::-1],
            "In percent, please": lambda verdicts: [value / 100 for value in _micro_macro(verdicts)],
        },
    ),
    "kappa": Exercise(
        "09", "Agreement of 90% can be no better than not looking.",
        [
            ([True, True, True, True, False], [True, True, True, False, True]), ([True, False, True], [True, False, True]),
            ([True, True, False, False], [True, False, True, False]), ([True, True, True, False], [True, True, False, False]),
        ],
        _kappa,
        {
            "Take out what chance would give": _agreement,
            "Chance depends on how often each rater says yes; it is not always one half": lambda a, b: 2 * _agreement(a, b) - 1,
            "Divide by what is left above chance": lambda a, b: _agreement(a, b) - _chance(a, b),
        },
    ),
    "holm": Exercise(
        "07", "Holm holds the table's error at its level, as Bonferroni does, and finds more.",
        [([0.01, 0.04, 0.03],), ([0.2, 0.001],), ([0.6, 0.5, 0.9],), ([0.04],)], lambda p: _corrected(p, "holm"),
        {
            "That is Bonferroni: only the smallest p is multiplied by all of m": lambda p: _corrected(p, "bonferroni"),
            "An adjusted p can't be smaller than that of a smaller p: take the maximum so far": _holm_without_order,
            "That is Benjamini and Hochberg, who bound another error": lambda p: _corrected(p, "fdr_bh"),
        },
    ),
    "true_rate": Exercise(
        "09",
        "The correction is only as good as the labels that told sensitivity and specificity.",
        [
            (0.55, 0.9, 0.8),
            (0.95, 0.9, 0.9),
            (0.05, 0.8, 0.9),
            (0.4, 0.5, 0.5),
            (0.4, 0.3, 0.6),
        ],
        _true_rate,
        {
            "A share lies between 0 and 1: clip what the formula gives": (
                lambda p, se, sp: _rogan_gladen(p, se, sp) if se + sp > 1 else math.nan
            ),
            "Sensitivity and specificity have changed places": (
                lambda p, se, sp: _true_rate(p, sp, se)
            ),
            "Some of what the check accepts, it accepts wrongly: specificity counts too": (
                lambda p, se, sp: min(1.0, p / se)
            ),
        },
    ),
    "over_seeds": Exercise(
        "10",
        "Two numbers a table cell, and the second says how much the first is worth.",
        [([0.4, 0.5, 0.6],), ([53.1, 53.9],), ([0.25],)],
        _over_seeds,
        {
            "Seeds are a sample of all seeds: divide by n - 1": (
                lambda values: [
                    statistics.fmean(values),
                    statistics.pstdev(values) if len(values) > 1 else math.nan,
                ]
            ),
            "One seed says nothing about the spread: unknown is not 0": (
                lambda values: [statistics.fmean(values), np.std(values, ddof=len(values) > 1)]
            ),
        },
    ),
    "paired_gain": Exercise(
        "10",
        "What a seed does to both arms drops out of their difference.",
        [
            ([0.40, 0.50, 0.60], [0.45, 0.56, 0.67]),
            ([10.0, 30.0], [12.0, 31.0]),
            ([0.5, 0.1, 0.9, 0.7], [0.4, 0.3, 0.8, 0.9]),
        ],
        _paired_gain,
        {
            "The seeds are the same in both arms: take the differences seed by seed": _unpaired_gain,
            "The gain is the second less the first": lambda a, b: _paired_gain(b, a),
            "That is the deviation of one seed's gain; a mean of n varies less": _gain_of_one_seed,
        },
    ),
    "per_doubling": Exercise(
        "08", "On a logarithmic axis a constant gain per doubling is a straight line.",
        [([1.5, 3.0, 7.0], [28.0, 43.0, 54.0]), ([1, 2, 4, 16], [10, 20, 25, 35])], _per_doubling,
        {
            "Per doubling, so the logarithm is to base 2": lambda params, values: _per_doubling(params, values, math.log),
            "Per doubling, not per pair of sizes: 3B to 7B is more than one": lambda params, values: [
                b - a for a, b in pairwise(values)
            ],
            "Per doubling, not per billion parameters": lambda params, values: [
                (b - a) / (q - p) for p, q, a, b in zip(params, params[1:], values, values[1:], strict=False)
            ],
        },
        tolerance=1e-4,
    ),
    "comes_out": Exercise(
        "08", "A number agrees as far as it was printed, no further.",
        [("44.54", 44.536), ("44.5", 44.54), ("44.54", 44.53), ("95", 94.6), ("95", 94.4), ("0.30", 0.304), ("0.3", 0.26)],
        _comes_out,
        {
            "How many decimals count is what was printed, not always two": lambda printed, value: abs(float(printed) - value) <= 0.005,
            "A printed number stands for all that round to it": lambda printed, value: float(printed) == value,
            "Half a unit of the last decimal, not a whole one": lambda printed, value: (
                abs(float(printed) - value) <= 10.0 ** -_decimals(printed) + 1e-9
            ),
        },
    ),
    "luminance": Exercise(
        "08", "Two colours of equal luminance are one grey in print: then a marker or a line style has to tell.",
        [("#0072B2",), ("#E69F00",), ("#000000",), ("#FFFFFF",), ("#0A0A0A",)], _luminance,
        {
            "Screen values are no amounts of light: undo sRGB's curve first": lambda color: _luminance(color, linear=False),
            "The eye sees green as brighter than blue: weigh the channels": lambda color: _luminance(color, (1 / 3,) * 3),
        },
        tolerance=5e-3,
    ),
}  # fmt: skip


def _chance(a, b):
    yes = statistics.fmean(a), statistics.fmean(b)
    return yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
