"""How many right short answers the sample's lists miss, on answers that they were not made from."""

import importlib.util

import pandas as pd
import pytest

from curemed_utils import paths


@pytest.fixture(scope="module")
def short_answers():
    file = paths.ROOT / "benchmarks/short_answers.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table_of(*lines: tuple) -> pd.DataFrame:
    columns = ["language", "topic", "answer", "right", "panel"]
    return pd.DataFrame([(*line, "test") for line in lines], columns=columns)


def test_the_panels_right_answers_pass_and_its_wrong_ones_do_not(short_answers):
    table = short_answers.scored(short_answers.read_answers())
    assert table.groupby(["panel", "language"]).size().eq(75).all()
    for panel, answers in table.groupby("panel"):
        missed = short_answers.misses(answers)["today"]
        assert missed["all"] <= 0.10 and missed.max() <= 0.20, f"{panel}: {missed.to_dict()}"
    assert short_answers.passing(table).empty, short_answers.passing(table).to_string()


def test_misses_are_counted_by_language_before_and_today(short_answers):
    answers = table_of(
        ("French", "measles", "la rougeole", True),
        ("French", "measles", "rougeole", True),
        ("Yoruba", "measles", "no such name", True),
        ("French", "measles", "varicelle", False),
        ("French", "measles", "rougeole (varicelle)", False),
    )
    table = short_answers.scored(answers)
    missed = short_answers.misses(table)
    assert missed.loc["French", ["before", "today", "right"]].tolist() == [0.5, 0.0, 2]
    assert missed.loc["Yoruba", "today"] == 1.0 and missed.loc["all", "right"] == 3
    assert missed.loc["all", "today"] == pytest.approx(1 / 3)
    assert short_answers.passing(table).empty


def test_a_wrong_answer_that_passes_is_shown(short_answers):
    table = short_answers.scored(table_of(("French", "measles", "rougeole", False)))
    assert short_answers.passing(table)["answer"].tolist() == ["rougeole"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("language,topic,answer,right\nFrench,measles,rougeole,True\n", "columns"),
        ("language,topic,answer,right,panel\nFrench,measles,rougeole,yes,a\n", "True or False"),
        ("language,topic,answer,right,panel\nFrench,mumps,rougeole,True,a\n", "mumps"),
    ],
)
def test_a_table_at_fault_is_refused(short_answers, tmp_path, text, fault):
    (tmp_path / "short_answers.csv").write_text(text)
    with pytest.raises(ValueError, match=fault):
        short_answers.read_answers(tmp_path / "short_answers.csv")


def test_the_lists_before_are_those_of_every_row(short_answers, sample):
    before = pd.read_json(short_answers.BEFORE, orient="index")
    assert set(before.index) == {row.id for row in sample}
    assert before["accepted"].map(len).sum() == 253
