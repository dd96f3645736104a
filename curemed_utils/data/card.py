"""The model card that every checkpoint carries."""

import pandas as pd

from curemed_utils import languages

MEASURES = ("loss", "reward", "rewards/accuracy/mean", "rewards/language/mean", "rewards/format/mean")
TEXT = """---
library_name: transformers
pipeline_tag: text-generation
language: [{codes}]
tags: [medical, multilingual, curemed-workbook]
---
# {name}

A checkpoint of the CURE-Med workbook{kind}. **Research software: not for medical advice, and not validated for any clinical use.**

## How it was made

{settings}

Rows: {rows} used, {left} left out as too long. Steps: {steps}, on {world_size} process(es). Versions: {versions}.

## While training

{curve}

These are numbers of the training itself, on prompts it was trained on.

## Results

Not evaluated yet: notebook 07 puts its table here.

## Limits

Answers can be wrong in any language, and more often in those with few resources. The offline language check and exact match see
only part of what makes an answer right. A model built as `tiny` holds no medical knowledge at all: it shows the method, nothing else.
"""


def write(name: str, made: dict, log: list[dict]) -> str:
    """The model card of a stage, in the hub's format: what made it, how training went, what it must not be used for."""
    curve = []
    for measure in MEASURES:
        values = [record[measure] for record in log if record.get(measure) is not None]
        curve += [(measure, f"{values[0]:.4f}", f"{values[-1]:.4f}")] if values else []
    return TEXT.format(
        codes=", ".join(language.code for language in languages.ALL),
        name=name,
        kind={"sft": ": supervised fine-tuning", "grpo": ": GRPO"}.get(made.get("kind"), ""),
        settings=table(("setting", "value"), [(key, f"`{value}`") for key, value in made["made_from"].items()]),
        rows=made.get("rows", 0),
        left=made.get("rows_over_length", 0),
        steps=made.get("steps", 0),
        world_size=made.get("world_size", 1),
        versions=", ".join(f"{package} {version}" for package, version in made["versions"].items()),
        curve=table(("", "first step", "last step"), curve) if curve else "No training: this is where it starts.",
    )


def add_results(text: str, results: pd.DataFrame) -> str:
    """The card with `results` (one line a row, its index first) in place of what stood under Results."""
    head, rest = text.split("## Results\n", 1)
    rows = [(str(name), *(f"{value:.2f}" for value in row)) for name, row in zip(results.index, results.to_numpy(), strict=True)]
    return f"{head}## Results\n\n{table(('', *results.columns), rows)}\n\n## Limits\n{rest.split('## Limits' + chr(10), 1)[1]}"


def table(head: tuple, rows: list[tuple]) -> str:
    """A Markdown table; cells are text."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
