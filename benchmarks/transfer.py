"""Does what was learnt in one language reach the others? Cells of topic and language left out.

`python benchmarks/transfer.py FOLDER` trains the tiny model in FOLDER by SFT, three seeds. The
sample asks the same topics in each language: of the topics to learn, each language lacks two,
others than its neighbours do, so that every topic is learnt in most languages. What is done there
is skipped. Writes figures/source_data/demo_transfer.csv: LA on trained cells, on those left out,
and on topics that no language has.
"""

import sys
from pathlib import Path

import pandas as pd
from pretrained import write_table
from tiny_runs import ask, split_rows, start_from_sft, topics_of, write_rows

from curemed_utils import data, languages
from curemed_utils.evaluation import intervals

SEEDS = 3
SFT_STEPS = 130  # as often a row as in the demo
CELLS = {
    "trained": "topic and language trained",
    "left_out": "topic trained in other languages",
    "never": "topic never trained",
}
SOURCE = (
    "tiny model of the demo after SFT on the sample; each language lacks two of the topics "
    "that are trained, 3 seeds, 6 responses a question, accepted answers, benchmarks/transfer.py"
)


def main() -> None:
    folder = Path(sys.argv[1])
    verdicts = []
    for seed in range(SEEDS):
        verdicts.append(measure(folder / f"seed{seed}", seed))
    write_table("demo_transfer", table_of(pd.concat(verdicts)))


def cells() -> dict[str, list[data.Row]]:
    """The sample's rows by CELLS."""
    rows = split_rows()
    topics = sorted({row.topic for row in rows["sft"]})
    divided = {"trained": [], "left_out": [], "never": rows["test"]}
    for row in rows["sft"]:
        place = topics.index(row.topic) - languages.NAMES.index(row.language)
        lacks = place % (len(topics) // 2) == 0
        divided["left_out" if lacks else "trained"].append(row)
    return divided


def measure(run_dir: Path, seed: int) -> pd.DataFrame:
    """Verdicts on all cells after SFT on the trained ones."""
    asked = cells()
    write_rows(run_dir, {"sft": asked["trained"], "rft": asked["trained"]})
    start_from_sft(run_dir, seed, SFT_STEPS)
    return ask(run_dir, "sft", asked, seed)


def table_of(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A line a kind of cell: LA in percent, its 95% interval over topics, and by seed."""
    topics = topics_of([row for rows in cells().values() for row in rows])
    lines = []
    for name, what in CELLS.items():
        part = verdicts[verdicts["set"] == name]
        shares = intervals.estimates(part, topics, ("la",)).set_index("statistic")
        line = {"cells": name, "what": what, "rows": part["id"].nunique()}
        for column, limit in (("la", "value"), ("la_low", "low"), ("la_high", "high")):
            line[column] = shares.loc["micro", limit]
        seeds = 100 * part.groupby("seed")["correct"].mean()
        lines.append(line | {"la_least": seeds.min(), "la_most": seeds.max()})
    return pd.DataFrame(lines).round(1).assign(source=SOURCE)


if __name__ == "__main__":
    main()
