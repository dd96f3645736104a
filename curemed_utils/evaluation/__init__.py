"""Measuring models: responses, verdicts, tables, intervals, published verdicts (Section 5)."""

from curemed_utils.evaluation.release import score_release
from curemed_utils.evaluation.responses import evaluate, respond
from curemed_utils.evaluation.verdicts import (
    MODELS,
    judge_items,
    judged,
    outcomes,
    read_verdicts,
    table,
    verdict,
)
