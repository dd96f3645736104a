"""The shape of the notebooks, the parameter files and the packages: what every one of them has to
keep to.
"""

import ast
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from curemed_utils import parameters, paths, run

NOTEBOOKS = paths.notebooks()
KNOWN = run.known_parameters()


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters_cell(notebook):
    return next(
        cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])
    )


def test_there_are_eleven_numbered_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(11)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestShape:
    def test_it_is_valid_and_carries_no_outputs(self, path):
        notebook = read(path)
        nbformat.validate(notebook)
        assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))
        assert notebook.metadata.kernelspec.name == "python3"

    def test_it_has_one_parameters_cell(self, path):
        tagged = [
            cell for cell in read(path).cells if "parameters" in cell.metadata.get("tags", [])
        ]
        assert len(tagged) == 1

    def test_its_cells_are_few_and_short(self, path):
        cells = code_cells(read(path))
        assert 12 <= len(cells) <= 25
        tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        assert max(len(cell.source.splitlines()) for cell in cells if cell not in tagged) <= 25
        assert len(tagged[0].source.splitlines()) <= 26  # a line each, like a command line
        lines = [
            line
            for cell in cells
            if "parameters" not in cell.metadata.get("tags", [])
            for line in cell.source.splitlines()
        ]
        assert max(map(len, lines)) <= 100

    def test_it_has_as_much_prose_as_code(self, path):
        notebook = read(path)
        prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        code = [cell.source for cell in code_cells(notebook)]
        words, letters = (
            sum(len(part.split()) for part in prose),
            sum(len(part) for part in prose),
        )
        assert words >= max(300, sum(len(part.split()) for part in code)) and letters >= sum(
            len(part) for part in code
        )

    def test_it_goes_from_question_and_goals_to_checks_findings_and_exercises(self, path):
        prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
        assert re.match(r"# \d\d · .+\n\n\*\*.+\?\*\*", prose)
        parts = [
            "**Paper**",
            "**Needs**",
            "**Makes**",
            "**Hardware, time**",
            "**Learning goals.**",
            "## Checks",
            "## Exercises",
        ]
        if path.name[:2] != "00":  # which is the map, and has its findings before its checks
            parts.insert(-1, "## What the paper found, what the demo shows, what it can't")
        places = [prose.index(part) for part in parts]
        assert places == sorted(places)
        for part in ("**The paper found**", "**The demo shows**", "**It can't show**", "<details>"):
            assert part in prose

    def test_its_checks_can_fail(self, path):
        assert any(
            isinstance(node, ast.Assert)
            for cell in code_cells(read(path))
            for node in ast.walk(ast.parse(cell.source))
        )

    def test_its_parameters_are_literals_with_type_and_help(self, path):
        for line in parameters_cell(read(path)).source.splitlines():
            name, help_text = line.split("  # ")
            node = ast.parse(name).body[0]
            assert isinstance(node, ast.AnnAssign), line
            assert node.annotation.id in parameters.TYPES
            parameters.check_parameters({node.target.id: ast.literal_eval(node.value)}, KNOWN)
            assert help_text

    def test_headings_step_down_one_level_at_a_time(self, path):
        prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
        levels = [len(mark) for mark in re.findall(r"^(#+) ", prose, re.MULTILINE)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("number", ["05", "06"])
def test_the_curriculum_s_notebooks_fit_an_hour_each(number):
    """130 words of prose and one cell a minute, and the exercises' own minutes."""
    cells = read(next(path for path in NOTEBOOKS if path.name.startswith(number))).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    tasks = [int(n) for n in re.findall(r"^### \d · .*\((\d+) min\)", prose, re.MULTILINE)]
    n_cells = sum(cell.cell_type == "code" for cell in cells) - len(tasks)
    assert len(prose.split()) / 130 + n_cells + sum(tasks) <= 60


@pytest.mark.parametrize(
    ("number", "formula", "code"),
    [
        ("00", r"\lambda_\text{acc} R_\text{acc}", "rewards.composite(parts)"),
        ("03", r"\mathcal{L}_\text{SFT} = -\log p_\theta", "math.log(p) for p in probabilities"),
        ("04", r"\qquad (1)", "show_source(rewards.accuracy_reward)"),
        ("04", r"\qquad (2)", "show_source(rewards.language_reward)"),
        ("04", r"\qquad (3)", "show_source(rewards.format_reward)"),
        ("04", r"\qquad (4)", "rewards.composite(scores)"),
        ("04", r"\hat A_i = \frac", "def advantages("),
        ("04", r"\mathcal{J}(\theta)", "def objective("),
        ("05", r"\mathcal{D}_i = \alpha\, \mathcal{D}_{i-1}", "show_source(curricula.mixture)"),
    ],
)
def test_every_formula_of_the_paper_stands_before_the_code_that_computes_it(number, formula, code):
    cells = read(next(path for path in NOTEBOOKS if path.name.startswith(number))).cells
    (stated,) = [
        n for n, cell in enumerate(cells) if cell.cell_type == "markdown" and formula in cell.source
    ]
    computed = next(
        n
        for n, cell in enumerate(cells)
        if n > stated and cell.cell_type == "code" and code in cell.source
    )
    assert computed - stated <= 5


@pytest.mark.parametrize("path", sorted(paths.PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_names_only_known_parameters_of_the_right_type(path):
    run.check_parameters(run.read_profile(path.stem), KNOWN)


def test_the_notebooks_own_defaults_are_the_demo():
    profile = run.read_profile("demo")
    for path in NOTEBOOKS:
        for node in ast.parse(parameters_cell(read(path)).source).body:
            if node.target.id in profile:
                assert ast.literal_eval(node.value) == profile[node.target.id], (
                    f"{path.stem}: {node.target.id}"
                )


def test_a_parameter_means_the_same_in_every_notebook():
    helps = {}
    for path in NOTEBOOKS:
        for line in parameters_cell(read(path)).source.splitlines():
            name = line.split(":")[0]
            helps.setdefault(name, set()).add(line.split(" = ")[0])
    assert {name: types for name, types in helps.items() if len(types) > 1} == {}


def test_no_text_file_names_a_package_index_or_a_private_path():
    tracked = [
        p
        for pattern in ("*.py", "*.md", "*.yaml", "*.yml", "*.toml", "Makefile")
        for p in paths.ROOT.glob(pattern)
    ]
    tracked += [
        p
        for folder in ("curemed_utils", "papermill_params", "notebooks")
        for p in (paths.ROOT / folder).rglob("*")
        if p.is_file()
    ]
    private = re.compile(
        rf"{re.escape(str(Path.home()))}/|/home/\w|files\.pythonhosted|pypi\.org/simple"
    )
    assert [
        p.name
        for p in tracked
        if p.suffix != ".pyc" and private.search(p.read_text(encoding="utf-8"))
    ] == []


def test_notebook_07_stops_at_rows_that_were_not_answered_once(make_row):
    """The assertions before its intervals, on tables with a hole, a double, another set's rows."""
    cells = code_cells(read(paths.NOTEBOOKS / "07_evaluation.ipynb"))
    (source,) = [cell.source for cell in cells if "model_and_run" in cell.source]
    check = "\n".join(source.splitlines()[1:5])
    rows = [make_row(n) for n in range(3)]
    lines = [{"id": row.id, "sample": run} for run in (0, 1) for row in rows]
    whole = pd.DataFrame(lines).assign(model="m", seed=0, finish_reason="stop")
    exec(check, {"test": whole, "sets": {"test": rows}})
    foreign, silent = whole.assign(id="x"), whole.assign(finish_reason=None)
    for faulty in (whole[1:], pd.concat([whole, whole[:1]]), foreign, silent):
        with pytest.raises(AssertionError, match=r"not answered once|why it ended"):
            exec(check, {"test": faulty, "sets": {"test": rows}})


def test_the_probe_asks_as_often_as_notebook_07():
    default = KNOWN["07_evaluation"]["eval_samples"].default
    for number in ("05", "06"):
        cells = read(next(path for path in NOTEBOOKS if path.name.startswith(number))).cells
        assert any(f"samples={default}," in cell.source for cell in cells)
