import json
import math

import pandas as pd
import pytest

from curemed_utils import evaluation, paper
from curemed_utils.data import DataError
from curemed_utils.evaluation.generation import Response
from curemed_utils.judge import Verdict

STEPS = "<thinking><step1>fièvre</step1></thinking>"
FRENCH = "Le patient est atteint de la grippe saisonnière."


# One verdict --------------------------------------------------------------------------------------------------------


@pytest.fixture
def row(make_row):
    return make_row(answer=f"<answer>{FRENCH}</answer>", accepted=["grippe"])


def judged(row, text, finish_reason="stop"):
    return evaluation.verdict(Response(text, finish_reason, 9), row)


def test_a_right_response(row):
    found = judged(row, f"{STEPS}<answer>{FRENCH}</answer>")
    assert found == {"correct": True, "in_language": True, "complete": True, "well_formed": True, "reward": 1.0}


def test_a_wrong_response(row):
    found = judged(row, f"{STEPS}<answer>Le patient est atteint de la dengue hémorragique.</answer>")
    assert found == {"correct": False, "in_language": True, "complete": True, "well_formed": True, "reward": 0.35}


def test_a_response_in_the_wrong_language(row):
    found = judged(row, f"{STEPS}<answer>The patient suffers from seasonal influenza.</answer>")
    assert found == {"correct": False, "in_language": False, "complete": True, "well_formed": True, "reward": 0.05}


def test_a_response_cut_off_before_its_answer_is_wrong_and_incomplete(row):
    found = judged(row, "<thinking><step1>fièvre", "length")
    assert found == {"correct": False, "in_language": False, "complete": False, "well_formed": False, "reward": 0.0}


def test_a_response_cut_off_after_its_answer_is_incomplete(row):
    found = judged(row, f"{STEPS}<answer>{FRENCH}</answer> Et", "length")
    assert (found["correct"], found["complete"], found["well_formed"]) == (True, False, False)


def test_a_response_without_an_answer_is_incomplete(row):
    found = judged(row, f"{STEPS} grippe")
    assert found == {"correct": False, "in_language": False, "complete": False, "well_formed": False, "reward": 0.0}


def test_what_nothing_can_tell_stays_unknown(make_row):
    found = judged(make_row(accepted=[]), f"{STEPS}<answer>grippe</answer>")
    assert (found["correct"], found["in_language"], found["reward"]) == (None, None, 0.05)


# A table ------------------------------------------------------------------------------------------------------------


def frame(**columns):
    verdicts = pd.DataFrame(columns)
    truths = ["correct", "in_language", "complete", "well_formed"]
    return verdicts.astype(dict.fromkeys(truths, "boolean") | {"reward": "float"})


@pytest.fixture
def result():
    """Four French rows and two Thai ones, with gaps."""
    verdicts = frame(
        language=["French"] * 4 + ["Thai"] * 2,
        correct=[True, False, False, None, None, None],
        in_language=[True, True, False, True, None, False],
        complete=[True, True, True, False, True, True],
        well_formed=[False, False, False, False, True, False],
        reward=[1.0, 0.35, 0.05, None, 0.05, 0.05],
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


def test_a_missing_reward_is_left_out_of_the_mean(result):
    assert result.loc["French", "reward"] == pytest.approx((1.0 + 0.35 + 0.05) / 3)


def test_a_table_groups_by_several_columns():
    verdicts = frame(
        model=["a", "a", "b"], set=["x", "y", "x"], correct=[True, False, True], in_language=[None] * 3, complete=[True] * 3,
        well_formed=[True] * 3, reward=[1, 1, 1],
    )  # fmt: skip
    result = evaluation.table(verdicts, ["model", "set"])
    assert result["la"].to_dict() == {("a", "x"): 100.0, ("a", "y"): 0.0, ("b", "x"): 100.0}


# A checkpoint -------------------------------------------------------------------------------------------------------


def test_evaluating_writes_one_verdict_a_response_and_reads_them_back(tiny_base, sample, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "base").symlink_to(tiny_base)
    rows, options = sample[:2], {"samples": 2, "max_new_tokens": 4}
    found = evaluation.evaluate(tmp_path, "base", {"test": rows}, **options)
    assert found["id"].tolist() == [rows[0].id, rows[0].id, rows[1].id, rows[1].id]
    assert found["sample"].tolist() == [0, 1, 0, 1]
    file = tmp_path / "evaluation" / "base" / "verdicts.jsonl"
    assert [json.loads(line)["response"] for line in file.read_text(encoding="utf-8").splitlines()] == found["response"].tolist()
    written = file.stat().st_mtime_ns
    pd.testing.assert_frame_equal(evaluation.evaluate(tmp_path, "base", {"test": rows}, **options), found)
    assert file.stat().st_mtime_ns == written
    evaluation.evaluate(tmp_path, "base", {"test": rows[:1]}, **options)
    assert file.stat().st_mtime_ns != written


def test_a_model_that_was_not_evaluated_says_which_notebook_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebook 07"):
        evaluation.read_verdicts(tmp_path, "sft")


# By a judge ---------------------------------------------------------------------------------------------------------


class StandIn:
    model = "stand-in"

    def __init__(self, logic, language):
        self.values, self.asked = {"logic": logic, "language": language}, []

    def score(self, task, items, progress=""):
        self.asked += [(task, item["reference"], item["response"]) for item in items]
        return [Verdict(value, None if value is not None else "no answer") for value in self.values[task]]


@pytest.fixture
def three(make_row):
    """Rows with and without accepted answers, and one response to each."""
    rows = {row.id: row for row in (make_row(0), make_row(1), make_row(2, accepted=["grippe"]))}
    texts = [f"{STEPS}<answer>{FRENCH}</answer>", f"{STEPS}<answer>{FRENCH}</answer>", f"{STEPS}<answer>grippe</answer>"]
    table = pd.DataFrame([{"id": row.id, "response": text} | judged(row, text) for row, text in zip(rows.values(), texts, strict=True)])
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
    found = evaluation.judged(table, rows, StandIn([True, None, False], [True, False, None])).assign(model="m")
    row = evaluation.table(found, ["model"]).loc["m"]
    assert (row["la"], row["n_unknown_la"]) == (100.0, 1)
    assert row["la_paper"] == pytest.approx(100 / 3) and row["lc_paper"] == pytest.approx(100 / 3)


def test_without_a_judge_the_papers_consistency_needs_language_and_an_end(three):
    table, _ = three
    row = evaluation.table(table.assign(model="m", complete=[True, False, True], in_language=[True, True, False]), ["model"]).loc["m"]
    assert row["lc_paper"] == pytest.approx(100 / 3)


# Published verdicts -------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A function that writes one CSV of verdicts as the release has them."""

    def write(verdicts, model="claude", kind="logic", language="French"):
        folder = tmp_path / "baseline_inference" / "closed_source" / model / f"BaseModel_{kind}_evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"Question": "Q", "Response": "R", "Test Response": "T", f"{kind.title()}_Score": verdicts})
        table.to_csv(folder / f"{language}_x_{kind}_evaluation.csv", index=False)
        return tmp_path

    return write


def test_a_blank_verdict_counts_in_the_denominator(tree):
    found = evaluation.score_release(tree(["True", "False", "", "true"])).set_index("language").loc["French"]
    assert (found["model"], found["metric"], found["value"], found["n"], found["n_blank"]) == ("Claude 3 Haiku", "la", 50.0, 4, 1)


def test_all_is_the_average_over_rows_not_languages(tree):
    tree(["True"], language="French")
    found = evaluation.score_release(tree(["False", "", "False"], language="Thai")).set_index("language").loc["all"]
    assert (found["value"], found["n"], found["n_blank"]) == (25.0, 4, 1)


def test_logic_is_la_and_language_is_lc(tree):
    tree(["True"], kind="logic")
    found = evaluation.score_release(tree(["False"], kind="language"))
    assert dict(found[found["language"] == "French"][["metric", "value"]].to_numpy()) == {"la": 100.0, "lc": 0.0}


@pytest.mark.parametrize("odd", ["Maybe", "1", "True."])
def test_an_odd_verdict_names_file_and_row(tree, odd):
    with pytest.raises(DataError, match=r"French_x_logic_evaluation\.csv, row 1: Logic_Score is"):
        evaluation.score_release(tree(["True", odd]))


def test_a_csv_without_its_score_column_is_named(tree):
    root = tree(["True"])
    (path,) = root.rglob("*.csv")
    path.write_text("Question,Response\nQ,R\n")
    with pytest.raises(DataError, match=r"French_x_logic_evaluation\.csv: .*Logic_Score"):
        evaluation.score_release(root)


def test_an_unknown_model_folder_is_scored_under_its_name(tree):
    assert set(evaluation.score_release(tree(["True"], model="mistral/large_2"))["model"]) == {"mistral/large_2"}


def test_a_release_without_verdicts_says_what_to_set(tmp_path):
    (tmp_path / "baseline_inference").mkdir()
    with pytest.raises(FileNotFoundError, match="set CUREMED_RELEASE"):
        evaluation.score_release(tmp_path)


def test_the_release_reproduces_tables_8_to_10(release):
    found = evaluation.score_release(release)
    both = found.merge(paper.proprietary(), on=["model", "metric", "language"], suffixes=("", "_published"))
    assert {"GPT-5-nano", "Gemini 2.5 Pro", "Claude 3 Haiku"} <= set(found["model"])
    assert len(both) == len(found) == 28 * found["model"].nunique()
    assert both[(both["value"] - both["value_published"]).abs() > 0.00501].empty
