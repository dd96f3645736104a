from curemed_utils.curation.pipeline import RECORDED, RECORDED_TOPICS, conversion_fault, curate, estimate, pending, recorded
