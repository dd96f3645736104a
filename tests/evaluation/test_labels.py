"""The labelling sheet: drawn, filled in, read back and weighed."""

import csv

import make
import openpyxl
import pandas as pd
import pytest

from curemed_utils.data import DataError
from curemed_utils.evaluation import labels, rates

BLANK = [*labels.LABELS, "labeller", "note"]


def both(cells):
    """The same outputs in French and Thai."""
    tables = [make.judged_outputs(cells, language=name) for name in ("French", "Thai")]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def table():
    """130 rows a language, most of them accepted."""
    cells = [
        (True, True, True, 100),
        (True, False, False, 20),
        (False, True, False, 4),
        (None, True, True, 6),
    ]
    return both(cells)


def cells_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, change):
    """Rewrites a sheet with `change(number, record)` applied to every record."""
    records = cells_of(path)
    for number, record in enumerate(records):
        change(number, record)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


def test_a_sheet_takes_equal_parts_and_hides_model_and_verdict(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "new" / "sheet.csv", 16, seed=3)
    records = pd.DataFrame(cells_of(path))
    assert list(records) == list(labels.COLUMNS)
    assert records["language"].tolist() == ["French"] * 16 + ["Thai"] * 16
    assert (records[BLANK] == "").all(axis=None)
    known = table.assign(id=labels.response_ids(table), outcome=labels.offline_outcomes(table))
    drawn = known.set_index("id").loc[records["id"]]
    counts = drawn.groupby(["language", "outcome"]).size()
    assert set(counts) == {4} and len(counts) == 8
    assert len(drawn) == drawn.index.nunique() == 32


def test_nothing_to_draw_or_weigh_is_said(table, tmp_path):
    path = tmp_path / "s.csv"
    for judged, per_language in [(table.iloc[:0], 4), (table, 0)]:
        with pytest.raises(DataError, match="no responses to label"):
            labels.draw_sheet(judged, path, per_language)
    sheet = labels.read_labels(labels.draw_sheet(table, path, 4))
    with pytest.raises(DataError, match="no responses to weigh"):
        labels.weigh(table.iloc[:0], sheet, "complete")
    with pytest.raises(DataError, match="no labels to weigh"):
        labels.weigh(table, sheet.iloc[:0], "complete")


def test_a_seed_draws_the_same_again(table, tmp_path):
    draws = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        path = labels.draw_sheet(table, tmp_path / f"{name}.csv", 16, seed=seed)
        draws.append(path.read_bytes())
    assert draws[0] == draws[1] != draws[2]


def test_ids_hold_on_to_the_response_whatever_the_order(table):
    ids = labels.response_ids(table)
    assert labels.response_ids(table.iloc[::-1]) == ids[::-1]
    assert len(set(ids)) == len(table)
    assert not set(labels.response_ids(table.assign(response="another"))) & set(ids)


def test_an_id_stays_what_it_was():
    """A sheet that was drawn before this version must still be read."""
    assert labels.response_ids(make.judged_outputs([(True, True, True, 1)])) == ["r5c4a118887c6"]


def test_labels_are_read_and_what_is_missing_stays_missing(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.csv", 4)
    written = [("Yes", "no ", "unsure"), ("unsure", "", ""), ("", "", ""), ("no", "yes", "yes")]

    def write(number, record):
        record.update(zip(labels.LABELS, written[number % 4], strict=True), labeller="L")

    fill(path, write)
    sheet = labels.read_labels(path)
    assert len(sheet) == 8 and set(sheet["labeller"]) == {"L"}
    assert sheet["in_language"].tolist()[:4] == ["yes", "unsure", "", "no"]
    assert sheet["correct"].tolist()[:4] == ["unsure", "", "", "yes"]
    known = labels.weigh(table, sheet, "in_language")
    assert set(known["id"]) <= set(sheet.loc[sheet["in_language"].isin(["yes", "no"]), "id"])


def test_a_wrong_label_names_file_row_and_column(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.csv", 3)
    fill(path, lambda n, record: record.update(complete="maybe" if n == 2 else "yes"))
    with pytest.raises(DataError, match=r"s\.csv, row 4: complete 'maybe' is none of yes, no"):
        labels.read_labels(path)


def table_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def save(path, rows, start="", **options):
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(start)
        csv.writer(file, **options).writerows(rows)


def test_what_spreadsheets_do_to_a_label_sheet_is_read(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.csv", 2)
    fill(path, lambda n, record: record.update(correct=["yes", "", "NO ", "unsure"][n]))
    wanted, rows = labels.read_labels(path), table_of(path)
    assert wanted["correct"].tolist() == ["yes", "", "no", "unsure"]
    blank = [[""] * len(rows[0])] * 2
    for start, saved, options in [
        ("", rows + blank, {}),
        ("sep=;\r\n", rows + blank, {"delimiter": ";"}),
        ("", rows[:2] + blank + rows[:1] + rows[2:], {"delimiter": "\t"}),
    ]:
        save(path, saved, start, **options)
        pd.testing.assert_frame_equal(labels.read_labels(path), wanted)


def test_a_column_of_the_labellers_own_is_read_too(tmp_path):
    outputs = make.judged_outputs([(True, True, True, 2)])
    path = labels.draw_sheet(outputs, tmp_path / "s.csv", 2)
    first, *others = table_of(path)
    save(path, [[*first, "My doubts"], *([*cells, "a dose?"] for cells in others)])
    assert labels.read_labels(path)["my doubts"].tolist() == ["a dose?"] * 2


def test_merged_labels_are_named(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.xlsx", 2)
    book = openpyxl.load_workbook(path)
    book["Items"].merge_cells("H2:H3")
    book.save(path)
    with pytest.raises(
        DataError, match=r"s\.xlsx, row 2: correct ' .merged cells H2:H3.' is none of yes"
    ):
        labels.read_labels(path)


def test_a_sheet_is_never_overwritten(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.csv", 4, seed=1)
    fill(path, lambda n, record: record.update(correct="no" if n == 5 else ""))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"s\.csv may hold labels"):
        labels.draw_sheet(table, path, 4)
    assert path.read_bytes() == before


def test_rows_chosen_by_hand_count_in_no_rate(tmp_path):
    table = make.judged_outputs([(True, True, True, 4)])
    table["response"] = "=" + table["response"]
    path = labels.draw_sheet(table, tmp_path / "sheet.csv", per_language=2)
    assert path.read_text(encoding="utf-8-sig").count("'=text") == 2
    sheet = labels.read_labels(path).assign(in_language="yes")
    drawn = set(sheet["id"])
    others = [key for key in labels.response_ids(table) if key not in drawn]
    chosen = sheet.assign(id=others, note=f"{labels.CHOSEN}: odd")
    weighed = labels.weigh(table, pd.concat([sheet, chosen]), "in_language")
    assert set(weighed["id"]) == drawn


def test_labels_of_a_sheet_correct_the_rate_of_its_table(tmp_path):
    cells = [
        (True, True, True, 160),
        (True, False, False, 40),
        (False, True, False, 40),
        (None, True, True, 10),
    ]
    table = both(cells)
    path = labels.draw_sheet(table, tmp_path / "s.csv", 40)
    ids, outcomes = labels.response_ids(table), labels.offline_outcomes(table)
    outcome = dict(zip(ids, outcomes, strict=True))
    seen = {}

    def label(number, record):
        """Of the accepted every fifth is wrong, of the other languages every second."""
        group = (record["language"], outcome[record["id"]])
        seen[group] = seen.get(group, -1) + 1
        every = {"accepted": 5, "other language": 2}.get(group[1])
        wrong = every is not None and seen[group] % every == 0
        record["in_language"] = "no" if wrong ^ (group[1] == "other language") else "yes"

    fill(path, label)
    weighed = labels.weigh(table, labels.read_labels(path), "in_language")
    assert weighed["weight"].sum() == pytest.approx(480) and len(weighed) == 60
    assert weighed.groupby("verdict")["weight"].sum().tolist() == pytest.approx([80, 400])
    rate = rates.corrected_rate(table["in_language"], weighed)
    assert rate.estimate == pytest.approx((2 * 160 * 0.8 + 80 + 80 * 0.5) / 480)
    assert rate.low < rate.estimate < rate.high


def test_a_group_without_labels_is_stood_for_by_the_same_verdict(table, tmp_path):
    path = labels.draw_sheet(table, tmp_path / "s.csv", 16)

    def label(number, record):
        record["in_language"] = "yes" if record["language"] == "French" else ""

    fill(path, label)
    weighed = labels.weigh(table, labels.read_labels(path), "in_language")
    assert set(weighed["language"]) == {"French"}
    assert weighed.groupby("verdict")["weight"].sum().tolist() == pytest.approx([8, 240])


def test_an_unlabelled_sheet_corrects_nothing(table, tmp_path):
    sheet = labels.read_labels(labels.draw_sheet(table, tmp_path / "s.csv", 4))
    assert (sheet[BLANK] == "").all(axis=None)
    rate = rates.corrected_rate(table["complete"], labels.weigh(table, sheet, "complete"))
    assert rate.n == 0 and rate.reason.startswith("no label")


def test_labels_of_another_table_are_refused(table, tmp_path):
    sheet = labels.read_labels(labels.draw_sheet(table, tmp_path / "s.csv", 4))
    with pytest.raises(DataError, match=r"8 labelled ids, such as 'r\w+', are not in the table"):
        labels.weigh(table.assign(response="another"), sheet, "complete")
