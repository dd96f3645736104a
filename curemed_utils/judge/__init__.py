from curemed_utils.judge.verdicts import PARSE, TASKS, Judge, Verdict, majority, parse_score, parse_truth
