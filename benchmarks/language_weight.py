"""What a language reward costs in accuracy, and what it buys: stage 1 of GRPO by its weight.

`python benchmarks/language_weight.py FOLDER` trains in FOLDER, from one SFT checkpoint of the tiny
model a seed, stages that differ in the language's weight alone; accuracy and format share the rest
13 : 1, as in Equation 4. It skips what is done there, and writes
figures/source_data/demo_language_weight.csv: LA and LC on the trained prompts.
"""

import sys
from pathlib import Path

import pandas as pd
from pretrained import write_table
from tiny_runs import DEMO, ask, reinforce, split_rows, start_from_sft, topics_of, write_rows

from curemed_utils import data, paths
from curemed_utils.evaluation import intervals

WEIGHTS = (0.30, 0.0, 0.85)
SEEDS = 3
SFT_STEPS = 148  # all 12 topics, so twice the demo's
SOURCE = (
    "tiny model of the demo on all topics of the sample, stage 1 of GRPO from one SFT checkpoint a "
    "seed, 3 seeds, 6 responses a trained prompt, accepted answers and offline check, "
    "benchmarks/language_weight.py"
)


def main() -> None:
    folder = Path(sys.argv[1])
    names = {"sft": None} | {f"language_{weight:.2f}": weight for weight in WEIGHTS}
    verdicts = []
    for name, weight in names.items():
        for seed in range(SEEDS):
            verdicts.append(measure(folder / f"seed{seed}", name, weight, seed))
    write_table("demo_language_weight", table_of(pd.concat(verdicts), names))


def measure(run_dir: Path, name: str, weight: float | None, seed: int) -> pd.DataFrame:
    """Verdicts on the trained prompts of one checkpoint; of SFT where `weight` is None."""
    write_rows(run_dir, split_rows())
    start_from_sft(run_dir, seed, SFT_STEPS)
    if weight is not None:
        reinforce(run_dir, name, "stage1_high", seed, **weights(weight))
    pool = data.read_jsonl(paths.rows_file(run_dir, "stage1_high"))
    return ask(run_dir, name, {"trained": pool}, seed)


def weights(language: float) -> dict[str, float]:
    """The three weights, which sum to 1."""
    both = DEMO["accuracy_weight"] + DEMO["format_weight"]
    shares = {"language_weight": language}
    for name in ("accuracy_weight", "format_weight"):
        shares[name] = (1 - language) * DEMO[name] / both
    return shares


def table_of(verdicts: pd.DataFrame, names: dict[str, float | None]) -> pd.DataFrame:
    """A line a weight, SFT first: LA and LC in percent with 95% intervals over topics.

    `_sd` is the deviation of the seeds' means.
    """
    shares = intervals.estimates(verdicts, topics_of(split_rows()["rft"]), ("la", "lc"))
    shares = shares[shares["statistic"] == "micro"].set_index(["model", "metric"])
    means = verdicts.groupby(["model", "seed"])[["correct", "in_language"]]
    spread = 100 * means.mean().groupby("model").std()
    lines = []
    for name in sorted(names, key=lambda name: (name != "sft", name)):
        label = "SFT" if names[name] is None else f"{names[name]:.2f}"
        line = {"weight": label, "seeds": SEEDS}
        for metric, column in (("la", "correct"), ("lc", "in_language")):
            value, low, high = shares.loc[(name, metric), ["value", "low", "high"]].astype(float)
            line |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
            line[f"{metric}_sd"] = spread.loc[name, column]
        line["format"] = 100 * verdicts.loc[verdicts["model"] == name, "well_formed"].mean()
        lines.append(line)
    return pd.DataFrame(lines).round(1).assign(source=SOURCE)


if __name__ == "__main__":
    main()
