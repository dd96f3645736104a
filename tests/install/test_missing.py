"""Without an extra: what is missing is said with the command, before anything starts."""

import importlib.metadata
import json
import re
import runpy
import sys
import tomllib

import make
import pytest

from curemed_utils import (
    curation,
    data,
    extras,
    judge,
    languages,
    paths,
    ratings,
    run,
    training,
)
from curemed_utils.curation import medlineplus
from curemed_utils.data import export
from curemed_utils.evaluation import generation
from curemed_utils.training import launch

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BROUGHT = PROJECT["optional-dependencies"]
USED = ("train", "judge", "curate", "gpu", "qlora", "vllm")  # by the module's own code


def packages(extra):
    names = [re.match(r"[\w-]+", line)[0] for line in BROUGHT[extra]]
    return [name for name in names if name != PROJECT["name"]]


@pytest.fixture
def core(monkeypatch):
    """Nothing can be imported here but what core brings."""
    for extra in USED:
        for name in packages(extra):
            monkeypatch.setitem(sys.modules, name, None)


def says(extra, file="constraints.txt"):
    sync = f"`uv sync --locked --inexact --extra {extra}`"
    pip = f"`pip install --require-hashes -r {file}`"
    return rf"extra {extra} is not installed \(.*\): {sync}, {pip}, or all but vllm by `make setup`"


@pytest.mark.parametrize("extra", USED)
def test_the_packages_of_an_extra_are_those_of_pyproject(core, extra):
    file = "constraints-vllm.txt" if extra == "vllm" else "constraints.txt"
    with pytest.raises(ModuleNotFoundError, match=says(extra, file)) as caught:
        extras.need(extra)
    named = re.search(r"\((.*)\)", str(caught.value))[1]
    assert named.split(", ") == packages(extra)


@pytest.mark.parametrize("extra", [*USED, "lab"])
def test_nothing_is_missing_where_it_is_installed(extra):
    pytest.importorskip(packages(extra)[0])
    assert extras.fault(extra) == ""


def test_a_package_alone_is_looked_for(core):
    assert extras.fault("datasets").startswith("extra curate is not installed (datasets): ")
    assert extras.fault("openpyxl").startswith("extra curate is not installed (openpyxl): ")
    assert extras.fault("pandas") == extras.fault() == ""


def test_a_module_that_is_not_installed_itself_asks_for_nothing(core, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    assert extras.fault("train") == ""


# The chain, and a notebook by hand ---------------------------------------------------------------


def test_the_chain_says_which_notebooks_need_what_before_it_starts(core, tmp_path, capsys):
    assert run.main(["demo", "--run-dir", str(tmp_path / "run")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"error: notebooks 01, 02: {says('curate')}", first)
    assert re.fullmatch(f"notebooks 03, 04, 05, 06, 07, 10: {says('train')}", second)
    assert not (tmp_path / "run").exists()


def test_notebooks_of_the_core_are_not_held_up(core, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(run, "_chain", lambda given, *_, **__: ran.extend(given))
    assert run.main(["demo", "--only", "00", "08", "09", "--run-dir", str(tmp_path)]) == 0
    assert [name[:2] for name in ran] == ["00", "08", "09"]


def test_a_judge_is_missed_before_anything_starts(core, tmp_path, capsys):
    chosen = ["demo", "--only", "08", "--run-dir", str(tmp_path / "run")]
    assert run.main([*chosen, "-p", "judge_model", "gpt-4.1-mini"]) == 2
    expected = f"error: parameter judge_model is 'gpt-4.1-mini': {says('judge')}"
    assert re.fullmatch(expected, capsys.readouterr().err.strip())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", paths.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_by_hand_says_it_in_its_first_cells(core, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = json.loads(path.read_bytes())["cells"]
    cells = ["".join(cell["source"]) for cell in written if cell["cell_type"] == "code"]
    end = next(n for n, source in enumerate(cells) if "notebook.setup(" in source)
    assert end <= 2
    names = {"__annotations__": {}}
    needs = re.search(r'setup\(run_dir, "(\w+)"\)', cells[end])
    for source in cells[:end]:
        exec(source, names)
    names["run_dir"] = str(tmp_path)
    if needs is None:
        assert path.stem[:2] in ("00", "08", "09")
        return
    with pytest.raises(ModuleNotFoundError, match=says(needs[1])):
        exec(cells[end], names)


# From Python -------------------------------------------------------------------------------------


def judging(folder):
    judge.Judge("m", cache=folder / "judge.sqlite", base_url="http://127.0.0.1:9/v1")


def training_a_stage(folder):
    training.stage("sft", folder, "sft", start=folder)


def training_by_command(folder):
    runpy.run_module("curemed_utils.training", run_name="__main__")


def curating(folder):
    topics = list(medlineplus.read_topics(medlineplus.SAMPLE_TOPICS, []))
    with judge.Client(folder / "replies.sqlite", base_url="http://127.0.0.1:9/v1") as client:
        curation.curate(topics[:1], languages.NAMES[:1], client, curation.RECORDED)


def exporting(folder):
    export.export({"sft": [make.row()]}, folder / "dataset")


def loading(folder):
    data.read_hub(str(folder))


def rating(folder):
    ratings.example_sheets([make.row()], folder)


def generating(folder):
    settings = generation.GenerationSettings()
    next(generation.in_batches(folder, [[{"role": "user", "content": "?"}]], [0], settings))


def sharding(folder):
    launch.check_machines(1, 1, "zero3")


@pytest.mark.parametrize(
    ("use", "extra"),
    [
        (judging, "judge"),
        (curating, "judge"),
        (training_a_stage, "train"),
        (training_by_command, "train"),
        (generating, "train"),
        (exporting, "curate"),
        (loading, "curate"),
        (rating, "curate"),
        (sharding, "gpu"),
    ],
)
def test_what_an_extra_is_for_says_so_without_it(core, use, extra, tmp_path):
    with pytest.raises(ModuleNotFoundError, match=says(extra)):
        use(tmp_path)
    assert not list(tmp_path.glob("*/*.parquet"))
