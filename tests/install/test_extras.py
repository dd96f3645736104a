"""Core and each extra alone: what is tried, and what the table says of it."""

import subprocess
import sys

import pytest

from install import extras


def done(code=0, stderr=""):
    return subprocess.CompletedProcess([], code, "", stderr)


@pytest.fixture
def tried(monkeypatch):
    """A function that has an installation and a job end so, and runs the command line."""

    def run(*names, installed=None, job=""):
        def sync(extra, environment, cache=""):
            for name in ("one", "two"):
                folder = environment / "lib" / f"{name}-1.0.dist-info"
                folder.mkdir(parents=True)
                (folder / "METADATA").write_bytes(b"x" * 2_000_000)
            return installed or done(stderr="Prepared 1 package in 3ms\nInstalled 2 packages")

        monkeypatch.setattr(extras, "sync", sync)
        monkeypatch.setattr(extras, "job", lambda extra, python, scratch: job)
        return extras.main(list(names))

    return run


def row_of(extra, text):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {extra} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_extra_of_pyproject_has_a_job():
    jobs = pytest.importorskip("install.jobs").JOBS
    assert list(jobs) and set(jobs) == set(extras.names())
    assert extras.names()[0] == "core" and "test" not in extras.names()


def test_the_table_has_packages_sizes_and_results(tried, capsys):
    assert tried("core", "train") == 0
    text = capsys.readouterr().out
    assert row_of("core", text)[1:4] == ["2", "1", "4"]
    assert row_of("train", text)[-1] == "passed"
    assert "uv's cache: as it was" in text


def test_a_failed_job_is_named_and_fails_the_whole(tried, capsys):
    assert tried("judge", job="AssertionError: no verdict") == 1
    assert row_of("judge", capsys.readouterr().out)[-1] == "failed: AssertionError: no verdict"


def test_what_can_t_be_installed_has_no_job(tried, capsys):
    assert tried("lab", installed=done(2, "error: hash mismatch\n"), job="never") == 1
    assert row_of("lab", capsys.readouterr().out)[-1] == "failed: error: hash mismatch"


def test_an_unknown_extra_is_refused_with_the_known(capsys):
    with pytest.raises(SystemExit):
        extras.main(["trian"])
    assert "no extra trian; known: core, train, judge" in capsys.readouterr().err


def test_a_file_with_two_names_counts_once(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 1_000_000)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    (tmp_path / "three").symlink_to(tmp_path / "one")
    assert extras.megabytes(tmp_path) == 1.0


def test_what_uv_had_to_fetch_is_read_from_its_words():
    assert extras.fetched("Prepared 12 packages in 1.2s\nInstalled 91 packages in 2s") == 12
    assert extras.fetched("Installed 91 packages in 2s") == 0


@pytest.mark.heavy
def test_a_job_runs_with_an_empty_home_and_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")
    shown = (
        "import os, sys; sys.exit(str(sorted(os.environ)) + str(os.listdir(os.environ['HOME'])))"
    )
    (tmp_path / "install").mkdir()
    (tmp_path / "install" / "jobs.py").write_text(shown)
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    (tmp_path / "scratch").mkdir()
    fault = extras.job("core", sys.executable, tmp_path / "scratch")
    assert "'HOME'" in fault and "OPENAI_API_KEY" not in fault and fault.endswith("[]")
