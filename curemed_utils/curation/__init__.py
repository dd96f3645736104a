from curemed_utils.curation.pipeline import (
    RECORDED,
    RECORDED_TOPICS,
    Unanswered,
    curate,
    estimate,
    recorded,
)
from curemed_utils.curation.stages import conversion_fault
