import json
import math

import numpy as np
import pandas as pd
import pytest

from curemed_utils import evaluation, paths, rewards
from curemed_utils.evaluation import verdicts
from curemed_utils.evaluation.generation import Response
from curemed_utils.judge import Verdict

STEPS = "<thinking><step1>fièvre</step1></thinking>"
FRENCH = "Le patient est atteint de la grippe saisonnière."


# One verdict --------------------------------------------------------------------------------------


@pytest.fixture
def row(make_row):
    return make_row(answer=f"<answer>{FRENCH}</answer>", accepted=["grippe"])


def judged(row, text, finish_reason="stop"):
    return evaluation.verdict(Response(text, finish_reason, 9), row)


def expected(*values) -> dict:
    fields = ("correct", "in_language", "complete", "well_formed")
    return dict(zip(fields, values, strict=True))


def test_a_right_response(row):
    found = judged(row, f"{STEPS}<answer>{FRENCH}</answer>")
    assert found == expected(True, True, True, True)


def test_a_wrong_response(row):
    found = judged(
        row, f"{STEPS}<answer>Le patient est atteint de la dengue hémorragique.</answer>"
    )
    assert found == expected(False, True, True, True)


def test_a_response_in_the_wrong_language(row):
    found = judged(row, f"{STEPS}<answer>The patient suffers from seasonal influenza.</answer>")
    assert found == expected(False, False, True, True)


def test_a_response_cut_off_before_its_answer_is_wrong_and_incomplete(row):
    found = judged(row, "<thinking><step1>fièvre", "length")
    assert found == expected(False, False, False, False)


def test_a_response_cut_off_after_its_answer_is_incomplete(row):
    found = judged(row, f"{STEPS}<answer>{FRENCH}</answer> Et", "length")
    assert (found["correct"], found["complete"], found["well_formed"]) == (True, False, False)


def test_a_response_without_an_answer_is_incomplete(row):
    found = judged(row, f"{STEPS} grippe")
    assert found == expected(False, False, False, False)


def test_what_nothing_can_tell_stays_unknown(make_row):
    found = judged(make_row(accepted=[]), f"{STEPS}<answer>grippe</answer>")
    assert (found["correct"], found["in_language"], found["well_formed"]) == (None, None, True)


def test_an_accepted_answer_is_in_the_language_however_short(row):
    assert judged(row, f"{STEPS}<answer>grippe.</answer>") == expected(True, True, True, True)
    found = judged(row, f"{STEPS}<answer>The flu</answer>")
    assert found["correct"] is False and found["in_language"] is not True


# The reward ---------------------------------------------------------------------------------------

RIGHT = f"{STEPS}<answer>grippe</answer>"
WRONG = f"{STEPS}<answer>asthme</answer>"  # too short to tell the language


def rewarded(rows, samples, texts, **rules):
    table = pd.DataFrame(
        {"id": [row.id for row in rows for _ in range(samples)], "response": texts}
    )
    return verdicts.rewarded(table, rows, samples, rewards.Rewards(**rules))


def test_the_reward_of_a_row_s_runs_is_that_of_a_group_in_training(row, make_row):
    table = rewarded([row, make_row(1)], 2, [RIGHT, WRONG, None, "grippe"])
    assert table["reward"].tolist()[:2] == [1.0, 0.35]  # the other's language
    assert math.isnan(table["reward"][2]) and table["reward"][3] == 0.0
    assert table["paid_language"].fillna(-1).tolist() == [0.3, -1, -1, 0.0]
    assert table["rules"].unique().tolist() == [str(rewards.Rewards())]


def test_the_reward_has_the_rules_and_weights_of_the_run(row):
    weights = {"accuracy": 0.3, "language": 0.7, "format": 0.0}
    loose = {"strict_format": False, "weights": weights}
    table = rewarded([row], 1, [f"<thinking>x</thinking><answer>{FRENCH}</answer>"], **loose)
    assert table["reward"].tolist() == [1.0] and table["paid_format"].tolist() == [0.0]
    strict = rewarded([row], 1, [f"<thinking>x</thinking><answer>{FRENCH}</answer>"])
    assert strict["reward"].tolist() == [0.95]


def test_a_mean_reward_is_that_of_the_filled_parts_or_missing(row, make_row):
    rows = [row, row, row, make_row(1, accepted=[])]
    table = rewarded(rows, 1, [RIGHT, WRONG, f"{STEPS}<answer>{FRENCH}</answer>", WRONG])
    table = table.assign(model=["a", "a", "a", "b"])
    means = rewards.mean_paid(table, ["model"])
    parts = np.array([[(1, 1, 1), (0, math.nan, 1), (1, 1, 1)]])
    weights = list(rewards.WEIGHTS.values())
    assert means["a"] == pytest.approx((rewards.filled(parts, weights) @ weights).mean())
    by_tier = rewards.mean_paid(table.assign(tier=None), ["model", "tier"])
    assert by_tier["a"].tolist() == [means["a"]]
    assert math.isnan(means["b"])  # no accuracy, no language: nothing is renormalised away


def test_an_evaluation_scores_by_the_rules_of_its_run(tiny_base, sample, tmp_path):
    stage = paths.checkpoint(tmp_path, "stage1_high")
    stage.parent.mkdir()
    paths.checkpoint(tmp_path, "base").symlink_to(tiny_base)
    asked = {"sets": {"test": sample[:1]}, "max_new_tokens": 2}
    before = evaluation.evaluate(tmp_path, "base", **asked)
    stage.mkdir()
    made = {"made_from": {"language_weight": 0.9}, "fingerprint": "x"}
    (stage / "stage.json").write_text(json.dumps(made))
    after = evaluation.evaluate(tmp_path, "base", **asked)
    assert "language 0.3," in before["rules"][0] and "language 0.9," in after["rules"][0]
    assert after["response"].tolist() == before["response"].tolist()


# A table ------------------------------------------------------------------------------------------


def frame(**columns):
    verdicts = pd.DataFrame(columns).assign(response="a", finish_reason="stop")
    for name in rewards.PAID:
        if name not in verdicts:
            verdicts[name] = None
    truths = ["correct", "in_language", "complete", "well_formed"]
    kinds = dict.fromkeys(truths, "boolean") | dict.fromkeys(rewards.PAID, "float")
    return verdicts.astype(kinds)


@pytest.fixture
def result():
    """Four French rows and two Thai ones, with gaps."""
    verdicts = frame(
        language=["French"] * 4 + ["Thai"] * 2,
        correct=[True, False, False, None, None, None],
        in_language=[True, True, False, True, None, False],
        complete=[True, True, True, False, True, True],
        well_formed=[False, False, False, False, True, False],
        paid_accuracy=[0.65, 0, 0, None, None, None],
        paid_language=[0.30, 0.30, 0, 0.30, None, 0],
        paid_format=[0.0] * 4 + [0.05, 0],
    )
    return evaluation.table(verdicts, ["language"])


def test_a_table_holds_percentages(result):
    assert result.loc["French", ["lc", "complete", "well_formed"]].tolist() == [75.0, 75.0, 0.0]
    assert result.loc["Thai", ["complete", "well_formed"]].tolist() == [100.0, 50.0]


def test_missing_verdicts_are_left_out_and_counted(result):
    assert result.loc["French", "la"] == pytest.approx(100 / 3)
    assert result.loc["French", ["n", "n_unknown_la", "n_unknown_lc"]].tolist() == [4, 1, 0]
    assert result.loc["Thai", "lc"] == 0.0
    assert result.loc["Thai", ["n", "n_unknown_la", "n_unknown_lc"]].tolist() == [2, 2, 1]


def test_a_measure_nobody_could_take_is_nan(result):
    assert math.isnan(result.loc["Thai", "la"])


def test_an_unknown_part_has_the_mean_of_its_group_and_one_that_a_group_lacks_none(result):
    assert result.loc["French", "reward"] == pytest.approx(0.65 / 3 + 0.30 * 3 / 4)
    assert math.isnan(result.loc["Thai", "reward"])


def test_a_table_groups_by_several_columns():
    verdicts = frame(
        model=["a", "a", "b"],
        set=["x", "y", "x"],
        correct=[True, False, True],
        in_language=[None] * 3,
        complete=[True] * 3,
        well_formed=[True] * 3,
    )
    result = evaluation.table(verdicts, ["model", "set"])
    assert result["la"].to_dict() == {("a", "x"): 100.0, ("a", "y"): 0.0, ("b", "x"): 100.0}


# A checkpoint -------------------------------------------------------------------------------------


def test_evaluating_writes_one_verdict_a_response_and_reads_them_back(tiny_base, sample, tmp_path):
    base = paths.checkpoint(tmp_path, "base")
    base.parent.mkdir()
    base.symlink_to(tiny_base)
    rows, options = sample[:2], {"samples": 2, "max_new_tokens": 4}
    found = evaluation.evaluate(tmp_path, "base", {"test": rows}, **options)
    assert found["id"].tolist() == [rows[0].id, rows[0].id, rows[1].id, rows[1].id]
    assert found["sample"].tolist() == [0, 1, 0, 1]
    file = paths.verdicts_file(tmp_path, "base")
    assert [
        json.loads(line)["response"] for line in file.read_text(encoding="utf-8").splitlines()
    ] == found["response"].tolist()
    written = file.stat().st_mtime_ns
    pd.testing.assert_frame_equal(
        evaluation.evaluate(tmp_path, "base", {"test": rows}, **options), found
    )
    assert file.stat().st_mtime_ns == written
    evaluation.evaluate(tmp_path, "base", {"test": rows[:1]}, **options)
    assert file.stat().st_mtime_ns != written


def test_a_model_that_was_not_evaluated_says_which_notebook_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebook 07"):
        evaluation.read_verdicts(tmp_path, "sft")


# By a judge ---------------------------------------------------------------------------------------


class StandIn:
    model = "stand-in"

    def __init__(self, logic, language):
        self.values, self.asked = {"logic": logic, "language": language}, []

    def score(self, task, items, progress=""):
        self.asked += [(task, item["reference"], item["response"]) for item in items]
        return [
            Verdict(value, None if value is not None else "no answer")
            for value in self.values[task]
        ]


@pytest.fixture
def three(make_row):
    """Rows with and without accepted answers, and one response to each."""
    rows = {row.id: row for row in (make_row(0), make_row(1), make_row(2, accepted=["grippe"]))}
    texts = [
        f"{STEPS}<answer>{FRENCH}</answer>",
        f"{STEPS}<answer>{FRENCH}</answer>",
        f"{STEPS}<answer>grippe</answer>",
    ]
    table = pd.DataFrame(
        [
            {"id": row.id, "response": text, "finish_reason": "stop"} | judged(row, text)
            for row, text in zip(rows.values(), texts, strict=True)
        ]
    )
    return table, rows


def test_a_judge_tells_where_no_list_of_answers_does(three):
    table, rows = three
    judge = StandIn([True, None, False], [True, False, None])
    found = evaluation.judged(table, rows, judge)
    assert found["correct"].tolist() == [True, pd.NA, True]
    assert found["judge_error"].fillna("").tolist() == ["", "no answer", "no answer"]
    assert ("logic", "Réponse 0", table["response"][0]) in judge.asked


def test_a_judge_that_failed_stays_in_the_papers_denominator_and_out_of_ours(three):
    table, rows = three
    found = evaluation.judged(
        table, rows, StandIn([True, None, False], [True, False, None])
    ).assign(model="m")
    row = evaluation.table(found, ["model"]).loc["m"]
    assert (row["la"], row["n_unknown_la"]) == (100.0, 1)
    assert row["la_paper"] == pytest.approx(100 / 3) and row["lc_paper"] == pytest.approx(100 / 3)


def test_without_a_judge_the_papers_consistency_needs_language_and_an_end(three):
    table, _ = three
    row = evaluation.table(
        table.assign(model="m", complete=[True, False, True], in_language=[True, True, False]),
        ["model"],
    ).loc["m"]
    assert row["lc_paper"] == pytest.approx(100 / 3)
