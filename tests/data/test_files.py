"""What files of rows really hold: other kinds, other encodings, other forms of JSON."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import time
import zipfile

import hypothesis.strategies as st
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings

from curemed_utils import data
from curemed_utils.data import DataError
from curemed_utils.data.files import json_objects, text_of

LINE = {
    "id": "a",
    "language": "Yoruba",
    "question": "Àìsàn wo ni?",
    "answer": "<answer>ibà</answer>",
}
OTHER = LINE | {"id": "b"}
TEXT = json.dumps(LINE, ensure_ascii=False)


@pytest.fixture
def read(tmp_path):
    """Writes bytes or text to rows.jsonl and reads it: ids, or the faults as one text."""

    def go(content, name="rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            return [row.id for row in data.read_jsonl(path)]
        except DataError as error:
            return str(error).replace(str(tmp_path) + "/", "")

    return go


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


def workbook():
    file = io.BytesIO()
    openpyxl.Workbook().save(file)
    return file.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
PARQUET = pd.DataFrame([LINE]).to_parquet()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (POINTER, "is a Git LFS pointer: run git lfs pull"),
        (gzip.compress(TEXT.encode(), mtime=0), "is packed by gzip: unpack it"),
        (b"\x28\xb5\x2f\xfd\x24\x00\x01", "is packed by Zstandard: unpack it"),
        (bz2.compress(TEXT.encode()), "is packed by bzip2: unpack it"),
        (lzma.compress(TEXT.encode()), "is packed by xz: unpack it"),
        (zipped(rows=TEXT), "is a zip file or a workbook (.xlsx): unpack it"),
        (workbook(), "is a zip file or a workbook (.xlsx): unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel file (.xls) or one with a password"),
        (PARQUET, "is a Parquet file: write its rows as JSON Lines"),
        (b"\xff\xff\xff\xff\x10\x00", "is an Arrow stream"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "is what a Mac keeps beside a file"),
        (b"%PDF-1.7\n", "is a PDF"),
        (
            "<!DOCTYPE html>\n<title>Sign in</title>",
            "is a web page (HTML), perhaps to log in: download",
        ),
        ("\n <HTML><body>", "is a web page (HTML), perhaps to log in: download"),
        ("<?xml version='1.0'?><topics/>", "is XML: give JSON Lines"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(read, content, fault):
    assert read(content).startswith(f"rows.jsonl: {fault}")
    with pytest.raises(DataError, match=r"^x\.csv: is "):
        text_of(content if isinstance(content, bytes) else content.encode(), "x.csv")


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        b"\r\n" + TEXT.encode() + b"\r\n\r\n \t\r\n",
        TEXT.encode() + b"\r\n\r\n",
        f"[{TEXT}]",
        f" [\n {TEXT}\n]\n",
        json.dumps([LINE], indent=2).encode("utf-8-sig"),
        json.dumps([LINE], indent=2).encode("utf-16"),
    ],
)
def test_every_way_to_save_right_rows_is_read(read, content):
    assert read(content) == ["a"]


def test_files_with_marks_joined_end_to_end_are_read(read):
    parts = [json.dumps(record).encode("utf-8-sig") for record in (LINE, OTHER)]
    assert read(b"\n".join(parts)) == read(b"\r".join(parts)) == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            TEXT.replace('"b":', '"x":')[:-1] + ', "id": "c"}',
            "key 'id' stands 2 times in {'id': 'c'",
        ),
        (
            TEXT[:-1] + ', "lineage": {"n": {"k": 1, "k": 1}}}',
            "key 'k' stands 2 times in {'k': 1} …",
        ),
        (TEXT + TEXT, "is not JSON, one object a line or one list of them (Extra data: column"),
        (TEXT + ",", "is not JSON, one object a line or one list of them (Extra data: column"),
        (TEXT[:-1] + ",}", "is not JSON"),
        (TEXT[:40], "is not JSON"),
        (str(LINE), "is not JSON"),
        ("// rows", "is not JSON"),
        ("id,language,question,answer", "is not JSON"),
        (TEXT[:-1] + ', "n": Infinity}', "Infinity is no number: write null, or nothing"),
        (TEXT[:-1] + ', "n": [-1e999]}', "-1e999 is no number: write null, or nothing"),
        (TEXT[:-1] + ', "n": ' + "9" * 9999 + "}", "one list of them (Exceeds the limit"),
        (TEXT.replace("ibà", r"\ud800"), "can't be written as JSON in UTF-8"),
        (TEXT[:-1] + r', "\udfff": 1}', "can't be written as JSON in UTF-8"),
        (TEXT[:-1] + ', "n": ' + "[" * 300 + "]" * 300 + "}", "depth exceeded"),
        (
            TEXT[:-1] + ', "n": ' + "[" * 90_000 + "]" * 90_000 + "}",
            "maximum recursion depth exceeded",
        ),
        (TEXT.replace('"a"', "5"), "field 'id': Input should be a valid string"),
        (TEXT.replace('"a"', "null"), "field 'id': Input should be a valid string"),
        (TEXT.replace("Yoruba", "Yorùbá"), "did you mean 'Yoruba'?"),
        (TEXT.replace("Yoruba", "yo"), "did you mean 'Yoruba'?"),
        (TEXT.replace("Yoruba", "yo-NG"), "did you mean 'Yoruba'?"),
        (TEXT.replace("Yoruba", "Kiswahili"), "did you mean 'Swahili'?"),
        (TEXT.replace("Yoruba", "FRENCH "), "did you mean 'French'?"),
        (TEXT.replace("Yoruba", "Klingon"), "known: Amharic, "),
    ],
)
def test_a_line_that_cannot_be_read_is_named(read, line, fault):
    faults = read(f"{json.dumps(OTHER)}\n{line}\n")
    assert faults.startswith("rows.jsonl, line 2: ") and fault in faults


def test_indented_objects_are_told_to_stand_one_a_line(read):
    text = "\n".join(json.dumps(record, indent=1) for record in (LINE, OTHER))
    assert "rows.jsonl, line 1: is not JSON" in read(text)
    assert "one object a line or one list of them" in read(text)


def test_faults_in_a_list_are_named_by_item_or_line(read):
    assert read(f"[{TEXT}, 3, {TEXT}]").splitlines() == [
        "rows.jsonl, item 2: is a JSON int, not an object",
        "rows.jsonl, item 3: duplicate id 'a', first on item 1",
    ]
    faults = read(f"[\n{TEXT},\n{TEXT[:-1]},]\n")
    assert faults.startswith("rows.jsonl: is not JSON, ") and ": line 3 column " in faults
    assert "Extra data" in read(f"[{TEXT}]\n[{TEXT}]")
    assert "key 'id' stands 2 times in {'id': 'b'} …" in read('[{"id": "a", "id": "b"}]')


def test_zero_bytes_and_other_encodings_are_named_by_line(read):
    lines = f"{json.dumps(OTHER)}\n{TEXT}\n"
    assert read(lines.encode("cp1258", "replace")).startswith("rows.jsonl, line 2: is not UTF-8")
    assert read(lines.encode() + bytes(9)).startswith("rows.jsonl, line 3: is not JSON")
    assert "rows.jsonl, line 2: is not UTF-16" in read(lines.encode("utf-16")[:-1])


def test_nan_is_missing_and_a_large_whole_number_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(TEXT[:-1] + f', "grade": NaN, "big": {10**30}}}', encoding="utf-8")
    [row] = data.read_jsonl(path)
    assert row.grade is None and row.big == 10**30


def test_a_log_with_a_loss_that_is_no_number_is_written(tmp_path):
    path = data.write_jsonl([{"loss": float("nan"), "norm": float("inf")}], tmp_path / "log.jsonl")
    assert path.read_text(encoding="utf-8") == '{"loss": NaN, "norm": Infinity}\n'


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "gone")
    for name in ("folder.jsonl", "link.jsonl", "nowhere.jsonl"):
        with pytest.raises(DataError, match=f"{name}: can't be read"):
            data.read_jsonl(tmp_path / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)  # fmt: skip
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.heavy
@QUICK
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b'{"a":1}\xff')
@example(b"\xff\xfe{")
@example(b"[1")
def test_any_bytes_are_rows_or_a_named_fault(tmp_path, raw):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        data.read_jsonl(path)


@pytest.mark.heavy
@QUICK
@given(st.lists(st.dictionaries(st.text(min_size=1), JSON, max_size=4), max_size=4))
def test_what_is_written_is_read_back_unchanged(tmp_path, extras):
    rows = []
    for number, extra in enumerate(extras):
        try:
            rows.append(data.Row.model_validate(extra | LINE | {"id": f"r{number}"}))
        except ValueError:
            continue
    path = data.write_jsonl(rows, tmp_path / "rows.jsonl")
    assert not rows or data.read_jsonl(path) == rows
    text = json.dumps(extras, indent=1)
    assert [record for _, record in json_objects(text, "x", [])] == extras


@pytest.mark.parametrize(
    "part", ["[", "{", '{"a":', '{"a":[', '"', "\\", "\ufeff", "\n", "{}", "["]
)
def test_repeats_of_anything_are_read_in_linear_time(part):
    start = time.perf_counter()
    for text in (part * 20_000, f"{part}\n" * 20_000):
        with contextlib.suppress(DataError):
            list(json_objects(text, "x", []))
    assert time.perf_counter() - start < 2
