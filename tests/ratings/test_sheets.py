"""Sheets with columns and choices of any kind: written, filled in wrongly, read back."""

import openpyxl
import pytest

from curemed_utils import data
from curemed_utils.ratings import sheets

COLUMNS = ("id", "response", "correct", "note")
CHOICES = {"correct": ("yes", "no", "unsure")}


@pytest.fixture
def filled(tmp_path):
    """A function that writes lines under the header and reads them: (cells, slips as text)."""

    def read(*lines, header="id,response,correct,note", **options):
        path = tmp_path / "sheet.csv"
        path.write_text("\n".join([header, *lines]), encoding="utf-8")
        read_lines, slips = sheets.read_sheet(path, COLUMNS, CHOICES, **options)
        return [line.cells for line in read_lines], [str(slip).split(".csv, ")[1] for slip in slips]

    return read


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_sheet_comes_back_as_it_was_written(tmp_path, suffix):
    records = [
        {"id": "a", "response": "=1+1", "correct": "yes"},
        {"id": "b", "response": "two\r\nlines; and, commas", "note": "\x07bell"},
    ]
    path = sheets.write_sheet(tmp_path / f"new/s{suffix}", COLUMNS, records, CHOICES)
    lines, slips = sheets.read_sheet(path, COLUMNS, CHOICES)
    assert slips == [] and [line.row for line in lines] == [2, 3]
    assert lines[0].cells == {"id": "a", "response": "=1+1", "correct": "yes", "note": ""}
    assert lines[1].cells["response"] == "two\nlines; and, commas"
    assert lines[1].cells["note"] == "bell" and list(path.parent.iterdir()) == [path]


def test_a_workbook_offers_the_choices_of_each_column(tmp_path):
    choices = CHOICES | {"note": ("a", "b")}
    path = sheets.write_sheet(tmp_path / "s.xlsx", COLUMNS, [{"id": "a"}], choices, ["Read me."])
    book = openpyxl.load_workbook(path)
    assert book.active.title == sheets.INSTRUCTIONS and book.active["A1"].value == "Read me."
    drop_downs = book["Items"].data_validations.dataValidation
    lists = {str(one.sqref): one.formula1 for one in drop_downs}
    assert lists == {"C2": '"yes,no,unsure"', "D2": '"a,b"'}
    assert [len(part) for part in sheets.read_sheet(path, COLUMNS, choices)] == [1, 0]


def test_every_slip_is_named_with_its_row(filled):
    cells, slips = filled("a,x,YES,", "b,x,maybe,", "c,x,no,one,two", "a,x,,")
    assert slips == [
        "row 3: correct 'maybe' is none of yes, no, unsure; write one of them, or nothing",
        "row 4: has more cells than the header: text with a separator, not quoted",
        "row 2: 'a' stands on several rows: none of them counts",
        "row 5: 'a' stands on several rows: none of them counts",
    ]
    assert [line["correct"] for line in cells] == ["yes", "", "no", ""]


def test_blank_rows_and_excels_own_first_line_cost_nothing(filled):
    cells, slips = filled("a;x;yes;", ";;;", "", header="sep=;\nid;response;correct;note")
    assert slips == [] and [line["id"] for line in cells] == ["a"]


def test_a_column_that_is_missing_or_stands_twice_is_named(filled):
    _, slips = filled("a,x,,", header="id,response,id,note")
    fault = "these columns must stand there once: id, correct. Take the header of the export"
    assert slips == [f"row 1: {fault}"]


def test_a_text_too_long_for_a_cell_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(data.DataError, match="item 'a': a text is longer than the 32,767"):
        record = {"id": "a", "response": "x" * 40000}
        sheets.write_sheet(tmp_path / "s.csv", COLUMNS, [record], CHOICES)
    assert not list(tmp_path.iterdir())
