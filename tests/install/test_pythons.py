"""Which Pythons are tried again, and what is recorded of them."""

import json
import sys

import pytest

from install import pythons


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """The versions that were run; the record is a file of its own."""
    versions = []
    monkeypatch.setattr(pythons, "RECORD", tmp_path / "pythons.json")
    monkeypatch.setattr(pythons, "lock", lambda: "today's")
    passes = {"figures": 1, "demo": 2, "test": 3}
    monkeypatch.setattr(pythons, "run", lambda version: versions.append(version) or passes)
    return versions


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["pythons.py", *arguments])
    return pythons.main()


def test_what_passed_under_this_lock_is_not_tried_again(tried, monkeypatch):
    assert call(monkeypatch, "3.12") == 0
    assert call(monkeypatch, "--if-changed") == 0
    assert tried == ["3.12", "3.11", "3.13"]
    monkeypatch.setattr(pythons, "lock", lambda: "another")
    assert call(monkeypatch, "--if-changed") == 0
    assert tried[3:] == ["3.11", "3.12", "3.13"]
    record = json.loads(pythons.RECORD.read_bytes())
    assert record["lock"] == "another"
    assert record["seconds"]["3.13"] == {"figures": 1, "demo": 2, "test": 3}


def test_a_failure_is_not_recorded(tried, monkeypatch):
    monkeypatch.setattr(pythons, "run", lambda version: {})
    assert call(monkeypatch, "3.12", "3.13") == 1
    assert json.loads(pythons.RECORD.read_bytes())["seconds"] == {}


def test_a_python_is_searched_by_its_version():
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert here in pythons.interpreter(here)
    assert pythons.interpreter("2.1") == ""
