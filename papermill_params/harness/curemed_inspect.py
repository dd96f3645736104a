"""CUREMED-BENCH for inspect_ai.

    inspect eval curemed_inspect.py --model openai/MODEL [-T language=French] [--max-tokens 4096]

OPENAI_BASE_URL and OPENAI_API_KEY name a server of your own; one that only knows chat completions
needs -M responses_api=false. Means per language and over all rows ('all') leave out responses
without a verdict (`unscored_samples` of the log).
"""

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
    samples = [_sample(record) for record in harness.read_records(FOLDER, language)]
    return Task(
        dataset=MemoryDataset(samples, name=harness.NAME),
        solver=generate(),
        scorer=curemed(),
        config=GenerateConfig(temperature=0.0, max_tokens=harness.MAX_NEW_TOKENS),
        metadata={"rows": harness.rows_digest(FOLDER)},
    )


def _sample(record: dict) -> Sample:
    system = ChatMessageSystem(content=record["system"])
    user = ChatMessageUser(content=record["question"])
    return Sample([system, user], target=record["answer"], id=record["id"], metadata=record)


@scorer(metrics={part: [grouped(mean(), "language"), stderr()] for part in harness.PARTS})
def curemed():
    """PARTS of the score; inspect_ai takes NaN for unscored."""

    async def score(state, target):
        scores = harness.score_response(state.output.completion, state.metadata)
        return Score(value={part: scores[part] for part in harness.PARTS})

    return score
