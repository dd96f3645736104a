"""Fixtures of the tests of the paper's room."""

import shutil

import pytest

from curemed_utils import paths


@pytest.fixture
def changed_source(tmp_path, monkeypatch):
    """A function that replaces one text in a copy of the source data that is then read."""

    def change(name: str, old: str, new: str) -> None:
        folder = tmp_path / "source_data"
        shutil.copytree(paths.SOURCE_DATA, folder, dirs_exist_ok=True)
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(paths, "SOURCE_DATA", folder)

    return change
