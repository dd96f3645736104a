"""CUREMED-BENCH for inspect_ai.

    inspect eval curemed_inspect.py --model openai/MODEL [-T language=French] [--temperature 0.8 --epochs 3] [--max-tokens 4096]

A server of your own is given by OPENAI_BASE_URL and OPENAI_API_KEY; one that only knows chat completions needs -M responses_api=false.
Each part is a mean per language and over all rows ('all'). A response without a verdict is left out of that part's mean and counted
as unscored (`unscored_samples` in the log).
"""

import math
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Score, grouped, mean, scorer, stderr
from inspect_ai.solver import generate

from curemed_utils.evaluation import harness

FOLDER = Path(__file__).parent


@task
def curemed_bench(language: str = "") -> Task:
    """The rows of one language (its English name), or all."""
    return Task(
        dataset=MemoryDataset([_sample(record) for record in harness.read(FOLDER, language)], name=harness.NAME),
        solver=generate(),
        scorer=curemed(),
        config=GenerateConfig(temperature=0.0, max_tokens=harness.MAX_NEW_TOKENS),
        metadata={"rows": harness.identity(FOLDER)},
    )


def _sample(record: dict) -> Sample:
    turns = [ChatMessageSystem(content=record["system"]), ChatMessageUser(content=record["question"])]
    return Sample(input=turns, target=record["answer"], id=record["id"], metadata=record)


@scorer(metrics={part: [grouped(mean(), "language"), stderr()] for part in harness.PARTS})
def curemed():
    """The three parts of the workbook's score; NaN, which inspect_ai takes for unscored, where a part is unknown."""

    async def score(state, target):
        scores = harness.score(state.output.completion, state.metadata)
        return Score(value={part: math.nan if value is None else value for part, value in scores.items()})

    return score
