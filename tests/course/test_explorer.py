"""The explorer: what it shows, and what its filters let through."""

import ipywidgets as widgets
import pandas as pd
import pytest

from curemed_utils import data, trace
from curemed_utils.course import explorer

ROWS = [
    data.Row(
        id="es-1",
        language="Spanish",
        question="¿Qué tiene con fiebre y <tos>?",
        answer="<answer>La gripe.</answer>",
        accepted=["La gripe"],
    ),
    data.Row(id="th-1", language="Thai", question="เป็นโรคใด", answer="<answer>ปอดอักเสบ</answer>"),
]
RIGHT = trace.render(["High fiebre means <b>flu</b>."], "La gripe")
PASSED = "<answer>El asma</answer>"  # wrong, and the judge passes it
RELEASED = ("model", "language", "row", "question", "reference", "response")


@pytest.fixture
def verdicts():
    lines = [
        ("es-1", "Spanish", RIGHT, "stop", True, True, True, True, True),
        ("es-1", "Spanish", PASSED, "stop", False, True, True, True, True),
        ("th-1", "Thai", "<answer>The flu", "length", None, False, False, None, False),
        ("th-1", "Thai", None, "error", None, None, None, None, None),
    ]
    names = ["id", "language", "response", "finish_reason", *explorer.VERDICTS]
    table = pd.DataFrame(lines, columns=names).assign(model=["a", "b", "a", "b"])
    table = table.assign(judge="j", judge_error=None, sample=0)
    return table.astype(dict.fromkeys(explorer.VERDICTS, "boolean"))


def released(*responses):
    """Released outputs in French that GPT-4o accepts, as the offline check has them."""
    lines = [("m", "French", number, "q", "r", text) for number, text in enumerate(responses)]
    table = pd.DataFrame(lines, columns=RELEASED)
    table = table.assign(published=True, in_language=True, reason="", complete=True, cut="")
    names = ("published", "in_language", "complete")
    return table.astype(dict.fromkeys(names, "boolean"))


@pytest.fixture
def table(verdicts):
    return explorer.of_run(verdicts, ROWS)


def test_a_run_s_table_says_what_was_asked_and_where_judge_and_check_differ(table):
    assert tuple(table) == explorer.COLUMNS
    assert table["question"].tolist() == [row.question for row in ROWS for _ in range(2)]
    assert table["reference"][0] == "La gripe."
    assert table["outcome"].tolist() == ["right", "right", "truncated", "error"]
    assert table["disagree"].tolist() == [False, True, False, False]


def test_released_outputs_are_shown_with_gpt_4o_as_their_judge():
    judged = released("Oui.", "Oui").assign(cut=["", "no mark"])
    judged["complete"] = pd.array([True, False], dtype="boolean")
    table = explorer.of_release(judged)
    assert table["disagree"].tolist() == [False, True]
    assert table["judged_language"].all() and table["correct"].isna().all()
    assert table["outcome"].tolist() == ["accepted", "cut off"]


def test_filters(table):
    assert len(explorer.select(table)) == 4
    assert explorer.select(table, language="Thai", model="a")["row"].tolist() == ["th-1"]
    assert explorer.select(table, outcome="right")["model"].tolist() == ["a", "b"]
    assert explorer.select(table, disagree=True)["model"].tolist() == ["b"]


def test_a_page_colours_both_languages_and_lets_no_markup_through(table):
    first = explorer.page(table.iloc[0])
    assert "¿Qué tiene con fiebre y &lt;tos&gt;?" in first
    assert "&lt;b&gt;flu&lt;/b&gt;" in first and "<b>flu" not in first
    assert f"<span style='{explorer.LOOKS['target']}'>fiebre</span>" in first
    assert f"<span style='{explorer.LOOKS['tag']}'>&lt;step1&gt;</span>" in first
    assert "judged correct: <b>yes</b>" in first
    assert "judged correct: <b>–</b>" in explorer.page(table.iloc[2])
    assert "error" in explorer.page(table.iloc[3])


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def parts(widget):
    return {getattr(each, "description", "") or type(each).__name__: each for each in walk(widget)}


def test_the_widget_filters_and_turns_pages(table):
    controls = parts(explorer.explore(table))
    assert controls["response"].max == 4
    controls["response"].value = 4
    controls["language"].value = "Spanish"
    assert controls["response"].max == 2 == controls["response"].value
    controls["judge and offline check disagree"].value = True
    assert controls["response"].max == 1
    controls["language"].value = "Thai"
    views = [each.value for each in walk(controls["Interactive"]) if type(each) is widgets.HTML]
    assert any("no response passes" in view for view in views)


def test_readers_without_a_kernel_see_the_first_response(table):
    bundle = explorer.explore(table)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "¿Qué tiene con fiebre" in bundle["text/html"]
