"""What a stage of a real model takes on a CPU, beside the estimate that is printed before it.

`python benchmarks/memory.py MODEL FOLDER` trains two steps of each of STAGES in FOLDER, each in a
process of its own, and writes "memory" in benchmarks/results.json: the process's peak, less what it
held before the model was loaded. Those of COUNTED run again under torch's profiler, whose records
take memory themselves, for the peak of torch's own allocator; the weights are not in it, since they
are read in place from their file.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from curemed_utils import data, paths, trace
from curemed_utils.training import checkpoints, memory, process, sft, stages

RESULTS = Path(__file__).with_name("results.json")
SFT = {"batch_size": 4, "micro_batch": 2, "max_steps": 2}
GRPO = {"batch_size": 8, "micro_batch": 4, "num_generations": 4, "steps": 2}
GRPO |= {"max_completion_length": 64}
STAGES = {  # kind, times that a trace is repeated, settings
    "SFT, 2 rows": ("sft", 2, SFT),
    "SFT, 2 longer rows": ("sft", 6, SFT),
    "SFT, 2 longer rows, LoRA": ("sft", 6, SFT | {"lora_rank": 16}),
    "GRPO, 4 rollouts of 64 tokens": ("grpo", 1, GRPO),
    "GRPO, 4 of 64, KL term": ("grpo", 1, GRPO | {"beta": 0.04}),
    "GRPO, 4 of 192, LoRA": ("grpo", 1, GRPO | {"max_completion_length": 192, "lora_rank": 16}),
}
COUNTED = ("SFT, 2 rows",)
CPU = memory.Machine(gpu=0, main=0, disk=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a checkpoint that does not end its responses")
    parser.add_argument("folder", type=Path, help="for rows and checkpoints")
    places = parser.parse_args()
    measured = {}
    for name, (kind, repeated, settings) in STAGES.items():
        stage = prepare(places.model, places.folder, kind, repeated, settings)
        measured[name] = measure(kind, stage, name in COUNTED)
        print(name, measured[name], flush=True)
    results = json.loads(RESULTS.read_text())
    parameters = memory.shape(places.model).total
    results["memory"] = {"parameters": parameters, "stages": measured}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def prepare(model: Path, folder: Path, kind: str, repeated: int, settings: dict) -> stages.Stage:
    """A stage on four French rows of the sample, all of nearly the length that it allows."""
    rows = [row for row in data.read_folder(paths.SAMPLE, "sample") if row.language == "French"]
    learnt = []
    for row in rows[:4]:
        steps = [trace.without_tags(row.reasoning)] * repeated
        learnt.append(row.model_copy(update={"reasoning": trace.render_steps(steps)}))
    tokenizer = checkpoints.load_tokenizer(model)
    examples, _ = sft.encode(tokenizer, learnt, 10**6)
    longest = {
        "sft": {"max_length": max(len(each["input_ids"]) for each in examples)},
        "grpo": {"max_prompt_length": max(each["labels"].count(-100) for each in examples)},
    }
    places = {
        "start": model,
        "train_file": data.write_jsonl(learnt, folder / "rows.jsonl"),
        "output": paths.checkpoint(folder, kind),
    }
    return stages.settings(kind, places | settings | longest[kind])


def measure(kind: str, stage: stages.Stage, counted: bool) -> dict:
    """GB estimated, taken by the process, and of those counted, in torch's allocator."""
    table = memory.estimate(stage, 1, 1, "none", CPU).set_index("item")["needed"]
    estimated = table[memory.MAIN] * memory.GIB / 1e9
    file = stage.output.parents[1] / "config.json"
    file.write_text(stage.model_dump_json())
    settings = stage.model_dump(mode="json", exclude_defaults=True, exclude=set(stages.PLACES))
    measured = {"kind": kind, "settings": settings, "estimated_GB": round(float(estimated), 2)}
    for what in ("process", "allocator")[: 1 + counted]:
        shutil.rmtree(stage.output, ignore_errors=True)
        command = [sys.executable, __file__, f"--{what}", kind, str(file)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured[f"{what}_GB"] = float(done.stdout.splitlines()[-1])
    measured["ratio"] = round(measured["process_GB"] / estimated, 2)
    return measured


def process_peak(kind: str, file: str) -> float:
    """GB that this process takes to train the stage."""
    from transformers import PreTrainedModel

    before = []
    load = PreTrainedModel.from_pretrained.__func__

    def noted(cls, *args, **settings):
        before.append(held_at_most())
        return load(cls, *args, **settings)

    PreTrainedModel.from_pretrained = classmethod(noted)
    process.train(kind, stages.settings(kind, json.loads(Path(file).read_text())))
    return (held_at_most() - before[0]) / 1e9


def held_at_most() -> int:
    """Bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def allocator_peak(kind: str, file: str) -> float:
    """GB that torch's allocator held at most, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        process.train(kind, stages.settings(kind, json.loads(Path(file).read_text())))
    events = profiled.profiler.kineto_results.experimental_event_tree()
    most = 0
    while events:
        event = events.pop()
        events += event.children
        most = max(most, getattr(event.extra_fields, "total_allocated", 0))
    return most / 1e9


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        print(round(process_peak(*sys.argv[2:]), 2))
    elif sys.argv[1:2] == ["--allocator"]:
        print(round(allocator_peak(*sys.argv[2:]), 2))
    else:
        main()
