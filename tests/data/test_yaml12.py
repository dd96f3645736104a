"""YAML as people write it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curemed_utils import prompts
from curemed_utils.data import DataError
from curemed_utils.data.yaml12 import parse_yaml
from curemed_utils.evaluation import models
from curemed_utils.judge import models as judge_models


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("+.5E3", 500.0),
        ("5.", 5.0),
        ("010", 10),
        ("-0", 0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("2026-11-26", "2026-11-26"),
        ("no", "no"),
        ("=", "="),
        ("TRUE", True),
        ("~", None),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
    ],
)
def test_a_word_is_what_yaml_1_2_says(text, value):
    assert parse_yaml(text) == value and type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize("part", ["[", "{a: ", "- ", "a:\n ", "? ", "_1", "e1", "[a],", "&a ", "'"])
def test_a_long_text_is_read_or_refused_at_once(part):
    started = time.monotonic()
    try:
        parse_yaml(20_000 * part)
    except DataError as error:
        assert len(str(error)) < 500
    assert time.monotonic() - started < 8  # a second on a quiet core, which is not ours here


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_comes_back_as_it_was_written(number):
    assert parse_yaml(f"{{a: {number!r}}}") == {"a": number}


@given(st.text())
def test_any_text_is_read_or_refused_in_our_words(text):
    try:
        parse_yaml(text, "here: ")
    except DataError as error:
        assert str(error).startswith("here: this is not YAML: ")


def test_a_price_or_model_that_stands_there_twice_is_named_with_its_line(tmp_path, monkeypatch):
    file = tmp_path / "models.yaml"
    file.write_text("# USD\nmine: {price: [1, 2]}\nother: {}\nmine: {price: [3, 4]}\n")
    monkeypatch.setattr(judge_models, "MODELS", file)
    with pytest.raises(DataError, match=r"models\.yaml: .*'mine' stands there twice .* line 4"):
        judge_models.price_of("mine")
    monkeypatch.setattr(models, "MODELS", file)
    file.write_text("- name: A\n  id: x\n  id: y\n")
    with pytest.raises(DataError, match=r"models\.yaml: .*'id' stands there twice .* line 3"):
        models.load_models()
    with pytest.raises(DataError, match="'a' stands there twice"):
        prompts.read_yaml(_written(file, "a: x\na: y\n"))


def _written(file, text):
    file.write_text(text)
    return file
