"""The tables of real models say what prose takes from them (tests/notebooks/numbers.yaml)."""

import pandas as pd
import pytest

from curemed_utils import data
from curemed_utils.paper.sources import published


def test_no_held_out_question_was_answered_rightly():
    held_out = published("real_held_out")
    assert held_out["la"].eq(0).all() and held_out["questions"].eq(39).all()
    assert published("real_training")["accuracy"].fillna(0).eq(0).all()


def test_the_token_tax_is_what_the_cost_page_concludes():
    table = published("token_tax").set_index(["tokenizer", "language"])
    qwen, gemma = table.loc["Qwen2.5"], table.loc["Gemma 3"]
    assert len(qwen) == len(gemma) == 14
    assert qwen["over_1024"].max() == 0
    dear = qwen["over_512"].drop("all").nlargest(3).index
    assert set(dear) == {"Bengali", "Hindi", "Amharic"}


@pytest.mark.heavy
def test_the_counts_of_rows_are_those_of_the_release(release):
    rows = data.read_release(release)
    counts = pd.Series([row.language for name in ("sft", "rft") for row in rows[name]])
    table = published("token_tax").query("language != 'all'")
    for _, part in table.groupby("tokenizer"):
        expected = counts.value_counts().to_dict()
        assert part.set_index("language")["rows"].to_dict() == expected
