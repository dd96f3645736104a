"""What goes wrong in GRPO's rollouts, by language, told at the step where it shows."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from curemed_utils import paths

WINDOW = 5  # steps looked at together
FEWEST = 16  # rollouts of a language in them, below which nothing is told
NGRAM = 4  # tokens
LIMITS = paths.beside(__file__, ".yaml")


def repeated(tokens: Sequence[int]) -> float:
    """The share of a completion's n-grams that stood in it before; 0.0 for less than one."""
    ngrams = list(zip(*(tokens[start:] for start in range(NGRAM)), strict=False))
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def measured(rollouts: pd.DataFrame, max_completion_length: int) -> pd.DataFrame:
    """The first five measures of LIMITS and `n` rollouts, by language, and last over `all`.

    `rollouts` are those of rollouts.parquet. NaN where a part of the reward is unknown throughout.
    """
    groups = rollouts.groupby(["step", "id"])["advantage"]
    each = rollouts[["prompt_language"]].assign(
        truncated=rollouts["tokens"].map(len) >= max_completion_length,
        dead=groups.transform(lambda advantages: advantages.abs().max()) < 1e-6,
        undecided=rollouts["language"].isna(),
        repeated=rollouts["tokens"].map(repeated),
        gap=rollouts["language"] - rollouts["accuracy"],
        n=1,
    )
    table = pd.concat([each, each.assign(prompt_language="all")]).groupby("prompt_language")
    languages = [*sorted(set(each["prompt_language"])), "all"]
    return table.mean().assign(n=table["n"].sum()).loc[languages]


def told(part: Path, log: list[dict], limits: dict, max_completion_length: int) -> dict[str, str]:
    """What the last steps of a stage at work are alarming in: measure to text.

    `log` is its log so far; a measure of `limits` counts in place of that of LIMITS.
    """
    step, limits = log[-1]["step"], LIMITS | limits
    files = [part / f"completions/completions_{n:05d}.parquet" for n in range(step + 1)]
    seen = pd.concat(pd.read_parquet(file) for file in files[-WINDOW:] if file.exists())
    table = measured(seen, max_completion_length).query("n >= @FEWEST")
    texts = {}
    for name in table.columns.intersection(list(limits)):
        over = table[name][table[name] > limits[name]]
        if "all" in over:
            over = over[["all"]]
        if len(over):
            shown = ", ".join(f"{language} {value:.2f}" for language, value in over.items())
            texts[name] = f"{name} over {limits[name]:g}: {shown}"
    first, last = (record["completions/mean_length"] for record in (log[0], log[-1]))
    factor = max(last / first, first / last) if first and last else 1.0
    if factor > limits["length"]:
        texts["length"] = f"length over {limits['length']:g}: {first:.0f} to {last:.0f} tokens"
    entropy = log[-1].get("entropy")
    if entropy is not None and entropy < limits["entropy"]:
        texts["entropy"] = f"entropy below {limits['entropy']:g}: {entropy:.3f} nats a token"
    return texts
