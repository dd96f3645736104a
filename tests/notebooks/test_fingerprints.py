"""What a finished notebook rests on, and what it doesn't."""

import json
import os
import shutil
from pathlib import Path

import pytest

from curemed_utils import fingerprints, paths

NAMES = [path.stem for path in paths.notebooks()]
PACKAGE = fingerprints.PACKAGE


def cells_of(name: str) -> list[str]:
    notebook = json.loads((paths.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in code]


READ = {name[:2]: fingerprints.read_by(cells_of(name)) for name in NAMES}


def readers(path: Path) -> str:
    """The numbers of the notebooks that read a file."""
    return " ".join(number for number, files in READ.items() if path in files)


@pytest.mark.parametrize(
    ("file", "numbers"),
    [
        ("course/answers.py", ""),
        ("paper/claims.py", "08"),
        ("paper/tables.yaml", "08"),
        ("training/process.py", "03 04 05 06 10"),
        ("evaluation/models.yaml", "07"),
        ("evaluation/ablation.py", "10"),
        ("curation/pipeline.py", "01"),
        ("sample/recorded/replies.jsonl", "01"),
        ("sample/topics.xml", "01"),
        ("sample/ood", "07"),
        ("ratings/instructions.yaml", "02"),
        ("audit/checks.yaml", "01 02"),
        ("language_id.yaml", "00 01 02 03 04 05 06 07 08 09 10"),
    ],
)
def test_a_file_counts_for_the_notebooks_that_read_it(file, numbers):
    assert (PACKAGE / file).exists()
    assert readers(PACKAGE / file) == numbers


def test_published_numbers_count_where_they_are_shown():
    assert readers(paths.SOURCE_DATA) == "00 01 02 06 07 08 09 10"


def test_no_file_of_the_package_is_forgotten():
    every = set().union(*READ.values())
    rest = []
    for file in sorted(PACKAGE.rglob("*")):
        covered = {file, *file.parents} & every
        if file.is_file() and "__pycache__" not in file.parts and not covered:
            rest.append(file.relative_to(PACKAGE).as_posix())
    by_design = {  # exercises, the chain itself, what people read
        "__init__.py",
        "course/__init__.py",
        "course/answers.py",
        "course/cases.yaml",
        "course/exercises.py",
        "course/inspections.py",
        "course/inspections.yaml",
        "course/mistakes.yaml",
        "course/morals.yaml",
        "course/tolerances.yaml",
        "curation/__init__.py",
        "fingerprints.py",
        "fingerprints.yaml",
        "judge/__main__.py",  # for users
        "parameters.py",
        "run.py",
        "run_directory.txt",
        "sample/README.md",
    }
    assert set(rest) <= by_design, set(rest) - by_design


# Fingerprints of a run ---------------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """A run of which notebooks 01 to 07 came to their end."""
    directory = tmp_path / "run"
    for name in NAMES[:8]:
        finish(name, directory, "same")
    return directory


def finish(name: str, directory: Path, result: str, **summary) -> None:
    output = directory / "made" / f"{name}.txt"
    files = [output, paths.summary_file(directory, name), fingerprints.mark(name, directory)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(result)
    outputs = [output.relative_to(directory).as_posix()]
    summary = {"time": os.urandom(4).hex(), "commit": "x", "outputs": outputs} | summary
    files[1].write_text(json.dumps(summary))
    files[2].write_text("a mark")
    paths.executed(directory, name).write_text("")


def all_of(directory: Path, **given) -> dict[str, str]:
    """The fingerprint of every notebook."""
    return {name[:2]: fingerprints.of_notebook(name, given, directory) for name in NAMES}


def changed(before: dict, after: dict) -> str:
    return " ".join(number for number in before if before[number] != after[number])


def test_another_content_of_the_same_size_and_time_is_noticed_where_it_is_read(run_dir, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("a")
    given = {"questions_file": str(file), "ood_data": {"MedQA": str(file)}}
    before, stat = all_of(run_dir, **given), file.stat()
    file.write_text("b")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed(before, all_of(run_dir, **given)) == "07"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("questions_file", "07"),
        ("topics_file", "01"),
        ("hub_dataset", "01"),
        ("ratings_dir", "02"),
        ("model_id", "03"),
    ],
)
def test_a_folder_counts_by_the_content_of_its_files(run_dir, tmp_path, name, number):
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    (folder / "one").write_text("a")
    given = {name: str(tmp_path / "folder")}
    before = all_of(run_dir, **given)
    (folder / ".DS_Store").write_text("of the machine")
    assert all_of(run_dir, **given) == before
    (folder / "one").write_text("b")
    assert changed(before, all_of(run_dir, **given)) == number


def test_a_moved_run_and_a_moved_file_are_the_same(run_dir, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.jsonl").write_text("a")
    before = all_of(run_dir, questions_file=str(tmp_path / "here" / "mine.jsonl"))
    run_dir.rename(tmp_path / "renamed")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = str(tmp_path / "there" / "mine.jsonl")
    after = all_of(tmp_path / "renamed", questions_file=moved, run_dir="elsewhere")
    assert after == before


@pytest.mark.parametrize(
    "given",
    [
        {"judge_max_usd": 40.0},
        {"curation_max_usd": 1.0},
        {"eval_max_usd": 1.0},
        {
            "sft_options": {
                "scheduler": "constant_with_warmup",
                "warmup": 0.05,
                "report_to": "wandb",
            }
        },
        {
            "grpo_options": {
                "weight_decay": 0.0,
                "loss_type": "dapo",
                "beta": 1e-6,
                "judge_cache": "x.sqlite",
            }
        },
        {"sft_save_steps": 5, "grpo_save_steps": 5, "grpo_micro_batch": 8},
        {"run_dir": "elsewhere"},
        {"judge_options": {"requests_per_minute": 60, "timeout": 9, "served": "x"}},
    ],
)
def test_a_cap_a_logger_a_path_runs_nothing_again(run_dir, given):
    assert all_of(run_dir, **given) == all_of(run_dir)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"sft_learning_rate": 0.004}, "03"),
        ({"judge_options": {"max_completion_tokens": 4000}}, "04 05 06 07 09 10"),
        ({"grpo_options": {"beta": 0.1}}, "04 05 06"),
        ({"eval_samples": 3}, "07 10"),
        ({"strategy": "zero3"}, "03 04 05 06 10"),
        ({"questions_file": "mine.jsonl"}, "07"),
    ],
)
def test_a_setting_runs_the_notebooks_that_have_it(run_dir, given, numbers):
    assert changed(all_of(run_dir), all_of(run_dir, **given)) == numbers


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("01_data_curation", "02 03 04 05 06 07 08 09 10"),
        ("02_verification_stats", ""),
        ("05_grpo_stage2_medium", "06 07 08 09 10"),
        ("07_evaluation", "08 09"),
    ],
)
def test_results_count_for_those_that_read_them(run_dir, name, numbers):
    before = all_of(run_dir)
    finish(name, run_dir, "same")  # made again, with the same results
    assert all_of(run_dir) == before
    finish(name, run_dir, "other")
    assert changed(before, all_of(run_dir)) == numbers
    finish(name, run_dir, "same", lab=0.5)
    assert changed(before, all_of(run_dir)) == numbers


def test_a_summary_that_was_lost_is_another_result(run_dir):
    before = all_of(run_dir)
    paths.summary_file(run_dir, "07_evaluation").unlink()
    assert changed(before, all_of(run_dir)) == "08 09"


def test_other_logs_of_a_stage_trained_again_are_other_results(tmp_path):
    folder = tmp_path / "sft"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "stage.json").write_text('{"fingerprint": "x"}')
    (folder / "log.jsonl").write_text('{"loss": 1}')
    before = fingerprints.content(folder)
    (folder / "log.jsonl").write_text('{"loss": 2}')
    assert fingerprints.content(folder) != before


def test_the_folder_of_a_baseline_counts_by_content(run_dir, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "weights").write_text("a")
    models = tmp_path / "models.yaml"
    models.write_text(f"- {{name: Mine, id: {folder}, size_class: small}}")
    monkeypatch.setattr(fingerprints.models, "MODELS", models)
    before = all_of(run_dir, baselines=["Mine"])
    (folder / "weights").write_text("b")
    assert changed(before, all_of(run_dir, baselines=["Mine"])) == "07"


def test_released_data_count_where_they_are_read(run_dir, tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "rows").write_text("a")
    monkeypatch.setenv("CUREMED_RELEASE", str(tmp_path / "datasets"))
    of_sample, of_release = all_of(run_dir), all_of(run_dir, data_source="release")
    (tmp_path / "datasets" / "rows").write_text("b")
    assert changed(of_sample, all_of(run_dir)) == "02 09"
    of_moved = all_of(run_dir, data_source="release")
    assert changed(of_release, of_moved) == "01 02 09"
    (tmp_path / "datasets").rename(tmp_path / "renamed")
    monkeypatch.setenv("CUREMED_RELEASE", str(tmp_path / "renamed"))
    assert all_of(run_dir, data_source="release") == of_moved


def test_a_notebook_with_unanswered_questions_is_not_done(run_dir):
    name = "07_evaluation"
    now = fingerprints.of_notebook(name, {}, run_dir)
    fingerprints.mark(name, run_dir).write_text(now)
    assert fingerprints.is_done(name, {}, run_dir)
    finish(name, run_dir, "same", unanswered=2)
    fingerprints.mark(name, run_dir).write_text(now)
    assert not fingerprints.is_done(name, {}, run_dir)


def test_a_sheet_that_people_filled_in_is_read_again_and_nothing_else_is(run_dir):
    sheet = paths.labels_file(run_dir)
    sheet.parent.mkdir()
    finish("09_trust", run_dir, "same")
    made_from = fingerprints.of_notebook("09_trust", {}, run_dir)
    sheet.write_text("id,label\n1,\n")  # by the notebook
    done = made_from + fingerprints.filled_in("09_trust", run_dir)
    fingerprints.mark("09_trust", run_dir).write_text(done)
    assert fingerprints.is_done("09_trust", {}, run_dir)
    before = all_of(run_dir)
    sheet.write_text("id,label\n1,yes\n")
    assert not fingerprints.is_done("09_trust", {}, run_dir)
    assert all_of(run_dir) == before


def test_a_changed_module_or_its_data_is_noticed(run_dir, tmp_path, monkeypatch):
    shutil.copytree(PACKAGE, tmp_path / "curemed_utils", ignore=shutil.ignore_patterns("sample"))
    monkeypatch.setattr(fingerprints, "PACKAGE", tmp_path / "curemed_utils")
    before = all_of(run_dir)
    for file, numbers in {
        "course/answers.py": "",
        "paper/claims.py": "08",
        "ratings/instructions.yaml": "02",
        "training/trainers.py": "03 04 05 06 10",
    }.items():
        with (tmp_path / "curemed_utils" / file).open("a") as opened:
            opened.write("\n# a comma")
        after = all_of(run_dir)
        assert changed(before, after) == numbers, file
        before = after


def test_cells_that_are_no_python_are_the_kernels_business():
    cells = ["%matplotlib inline\nfrom curemed_utils import languages", "def broken(:", "!ls"]
    names = ("languages.py", "languages.yaml", "paths.py")
    assert fingerprints.read_by(cells) == {PACKAGE / name for name in names}
