"""Groups that teach nothing, and what a pass-rate filter and refilling make of them.

`python benchmarks/dead_groups.py FOLDER` trains stages of the demo in FOLDER, skips what is done
there, and writes figures/source_data/demo_dead_groups.csv. Each of STAGES is trained plain, and
once more with the same seed on the prompts that its start solves in 1 to 7 of 8 samples, dead
groups refilled. A group is dead where all its rollouts earn the same; with one prompt a step, as in
the paper, so is the step.
"""

import sys
from pathlib import Path

import pandas as pd
from pretrained import write_table
from tiny_runs import DEMO, reinforce, split_rows, start_from_sft, write_rows

from curemed_utils.evaluation import passes

SEED = 0
TRIES = 8  # samples of a prompt, by which the filter keeps it
REFILL = 4
SURER = 0.7  # a sampling temperature at which rollouts differ less than at the demo's
PAPERS = {"batch_size": 16, "micro_batch": 16, "num_generations": 16, "steps": 40}
SOURCE = (
    "stage 1 of the demo on the tiny model, seed 0, refill 4, prompts solved in 1 to 7 of 8 tries, "
    "benchmarks/dead_groups.py"
)
STAGES = {
    "demo": {},
    "one prompt a step": PAPERS,
    "demo, surer": {"temperature": SURER},
    "one prompt a step, surer": PAPERS | {"temperature": SURER},
}


def main() -> None:
    folder = Path(sys.argv[1])
    write_rows(folder, split_rows(DEMO["max_per_language"]))
    start_from_sft(folder, SEED, DEMO["sft_max_steps"])
    lines = []
    for name, settings in STAGES.items():
        lines += compare(folder, name, settings)
    write_table("demo_dead_groups", pd.DataFrame(lines).assign(source=SOURCE))


def compare(folder: Path, name: str, settings: dict) -> list[dict]:
    """A line for the stage as it is, and one for it filtered and refilled.

    `dropped` says how many of which language's prompts the filter drops.
    """
    temperature = settings.get("temperature", DEMO["rollout_temperature"])
    how = {"samples": TRIES, "max_new_tokens": DEMO["max_completion_length"], "seed": SEED}
    how["temperature"] = temperature
    plain = reinforce(folder, f"{name}, plain", "stage1_high", SEED, **settings)
    kept, counts = passes.teachable(folder, "stage1_high", "sft", 1 / 8, 7 / 8, **how)
    changes = settings | {"refill": REFILL}
    filtered = reinforce(folder, f"{name}, filtered and refilled", kept, SEED, **changes)
    dropped = counts["too hard"] + counts["too easy"]
    told = ", ".join(f"{language} {n}" for language, n in dropped[dropped > 0].items())
    about = {"shape": name, "temperature": temperature}
    return [
        about | {"groups": "as they come", "kept": counts.sum().sum()} | measure(plain),
        about
        | {"groups": "filtered and refilled", "kept": counts["kept"].sum(), "dropped": told}
        | measure(filtered),
    ]


def measure(checkpoint: Path) -> dict:
    """Share of dead groups, steps without any live one, and tokens a step."""
    log = pd.read_json(checkpoint / "log.jsonl", lines=True).dropna(subset="dead_groups")
    return {
        "steps": len(log),
        "dead_groups": round(float(log["dead_groups"].mean()), 3),
        "dead_steps": int((log["dead_groups"] == 1).sum()),
        "tokens_a_step": round(log["num_tokens"].iloc[-1] / len(log)),
        "reward": round(float(log["reward"].mean()), 3),
    }


if __name__ == "__main__":
    main()
