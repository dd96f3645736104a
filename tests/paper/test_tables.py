"""Tables 1 to 12."""

import pytest

from curemed_utils import paper, paths
from curemed_utils.paper import tables

NUMBERS = range(1, 13)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_table_holds_every_number_of_its_source(number):
    source = paper.published(f"table{number:02d}").select_dtypes("float")
    others = ["params_b", "size", "label_dx", "label_dy", "gain"]
    source = source.drop(columns=others, errors="ignore")
    cells = tables.numbered(number).to_string().split()
    for value in source.to_numpy().ravel():
        cells.remove(f"{value:.2f}")


@pytest.mark.parametrize("number", NUMBERS)
def test_latex_is_whole(number):
    text = tables.latex(tables.numbered(number), f"t{number}")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    columns = len(text.split(r"\begin{tabular}{")[1].split("}")[0])
    assert {line.count("&") + 1 for line in body.strip().splitlines()} == {columns}
    assert text.count("{") == text.count("}")
    assert r"\begin{table}" in text and " nan" not in text
    assert not set("_%") & set(text.replace(r"\_", "").replace(r"\%", ""))


def test_the_committed_tables_are_those_of_the_source_data(tmp_path):
    for path in tables.write(tmp_path):
        assert path.read_bytes() == (paths.FIGURES / "tables" / path.name).read_bytes()


def test_the_best_of_table_2_is_marked():
    text = tables.latex(tables.numbered(2), "t")
    best = r"\bfseries 94.96 $\pm$ 0.40 & \bfseries 70.04 $\pm$ 0.04"
    assert f"CURE-MED-Qwen2.5-32B & large & 32 & {best}" in text
    assert r"\itshape 86.79" in text
    assert text.count(r"\bfseries") == 2 and text.count(r"\itshape") == 2


def test_there_is_no_table_13():
    with pytest.raises(FileNotFoundError, match="no single table 'table13'"):
        tables.numbered(13)
