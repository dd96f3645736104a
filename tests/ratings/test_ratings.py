"""Rating sheets: out in two formats, filled in rightly and wrongly, read back, summed up."""

import csv
import json
import unicodedata
import warnings

import numpy as np
import openpyxl
import pandas as pd
import pytest

from curemed_utils import data, languages, ratings
from curemed_utils.ratings import agreement, forms

RATERS = {"French": ["ann", "bob"]}


@pytest.fixture
def rows(make_row):
    return [
        make_row(n, reasoning="<thinking><step1>So</step1><step2>thus</step2></thinking>")
        for n in range(10)
    ]


@pytest.fixture
def folder(rows, tmp_path):
    """Sheets of ann and bob, all ten rows on each, as CSV alone."""
    ratings.write_sheets(rows, tmp_path / "sheets", RATERS, "clinicians", overlap=1)
    for path in (tmp_path / "sheets").glob("*.xlsx"):
        path.unlink()
    return tmp_path / "sheets"


def table_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path, records, header=forms.COLUMNS, encoding="utf-8-sig", delimiter=","):
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, header, extrasaction="ignore", delimiter=delimiter)
        table.writeheader()
        table.writerows(records)


def fill(path, *values, **options):
    """The sheet with these ratings in its first rows; a dict replaces cells."""
    records = table_of(path)
    for record, value in zip(records, values, strict=False):
        record.update(value if isinstance(value, dict) else {"rating": value})
    write(path, records, **options)
    return records


def faults(folder, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        returned = ratings.read_sheets(folder, rows)
    return returned, [(row.row, row.fault) for row in returned.faults.itertuples()]


# Out ---------------------------------------------------------------------------------------------


def test_all_raters_share_some_items_and_divide_the_rest(make_row, tmp_path):
    rows = [make_row(n) for n in range(200)] + [make_row(900, language="Thai")]
    ratings.write_sheets(
        rows,
        tmp_path,
        {"French": ["ann", "bob", "cy"]},
        "clinicians",
        items_per_rater=50,
        overlap=0.2,
    )
    drawn = [
        set(ids)
        for ids in json.loads((tmp_path / "clinicians.json").read_text())["French"].values()
    ]
    assert [len(ids) for ids in drawn] == [50] * 3 and len(set.intersection(*drawn)) == 10
    assert len(set.union(*drawn)) == 10 + 3 * 40


def test_a_draw_is_the_same_whatever_the_order_of_rows(make_row, tmp_path):
    rows = [make_row(n) for n in range(80)]
    for name, given in {"a": rows, "b": rows[::-1]}.items():
        ratings.write_sheets(given, tmp_path / name, RATERS, "clinicians")
    assert (tmp_path / "a/clinicians.json").read_text() == (
        tmp_path / "b/clinicians.json"
    ).read_text()


def test_few_rows_are_divided_evenly(rows, tmp_path):
    ratings.write_sheets(rows, tmp_path, RATERS, "clinicians", overlap=0.2)
    drawn = json.loads((tmp_path / "clinicians.json").read_text())["French"]
    assert [len(ids) for ids in drawn.values()] == [6, 6] and len(
        {i for ids in drawn.values() for i in ids}
    ) == 10


def test_a_filled_sheet_survives_another_export_and_another_draw_is_refused(folder, rows):
    fill(folder / "clinicians-French-ann.csv", 3)
    ratings.write_sheets(rows, folder, RATERS, "clinicians", overlap=1)
    assert table_of(folder / "clinicians-French-ann.csv")[0]["rating"] == "3"
    with pytest.raises(data.DataError, match="another draw for French"):
        ratings.write_sheets(rows, folder, RATERS, "clinicians", overlap=0.5)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (dict(group="doctors"), "none of clinicians, native speakers"),
        (dict(raters={"french": ["a"]}), "did you mean 'French'"),
        (dict(raters={"French": ["../a"]}), "of up to 50 letters, numbers and signs"),
        (dict(raters={"French": ["a", "a"]}), "different names"),
        (dict(raters={"French": ["Ann", "ann"]}), "different names"),
        (dict(raters={"French": ["Ola\u0301", "Ol\u00e1"]}), "different names"),
        (dict(raters={"French": ["O'Brien", "O\u2019Brien"]}), "different names"),
        (dict(raters={"French": ["a\tb"]}), "signs of file names"),
        (dict(raters={"French": ["\u202eann"]}), "signs of file names"),
        (dict(raters={"French": ["\u0301"]}), "signs of file names"),
        (dict(raters={"French": ["CON:"]}), "signs of file names"),
        (dict(raters={"French": ["a" * 51]}), "up to 50"),
        (dict(raters={"French": "ann"}), "different names"),
        (dict(raters={"Thai": ["a"]}), "0 rows of Thai are too few"),
        (dict(raters={"French": list("abcdefghijkl")}, overlap=0), "too few for 12 raters"),
        (dict(items_per_rater=0), "items_per_rater"),
    ],
)
def test_what_cannot_be_exported_is_said(rows, tmp_path, change, messages):
    with pytest.raises(ValueError, match=messages):
        ratings.write_sheets(rows, tmp_path, **{"raters": RATERS, "group": "clinicians"} | change)
    assert not list(tmp_path.iterdir())


def test_a_text_too_long_for_a_cell_and_doubled_ids_are_refused(make_row, tmp_path):
    with pytest.raises(data.DataError, match="'r1': a text is longer than the 32,767"):
        ratings.write_sheets(
            [make_row(1, question="x" * 40000)], tmp_path, {"French": ["a"]}, "clinicians"
        )
    with pytest.raises(data.DataError, match="some rows share an id"):
        ratings.write_sheets([make_row(1), make_row(1)], tmp_path, {"French": ["a"]}, "clinicians")


def test_a_workbook_opens_with_instructions_drop_downs_and_frozen_panes(rows, tmp_path):
    ratings.write_sheets(rows, tmp_path, RATERS, "native speakers", overlap=1)
    book = openpyxl.load_workbook(tmp_path / "native_speakers-French-ann.xlsx")
    assert book.active.title == "Instructions"
    told = [cell.value for cell in book["Instructions"]["A"]]
    assert told == forms.instructions("native speakers")
    assert [text[:4] for text in told if text[0].isdigit()] == [
        "1 - ",
        "2 - ",
        "3 - ",
        "4 - ",
        "5 - ",
    ]
    sheet = book["Items"]
    (choice,) = sheet.data_validations.dataValidation
    assert (choice.type, choice.formula1, str(choice.sqref)) == (
        "list",
        '"1,2,3,4,5"',
        "F2:F11",
    ) and sheet["F1"].value == "rating"
    assert sheet.freeze_panes == "B2" and sheet["C2"].alignment.wrap_text
    assert sheet["D2"].value == "1. So\n2. thus" and sheet["E2"].value.startswith("Réponse")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2 points", "@SUM(A1)", " \t=1+1", "＝1+1"])
def test_no_text_runs_as_a_formula(make_row, tmp_path, text):
    rows = [make_row(0, question=text)]
    ratings.write_sheets(rows, tmp_path, {"French": ["a"]}, "clinicians")
    assert table_of(tmp_path / "clinicians-French-a.csv")[0]["question"].startswith("'")
    cell = openpyxl.load_workbook(tmp_path / "clinicians-French-a.xlsx")["Items"]["C2"]
    assert cell.data_type == "s" and cell.quotePrefix and cell.value == text.strip()
    assert faults(tmp_path, rows)[1] == []


def test_a_csv_carries_the_mark_by_which_excel_knows_utf_8(folder):
    assert (folder / "clinicians-French-ann.csv").read_bytes().startswith(b"\xef\xbb\xbfid,")


# Round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_thirteen_scripts_go_out_and_come_back(sample, tmp_path, suffix):
    rows = [row for row in sample if row.topic in {r.topic for r in sample[:4]}]
    ratings.example_sheets(rows, tmp_path)
    returned = ratings.read_sheets(list(tmp_path.glob(f"*{suffix}")), rows)
    assert returned.faults.empty
    assert set(returned.table["language"]) == set(languages.NAMES) and set(
        returned.table["group"]
    ) == set(forms.GROUPS)
    rated = returned.table.dropna(subset=["rating"])
    assert rated["rating"].between(1, 5).all() and 0 < len(rated) < len(returned.table)
    assert set(returned.table["rater"]) == {"invented-1", "invented-2"}
    assert set(returned.table["comment"]) == {"", "invented comment: no human read this"}


def test_both_formats_of_a_sheet_say_the_same(sample, tmp_path):
    rows = [row for row in sample if row.language in ("Thai", "Amharic")]
    ratings.example_sheets(rows, tmp_path)
    tables = [
        ratings.read_sheets(list(tmp_path.glob(f"*{suffix}")), rows).table
        for suffix in (".csv", ".xlsx")
    ]
    pd.testing.assert_frame_equal(*tables)
    pd.testing.assert_frame_equal(ratings.read_sheets(tmp_path, rows).table, tables[0])


@pytest.mark.parametrize(
    "options",
    [
        dict(delimiter=";"),
        dict(encoding="utf-8"),
        dict(encoding="utf-16", delimiter="\t"),
        dict(encoding="utf-8-sig", delimiter="\t"),
    ],
)
def test_what_spreadsheets_make_of_a_csv_is_read(folder, rows, options):
    fill(
        folder / "clinicians-French-ann.csv",
        4,
        5,
        {"rating": 2, "comment": "a; b,\n\tc"},
        **options,
    )
    returned, messages = faults(folder, rows)
    assert not messages and sorted(returned.table["rating"].dropna()) == [2, 4, 5]
    assert "a; b,\n\tc" in set(returned.table["comment"])


@pytest.mark.parametrize(
    "value", ["4", "4 ", "４", "4.0", "4,0", "৪", 4, "4.", "\u200e4", "\u00a04"]
)
def test_ratings_that_can_only_mean_four(folder, rows, value):
    fill(folder / "clinicians-French-ann.csv", value)
    returned, messages = faults(folder, rows)
    assert not messages and returned.table["rating"].dropna().tolist() == [4]


NAMES = [
    "रवि कुमार",
    "সুমন",
    "ใจดี",
    "Ola\u0301",
    "Dr. O\u2019Brien",
    "O'Brien",
    "\u2018Abd al-Rahmān",
    "'t Hooft",
    "Nguyễn Thị Ánh",
    "山田・太郎",
    "김철수",
    "ክብረት",
    "Ayşe Gül-Öz",
    "क्\u200dष",
    "N\u2019Diaye, Awa (2)",
    "CON",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_rater_may_have_any_name(rows, tmp_path, name):
    ratings.write_sheets(rows, tmp_path, {"French": [name, "bob"]}, "clinicians", overlap=1)
    file = next(path for path in tmp_path.glob("*.csv") if "bob" not in path.name)
    fill(file, 5)
    returned, messages = faults(tmp_path, rows)
    assert not messages and returned.table.dropna(subset="rating")["rater"].tolist() == [name]


@pytest.mark.parametrize("name", ["-x", "=cmd", "+1", "@x", "\u0301a", "..", "_", "'", "a/b"])
def test_a_rater_begins_with_a_letter_or_a_number(rows, tmp_path, name):
    with pytest.raises(ValueError, match="a letter or number first"):
        ratings.write_sheets(rows, tmp_path, {"French": [name]}, "clinicians")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_rater_is_one_person_in_every_spelling(rows, tmp_path, form):
    name = unicodedata.normalize(form, "Adé O'Ní")
    ratings.write_sheets(rows, tmp_path, {"French": [name]}, "clinicians", overlap=1)
    [file] = tmp_path.glob("*.csv")
    spellings = ["Adé O\u2019Ní", unicodedata.normalize("NFD", "ADÉ o'ní"), " Adé  O'Ní\u200b"]
    fill(file, *({"rating": 4, "rater": spelling} for spelling in spellings))
    returned, messages = faults(tmp_path, rows)
    assert not messages and returned.table["rating"].notna().sum() == 3
    assert set(returned.table["rater"]) == {name}
    (tmp_path / "clinicians.json").unlink()
    file.rename(tmp_path / "a.csv")
    assert faults([tmp_path / "a.csv"], rows)[0].table["rater"].nunique() == 1


def test_a_broken_list_of_who_got_what_is_named(folder, rows):
    (folder / "clinicians.json").write_text("{", encoding="utf-8")
    with pytest.raises(data.DataError, match=r"clinicians\.json: is not JSON"):
        ratings.read_sheets(folder, rows)


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["0", "6", "3.5", "3,5", "-4", "good", "4-5", "5 - fully right", "=2+2", "nan", "44", "True"],
)
def test_a_rating_that_is_none_is_said_and_unrated(folder, rows, value):
    fill(folder / "clinicians-French-ann.csv", 5, value)
    returned, messages = faults(folder, rows)
    fault = f"rating {value!r} is none of 1, 2, 3, 4, 5; write one of them, or nothing"
    assert messages == [(3, fault)]
    assert returned.table["rating"].dropna().tolist() == [5] and len(returned.table) == 20


def test_every_mistake_of_every_file_is_said_with_its_row(folder, rows, make_row, tmp_path):
    rows = [*rows, make_row(77, language="Thai"), make_row(78)]
    records = fill(
        folder / "clinicians-French-ann.csv",
        {"rating": "9", "question": "Another question?"},
        {"id": "nobody"},
        {"language": "Thai"},
        {"rater": "bob"},
        {"id": "r77"},
        {"id": "r78"},
    )
    write(
        folder / "clinicians-French-ann.csv",
        [*records[:8], records[8] | {"rating": 2}, *records[9:], records[8] | {"rating": 1}],
    )
    fill(folder / "clinicians-French-bob.csv", "x")
    returned, messages = faults(folder, rows)
    assert [
        (row, fault.split(":")[0]) for row, fault in messages if "isn't that of item" not in fault
    ] == [
        (2, "rating '9' is none of 1, 2, 3, 4, 5; write one of them, or nothing"),
        (3, "no row has the id 'nobody'"),
        (4, "group, language, rater differ from the other rows"),
        (5, "group, language, rater differ from the other rows"),
        (6, "item 'r77' was not given to 'ann' of 'French', 'clinicians'"),
        (7, "item 'r78' was not given to 'ann' of 'French', 'clinicians'"),
        (10, f"{records[8]['id']!r} stands on several rows"),
        (12, f"{records[8]['id']!r} stands on several rows"),
        (2, "rating 'x' is none of 1, 2, 3, 4, 5; write one of them, or nothing"),
    ]
    changed = f"the question isn't that of item '{records[0]['id']}': changed"
    assert any(row == 2 and fault.startswith(changed) for row, fault in messages)
    assert (
        set(returned.faults["file"].map(lambda name: name[-7:])) == {"ann.csv", "bob.csv"}
        and returned.table["rating"].isna().all()
    )
    with pytest.warns(UserWarning, match="mistakes in 2 files"):
        ratings.read_sheets(folder, rows)


def test_cells_of_a_workbook_that_are_no_rating_are_said(rows, tmp_path):
    ratings.write_sheets(rows, tmp_path, RATERS, "clinicians", overlap=1)
    path = tmp_path / "clinicians-French-ann.xlsx"
    book = openpyxl.load_workbook(path)
    book["Items"]["F4"], book["Items"]["F5"], book["Items"]["F6"] = (
        True,
        pd.Timestamp("2026-05-04").to_pydatetime(),
        "=1+1",
    )
    book["Items"].title = "Feuille"
    book.save(path)
    returned, messages = faults(tmp_path, rows)
    assert [row for row, _ in messages] == [4, 5, 6] and len(returned.table) == 20
    assert "2026-05-04" in messages[1][1] and "'=1+1'" in messages[2][1]


def test_merged_ratings_are_named_and_merged_comments_kept(rows, tmp_path):
    ratings.write_sheets(rows, tmp_path, RATERS, "clinicians", overlap=1)
    path = tmp_path / "clinicians-French-ann.xlsx"
    book = openpyxl.load_workbook(path)
    sheet = book["Items"]
    sheet["F2"], sheet["F3"], sheet["F4"], sheet["G4"] = 5, 4, 3, "dose"
    sheet.merge_cells("F2:F3")
    sheet.merge_cells("G4:G5")
    book.save(path)
    returned, messages = faults([path], rows)
    texts = ["rating '5 (merged cells F2:F3)' is none", "rating ' (merged cells F2:F3)' is none"]
    assert [
        (row, fault[: len(text)]) for (row, fault), text in zip(messages, texts, strict=True)
    ] == [
        (2, texts[0]),
        (3, texts[1]),
    ]
    assert returned.table["rating"].dropna().tolist() == [3]
    assert sorted(filter(None, returned.table["comment"])) == [
        " (merged cells G4:G5)",
        "dose (merged cells G4:G5)",
    ]


def test_a_workbook_with_two_sheets_of_items_is_refused(rows, tmp_path):
    ratings.write_sheets(rows, tmp_path, RATERS, "clinicians", overlap=1)
    path = tmp_path / "clinicians-French-ann.xlsx"
    book = openpyxl.load_workbook(path)
    book.copy_worksheet(book["Items"]).title = "Others"
    book.save(path)
    [(row, fault)] = faults([path], rows)[1]
    assert row == 1 and "worksheets ['Items', 'Others'], where one is wanted" in fault


def test_a_rater_who_changes_their_mind_between_two_files_is_asked(folder, rows):
    records = fill(folder / "clinicians-French-ann.csv", 3, 4)
    write(folder / "copy.csv", [records[0] | {"rating": 5}, records[1]])
    returned, messages = faults(folder, rows)
    assert (
        len(messages) == 1
        and messages[0][0] == 2
        and "rated 5 here, but elsewhere: " in messages[0][1]
        and "clinicians-French-ann.csv, row 2: 3" in messages[0][1]
    )
    assert returned.table["rating"].dropna().tolist() == [4]


def test_a_sheet_of_a_stranger_is_refused_whole(folder, rows):
    write(
        folder / "eve.csv",
        [
            record | {"rater": "eve", "rating": 1}
            for record in table_of(folder / "clinicians-French-ann.csv")
        ],
    )
    returned, messages = faults(folder, rows)
    refused = [row for row, fault in messages if "was not given to 'eve' of 'French'" in fault]
    assert refused == list(range(2, 12)) and len(messages) == 10
    assert "eve" not in set(returned.table["rater"])


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"", "must stand there once: id, language"),
        (
            "id,rating\né".encode("latin-1"),
            "line 2: is not UTF-8 (unexpected end of data); save the file as UTF-8",
        ),
        ("id,rating".encode("utf-16-le"), "must stand there once: language, question"),
        (
            b"id,rating\n1,2",
            "language, question, reasoning, answer, comment, group, rater",
        ),
        ((",".join((*forms.COLUMNS, "rating")) + "\n").encode(), "must stand there once: rating"),
        (
            (",".join(forms.COLUMNS) + '\nr0,French,"open').encode(),
            "can't be read (DataError: unexpected end of data in row 2); save it as",
        ),
    ],
)
def test_a_broken_file_is_said_and_the_others_are_read(folder, rows, content, messages):
    fill(folder / "clinicians-French-ann.csv", 4)
    (folder / "broken.csv").write_bytes(content)
    returned, faulty = faults(folder, rows)
    assert (
        len(faulty) == 1
        and messages in faulty[0][1]
        and returned.table["rating"].dropna().tolist() == [4]
    )


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("a.xlsx", "File is not a zip file"),
        ("a.ods", "File is not a zip file"),
        ("a.xls", "is an old Excel file (.xls) or one with a password: save it as .xlsx"),
        ("a.gsheet", "must stand there once"),
        ("a.csv", "is packed by gzip: unpack it"),
        ("a.TSV", "is a web page (HTML)"),
    ],
)
def test_a_file_of_another_kind_is_said(folder, rows, name, messages):
    contents = {
        "a.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a.gsheet": b'{"url": "x"}',
        "a.csv": b"\x1f\x8b\x08",
        "a.TSV": b"<html><table>",
    }
    (folder / name).write_bytes(contents.get(name, b"PK nothing"))
    assert messages in faults(folder, rows)[1][0][1]


def test_nothing_to_read_is_an_error(tmp_path, rows):
    with pytest.raises(data.DataError, match="holds no sheet"):
        ratings.read_sheets(tmp_path, rows)
    with pytest.raises(data.DataError, match="is not a folder"):
        ratings.read_sheets(tmp_path / "none", rows)


def test_sheets_that_did_not_come_back_and_rows_that_are_gone_are_counted(folder, rows):
    fill(folder / "clinicians-French-ann.csv", 5, 5)
    (folder / "clinicians-French-bob.csv").unlink()
    assert agreement.rating_means(ratings.read_sheets(folder, rows))["n_unrated"].tolist() == [
        18,
        18,
    ]
    assert (
        "1 items that were given out are not among the rows, the first is 'r9'"
        in faults(folder, rows[:-1])[1][0][1]
    )


# What they say -----------------------------------------------------------------------------------


def rated(*lines):
    """Ratings made from (group, language, rater, id, rating)."""
    columns = ["group", "language", "rater", "id", "rating"]
    table = pd.DataFrame(lines, columns=columns).astype({"rating": "Int64"})
    return ratings.Ratings(table.assign(question="?", comment=""), pd.DataFrame())


def test_alpha_is_the_published_one():
    """Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: ordinal .815.

    Four observers, twelve units.
    """
    nan = None
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    counts = np.array(
        [[[o[unit] for o in observers].count(value) for value in range(1, 6)] for unit in range(12)]
    )
    assert agreement.krippendorff_alpha(counts) == pytest.approx(0.815, abs=5e-4)
    lines = [
        ("clinicians", "Thai", f"o{n}", f"u{unit}", o[unit])
        for n, o in enumerate(observers)
        for unit in range(12)
    ]
    returned = agreement.rating_means(rated(*lines)).iloc[0]
    assert returned["alpha"] == pytest.approx(0.815, abs=5e-4)
    assert 0 < returned["alpha_low"] < 0.815 < returned["alpha_high"] <= 1


def test_an_item_counts_once_however_many_rated_it():
    lines = [("clinicians", "Thai", f"r{n}", "a", 1) for n in range(9)] + [
        ("clinicians", "Thai", "r0", "b", 5)
    ]
    returned = agreement.rating_means(rated(*lines)).iloc[0]
    assert (
        returned["mean"],
        returned["share_4_5"],
        returned["n_items"],
        returned["n_raters"],
    ) == (3, 0.5, 2, 9)


def test_intervals_stay_on_the_scale_and_hold_the_mean():
    rng = np.random.default_rng(0)
    lines = [
        ("clinicians", "Thai", "a", f"i{n}", int(rng.choice([3, 4, 5], p=[0.05, 0.1, 0.85])))
        for n in range(60)
    ]
    returned = agreement.rating_means(rated(*lines)).iloc[0]
    assert 4 < returned["low"] < returned["mean"] < returned["high"] <= 5
    assert (
        returned["alpha"] != returned["alpha"]
        and returned["note"] == "no item has two ratings: no alpha"
    )


def test_what_has_no_interval_or_alpha_says_why():
    alike = [("clinicians", "Thai", r, i, 5) for r in "ab" for i in "xyz"]
    unrated = [("clinicians", "Hausa", "a", "h", None)]
    table = agreement.rating_means(rated(*alike, *unrated)).set_index("language")
    assert (
        table.loc["Thai", ["low", "high", "alpha"]].isna().all() and table.loc["Thai", "mean"] == 5
    )
    assert (
        table.loc["Thai", "note"]
        == "all items rated alike: no interval; all shared ratings equal: alpha is undefined"
    )
    assert (
        np.isnan(table.loc["Hausa", "mean"])
        and table.loc["Hausa", "n_unrated"] == 1
        and table.loc["Hausa", "n_items"] == 0
    )
    assert table.loc["all", "n_items"] == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("counts", [[], [(0, 0, 0, 0, 3)] * 2, [(1, 0, 0, 0, 0), (0, 0, 0, 0, 1)]])
def test_alpha_of_equal_or_unshared_ratings_is_undefined(counts):
    assert np.isnan(agreement.krippendorff_alpha(np.array(counts).reshape(-1, 5)))


def test_one_rater_who_always_says_five_has_an_alpha_where_the_other_varies():
    lines = [("clinicians", "Thai", "a", f"i{n}", 5) for n in range(10)]
    lines += [("clinicians", "Thai", "b", f"i{n}", 4 + n % 2) for n in range(10)]
    line = agreement.rating_means(rated(*lines)).iloc[0]
    assert -1 <= line["alpha_low"] <= line["alpha"] < 0.01


def test_of_few_shared_items_alpha_has_no_interval():
    lines = []
    for n in range(9):
        for rater in ("a", "b"):
            lines.append(("clinicians", "Thai", rater, f"i{n}", 4 + n % 2))
    line = agreement.rating_means(rated(*lines)).iloc[0]
    assert line["alpha"] == 1 and line["n_shared"] == 9
    assert np.isnan(line["alpha_low"]) and np.isnan(line["alpha_high"])
    assert "fewer than 10 shared items" in line["note"]


def test_ratings_without_a_place_are_refused_and_their_faults_counted():
    faulty = ratings.Ratings(rated().table, pd.DataFrame({"fault": ["no header"]}))
    with pytest.raises(data.DataError, match="no rating to read; faults: 1"):
        agreement.rating_means(faulty)


def test_items_to_revise_come_lowest_first_with_both_groups(folder, rows, tmp_path):
    ratings.write_sheets(rows, folder, {"French": ["ann"]}, "native speakers", overlap=1)
    (folder / "native_speakers-French-ann.xlsx").unlink()
    records = fill(folder / "clinicians-French-ann.csv", 5, {"rating": 3, "comment": "dose"}, 4)
    by_id = {record["id"]: record for record in table_of(folder / "native_speakers-French-ann.csv")}
    by_id[records[0]["id"]].update(rating=1, comment="English")
    by_id[records[1]["id"]].update(rating=5)
    write(folder / "native_speakers-French-ann.csv", by_id.values())
    returned = agreement.revisions(ratings.read_sheets(folder, rows))
    assert returned["id"].tolist() == [records[0]["id"], records[1]["id"]] and returned[
        "lowest"
    ].tolist() == [1, 3]
    assert returned["clinicians: ratings"].tolist() == ["ann: 5", "ann: 3"] and returned[
        "native speakers: ratings"
    ].tolist() == [
        "ann: 1",
        "ann: 5",
    ]
    assert returned["clinicians: comments"].tolist() == ["", "ann: dose"] and returned[
        "native speakers: comments"
    ].tolist() == [
        "ann: English",
        "",
    ]
