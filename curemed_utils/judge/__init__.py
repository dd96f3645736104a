from curemed_utils.judge.client import Client, Refused
from curemed_utils.judge.verdicts import (
    PARSE,
    TASKS,
    Judge,
    Verdict,
    majority,
    parse_score,
    parse_truth,
)  # fmt: skip
from curemed_utils.judge.wire import price_of
