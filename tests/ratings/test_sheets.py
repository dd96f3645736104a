"""Sheets with columns and choices of any kind: written, filled in wrongly, read back."""

import csv
import io
import string
import time

import hypothesis.strategies as st
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings

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


def test_a_title_above_the_header_is_named(filled):
    _, slips = filled("a,x,,", header="Ratings of May,,,\n\nid,response,correct,note")
    assert slips[0].endswith("Take the header of the export")


def test_a_text_too_long_for_a_cell_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(data.DataError, match="item 'a': a text is longer than the 32,767"):
        record = {"id": "a", "response": "x" * 40000}
        sheets.write_sheet(tmp_path / "s.csv", COLUMNS, [record], CHOICES)
    assert not list(tmp_path.iterdir())


def table_text(*rows, delimiter=",", quoting=csv.QUOTE_MINIMAL, end="\r\n"):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return file.getvalue()


ROWS = [list(COLUMNS), ["a", "x; y, «z»\n|", "yes", ""], ["b", "é", "NO", "1,5"]]


@pytest.mark.parametrize(
    "content",
    [
        table_text(*ROWS),
        "sep=;\r\n" + table_text(*ROWS, delimiter=";"),
        '"sep=,"\n' + table_text(*ROWS),
        "\ufeffSEP=\t\r" + table_text(*ROWS, delimiter="\t", quoting=csv.QUOTE_ALL, end="\r"),
        "sep=;,,,\r\n" + table_text(*ROWS),
        table_text(*ROWS, delimiter="|", quoting=csv.QUOTE_ALL),
        table_text(*ROWS, delimiter="\t").encode("utf-16"),
        table_text(*ROWS, delimiter="\t").encode("utf-16-be"),
        table_text([""] * 4, ROWS[0], [""] * 4, ROWS[1], [], ROWS[0], ROWS[2], *[[""] * 9] * 3),
        table_text(*[[*row[:2], "", *row[2:], "", "mine"] for row in ROWS]),
        table_text(*[row[::-1] for row in ROWS]),
        table_text([f" {name.upper()}\u200b" for name in COLUMNS], *ROWS[1:]),
    ],
)
@pytest.mark.parametrize("name", ["sheet.csv", "sheet.xlsx"])
def test_every_way_to_save_a_sheet_as_text_is_read(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines, slips = sheets.read_sheet(path, COLUMNS, CHOICES)
    assert slips == []
    cells = [[line.cells[name] for name in COLUMNS] for line in lines]
    assert [[*row[:2], row[3]] for row in cells] == [[*row[:2], row[3]] for row in ROWS[1:]]
    assert [line.cells["correct"] for line in lines] == ["yes", "no"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (table_text(*ROWS).encode("cp1252"), "line 2: is not UTF-8"),
        (table_text(*ROWS).replace('"x', '"x"y'), "',' expected after '\"' in row 2"),
        ('id,"' + "x" * 200_000, "field larger than field limit (131072) in row 1"),
        (b"\xd0\xcf\x11\xe0", "is an old Excel file (.xls) or one with a password"),
        (b"PK\x03\x04", "BadZipFile"),
        (b"", "these columns must stand there once: id, response, correct, note"),
    ],
)
def test_what_can_be_read_in_no_way_is_one_slip(tmp_path, content, fault):
    path = tmp_path / "sheet.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines, [slip] = sheets.read_sheet(path, COLUMNS, CHOICES)
    assert lines == [] and fault in slip.fault


@pytest.fixture
def workbook(tmp_path):
    """A function that changes a filled workbook and reads it: (labels, slips)."""

    def read(change, name="sheet.csv"):
        records = [{"id": key, "response": "x", "correct": "yes"} for key in "abc"]
        path = sheets.write_sheet(tmp_path / "s.xlsx", COLUMNS, records, CHOICES, ["Read me."])
        book = openpyxl.load_workbook(path)
        change(book, book["Items"])
        book.save(path)
        lines, slips = sheets.read_sheet(path.rename(tmp_path / name), COLUMNS, CHOICES)
        return [line.cells["correct"] for line in lines], [slip[1:] for slip in slips]

    return read


@pytest.mark.parametrize(
    "change",
    [
        lambda book, sheet: None,
        lambda book, sheet: (book.create_sheet("Sheet2"), book.create_sheet("Sheet3", 0)),
        lambda book, sheet: (sheet.insert_rows(3), sheet.insert_rows(1), sheet.insert_cols(2)),
        lambda book, sheet: sheet["F400"].__setattr__("value", " "),
        lambda book, sheet: sheet.row_dimensions[3].__setattr__("hidden", True),
        lambda book, sheet: sheet.auto_filter.__setattr__("ref", "A1:D4"),
    ],
)
@pytest.mark.parametrize("name", ["sheet.csv", "sheet.xls", "sheet.xlsx"])
def test_a_workbook_is_read_under_any_name_with_hidden_and_blank_rows(workbook, change, name):
    assert workbook(change, name) == (["yes"] * 3, [])


@pytest.mark.parametrize(("area", "rows"), [("C2:C3", [2, 3]), ("C2:D3", [2, 3]), ("C4:D4", [4])])
def test_merged_labels_are_named_for_each_of_their_rows(workbook, area, rows):
    read, slips = workbook(lambda book, sheet: sheet.merge_cells(area))
    assert [row for row, _ in slips] == rows and read.count("yes") == 3 - len(rows)
    assert all(f"(merged cells {area})' is none of yes, no, unsure" in fault for _, fault in slips)


def test_a_second_worksheet_with_cells_is_named(workbook):
    _, [(row, fault)] = workbook(lambda book, sheet: book.create_sheet("Notes").append(["d"]))
    assert row == 1 and "worksheets ['Items', 'Notes'], where one is wanted" in fault


@pytest.mark.parametrize("name", ["._a.csv", "~$a.xlsx", ".~lock.a.xlsx#", "a.csv~", "Thumbs.db"])
def test_what_systems_and_spreadsheets_leave_is_no_sheet(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.CSV").write_bytes(b"x")
    assert sheets.sheets_in(tmp_path) == [tmp_path / "a.CSV"]


QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
CELL = st.text() | st.text(string.punctuation + "a1 \r\n\t", max_size=6)


@pytest.mark.heavy
@QUICK
@given(st.lists(st.fixed_dictionaries({"response": CELL, "note": CELL}), min_size=1, max_size=5))
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_any_text_comes_back_as_it_was_written(tmp_path, suffix, records):
    records = [record | {"id": f"r{number}"} for number, record in enumerate(records)]
    path = sheets.write_sheet(tmp_path / f"s{suffix}", COLUMNS, records, CHOICES)
    lines, slips = sheets.read_sheet(path, COLUMNS, CHOICES)
    wanted = [{name: sheets.plain_text(text) for name, text in one.items()} for one in records]
    assert slips == [] and [line.cells for line in lines] == [
        one | {"correct": ""} for one in wanted
    ]


@pytest.mark.heavy
@QUICK
@given(
    st.binary(max_size=99)
    | st.lists(st.lists(CELL | st.sampled_from(COLUMNS))).map(
        lambda rows: table_text(*rows).encode("utf-8", "replace")
    )
)
@pytest.mark.parametrize("start", [b"", b"PK", table_text(COLUMNS).encode()])
def test_any_bytes_are_lines_or_slips(tmp_path, start, raw):
    path = tmp_path / "s.csv"
    path.write_bytes(start + raw)
    lines, slips = sheets.read_sheet(path, COLUMNS, CHOICES)
    assert all(line.cells["correct"] in ("", *CHOICES["correct"]) for line in lines)
    assert lines or slips or not raw.strip() or start


@pytest.mark.parametrize("part", ['"', "'", "=", "sep=", ",", '",', "\r", "5,0", "\u0301", '"\n'])
def test_repeats_of_anything_are_read_in_linear_time(filled, part):
    start = time.perf_counter()
    filled(part * 20_000)
    filled(f"a,x,{part * 20_000},")
    filled("a", header=part * 20_000)
    assert time.perf_counter() - start < 3
