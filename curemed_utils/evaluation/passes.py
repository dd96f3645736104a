"""Which prompts of a stage can teach its starting checkpoint: those that it solves now and then."""

from pathlib import Path

import pandas as pd

from curemed_utils import data, paths
from curemed_utils.evaluation.responses import evaluate


def teachable(
    run_dir: Path, stage: str, start: str, low: float, high: float, **settings
) -> tuple[Path, pd.DataFrame]:
    """The file of the stage's rows that `start` solves in `low` to `high` of its samples.

    The table counts by language the rows that are too hard, too easy and kept; one whose answers
    nobody can tell right from wrong is kept. `settings` are those of `evaluate`, which stores what
    is answered. ValueError where nothing is kept.
    """
    rows = data.read_jsonl(paths.rows_file(run_dir, stage))
    settings |= {"into": f"pass_rates/{stage}"}
    verdicts = evaluate(run_dir, start, {"pool": rows}, **settings)
    solved = verdicts["paid_accuracy"].gt(0).where(verdicts["paid_accuracy"].notna())
    rates = solved.astype(float).groupby(verdicts["id"]).mean()
    table = pd.DataFrame({"language": [row.language for row in rows]})
    rate = rates[[row.id for row in rows]].to_numpy()
    table["too hard"], table["too easy"] = rate < low, rate > high
    table["kept"] = ~(table["too hard"] | table["too easy"])
    kept = [row for row, keeps in zip(rows, table["kept"], strict=True) if keeps]
    if not kept:
        raise ValueError(f"{start} solves no row of {stage} in {low:g} to {high:g} of its samples")
    counts = table.groupby("language").sum()
    for language in counts.index[counts["kept"] == 0]:
        print(f"no prompt in {language} is left: widen pass_low and pass_high")
    return data.write_jsonl(kept, paths.rows_file(run_dir, f"{stage}_teachable")), counts
