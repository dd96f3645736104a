"""The curriculum (Section 3.4): the prompts of a GRPO stage, its end, what came of it."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from curemed_utils import languages, paths, rewards
from curemed_utils.data import DataError, Row
from curemed_utils.data.splits import draw

NAMES = paths.beside(__file__, ".yaml")
FEW = 6  # prompts; fewer can't show how much they vary
WIDER = 1.09  # two halves that choose among equal levels correlate, by up to 0.18


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


def _rank(language):
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

    `rewards.mean_paid` says what a mean reward is; `noise` what two identical runs of the probe
    differ by at most, 19 times in 20.
    """
    parts = {"correct": "LA", "in_language": "LC", "well_formed": "format"}
    groups = verdicts.astype(dict.fromkeys(parts, float)).groupby(["model", "tier"], sort=False)
    table = groups[list(parts)].mean().rename(columns=parts)
    table.insert(0, "reward", rewards.mean_paid(verdicts, ["model", "tier"]))
    table = table.reindex(list(languages.TIERS), level="tier")
    runs = rewards.mean_paid(verdicts, ["model", "tier", "sample"])
    spread = runs.groupby(["model", "tier"]).var().groupby("tier")
    n = runs.index.unique("sample").size
    noise = stats.t.ppf(0.975, spread.size() * (n - 1)) * np.sqrt(2 * spread.mean() / n)
    return table.join(noise.rename("noise"), on="tier")


def lost(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What each model after the first lost of the best earlier reward, by tier; negative: gained.

    Columns: kind, `forgetting` in tiers that an earlier stage trained (Chaudhry et al., 2018);
    plain, with the best's luck; lost, where half the prompts choose the best and the others
    measure it, then the reverse; low and high, its 95% interval over prompts.
    """
    models = list(verdicts["model"].unique())
    paid = rewards.mean_paid(verdicts, ["tier", "id", "model"]).unstack("model")[models].dropna()
    lines = {}
    for n, model in enumerate(models[1:], 1):
        for rank, tier in enumerate(languages.TIERS):
            levels = paid[paid.index.get_level_values("tier") == tier].to_numpy()
            ahead = np.sign(rank - languages.TIERS.index(languages.STAGES[model]))
            kind = ("learning", "transfer", "forgetting")[ahead]
            lines[model, tier] = [kind, *_lost(levels[:, :n], levels[:, n])]
    table = pd.DataFrame(lines, ["kind", "plain", "lost", "low", "high"]).T
    return table.rename_axis(["model", "tier"]).infer_objects()


def _lost(earlier, present):
    """The numbers of `lost`, of rewards by prompt (and model); NaN under FEW prompts."""
    n = len(present)
    if n < FEW:
        return (np.nan,) * 4
    half = np.arange(n) % 2
    best = np.array([earlier[half != side].mean(axis=0).argmax() for side in (0, 1)])
    change = earlier[np.arange(n), best[half]] - present
    width = stats.t.ppf(0.975, n - 1) * stats.sem(change)
    if earlier.shape[1] > 1:
        width *= WIDER
    plain = earlier.mean(axis=0).max() - present.mean()
    return plain, change.mean(), change.mean() - width, change.mean() + width
