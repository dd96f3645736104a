"""The README.md of a checkpoint, and what a dataset's shares with it."""

from pathlib import Path

import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from curemed_utils import languages, paths

TAGS = ["medical", "multilingual", "curemed-workbook"]
MEASURES = paths.beside(__file__, ".yaml")


def model_card(name: str, made: dict, log: list[dict]) -> ModelCard:
    """The card of a stage: what `made` it, how training went by its `log`."""
    curve = {}
    for measure in MEASURES:
        values = [step[measure] for step in log if step.get(measure) is not None]
        if values:
            curve[measure] = (values[0], values[-1])
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        language=[language.code for language in languages.ALL],
        tags=TAGS,
    )
    template = Path(__file__).with_name("checkpoint_card.md")
    return ModelCard.from_template(header, template, name=name, curve=curve, **made)


def write_results(file: Path, results: pd.DataFrame, rules: str) -> None:
    """Puts `results`, and the `rules` of their reward, in place of what a card had of them."""
    card = ModelCard.load(file)
    before, _, rest = card.text.partition("## Results\n")
    _, _, after = rest.partition("\n## ")
    table = f"{markdown(results, '{:.2f}')}\n\nReward: {rules}."
    card.text = f"{before}## Results\n\n{table}\n\n## {after}"
    card.save(file)


def markdown(values: pd.DataFrame, form: str = "{:,}") -> str:
    """A table of numbers in Markdown, the index first."""
    lines = [["", *map(str, values.columns)], ["---"] * (len(values.columns) + 1)]
    for name, numbers in zip(values.index, values.to_numpy(), strict=True):
        lines.append([str(name), *map(form.format, numbers)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
