from curemed_utils.curation.pipeline import (
    RECORDED,
    RECORDED_TOPICS,
    Unanswered,
    curate,
    quote,
    recorded,
)
from curemed_utils.curation.stages import conversion_fault
