"""The explorer: what it shows, what its filters let through, and where its marks go."""

import ipywidgets as widgets
import pandas as pd
import pytest

from curemed_utils import data
from curemed_utils.course import explorer
from curemed_utils.evaluation import labels

ROWS = [
    data.Row(
        id="es-1", language="Spanish", question="¿Qué tiene con fiebre y <tos>?", answer="<answer>La gripe.</answer>", accepted=["La gripe"]
    ),
    data.Row(id="th-1", language="Thai", question="เป็นโรคใด", answer="<answer>ปอดอักเสบ</answer>"),
]
RIGHT = "<thinking><step1>High fiebre means <b>flu</b>.</step1></thinking><answer>La gripe</answer>"


@pytest.fixture
def verdicts():
    lines = [
        ("es-1", "Spanish", RIGHT, "stop", True, True, True, True, True),
        ("es-1", "Spanish", "<answer>El asma</answer>", "stop", False, True, True, True, True),  # the judge passes it
        ("th-1", "Thai", "<answer>The flu", "length", None, False, False, None, False),
        ("th-1", "Thai", None, "error", None, None, None, None, None),
    ]
    names = ["id", "language", "response", "finish_reason", "correct", "in_language", "complete", "judged_correct", "judged_language"]
    table = pd.DataFrame(lines, columns=names).assign(model=["a", "b", "a", "b"], judge="j", judge_error=None, sample=0)
    return table.astype(dict.fromkeys(names[4:], "boolean"))


@pytest.fixture
def table(verdicts):
    return explorer.of_run(verdicts, ROWS)


def test_a_run_s_table_says_what_was_asked_and_where_judge_and_check_differ(table):
    assert tuple(table) == explorer.COLUMNS
    assert table["question"].tolist() == [ROWS[0].question] * 2 + [ROWS[1].question] * 2 and table["reference"][0] == "La gripe."
    assert table["outcome"].tolist() == ["right", "right", "truncated", "empty"]
    assert table["disagree"].tolist() == [False, True, False, False]


def test_released_outputs_are_shown_with_gpt_4o_as_their_judge():
    judged = pd.DataFrame(
        [
            ("m", "French", 3, "q", "r", "Oui.", True, True, "", True, ""),
            ("m", "French", 4, "q", "r", "Oui", True, True, "", False, "no mark"),
        ],
        columns=["model", "language", "row", "question", "reference", "response", "published", "in_language", "reason", "complete", "cut"],
    ).astype({"published": "boolean", "in_language": "boolean", "complete": "boolean"})
    table = explorer.of_release(judged)
    assert table["disagree"].tolist() == [False, True] and table["judged_language"].all() and table["correct"].isna().all()
    assert table["outcome"].tolist() == ["accepted", "cut off"]


def test_filters(table):
    assert len(explorer.select(table)) == 4
    assert explorer.select(table, language="Thai", model="a")["row"].tolist() == ["th-1"]
    assert explorer.select(table, outcome="right")["model"].tolist() == ["a", "b"]
    assert explorer.select(table, disagree=True)["model"].tolist() == ["b"]


def test_a_page_colours_both_languages_and_lets_no_markup_through(table):
    shown = explorer.page(table.iloc[0])
    assert "¿Qué tiene con fiebre y &lt;tos&gt;?" in shown and "&lt;b&gt;flu&lt;/b&gt;" in shown and "<b>flu" not in shown
    assert f"<span style='{explorer._LOOKS['target']}'>fiebre</span>" in shown
    assert "<span style='color:#888'>&lt;step1&gt;</span>" in shown and "judged correct: <b>yes</b>" in shown
    assert "judged correct: <b>–</b>" in explorer.page(table.iloc[2]) and "en" in explorer.page(table.iloc[3])


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def parts(widget):
    return {getattr(each, "description", "") or type(each).__name__: each for each in walk(widget)}


def test_the_widget_filters_and_turns_pages(table, tmp_path):
    found = parts(explorer.explore(table, tmp_path / "sheet.csv"))
    assert found["response"].max == 4
    found["response"].value = 4
    found["language"].value = "Spanish"
    assert found["response"].max == 2 == found["response"].value
    found["judge and offline check disagree"].value = True
    assert found["response"].max == 1
    found["language"].value = "Thai"
    assert any("no response passes" in each.value for each in walk(found["Interactive"]) if isinstance(each, widgets.HTML))


def test_readers_without_a_kernel_see_the_first_response(table, tmp_path):
    bundle = explorer.explore(table, tmp_path / "sheet.csv")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "¿Qué tiene con fiebre" in bundle["text/html"]


def test_a_mark_needs_a_name_and_lands_on_the_labelling_sheet(table, tmp_path):
    sheet = tmp_path / "labels" / "sheet.csv"
    found = parts(explorer.explore(table, sheet))
    found["model"].value = "b"
    found["Mark"].click()
    assert not sheet.exists()
    found["Text"].value = "AB"
    found["ToggleButtons"].value = "no"
    found["Mark"].click()
    marked = labels.read_labels(sheet)[["in_language", "labeller", "note"]]
    assert marked.values.tolist() == [["no", "AB", labels.CHOSEN]]
