"""CUREMED-BENCH for lighteval, one task a language.

    lighteval accelerate "model_name=MODEL" curemed_bench --custom-tasks curemed_lighteval.py

curemed_bench:french is one language. Leave max_new_tokens out of the model's parameters:
lighteval 0.13 cuts prompts to that length. No mean has responses without a verdict (*_unknown).
"""

from pathlib import Path

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.prompt_manager import PromptManager
from lighteval.tasks.requests import Doc, SamplingMethod

from curemed_utils.evaluation import harness
from curemed_utils.evaluation.harness import PARTS, UNKNOWN

FOLDER = Path(__file__).parent


def _with_system(prepare):
    """lighteval has one system prompt a run; these rows have one a language."""

    def prepared(self, doc):
        self.system_prompt = (doc.specific or {}).get("system", self.system_prompt)
        return prepare(self, doc)

    return prepared


PromptManager.prepare_prompt = _with_system(PromptManager.prepare_prompt)
PromptManager.prepare_prompt_api = _with_system(PromptManager.prepare_prompt_api)


def prompt(line: dict, task_name: str) -> Doc:
    return Doc(line["question"], [line["answer"]], 0, task_name=task_name, specific=line)


class Parts(SampleLevelComputation):
    def compute(self, doc: Doc, model_response, **_) -> dict[str, float]:
        return harness.score_response(model_response.text[0], doc.specific)


# numpy's functions: lighteval pickles them, and those of this file can't be.
METRIC = SampleLevelMetricGrouping(
    metric_name=[*PARTS, *UNKNOWN],
    higher_is_better=dict.fromkeys(PARTS, True) | dict.fromkeys(UNKNOWN, False),
    category=SamplingMethod.GENERATIVE,
    sample_level_fn=Parts(),
    corpus_level_fn=dict.fromkeys(PARTS, np.nanmean) | dict.fromkeys(UNKNOWN, np.sum),
)


def _task(language: str) -> LightevalTaskConfig:
    return LightevalTaskConfig(
        name=f"{harness.NAME}:{language.lower()}",
        prompt_function=prompt,
        hf_repo=str(FOLDER / "rows"),
        hf_subset="default",
        hf_filter=lambda line: line["language"] == language,
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        generation_size=harness.MAX_NEW_TOKENS,
        metrics=[METRIC],
        version=1,
    )


SPOKEN = {record["language"] for record in harness.read_records(FOLDER)}
TASKS_TABLE = [_task(language) for language in sorted(SPOKEN)]
