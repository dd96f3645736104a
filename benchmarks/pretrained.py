"""How much of language consistency is code-switching? A pretrained model, fine-tuned in arms of
equal rows and steps, answers the same questions.

`python benchmarks/pretrained.py MODEL FOLDER` needs CUREMED_RELEASE. It trains and asks in FOLDER,
skips what is done there, and writes benchmarks/data/pretrained.csv, a line a response, and what
follows from it: "pretrained" in benchmarks/results.json and figures/source_data/real_*.csv.
Without MODEL it writes the latter two again. `--run DIR` writes real_training.csv instead: the
losses and rewards of the stages that are done in the run directory DIR.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd
from pretrained_tables import pairs_in, tables_of, training_of

from curemed_utils import data, evaluation, paths, rewards, run
from curemed_utils.data import splits
from curemed_utils.evaluation import comparisons, intervals, verdicts
from curemed_utils.paper.sources import HOW_TO_SEAL
from curemed_utils.training import curricula, stages

HERE = Path(__file__).parent
VERDICTS = HERE / "data" / "pretrained.csv"
RESULTS = HERE / "results.json"
SFT = {"learning_rate": 2e-5, "batch_size": 13, "micro_batch": 13, "max_length": 2048}
MORE = {"batch_size": 32, "micro_batch": 32, "max_steps": 130}  # 4,160 of the released rows
ARMS = {  # rows, settings of SFT, seeds
    "monolingual": ("sample", {"traces": "monolingual"}, 3),
    "code-switched": ("sample", {}, 3),
    "released": ("released", {}, 2),
    "released, 4,160 rows": ("all_released", MORE, 1),
}
THEN_GRPO = {"code-switched, then GRPO": ("code-switched", 3)}  # the arm to start from, seeds
GRPO = stages.from_parameters("grpo", run.read_profile("small"))
SOURCE = (
    "Gemma 3 270M, benchmarks/data/pretrained.csv: greedy, at most {limit} tokens, offline check"
)
LEARNT, ASKED = 12, 20  # released rows to learn and test questions, of each language
LIMIT = 512  # tokens of a response
KEPT = ("id", "language", "tier", "finish_reason", "n_tokens", "answer")
KEPT += ("well_formed", "complete", "in_language", "correct")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="a checkpoint with a chat template")
    parser.add_argument("folder", type=Path, nargs="?", help="for rows and checkpoints")
    parser.add_argument("--run", type=Path, help="a run directory, for its losses and rewards")
    places = parser.parse_args()
    if places.run:
        write_table("real_training", training_of(places.run))
        return
    if places.model and not places.folder:
        parser.error("MODEL needs a FOLDER")
    if places.model:
        table = measure(places.model, places.folder)
        table.to_csv(VERDICTS, index=False, lineterminator="\n")
    record(pd.read_csv(VERDICTS))


def measure(model: Path, folder: Path) -> pd.DataFrame:
    """Trains every arm with every seed; a line a response."""
    questions = write_rows(folder)
    tables = [ask("base", 0, model, questions)]
    for arm, (rows, settings, n_seeds) in ARMS.items():
        for seed in range(n_seeds):
            checkpoint = train(arm, seed, model, folder, rows, settings)
            tables.append(ask(arm, seed, checkpoint, questions))
    for arm, (start, n_seeds) in THEN_GRPO.items():
        for seed in range(n_seeds):
            checkpoint = reinforce(start, seed, folder)
            tables.append(ask(arm, seed, checkpoint, questions))
    return pd.concat(tables)


def write_rows(folder: Path) -> list[data.Row]:
    """Writes the rows of the arms; returns the questions.

    The sample is divided by topic: 156 rows to learn, 39 to ask.
    """
    sample = splits.load_splits("sample", 0, 0, 0.2, 0.5, 1.0)
    released = data.read_release()
    learnt = {
        "sample": sample["sft"],
        "released": drawn(released["sft"], LEARNT),
        "all_released": released["sft"],
        "stage1_high": curricula.pool(sample["rft"], "stage1_high", "retain", 0.85),
    }
    for name, rows in learnt.items():
        data.write_jsonl(rows, folder / f"{name}.jsonl")
    return drawn(released["test"], ASKED) + sample["test"]


def drawn(rows: list[data.Row], n: int) -> list[data.Row]:
    """`n` rows of each language."""
    by_language = defaultdict(list)
    for row in rows:
        by_language[row.language].append(row)
    chosen = []
    for of_language in by_language.values():
        chosen += random.Random(0).sample(of_language, n)
    return chosen


def train(arm: str, seed: int, model: Path, folder: Path, rows: str, settings: dict) -> Path:
    """The checkpoint of an arm."""
    output = paths.checkpoint(folder / f"{arm}, seed {seed}", "sft")
    places = {"start": model, "train_file": folder / f"{rows}.jsonl", "output": output}
    return start_stage("sft", folder, places | SFT | settings | {"seed": seed})


def reinforce(arm: str, seed: int, folder: Path) -> Path:
    """The checkpoint after the first stage of GRPO from an arm's."""
    run_dir = folder / f"{arm}, seed {seed}"
    places = {
        "start": paths.checkpoint(run_dir, "sft"),
        "train_file": folder / "stage1_high.jsonl",
        "output": paths.checkpoint(run_dir, "stage1_high"),
    }
    return start_stage("grpo", folder, places | GRPO | {"seed": seed})


def start_stage(kind: str, folder: Path, config: dict) -> Path:
    """Trains by the command that the notebooks start; returns the checkpoint."""
    file = folder / "config.json"
    file.write_text(json.dumps(config, default=str))
    command = [sys.executable, "-m", "curemed_utils.training", kind, str(file)]
    subprocess.run(command, check=True)
    return config["output"]


def ask(arm: str, seed: int, checkpoint: Path, questions: list[data.Row]) -> pd.DataFrame:
    """A line a greedy response."""
    how = {"temperature": 0.0, "max_new_tokens": LIMIT, "batch_size": 300}
    table = evaluation.respond(checkpoint, questions, progress=f"{arm}, seed {seed}", **how)
    table["answer"] = [rewards.answer_of(text) for text in table["response"]]
    return table[list(KEPT)].assign(model=arm, sample=seed)


def record(table: pd.DataFrame) -> None:
    """Writes what the lines say."""
    results = json.loads(RESULTS.read_text())
    results["pretrained"] = results_of(table)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for name, made in tables_of(table).items():
        write_table(name, made.assign(source=SOURCE.format(limit=LIMIT)))


def write_table(name: str, table: pd.DataFrame) -> None:
    """Writes a table of the figures, to be proofread and sealed."""
    file = paths.SOURCE_DATA / f"{name}.csv"
    table.to_csv(file, index=False, lineterminator="\n")
    print(f"{file.name}: proofread it, then: {HOW_TO_SEAL}")


def results_of(table: pd.DataFrame) -> dict:
    """Percent and 95% intervals of each arm, and of the difference of each of PAIRS."""
    table = table[table["id"].str.startswith("release")]
    of_runs = verdicts.typed(table.assign(set="test", seed=0))
    shares = intervals.estimates(of_runs, metrics=("lc", "complete", "lc_paper"))
    shares = shares[shares["statistic"] == "micro"]
    arms = defaultdict(dict)
    for line in shares.itertuples():
        arms[line.model][line.metric] = [round(x, 1) for x in (line.value, line.low, line.high)]
    for arm, of_arm in table.groupby("model"):
        arms[arm]["well_formed"] = round(100 * of_arm["well_formed"].mean(), 1)
        arms[arm]["mean_tokens"] = round(of_arm["n_tokens"].mean())
        arms[arm]["seeds"] = of_arm["sample"].nunique()
    changes = {}
    for line in comparisons.compare_all(of_runs, pairs_in(table), "lc").itertuples():
        change = [round(x, 1) for x in (line.difference, line.low, line.high)]
        changes[f"{line.second} minus {line.first}"] = change
    return {"questions": table["id"].nunique(), "arms": arms, "lc_difference": changes}


if __name__ == "__main__":
    main()
