from curemed_utils.judge.client import Client, Refused
from curemed_utils.judge.models import price_of
from curemed_utils.judge.verdicts import (
    PARSE,
    TASKS,
    Judge,
    Verdict,
    majority,
    parse_score,
    parse_truth,
)  # fmt: skip
