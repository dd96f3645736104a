"""Answers to the exercises of notebooks 05 to 10 as readers write them: right forms, wrong ones."""

import math
import statistics
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, chain, pairwise

import numpy as np
import pandas as pd
from scipy.stats import norm
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from curemed_utils import languages


def of_tier(levels, tier):
    return [level for name, level in levels.items() if languages.get(name).tier == tier]


def gap_by_frame(levels):
    series = pd.Series(levels)
    means = series.groupby([languages.get(name).tier for name in series.index]).mean()
    return means["high"] - means["low"]


def gap_by_sums(levels):
    total, count = dict.fromkeys(languages.TIERS, 0), dict.fromkeys(languages.TIERS, 0)
    for name, level in levels.items():
        total[languages.get(name).tier] += level
        count[languages.get(name).tier] += 1
    return total["high"] / count["high"] - total["low"] / count["low"]


def halves(rewards, k):
    return (rewards[-k:], rewards[-2 * k : -k]) if k and len(rewards) >= 2 * k else None


def plateau_by_means(rewards, k):
    parts = halves(rewards, k)
    return bool(parts) and np.mean(parts[0]) <= np.mean(parts[1]) + 1e-12


def plateau_as_number(rewards, patience):
    if patience == 0 or len(rewards) < patience * 2:
        return 0
    last = sum(rewards[len(rewards) - patience :])
    return int(last <= sum(rewards[len(rewards) - 2 * patience : len(rewards) - patience]))


def plateau_by_differences(rewards, patience):
    n = patience
    if n < 1 or len(rewards) < 2 * n:
        return False
    return sum(rewards[-k] - rewards[-k - n] for k in range(1, n + 1)) <= 1e-12


def wald(right, n):
    p = right / n
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    return max(0, p - half), min(1, p + half)


def wilson(right, n, z=1.96):
    p, shrunk = right / n, z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + shrunk / (4 * n))
    return np.array([p + shrunk / 2 - half, p + shrunk / 2 + half]) / (1 + shrunk)


def known_of(verdicts):
    return [(language, right) for language, right in verdicts if right is not None]


def micro_macro_by_frame(verdicts):
    table = pd.DataFrame(verdicts, columns=["language", "right"]).dropna()
    table["right"] = table["right"].astype(float)
    micro, macro = table["right"].mean(), table.groupby("language")["right"].mean().mean()
    return 100 * micro, 100 * macro


def micro_macro_by_sums(verdicts):
    right, n = {}, {}
    for language, verdict in known_of(verdicts):
        right[language] = right.get(language, 0) + verdict
        n[language] = n.get(language, 0) + 1
    shares = [right[language] / n[language] for language in n]
    return [100 * sum(right.values()) / sum(n.values()), 100 * sum(shares) / len(shares)]


def micro_macro_by_lists(verdicts):
    by_language = {}
    for language, right in known_of(verdicts):
        by_language.setdefault(language, []).append(right)
    every = [*chain(*by_language.values())]
    return np.multiply(100, [np.mean(every), np.mean([*map(np.mean, by_language.values())])])


def with_unknown_languages(verdicts):
    micro, macro = micro_macro_by_sums(verdicts)
    n_known = len({language for language, _ in known_of(verdicts)})
    return micro, macro * n_known / len({language for language, _ in verdicts})


def holm_by_array(p):
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def holm_by_sorting(p):
    ranked = sorted(enumerate(p), key=lambda pair: pair[1])
    stepped = [(len(p) - rank) * value for rank, (_, value) in enumerate(ranked)]
    adjusted = dict(zip((place for place, _ in ranked), accumulate(stepped, max), strict=True))
    return [min(1, adjusted[place]) for place in range(len(p))]


def later_rank_for_ties(p):
    stepped = {v: min(1, v * (len(p) + 1 - sum(w <= v for w in p))) for v in sorted(p)}
    return [max(stepped[w] for w in p if w <= v) for v in p]


def decimals_of(printed):
    return len(printed.split(".")[1]) if "." in printed else 0


def rounds_by_decimal(printed, value):
    half = Decimal(5).scaleb(-decimals_of(printed) - 1)
    return abs(Decimal(printed) - Decimal(str(value))) <= half


def luminance_by_array(color):
    c = np.array([*bytes.fromhex(color[1:])]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def luminance_by_loop(color):
    total = 0
    for n, weight in enumerate((0.2126, 0.7152, 0.0722)):
        c = int(color[1 + 2 * n : 3 + 2 * n], base=16) / 255
        if c <= 0.04045:
            total += weight * c / 12.92
        else:
            total += weight * ((c + 0.055) / 1.055) ** 2.4
    return round(total, 4)


def luminance_by_parts(color):
    red, green, blue = (int(color[n : n + 2], 16) / 255 for n in (1, 3, 5))

    def undone(c):
        return c / 12.92 if c <= 0.04045 else math.exp(2.4 * math.log((c + 0.055) / 1.055))

    return 0.2126 * undone(red) + 0.7152 * undone(green) + 0.0722 * undone(blue)


def powered(color, gamma):
    c = np.array([*bytes.fromhex(color[1:])]) / 255
    return float(c**gamma @ [0.2126, 0.7152, 0.0722])


def agreement(a, b):
    return np.mean(np.equal(a, b))


def beyond(a, b, chance):
    return (agreement(a, b) - chance) / (1 - chance)


def kappa_by_table(a, b):
    table = pd.crosstab(pd.Categorical(a, [False, True]), pd.Categorical(b, [False, True]))
    return cohens_kappa(table.reindex(index=[False, True], columns=[False, True])).kappa


def kappa_by_counts(a, b):
    n, yes_a, yes_b = len(a), a.count(True), b.count(True)
    chance = Fraction(yes_a * yes_b + (n - yes_a) * (n - yes_b), n * n)
    same = Fraction(sum(x is y for x, y in zip(a, b, strict=True)), n)
    return (same - chance) / (1 - chance)


def rogan_gladen(apparent, sensitivity, specificity):
    return (apparent + specificity - 1) / (sensitivity + specificity - 1)


def corrected(apparent, sensitivity, specificity):
    if sensitivity + specificity <= 1:
        return math.nan
    return np.clip(rogan_gladen(apparent, sensitivity, specificity), 0, 1)


def spread(values):
    return statistics.stdev(values) if len(values) > 1 else math.nan


def differences(first, second):
    return [after - before for before, after in zip(first, second, strict=True)]


def questions_by_quantiles(gain, differ, deff):
    z = norm.ppf([0.975, 0.8]).sum()
    return math.ceil(deff * z**2 * (differ - gain**2) / gain**2)


def questions_by_factor(gain, differ, deff):
    return int(np.ceil(7.84 * deff * (differ / gain**2 - 1)))


def questions_by_error(gain, differ, deff):
    error = gain / 2.8
    return (differ - gain * gain) * deff / error**2


RIGHT = {
    "shares": [
        lambda a: [a**2, a - a**2, 1 - a],
        lambda a: np.array([a * a, a * (1 - a), 1 - a]),
        lambda a: (math.pow(a, 2), (1 - a) * a, 1 - a**2 - a * (1 - a)),
    ],
    "forgotten": [
        lambda levels: np.maximum.accumulate(levels)[:-1] - levels[1:],
        lambda levels: [m - v for m, v in zip(accumulate(levels, max), levels[1:], strict=False)],
        lambda levels: (pd.Series(levels).cummax().shift() - levels).dropna(),
    ],
    "plateaued": [plateau_by_means, plateau_as_number, plateau_by_differences],
    "tier_gap": [
        gap_by_frame,
        gap_by_sums,
        lambda v: statistics.fmean(of_tier(v, "high")) - statistics.fmean(of_tier(v, "low")),
    ],
    "wilson": [
        lambda right, n: proportion_confint(right, n, method="wilson"),
        wilson,
        lambda right, n: [round(end, 3) for end in wilson(right, n)],
    ],
    "micro_macro": [micro_macro_by_frame, micro_macro_by_sums, micro_macro_by_lists],
    "holm": [
        holm_by_array,
        holm_by_sorting,
        lambda p: multipletests(p, method="holm")[1],
    ],
    "per_doubling": [
        lambda x, y: np.diff(y) / np.diff(np.log2(x)),
        lambda x, y: [
            (y[n + 1] - y[n]) / (math.log2(x[n + 1]) - math.log2(x[n])) for n in range(len(x) - 1)
        ],
        lambda x, y: np.diff(y) * math.log(2) / np.diff(np.log(x)),
    ],
    "comes_out": [
        rounds_by_decimal,
        lambda printed, value: abs(float(printed) - value) < 0.51 * 10 ** -decimals_of(printed),
        lambda printed, value: int(f"{value:.{decimals_of(printed)}f}" == printed),
    ],
    "luminance": [luminance_by_array, luminance_by_loop, luminance_by_parts],
    "kappa": [
        kappa_by_table,
        kappa_by_counts,
        lambda a, b: beyond(a, b, np.mean(a) * np.mean(b) + (1 - np.mean(a)) * (1 - np.mean(b))),
    ],
    "true_rate": [
        corrected,
        lambda p, se, sp: max(0, min((p + sp - 1) / (se + sp - 1), 1)) if se + sp > 1 else np.nan,
        lambda p, se, sp: float("nan") if se <= 1 - sp else corrected(p, se, sp).item(),
    ],
    "over_seeds": [
        lambda v: (statistics.fmean(v), spread(v)),
        lambda v: pd.Series(v).agg(["mean", "std"]),
        lambda v: [np.mean(v), np.std(v, ddof=1) if len(v) > 1 else np.nan],
    ],
    "paired_gain": [
        lambda a, b: (statistics.fmean(differences(a, b)), pd.Series(differences(a, b)).sem()),
        lambda a, b: [np.mean(b) - np.mean(a), spread(differences(a, b)) / len(a) ** 0.5],
        lambda a, b: np.array(
            [np.subtract(b, a).mean(), spread(differences(a, b)) / len(b) ** 0.5]
        ),
    ],
    "questions_needed": [questions_by_quantiles, questions_by_factor, questions_by_error],
}
WRONG = {
    "shares": [
        lambda a: [a / 2, a / 2, 1 - a],
        lambda a: [(1 - a) ** 2, a * (1 - a), a],
        lambda a: [1 - a, a * (1 - a), a**2],
        lambda a: [a**2, 1 - a, a * (1 - a)],
        lambda a: [a**2, a, 1],
    ],
    "forgotten": [
        lambda levels: [before - after for before, after in pairwise(levels)],
        lambda levels: [levels[0] - level for level in levels[1:]],
        lambda levels: [max(levels) - level for level in levels[1:]],
        lambda levels: [max(levels[:n]) - levels[n] for n in range(1, len(levels))][::-1],
        lambda levels: [max(0, max(levels[:n]) - levels[n]) for n in range(1, len(levels))],
    ],
    "plateaued": [
        lambda r, k: len(r) >= 2 * k > 0 and max(r[-k:]) <= max(r[:-k]),
        lambda r, k: len(r) >= 2 * k > 0 and r[-1] <= r[-1 - k],
        lambda r, k: len(r) >= 2 * k > 0 and r[-1] <= r[-2],
        lambda r, k: len(r) >= 2 * k > 0 and np.mean(r[-k:]) <= np.mean(r[:-k]),
        lambda r, k: len(r) >= 2 * k > 0 and np.mean(r[-k:]) < np.mean(r[-2 * k : -k]),
    ],
    "tier_gap": [
        lambda v: -gap_by_frame(v),
        lambda v: max(v.values()) - min(v.values()),
        lambda v: statistics.median(of_tier(v, "high")) - statistics.median(of_tier(v, "low")),
        lambda v: statistics.fmean(of_tier(v, "high")) - statistics.fmean(of_tier(v, "medium")),
        lambda v: sum(of_tier(v, "high")) - sum(of_tier(v, "low")),
    ],
    "wilson": [
        wald,
        lambda right, n: proportion_confint(right, n, method="agresti_coull"),
        lambda right, n: proportion_confint(right, n, method="beta"),
        lambda right, n: wilson(right, n, z=1.645),
        lambda right, n: [100 * end for end in wilson(right, n)],
    ],
    "micro_macro": [
        lambda v: micro_macro_by_sums([(name, bool(right)) for name, right in v]),
        lambda v: micro_macro_by_sums(v)[::-1],
        lambda v: [part / 100 for part in micro_macro_by_sums(v)],
        with_unknown_languages,
        lambda v: [micro_macro_by_sums(v)[0]] * 2,
    ],
    "holm": [
        lambda p: [min(1, value * len(p)) for value in p],
        lambda p: multipletests(p, method="fdr_bh")[1],
        lambda p: multipletests(p, method="simes-hochberg")[1],
        later_rank_for_ties,
        lambda p: sorted(holm_by_array(p)),
    ],
    "per_doubling": [
        lambda x, y: np.diff(y),
        lambda x, y: np.diff(y) / np.diff(np.log(x)),
        lambda x, y: np.diff(y) / np.diff(x),
        lambda x, y: [(y[-1] - y[0]) / math.log2(x[-1] / x[0])] * (len(x) - 1),
        lambda x, y: np.diff(y) / (np.array(x[1:]) / np.array(x[:-1])),
    ],
    "comes_out": [
        lambda printed, value: abs(float(printed) - value) <= 0.005,
        lambda printed, value: round(value, decimals_of(str(float(printed)))) == float(printed),
        lambda printed, value: abs(float(printed) - value) < 10 ** -decimals_of(printed),
        lambda printed, value: str(value).startswith(printed),
        lambda printed, value: float(printed) == value,
    ],
    "luminance": [
        lambda color: powered(color, 1),
        lambda color: powered(color, 2.2),
        lambda color: powered(color, 2.4),
        lambda color: sum(bytes.fromhex(color[1:])) / 765,
        lambda color: 1 - luminance_by_array(color),
    ],
    "kappa": [
        agreement,
        lambda a, b: beyond(a, b, 0.5),
        lambda a, b: beyond(a, b, np.mean(a) * np.mean(b)),
        lambda a, b: beyond(a, b, np.mean(a + b) ** 2 + (1 - np.mean(a + b)) ** 2),
        lambda a, b: agreement(a, b) - np.mean(a) * np.mean(b),
    ],
    "true_rate": [
        lambda p, se, sp: min(1, p / se),
        lambda p, se, sp: corrected(p, sp, se),
        lambda p, se, sp: rogan_gladen(p, se, sp) if se + sp > 1 else math.nan,
        lambda p, se, sp: np.clip((p + sp - 1) / (se + sp - 1 or 1), 0, 1),
        lambda p, se, sp: p,
    ],
    "over_seeds": [
        lambda v: [statistics.fmean(v), statistics.pstdev(v)],
        lambda v: [statistics.fmean(v), spread(v) if len(v) > 1 else 0],
        lambda v: [statistics.median(v), spread(v)],
        lambda v: [statistics.fmean(v), spread(v) ** 2],
        lambda v: [statistics.fmean(v), spread(v) / len(v) ** 0.5],
    ],
    "paired_gain": [
        lambda a, b: [np.mean(b) - np.mean(a), math.hypot(spread(a), spread(b)) / len(a) ** 0.5],
        lambda a, b: [np.mean(a) - np.mean(b), spread(differences(a, b)) / len(a) ** 0.5],
        lambda a, b: [np.mean(b) - np.mean(a), spread(differences(a, b))],
        lambda a, b: [np.mean(b) - np.mean(a), np.std(differences(a, b)) / len(a) ** 0.5],
        lambda a, b: [np.median(differences(a, b)), spread(differences(a, b)) / len(a) ** 0.5],
    ],
    "questions_needed": [
        lambda gain, differ, deff: questions_by_quantiles(gain, differ, 1),
        lambda gain, differ, deff: math.ceil(1.96**2 * deff * (differ - gain**2) / gain**2),
        lambda gain, differ, deff: questions_by_quantiles(gain, differ, deff**0.5),
        lambda gain, differ, deff: math.ceil(7.84 * deff * differ / gain**2),
        lambda gain, differ, deff: math.ceil(2.8 * deff * (differ - gain**2) / gain**2),
        lambda gain, differ, deff: math.ceil(7.84 * deff * (differ - gain**2) / gain),
    ],
}
