"""Where a text is English and where it is in its language."""

import pytest

from curemed_utils import paper
from curemed_utils.paper import code_switching

MARKED = {"French": "figure02", "Spanish": "figure03"}


@pytest.mark.parametrize("language", MARKED)
def test_switches_are_found_where_the_marked_examples_have_them(language):
    example = paper.published(MARKED[language])
    asked = example["part"].isin(["question", "answer"])
    in_language = " ".join(example.loc[asked, "text"])
    right = total = 0
    for _, rows in example[example["part"].str.startswith("step")].groupby("part"):
        marked = []
        for row in rows.itertuples():
            marked += [row.role] * len(row.text.split())
        roles = []
        for text, role in code_switching.spans(" ".join(rows["text"]), language, in_language):
            roles += [role] * len(text.split())
        right += sum(one == other for one, other in zip(marked, roles, strict=True))
        total += len(marked)
    assert right / total > 0.8


def test_switches_in_another_script_are_exact():
    spans = code_switching.spans("The ไข้ suggests ปอดอักเสบ here.", "Thai")
    assert spans == [
        ("The", "english"),
        ("ไข้", "target"),
        ("suggests", "english"),
        ("ปอดอักเสบ", "target"),
        ("here.", "english"),
    ]
    assert code_switching.spans("  ", "Thai") == code_switching.spans("", "French") == []
