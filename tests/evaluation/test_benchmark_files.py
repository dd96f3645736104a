"""Files and rows of other benchmarks in every form: read, or refused with the place and advice."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curemed_utils.data import DataError
from curemed_utils.evaluation import benchmark_files, benchmarks

PLAIN = {"question": "Which?", "options": {"A": "aa", "B": "bb", "C": "cc"}, "answer_idx": "B"}
LINE = json.dumps(PLAIN) + "\n"


def read(place):
    return benchmarks.read_questions("MedQA", place)


# Files --------------------------------------------------------------------------------------------


def test_what_a_mac_adds_is_passed_over(tmp_path):
    for name in ("US/._test.jsonl", "__MACOSX/US/test.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "US/test.jsonl").write_text("\ufeff" + LINE, encoding="utf-8")
    assert [question.keys for question in read(tmp_path)] == [["B"]]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("en.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("en.jsonl", gzip.compress(LINE.encode(), mtime=0), "packed by gzip: unpack it"),
        ("en.zip", b"PK\3\4", "a zip file .*: unpack it"),
        ("en.arrow", b"\xff\xff\xff\xff", "an Arrow stream: write its rows as JSON Lines"),
        ("en.jsonl.gz", gzip.compress(LINE.encode(), mtime=0), "packed by gzip: unpack it"),
        ("en.parquet", b"PAR1 and no more", "can't be read"),
        ("en.jsonl", b"", "en.jsonl: holds no question"),
        ("en.json", b"[]", "en.json: holds no question"),
        ("en.json", json.dumps(PLAIN, indent=1).encode(), "one object a line or one list"),
        ("en.jsonl", b'{"question": "a", "question": "b"}', "row 1.*'question' stands 2 times"),
        ("en.csv", b"question,answer\n", "en.csv: holds no question"),
        ("en.csv", b"question,answer\na,b\nc,d,e\n", "en.csv: can't be read"),
        ("en.tsv", b"question\tanswer\n", "write other kinds as JSON Lines"),
        ("en.jsonl", b"\xff\xfe\xff", "en.jsonl"),
    ],
)
def test_a_file_that_is_something_else_says_so(tmp_path, name, raw, message):
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read(path)


def test_an_empty_file_among_others_is_named(tmp_path):
    (tmp_path / "en.jsonl").write_text(LINE)
    (tmp_path / "zh.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"zh\.jsonl: holds no question"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + LINE + "\r\n",
        json.dumps([PLAIN], indent=2),
        "\ufeff " + json.dumps([PLAIN]),
        LINE.replace("aa", "a\u2028a"),
    ],
)
def test_lists_and_lines_are_read_in_any_layout(tmp_path, text):
    (tmp_path / "en.json").write_text(text, encoding="utf-8")
    [question] = read(tmp_path / "en.json")
    assert question.keys == ["B"]


# Rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"1": "X-ray", "2": "CT", "5": None}, {"A": "X-ray", "B": "CT"}),
        ('{"A": "X-ray", "B": "CT", "C": NaN}', {"A": "X-ray", "B": "CT"}),
        ('["X-ray", "CT"]', {"A": "X-ray", "B": "CT"}),
        (
            [{"key": "A", "value": "X-ray"}, {"key": "B", "value": "CT"}],
            {"A": "X-ray", "B": "CT"},
        ),
        (
            [{"label": "A", "text": "X-ray"}, {"label": "B", "text": "CT"}],
            {"A": "X-ray", "B": "CT"},
        ),
        (["A. X-ray", "B. CT"], {"A": "X-ray", "B": "CT"}),
        ({"1": "1. X-ray", "2": "2. CT"}, {"A": "X-ray", "B": "CT"}),
        ({"A": "(A) X-ray", "B": "(B) CT"}, {"A": "X-ray", "B": "CT"}),
    ],
)
def test_every_form_of_options_is_read(options, texts):
    parts = benchmark_files.parts_of(PLAIN | {"options": options, "answer_idx": "B"})
    assert parts["options"] == texts and parts["keys"] == ["B"]


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"answer": "B. bb"}, ["B"]),
        ({"answer": "(b) bb"}, ["B"]),
        ({"answer": '["A", "C"]'}, ["A", "C"]),
        ({"answer": '["aa", "bb"]'}, ["A", "B"]),
        ({"answer": "B", "options": ["A. two words", "B. CT scan"]}, ["B"]),
        ({"answer": "CT scan", "options": ["A. two words", "B. CT scan"]}, ["B"]),
        ({"answer": "B. CT scan", "options": ["A. two words", "B. CT scan"]}, ["B"]),
        ({"answer": "2", "options": ["1", "2"]}, ["B"]),
        ({"answer_idx": "B", "answer": "bb"}, ["B"]),
        ({"answer_idx": "B", "answer": "B, for it is bb"}, ["B"]),
        ({"answer_idx": "C", "answer": "bb", "options": ["aa", "bb", "bb"]}, ["C"]),
    ],
)
def test_every_form_of_an_answer_is_read(fields, keys):
    record = {name: value for name, value in PLAIN.items() if name != "answer_idx"}
    assert benchmark_files.parts_of(record | fields)["keys"] == keys


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": "A. X-ray B. CT"}, "options: is not JSON"),
        ({"options": "{'A': 'X-ray', 'B': 'CT'}"}, "options: is not JSON"),
        ({"options": "5"}, "has no options"),
        ({"options": '{"A": "x", "A": "y", "B": "z"}'}, "key 'A' stands 2 times"),
        ({"options": ..., "opa": "x", "opb": "y", "cop": 1}, "no options under.*opa, opb, cop"),
        ({"answer": "A"}, "answer_idx is 'B', but answer is 'A'"),
        ({"answer": "aa"}, "answer_idx is 'B', but answer is 'aa'"),
        ({"answer_idx": "A,B", "answer": ["aa", "cc"]}, "answer_idx is 'A,B', but answer"),
        ({"options": ["x"] * 27}, "has 27 options, more than letters"),
        ({"options": {"label": ["A", "B"], "text": ["x"]}}, "option key 'label'"),
        ({"options": ["aa", "bb"], "answer_idx": 1}, "a number: their keys"),
        ({"options": ["1", "2"], "answer_idx": "1"}, "a number: their keys"),
        (
            {"options": ["1", "2"], "answer_idx": ..., "answer": 1},
            "a number: their keys",
        ),
        ({"answer_idx": {"A": 1}}, "names none of the options"),
        ({"answer_idx": True}, "names none of the options"),
    ],
)
def test_what_is_ambiguous_is_refused(fields, message):
    record = {name: value for name, value in (PLAIN | fields).items() if value is not ...}
    with pytest.raises(DataError, match=message):
        benchmark_files.parts_of(record)


MULTIMED = {"id": "qa-sw-7", "lang": "sw", "task": "qa", "label": None}


@pytest.mark.parametrize(
    ("text", "question", "reference"),
    [
        ("Swali:\nNi nini?\nJibu:\nNi homa.", "Ni nini?", "Ni homa."),
        ("\nSwali: Ni nini?\nKweli?\n\nJibu:\n\nNi\nhoma.\n", "Ni nini?\nKweli?", "Ni\nhoma."),
        ("Ìbéèrè:\nKí ni?\nÌdáhùn:\nIbà.", "Kí ni?", "Ibà."),
        ("Ìbéèrè:\nKí ni?\nIÌdáhùn:\nIbà.", "Kí ni?", "Ibà."),
        ("質問：\n何？\n回答：\n熱。", "何？", "熱。"),
        ("Question:\nอะไร\nAnswer:\nไข้", "อะไร", "ไข้"),
        ("**질문**: 뭐?\n**답변**: 열.", "뭐?", "열."),
    ],
)
def test_question_and_answer_in_one_text_are_told_apart(text, question, reference):
    text = text.replace("**", "")
    parts = benchmark_files.parts_of(MULTIMED | {"text": text})
    assert parts == {
        "question": question,
        "reference": reference,
        "options": {},
        "keys": [],
    }


@pytest.mark.parametrize(
    "text", ["Ni nini?", "Swali:\nNi nini?", "Swali:\n\nJibu:\nNi homa.", None]
)
def test_a_text_without_both_parts_is_refused(text):
    with pytest.raises(DataError, match="no 'Question:' or no 'Answer:'"):
        benchmark_files.parts_of(MULTIMED | {"text": text})


def test_options_of_afrimed_qa_are_keyed_by_number():
    record = {"question": "Which?", "question_type": "mcq", "answer_rationale": "since …"}
    record["answer_options"] = json.dumps({"option1": "aa", "option2": "bb", "option3": "cc"})
    for answer, keys in (("option2", ["B"]), ("option1,option3", ["A", "C"])):
        parts = benchmark_files.parts_of(record | {"correct_answer": answer})
        assert parts["keys"] == keys and parts["options"]["B"] == "bb"
    with pytest.raises(DataError, match="'option9', which names none"):
        benchmark_files.parts_of(record | {"correct_answer": "option9"})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["question", "options", "answer", "answer_idx"]), JSON))
def test_any_row_is_read_or_refused(record):
    try:
        parts = benchmark_files.parts_of({"question": "Which?"} | record)
    except DataError:
        return
    assert parts["keys"] and set(parts["keys"]) <= parts["options"].keys()


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["en.jsonl", "en.json", "en.zip", "en.parquet"]))
def test_any_file_is_read_or_refused(tmp_path_factory, raw, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(raw)
    with pytest.raises(DataError):
        read(path)
