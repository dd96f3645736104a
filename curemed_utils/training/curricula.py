"""The curriculum (Section 3.4): which prompts a GRPO stage draws, when it ends, what came of it."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

import pandas as pd

from curemed_utils import languages
from curemed_utils.data import DataError, Row
from curemed_utils.data.splits import draw

NAMES = {
    "retain": "the new tier whole and a fixed share of each earlier language's pool: "
    "the released stage files",
    "mixture": "a share alpha of every batch from the phase before: the equation of Section 3.4",
    "plateau": "the pools of retain, but the next tier opens when the reward stops rising",
    "none": "all languages from the first step: naive RFT",
}


def pool(
    rft: list[Row], stage: str, curriculum: str = "retain", retain: float = 0.85, seed: int = 0
) -> list[Row]:
    """The rows that a GRPO stage may draw.

    `retain` and `plateau` keep floor(retain * n) rows of each earlier language, as the released
    files do (Section 4.1; French 421 -> 357 -> 357), and the new tier whole. `mixture` keeps all
    rows of all tiers so far, since alpha and not the pools decides how often each is drawn.
    `none` takes everything in every stage. Raises DataError that names the stage's new languages
    without a row.
    """
    if curriculum not in NAMES:
        raise ValueError(f"curriculum is {curriculum!r}, which is none of {', '.join(NAMES)}")
    if not 0 <= retain <= 1:
        raise ValueError(f"retain must lie in 0-1, not {retain}")
    pools = defaultdict(list)
    for row in checked(rft, stage, curriculum):
        pools[row.language].append(row)
    tier, kept = languages.TIERS.index(languages.STAGES[stage]), []
    for name in languages.NAMES:
        if curriculum != "none" and _rank(name) > tier:
            continue
        ordered = sorted(pools[name], key=lambda row: draw(row.id, seed))
        n = len(ordered)
        if curriculum in ("retain", "plateau") and _rank(name) < tier:
            n = math.floor(retain * n + 1e-9)
        kept += ordered[:n]
    return kept


def checked(rows: list[Row], stage: str, curriculum: str) -> list[Row]:
    """The rows; DataError where a language that is new in the stage has none of them."""
    new = languages.NAMES
    if curriculum != "none":
        new = languages.in_tier(languages.STAGES[stage])
    trained = {row.language for row in rows}
    missing = [name for name in new if name not in trained]
    if missing:
        raise DataError(
            f"{stage} has no rows in {', '.join(missing)}: raise max_per_language or rft_share, "
            "or choose another data_source"
        )
    return rows


def _rank(language: str) -> int:
    return languages.TIERS.index(languages.get(language).tier)


def mixture(rows: list[Row], alpha: float, seed: int = 0) -> Iterator[Row]:
    """An endless sequence of prompts, a share `alpha` of it from before the newest tier.

    That share follows the same rule again: D_i = alpha D_(i-1) + (1 - alpha) D_Li (Section 3.4).
    It is dealt out evenly: of any n consecutive prompts, alpha * n are old, to within one. Each
    tier's rows come in seeded order, all of them before any comes again.
    """
    if not 0 <= alpha < 1:
        raise ValueError(
            f"alpha must lie in 0-1, and below 1 so that the new tier is drawn at all, not {alpha}"
        )
    newest = max(_rank(row.language) for row in rows)
    earlier = [row for row in rows if _rank(row.language) < newest]
    new = passes([row for row in rows if _rank(row.language) == newest], seed + newest)
    old = mixture(earlier, alpha, seed) if earlier else new
    due = 0.0
    while True:
        due += alpha
        yield next(old if due >= 1 - 1e-9 else new)
        due -= due >= 1 - 1e-9


def passes(rows: list[Row], seed: int) -> Iterator[Row]:
    """The rows over and over, each pass in another seeded order, the same on every machine."""
    for number in itertools.count():
        yield from sorted(rows, key=lambda row: draw(f"{number} {row.id}", seed))


def plateaued(rewards: list[float], patience: int) -> bool:
    """Whether the last `patience` steps' mean reward is no higher than that of as many before.

    `patience` 0 means never. The answer depends on the log alone, so a resumed stage ends where
    an uninterrupted one does.
    """
    if not patience or len(rewards) < 2 * patience:
        return False
    return sum(rewards[-patience:]) <= sum(rewards[-2 * patience : -patience])


# What came of it ---------------------------------------------------------------------------------


def lab(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Mean reward, LA, LC and format of each model on each tier, from verdicts on one probe.

    Index: model in its order of training, tier; values 0-1. A mean leaves out what is unknown.
    """
    parts = {"reward": "reward", "correct": "LA", "in_language": "LC", "well_formed": "format"}
    numbers = verdicts[["model", "tier", *parts]].astype(dict.fromkeys(parts, float))
    table = numbers.groupby(["model", "tier"], sort=False).mean().rename(columns=parts)
    every = [verdicts["model"].unique(), languages.TIERS]
    return table.reindex(pd.MultiIndex.from_product(every, names=["model", "tier"]))


def forgetting(levels: pd.DataFrame) -> pd.DataFrame:
    """The best earlier level less the present one, by model and tier (Chaudhry et al., 2018).

    `levels` has models in their order of training as rows and tiers as columns; the first model
    has no earlier one and is left out. Positive: forgotten; negative: still rising.
    """
    return (levels.cummax().shift() - levels).iloc[1:]


def gap(levels: pd.DataFrame) -> pd.Series:
    """The high tier's level less the low tier's, by row; `levels` has tiers as columns."""
    return levels["high"] - levels["low"]


def zero_advantage(rollouts: pd.DataFrame) -> pd.DataFrame:
    """By language: the groups of a stage, and the share of them that taught nothing.

    All rollouts of such a group earned the same. `rollouts` has one line a rollout, with step,
    id, prompt_language and advantage (a checkpoint's `rollouts.parquet`).
    """
    idle = rollouts.assign(idle=rollouts["advantage"].abs() < 1e-6)
    groups = idle.groupby(["prompt_language", "step", "id"])["idle"].all()
    counts = groups.groupby("prompt_language").agg(["size", "mean"])
    return counts.rename(columns={"size": "groups", "mean": "zero_advantage"})
