from curemed_utils.evaluation.verdicts import evaluate, judge_items, judged, outcomes, read_verdicts, respond, score_release, table, verdict
