"""Paths as readers write them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curemed_utils import paths


@pytest.mark.parametrize("folder", [".", "notebooks", "curemed_utils/data"])
def test_a_relative_path_starts_at_the_repository_wherever_one_works(monkeypatch, folder):
    monkeypatch.chdir(paths.ROOT / folder)
    assert paths.resolve("mine.jsonl") == paths.ROOT / "mine.jsonl"
    monkeypatch.setenv("CUREMED_RUNS", "elsewhere")
    assert paths.runs() == paths.ROOT / "elsewhere"


def test_a_run_directory_is_the_same_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.chdir("/")
    assert paths.run_directory("runs/seed1") == tmp_path / "runs" / "seed1"
    assert paths.run_directory(str(tmp_path / "x")) == tmp_path / "x"


def test_home_is_expanded_and_an_unknown_home_is_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.resolve("~/mine") == tmp_path / "mine"
    assert paths.resolve("~no-such-user/mine") == paths.ROOT / "~no-such-user/mine"


@pytest.mark.parametrize(("at", "root"), [("checkout/notebooks", "checkout"), ("other", "other")])
def test_installed_without_a_repository_the_one_at_work_counts(tmp_path, at, root):
    for folder in ("site", "checkout/papermill_params", "checkout/notebooks", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "site" / "curemed_utils").mkdir()
    package = Path(paths.__file__).parent
    for name in ("__init__.py", "paths.py"):
        shutil.copy(package / name, tmp_path / "site" / "curemed_utils" / name)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
    code += "from curemed_utils import paths; print(paths.ROOT)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / at, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / root), done.stderr


def test_the_papers_figures_go_where_they_can_be_written(monkeypatch):
    assert paths.figures() == paths.FIGURES
    monkeypatch.setenv("CUREMED_FIGURES", "/runs/paper")
    assert paths.figures() == Path("/runs/paper")
    assert paths.figures("here") == paths.ROOT / "here"
