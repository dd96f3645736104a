"""The curriculum (Section 3.4): the prompts of a GRPO stage, its end, what came of it."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

import pandas as pd

from curemed_utils import languages, rewards
from curemed_utils.data import DataError, Row
from curemed_utils.data.splits import draw

NAMES = {
    "retain": "the new tier whole and a share of each earlier language: the released files",
    "mixture": "a share alpha of every batch from the phase before: the equation of Section 3.4",
    "plateau": "the pools of retain, but the next tier opens when the reward stops rising",
    "none": "all languages from the first step: naive RFT",
}


def pool(
    rft: list[Row], stage: str, curriculum: str = "retain", retain: float = 0.85, seed: int = 0
) -> list[Row]:
    """The rows that a GRPO stage may draw; DataError for a new language without a row.

    `retain` and `plateau` keep floor(retain * n) rows of each earlier language (Section 4.1;
    French 421 -> 357 -> 357) and the new tier whole, `mixture` all rows so far, `none` all rows.
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
        n = len(pools[name])
        if curriculum in ("retain", "plateau") and _rank(name) < tier:
            n = int(retain * n + 1e-9)
        kept += sorted(pools[name], key=lambda row: draw(row.id, seed))[:n]
    return kept


def checked(rows: list[Row], stage: str, curriculum: str) -> list[Row]:
    """The rows; DataError where a language that is new in the stage has none."""
    new = languages.in_tier(languages.STAGES[stage])
    if curriculum == "none":
        new = languages.NAMES
    trained = {row.language for row in rows}
    missing = [name for name in new if name not in trained]
    if missing:
        advice = "raise max_per_language or rft_share, or choose another data_source"
        raise DataError(f"{stage} has no rows in {', '.join(missing)}: {advice}")
    return rows


def _rank(language: str) -> int:
    return languages.TIERS.index(languages.get(language).tier)


def mixture(rows: list[Row], alpha: float, seed: int = 0) -> Iterator[Row]:
    """Endless prompts by D_i = alpha D_(i-1) + (1 - alpha) D_Li (Section 3.4), in seeded order.

    Of any n in a row, alpha * n are from before the newest tier, to within one. All rows of a
    tier come before any comes again.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must lie in 0-1, and below 1 to draw the new tier, not {alpha}")
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
    """The rows over and over, each pass in another order."""
    for number in itertools.count():
        yield from sorted(rows, key=lambda row: draw(f"{number} {row.id}", seed))


def plateaued(earned: list[float], patience: int) -> bool:
    """Whether the last `patience` (0: never) rewards sum to no more than as many before them."""
    if not patience or len(earned) < 2 * patience:
        return False
    return sum(earned[-patience:]) <= sum(earned[-2 * patience : -patience])


def lab(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Mean reward, LA, LC and format (0-1) by model and tier, of what is known in the verdicts.

    `rewards.mean_paid` says what a mean reward is.
    """
    parts = {"correct": "LA", "in_language": "LC", "well_formed": "format"}
    groups = verdicts.astype(dict.fromkeys(parts, float)).groupby(["model", "tier"], sort=False)
    table = groups[list(parts)].mean().rename(columns=parts)
    table.insert(0, "reward", rewards.mean_paid(verdicts, ["model", "tier"]))
    every = [verdicts["model"].unique(), languages.TIERS]
    return table.reindex(pd.MultiIndex.from_product(every, names=["model", "tier"]))


def forgetting(levels: pd.DataFrame) -> pd.DataFrame:
    """The best earlier level less the present one (Chaudhry et al., 2018); positive: forgotten.

    `levels` has models in their order of training as rows, tiers as columns; the first row goes.
    """
    return (levels.cummax().shift() - levels).iloc[1:]


def gap(levels: pd.DataFrame) -> pd.Series:
    """The high tier's level less the low tier's, by row."""
    return levels["high"] - levels["low"]


def zero_advantage(rollouts: pd.DataFrame) -> pd.DataFrame:
    """By language, of `rollouts.parquet`: its groups and the share in which all earned the same."""
    idle = rollouts.assign(idle=rollouts["advantage"].abs() < 1e-6)
    groups = idle.groupby(["prompt_language", "step", "id"])["idle"].all()
    counts = groups.groupby("prompt_language").agg(["size", "mean"])
    return counts.rename(columns={"size": "groups", "mean": "zero_advantage"})
