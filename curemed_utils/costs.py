"""What a run by each Qwen2.5 parameter file needs and costs, computed without a GPU, a network or a model.

`python -m curemed_utils.costs [PROFILE …] [-p NAME VALUE]…` prints the tables of papermill_params/README.md for any files and settings;
`--write` puts those of the five files as they are into that page.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import yaml

from curemed_utils import languages, paths, run
from curemed_utils.judge import Judge, batch, client
from curemed_utils.training import memory, stages, tiny

PAGE = paths.PROFILES / "README.md"
START, END = "<!-- computed: python -m curemed_utils.costs --write -->", "<!-- end of what is computed -->"
EVALUATOR = "gpt-4o"  # Section 4.1; the reward's judge is the file's
NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size")
SIZES = {  # by the published config.json; the last says whether embeddings are tied
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True),
    "3b": (2048, 36, 16, 2, 11008, 151936, True),
    "7b": (3584, 28, 28, 4, 18944, 152064, False),
    "14b": (5120, 48, 40, 8, 13824, 152064, False),
    "32b": (5120, 64, 40, 8, 27648, 152064, False),
}
# The authors' released files: rows, and mean bytes of a text in UTF-8. An RFT row's trace and answer stand for a trained model's response.
ROWS = {"sft": 13435, "rft": 3364, "test": 1431}
QUESTION, REFERENCE, TRACE, ANSWER = {"rft": 421, "test": 446}, {"rft": 129, "test": 481}, 1276, 146
TOKENS = (193, 378)  # prompt and completion, the mean of the RFT rows in Qwen's published vocabulary, counted once
MEAN = {"sft_max_length": sum(TOKENS), "max_prompt_length": TOKENS[0], "max_completion_length": TOKENS[1], "eval_max_new_tokens": TOKENS[1]}
CHANGES = {
    "the file as it is": {},
    "`grpo_options {}`: rollouts by transformers": {"grpo_options": {}},
    "`num_generations 8`, still 16 rollouts a step": {"num_generations": 8},
    "`num_generations 8`, `grpo_batch_size 8`, `grpo_micro_batch 1`": {"num_generations": 8, "grpo_batch_size": 8, "grpo_micro_batch": 1},
    "`language_by offline`": {"language_by": "offline"},
    "`accuracy_by accepted`, `language_by offline`": {"accuracy_by": "accepted", "language_by": "offline"},
    "`eval_engine vllm`": {"eval_engine": "vllm"},
    "`eval_max_per_language 20`": {"eval_max_per_language": 20},
    "every text as long as the released rows' mean": MEAN,
}


@cache
def stand_in(size: str) -> tempfile.TemporaryDirectory:
    """A folder with a model's config.json and some tokenizer, but no weights."""
    if size not in SIZES:
        raise ValueError(f"no shape of a Qwen2.5 of size {size!r} is known here; known: {', '.join(SIZES)}")
    folder, config = tempfile.TemporaryDirectory(), dict(zip(NAMES, SIZES[size][:-1], strict=True))
    tiny.build_tokenizer(["<answer>"]).save_pretrained(folder.name)
    config |= {"model_type": "qwen2", "tie_word_embeddings": SIZES[size][-1]}
    (Path(folder.name) / "config.json").write_text(json.dumps(config))
    return folder


def stage_of(kind: str, profile: dict, **changes) -> stages.Stage:
    """A stage ('sft' or 'grpo') by a parameter file, with a stand-in for the model; `changes` are of the stage's own settings."""
    start = stand_in(profile["model_id"].removesuffix("-Instruct").split("-")[-1].lower()).name
    given = {name.removeprefix(f"{kind}_"): value for name, value in profile.items()} | {"world_size": profile["processes"]}
    given = {field.name: given[field.name] for field in fields(stages.KINDS[kind]) if field.name in given}
    places = {"start": start, "output": f"{start}/out", "train_file": str(paths.SAMPLE / "French.jsonl")}
    return stages.settings(kind, given | profile[f"{kind}_options"] | places | changes)


def room(profile: dict, **changes) -> dict[str, float]:
    """GiB that the stages need, by item; DoesNotFit where 80 GiB a GPU are too few."""
    found, machine = {}, {"gpu_gib": 80, "cpu_gib": math.inf, "disk_gib": math.inf}
    for kind in stages.KINDS:
        table = memory.check(kind, stage_of(kind, profile, **changes), profile["processes"], 1, profile["strategy"], **machine)
        needed = dict(zip(table["item"], table["needed"], strict=True))
        found[f"memory per GPU, {kind.upper()}"] = next(size for item, size in needed.items() if item.startswith("GPU memory"))
        for name in ("main memory of a node", "disk for checkpoints"):
            found[name] = max(needed[name], found.pop(name, 0))
    return found


def asked(profile: dict, split: str) -> int:
    """Responses of one checkpoint to the prompts of a split in notebook 07."""
    return profile["eval_samples"] * min(ROWS[split], profile["eval_max_per_language"] * len(languages.PUBLISHED) or ROWS[split])


def hours(profile: dict) -> dict[str, float]:
    """Steps, seconds a step, responses and hours of a run by what they are of."""
    sft, grpo, n = stage_of("sft", profile), stage_of("grpo", profile), profile["processes"]
    steps, training, found = sft.max_steps or math.ceil(sft.epochs * math.ceil(ROWS["sft"] / sft.batch_size)), 0, {}
    for name, kind, stage, count, times in (("SFT", "sft", sft, steps, 1), ("each GRPO stage", "grpo", grpo, grpo.steps, 3)):
        seconds = memory.step_seconds(kind, stage, n, gpu_name="A100")
        found |= {f"{name}: steps": count, f"{name}: seconds a step": seconds, f"{name}: hours": count * seconds / 3600}
        training += times * n * count * seconds / 3600
    # Training shared by endlessly many GPUs takes no time: what is left of a step are the rollouts, one batch of responses.
    engine, length = profile.get("eval_engine") or "transformers", profile["eval_max_new_tokens"]
    alone = replace(grpo, engine=engine, vllm_tensor_parallel=1, max_completion_length=length)
    responses, models = asked(profile, "test") + asked(profile, "rft"), len(languages.CHECKPOINTS)
    batches = models * math.ceil(responses / profile["eval_batch_size"])
    answering = batches * memory.step_seconds("grpo", alone, math.inf, gpu_name="A100") / 3600
    found |= {"training: GPU-hours": training, "notebook 07: responses": models * responses, "notebook 07: hours on one GPU": answering}
    return found | {"in all: GPU-hours": training + answering}


def judged(profile: dict, longest: bool = False) -> dict[str, client.Totals]:
    """Requests, tokens and list price of the judge by use; `longest`: as if every response were as long as it may be."""
    rollouts, models, found = 3 * profile["grpo_steps"] * profile["grpo_batch_size"], len(languages.CHECKPOINTS), {}
    whole, last = (3 * profile[name] if longest else TRACE + ANSWER for name in ("max_completion_length", "eval_max_new_tokens"))
    part = ANSWER if profile["language_over"] == "answer" and not longest else whole
    uses = [("reward, accuracy", "reward_accuracy", rollouts, "rft", whole)] * (profile["accuracy_by"] == "judge")
    uses += [("reward, language", "reward_language", rollouts, "rft", part)] * (profile["language_by"] == "judge")
    for split, name in (("test", "test"), ("rft", "train")):
        uses += [(f"evaluation, {name} prompts", task, models * asked(profile, split), split, last) for task in ("logic", "language")]
    for use, task, n, split, response in uses:
        sizes = {"question": QUESTION[split], "reference": REFERENCE[split], "response": response, "language": len("Vietnamese")}
        model = profile["judge_model"] if use.startswith("reward") else EVALUATOR
        with tempfile.TemporaryDirectory() as folder, Judge(model, cache=Path(folder) / "none.sqlite", max_usd=0, offline=True) as judge:
            one = judge.quote(task, [{name: "x" * size for name, size in sizes.items()}])
        found[use] = client.Totals(*(sum + n * each for sum, each in zip(found.get(use, (0, 0, 0, 0.0)), one, strict=True)))
    return found | {"in all": client.Totals(*map(sum, zip(*found.values(), strict=True)))}


def table(corner: str, columns: dict[str, dict]) -> str:
    """A markdown table of {column: {row: value}}; numbers below 100 that are not whole have one decimal."""
    rows = [[name, *(column[name] for column in columns.values())] for name in next(iter(columns.values()))]
    rows = [[c if isinstance(c, str) else f"{c:,.{int(c < 100 and c % 1 > 0)}f}" for c in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in [[corner, *columns], ["---", *["---:"] * len(columns)], *rows])


def tables(profiles: Sequence[str] = (), **overrides) -> str:
    """The page's computed part, a column a parameter file (none: the five); `overrides` take the place of their values, as -p does."""
    files = {name: run.read_profile(name) | overrides for name in profiles or [f"qwen2.5-{size}" for size in SIZES]}
    files = {Path(name).name.removeprefix("qwen2.5-").removesuffix(".yaml"): file for name, file in files.items()}
    asks = {size: {"A100 of 80 GB": file["processes"], "`strategy`": f"`{file['strategy']}`"} for size, file in files.items()}
    shown = {"needs, in GiB": {size: asks[size] | room(file) for size, file in files.items()}}
    shown["needs with LoRA of rank 16 and `zero3`, in GiB"] = {s: room(f | {"strategy": "zero3"}, lora_rank=16) for s, f in files.items()}
    shown["time"] = {size: hours(file) for size, file in files.items()}
    some = next(iter(files.values()))  # the five ask the judge the same
    uses, long = judged(some), judged(some, longest=True)
    price = {"requests": {use: total.requests for use, total in uses.items()}}
    price |= {f"{name} tokens, millions": {use: total[n] / 1e6 for use, total in uses.items()} for n, name in ((1, "prompt"), (2, "reply"))}
    price |= {"USD": {use: total.usd for use, total in uses.items()}, "USD, longest": {use: total.usd for use, total in long.items()}}
    price["USD, by batch"] = {u: t.usd * batch.PRICE_FACTOR if u.startswith("evaluation") else "" for u, t in uses.items()}
    change = {size: {name: hours(file | new)["in all: GPU-hours"] for name, new in CHANGES.items()} for size, file in files.items()}
    change["judge, USD"] = {name: judged(some | new)["in all"].usd for name, new in CHANGES.items()}
    shown |= {"judge": price, "GPU-hours in all": change}
    return "\n".join(table(corner, columns) for corner, columns in shown.items())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.costs", description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="files of papermill_params without .yaml (default: the five)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a value in place of the files'")
    parser.add_argument("--write", action="store_true", help="update papermill_params/README.md")
    args = parser.parse_args(argv)
    try:
        overrides = {name: yaml.safe_load(value) for name, value in args.p}
        run.check_parameters(overrides, run.known_parameters())
        print(tables(args.profiles, **overrides))
    except (ValueError, run.UsageError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(f"{page.split(START)[0]}{START}\n\n{tables()}\n{END}{page.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
