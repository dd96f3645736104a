"""The published verdicts, counted again."""

import make
import pytest

from curemed_utils import evaluation, languages, paper
from curemed_utils.data import DataError


@pytest.fixture
def write(tmp_path):
    """A function that writes one CSV of verdicts as the release has them."""
    return lambda *given, **more: make.released_verdicts(tmp_path, *given, **more)


def line_of(root, language):
    return evaluation.score_release(root).set_index("language").loc[language]


def test_a_blank_verdict_counts_in_the_denominator(write):
    line = line_of(write(["True", "False", "", "true"]), "French")
    assert (line["model"], line["metric"]) == ("Claude 3 Haiku", "la")
    assert line[["value", "n", "n_blank"]].tolist() == [50.0, 4, 1]


def test_all_is_the_average_over_rows_not_languages(write):
    write(["True"], language="French")
    line = line_of(write(["False", "", "False"], language="Thai"), "all")
    assert line[["value", "n", "n_blank"]].tolist() == [25.0, 4, 1]


def test_logic_is_la_and_language_is_lc(write):
    write(["True"], kind="logic")
    scores = evaluation.score_release(write(["False"], kind="language"))
    of_french = scores[scores["language"].eq("French")].set_index("metric")["value"]
    assert of_french.to_dict() == {"la": 100.0, "lc": 0.0}


@pytest.mark.parametrize("odd", ["Maybe", "1", "True."])
def test_an_odd_verdict_names_file_and_row(write, odd):
    root = write(["True", odd])
    with pytest.raises(DataError, match=r"French_x_logic_evaluation\.csv, row 1: Logic_Score is"):
        evaluation.score_release(root)


def test_a_csv_without_its_score_column_is_named(write):
    root = write(["True"])
    (path,) = root.rglob("*.csv")
    path.write_text("Question,Response\nQ,R\n")
    with pytest.raises(DataError, match=r"French_x_logic_evaluation\.csv: .*Logic_Score"):
        evaluation.score_release(root)


def test_a_csv_of_no_language_is_named(write):
    root = write(["True"], language="Latin")
    with pytest.raises(DataError, match=r"Latin_x_logic_evaluation\.csv: neither folder nor name"):
        evaluation.score_release(root)


def test_an_unknown_model_folder_is_scored_under_its_name(write):
    scores = evaluation.score_release(write(["True"], model="mistral/large_2"))
    assert set(scores["model"]) == {"mistral/large_2"}


def test_a_release_without_verdicts_says_what_to_set(tmp_path):
    (tmp_path / "baseline_inference").mkdir()
    with pytest.raises(FileNotFoundError, match="set CUREMED_RELEASE"):
        evaluation.score_release(tmp_path)


def test_the_release_reproduces_tables_8_to_10(release):
    scores = evaluation.score_release(release)
    assert {"GPT-5-nano", "Gemini 2.5 Pro", "Claude 3 Haiku"} <= set(scores["model"])
    keys = ["model", "metric", "language"]
    beside = scores.merge(paper.proprietary_scores(), on=keys, suffixes=("", "_published"))
    of_model = 2 * (len(languages.PUBLISHED) + 1)
    assert len(beside) == len(scores) == of_model * scores["model"].nunique()
    assert (beside["value"] - beside["value_published"]).abs().max() <= 0.00501
