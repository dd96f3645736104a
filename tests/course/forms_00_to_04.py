"""Answers to the exercises of notebooks 00 to 04 as readers write them: right forms, wrong ones."""

import hashlib
import math
import re
import statistics
import zlib
from decimal import Decimal
from itertools import chain, compress

import numpy as np
import pandas as pd

WEIGHTS = (0.65, 0.30, 0.05)
STEPS = "<thinking><step1>x</step1></thinking>"


def composite_by_array(*parts):
    values = np.array(parts, dtype=float)
    known = ~np.isnan(values)
    return np.average(values[known], weights=np.array(WEIGHTS)[known]) if known.any() else np.nan


def composite_by_loop(accuracy, language, format):
    paid = weight = 0
    if accuracy is not None:
        paid, weight = paid + 0.65 * accuracy, weight + 0.65
    if language is not None:
        paid, weight = paid + 0.3 * language, weight + 0.3
    if format is not None:
        paid, weight = paid + 0.05 * format, weight + 0.05
    return paid / weight if weight else float("nan")


def composite_by_series(*parts):
    series = pd.Series(parts, dtype=float)
    known = pd.Series(WEIGHTS).where(series.notna())
    return (series * known).sum() / known.sum()


def paid(parts):
    return sum(w * p for w, p in zip(WEIGHTS, parts, strict=True) if p is not None)


def share_of_known(parts):
    known = [p for p in parts if p is not None]
    return sum(known) / len(known) if known else math.nan


def hashed(text):
    return int(hashlib.md5(text.encode()).hexdigest(), 16) % 100


def grams(text):
    return {text[n : n + 5] for n in range(len(text) - 4)} or {text}


def similar_by_union(one, other):
    both, either = grams(one) & grams(other), grams(one) | grams(other)
    return len(both) / len(either)


def similar_by_counts(one, other):
    first, second = grams(one), grams(other)
    shared = sum(each in second for each in first)
    return shared / (len(first) + len(second) - shared)


def similar_by_sets(one, other):
    first, second = (frozenset(grams(text)) for text in (one, other))
    return 1 - len(first ^ second) / len(first.union(second))


def dice(one, other):
    first, second = grams(one), grams(other)
    return 2 * len(first & second) / (len(first) + len(second))


def short_are_alike(one, other):
    if len(one) < 5 and len(other) < 5:
        return 1.0
    return similar_by_union(one, other)


def multisets(one, other):
    first, second = ([t[n : n + 5] for n in range(max(1, len(t) - 4))] for t in (one, other))
    counts = {g: (first.count(g), second.count(g)) for g in {*first, *second}}.values()
    return sum(map(min, counts)) / sum(map(max, counts))


def four_characters(one, other):
    first, second = ({t[n : n + 4] for n in range(max(1, len(t) - 3))} for t in (one, other))
    return len(first & second) / len(first | second)


def numbered_by_walk(trace):
    due, is_open = 1, False
    for slash, number in re.findall(r"<(/?)step(\d+)>", trace):
        if int(number) != due or bool(slash) != is_open:
            return False
        due, is_open = due + is_open, not is_open
    return due > 1 and not is_open


def numbered_by_text(trace):
    n = trace.count("<step")
    wanted = "".join(f"<step{k}></step{k}>" for k in range(1, n + 1))
    return n > 0 and "".join(re.findall(r"</?step\d+>", trace)) == wanted


def numbered_by_pattern(trace):
    whole = re.findall(r"<step(\d+)>(?:(?!</?step\d).)*</step\1>", trace, re.DOTALL)
    n_tags = len(re.findall(r"</?step\d+>", trace))
    return [int(n) for n in whole] == [*range(1, n_tags // 2 + 1)] != [] and n_tags % 2 == 0


def opened(trace):
    return re.findall(r"<step(\d+)>", trace)


def closed(trace):
    return re.findall(r"</step(\d+)>", trace)


def to_n(numbers):
    return numbers == [str(n) for n in range(1, len(numbers) + 1)]


def advantages(values, ddof=1, epsilon=1e-4):
    rewards = pd.Series(values, dtype=float)
    return ((rewards - rewards.mean()) / (rewards.std(ddof=ddof) + epsilon)).fillna(0)


def advantages_by_array(values):
    known = np.array([v is not None for v in values])
    result = np.zeros(len(values))
    if known.sum() > 1:
        rewards = np.array([v for v in values if v is not None])
        result[known] = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
    return result


def advantages_by_hand(values):
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return tuple(0 for _ in values)
    mean, deviation = statistics.mean(known), statistics.stdev(known)
    return tuple(0 if v is None else (v - mean) / (deviation + 0.0001) for v in values)


def larger_of_both(values):
    rewards = pd.Series(values, dtype=float)
    return ((rewards - rewards.mean()) / max(rewards.std(), 1e-4)).fillna(0)


def nats(probabilities):
    return [-math.log(p) for p in probabilities]


RIGHT = {
    "composite": [composite_by_array, composite_by_loop, composite_by_series],
    "near_miss": [
        lambda row: f"{row.reasoning}<answer>{row.question}</answer>",
        lambda row: f"{STEPS}\n<answer>{row.question}</answer>",
        lambda row: (
            f"<thinking><step1>{row.question}</step1></thinking><answer>{row.question}</answer>"
        ),
    ],
    "held_out": [
        lambda row, seed: hashed(f"{row.topic}/{seed}") < 20,
        lambda row, seed: zlib.crc32(f"{seed} {row.topic}".encode()) % 5 == 0,
        lambda row, seed: np.bool_(hashed(f"{seed}{row.topic}") / 100 < 0.2),
    ],
    "kept_rows": [
        lambda n, retain, stage: n if stage < 2 else int(Decimal(str(retain)) * n),
        lambda n, retain, stage: [n, math.floor(round(n * retain, 6))][stage > 1],
        lambda n, retain, stage: float(n if stage == 1 else np.floor(n * retain + 1e-9)),
    ],
    "too_easy": [
        lambda votes: votes.count(True) == len(votes),
        lambda votes: all(votes),
        lambda votes: int(None not in votes and False not in votes),
    ],
    "no_straddle": [
        lambda t, n, s: (s**n + (1 - s) ** n) ** t,
        lambda t, n, s: math.prod([math.pow(s, n) + math.pow(1 - s, n)] * t),
        lambda t, n, s: math.exp(t * math.log(s**n + (1 - s) ** n)),
    ],
    "half_width": [
        lambda sd, n: 1.96 * sd / n**0.5,
        lambda sd, n: 1.959964 * np.sqrt(sd**2 / n),
        lambda sd, n: round(statistics.NormalDist().inv_cdf(0.975) * sd / math.sqrt(n), 4),
    ],
    "similarity": [similar_by_union, similar_by_counts, similar_by_sets],
    "well_numbered": [numbered_by_walk, numbered_by_text, numbered_by_pattern],
    "labels": [
        lambda prompt, whole: [-100 for _ in prompt] + whole[len(prompt) :],
        lambda prompt, whole: np.where(np.arange(len(whole)) < len(prompt), -100, whole),
        lambda prompt, whole: (-100 if n < len(prompt) else t for n, t in enumerate(whole)),
    ],
    "sft_loss": [
        lambda p, counted: statistics.fmean(compress(nats(p), counted)),
        lambda p, counted: -np.log(np.array(p)[np.array(counted)]).mean(),
        lambda p, counted: -math.log(math.prod(compress(p, counted))) / sum(counted),
    ],
    "batch_loss": [
        lambda rows: statistics.fmean(chain(*map(nats, rows))),
        lambda rows: -np.log(np.concatenate([np.array(row) for row in rows])).mean(),
        lambda rows: sum(sum(nats(row)) for row in rows) / sum(map(len, rows)),
    ],
    "group_advantages": [advantages, advantages_by_array, advantages_by_hand],
    "kl_penalty": [
        lambda own, ref: math.exp(ref - own) - (ref - own) - 1,
        lambda own, ref: np.expm1(ref - own) + own - ref,
        lambda own, ref: math.exp(ref) / math.exp(own) - ref + own - 1,
    ],
    "signal": [
        lambda p, n: 1 - p**n - (1 - p) ** n,
        lambda p, n: sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(1, n)),
        lambda p, n: 1 - np.power([p, 1 - p], n).sum(),
    ],
    "loophole": [
        lambda row: f"<thinking></thinking>{row.answer}",
        lambda row: f"<thinking> \n </thinking>\n{row.answer}",
        lambda row: f"  {row.answer}<thinking></thinking>",
    ],
}
WRONG = {
    "composite": [
        lambda *parts: paid(parts),  # None as 0
        lambda *parts: share_of_known(parts),
        lambda *parts: math.nan if None in parts else paid(parts),
        lambda *parts: composite_by_loop(*parts) if any(parts) else 0,
        lambda *parts: 0 if None in parts else paid(parts),
    ],
    "near_miss": [
        lambda row: f"{row.reasoning}{row.answer}",
        lambda row: f"<answer>{row.question}</answer>",
        lambda row: f"{STEPS}<answer>No.</answer>",
        lambda row: f"{STEPS}<answer>The patient is ill and must rest.</answer>",
        lambda row: f"{STEPS}<answer>{row.question}</answer><answer>{row.question}</answer>",
    ],
    "held_out": [
        lambda row, seed: hashed(f"{seed}{row.id}") < 20,
        lambda row, seed: hashed(row.topic) < 20,
        lambda row, seed: hashed(f"{seed}{row.topic}") < 80,
        lambda row, seed: hashed(f"{seed}{row.topic}"),
        lambda row, seed: row.language == "Thai",
    ],
    "kept_rows": [
        lambda n, retain, stage: math.floor(n * retain ** (stage - 1)),
        lambda n, retain, stage: n if stage == 1 else round(n * retain),
        lambda n, retain, stage: n if stage == 1 else math.ceil(n * retain - 1e-9),
        lambda n, retain, stage: n if stage == 1 else n * retain,
        lambda n, retain, stage: math.floor(n * retain + 1e-9),
    ],
    "too_easy": [
        lambda votes: False not in votes,
        lambda votes: votes.count(True) >= 2,
        lambda votes: any(votes),
        lambda votes: sum(v is not False for v in votes) == 3,
        lambda votes: len(set(votes)) == 1,
    ],
    "no_straddle": [
        lambda t, n, s: s ** (n * t),
        lambda t, n, s: (1 - s) ** (n * t),
        lambda t, n, s: s**n + (1 - s) ** n,
        lambda t, n, s: t * (s**n + (1 - s) ** n),
        lambda t, n, s: 1 - (s**n + (1 - s) ** n) ** t,
    ],
    "half_width": [
        lambda sd, n: sd / n**0.5,
        lambda sd, n: 2 * 1.96 * sd / n**0.5,
        lambda sd, n: 1.96 * sd / n,
        lambda sd, n: 1.96 * sd / (n - 1) ** 0.5,
        lambda sd, n: 1.645 * sd / n**0.5,
    ],
    "similarity": [
        dice,
        short_are_alike,
        multisets,
        four_characters,
        lambda one, other: len(grams(one) & grams(other)) / min(len(grams(one)), len(grams(other))),
    ],
    "well_numbered": [
        lambda trace: to_n(opened(trace)) and bool(opened(trace)),
        lambda trace: to_n(opened(trace)) and opened(trace) == closed(trace),
        lambda trace: len(opened(trace)) == len(closed(trace)) > 0,
        lambda trace: sorted(opened(trace)) == sorted(closed(trace)) != [],
        lambda trace: (
            bool(opened(trace)) and opened(trace) == closed(trace) and to_n(opened(trace))
        ),
    ],
    "labels": [
        lambda prompt, whole: whole,
        lambda prompt, whole: whole[len(prompt) :],
        lambda prompt, whole: [0] * len(prompt) + whole[len(prompt) :],
        lambda prompt, whole: [-100 if token in prompt else token for token in whole],
        lambda prompt, whole: prompt + [-100] * (len(whole) - len(prompt)),
    ],
    "sft_loss": [
        lambda p, counted: statistics.fmean(nats(p)),
        lambda p, counted: sum(compress(nats(p), counted)),
        lambda p, counted: -math.log(statistics.fmean(compress(p, counted))),
        lambda p, counted: sum(compress(nats(p), counted)) / len(p),
        lambda p, counted: statistics.fmean(map(math.log, compress(p, counted))),
    ],
    "batch_loss": [
        lambda rows: statistics.fmean(statistics.fmean(nats(row)) for row in rows),
        lambda rows: sum(sum(nats(row)) for row in rows),
        lambda rows: sum(sum(nats(row)) for row in rows) / len(rows),
        lambda rows: -math.log(statistics.fmean(chain(*rows))),
        lambda rows: statistics.median(nats(chain(*rows))),
    ],
    "group_advantages": [
        lambda values: advantages([value or 0 for value in values]),
        lambda values: advantages(values, ddof=0),
        lambda values: advantages(values, epsilon=0),
        lambda values: advantages(values, epsilon=1e-8),
        larger_of_both,
    ],
    "kl_penalty": [
        lambda own, ref: own - ref,
        lambda own, ref: math.exp(own - ref) - (own - ref) - 1,
        lambda own, ref: 0.5 * (own - ref) ** 2,
        lambda own, ref: math.exp(own) * (own - ref),
        lambda own, ref: math.exp(ref - own) - 1,
    ],
    "signal": [
        lambda p, n: 1 - (1 - p) ** n,
        lambda p, n: p**n + (1 - p) ** n,
        lambda p, n: 1 - p**n,
        lambda p, n: n * p * (1 - p) ** (n - 1),
        lambda p, n: 1 - 2 * p**n,
    ],
    "loophole": [
        lambda row: f"{row.reasoning}{row.answer}",
        lambda row: row.answer,
        lambda row: f"<thinking>well</thinking>{row.answer}",
        lambda row: f"<thinking><step1></step1></thinking>{row.answer}",
        lambda row: "<thinking></thinking><answer>x</answer>",
    ],
}
