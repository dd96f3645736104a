"""What the notebooks share: parameters, the live picture, records."""

import nbformat
import papermill
import pytest

from curemed_utils import notebook, paths
from curemed_utils.paper import curves

STEPS = [{"step": n, "of": 4, "loss": 1 / n} for n in (1, 2, 3)]


# Parameters --------------------------------------------------------------------------------------


def test_parameters_are_the_annotated_names_with_the_values_that_count():
    namespace = {}
    exec("seed: int = 0  # the help\nsteps: int = 20\nlater: str", namespace)
    exec("steps = 3\nother = 5", namespace)
    assert notebook.parameters(namespace) == {"seed": 0, "steps": 3}


def test_a_notebook_without_annotations_has_no_parameters():
    assert notebook.parameters({"seed": 0}) == {}


@pytest.mark.heavy
def test_parameters_are_those_that_papermill_sets(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(
            "seed: int = 0\nsteps: int = 20", metadata={"tags": ["parameters"]}
        ),
        nbformat.v4.new_code_cell("from curemed_utils import notebook"),
        nbformat.v4.new_code_cell(
            "assert notebook.parameters(globals()) == {'seed': 0, 'steps': 3}"
        ),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"),
        str(tmp_path / "out.ipynb"),
        {"steps": 3},
        cwd=str(paths.ROOT),
        progress_bar=False,
    )


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_relative_paths_mean_the_same_in_jupyterlab_and_headless(tmp_path, folder):
    cell = nbformat.v4.new_code_cell(
        "from pathlib import Path\n"
        "from curemed_utils import notebook, paths\n"
        "run = notebook.setup(run_dir)\n"
        "assert Path('README.md').samefile(paths.ROOT / 'README.md')"
    )
    first = nbformat.v4.new_code_cell("run_dir: str = ''", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=[first, cell], metadata={"kernelspec": kernel})
    nbformat.write(book, tmp_path / "in.ipynb")
    files = [str(tmp_path / name) for name in ("in.ipynb", "out.ipynb")]
    options = dict(cwd=str(paths.ROOT / folder), progress_bar=False)
    papermill.execute_notebook(*files, {"run_dir": str(tmp_path / "run")}, **options)
    with pytest.raises(
        papermill.PapermillExecutionError, match="run_dir is 10: input should be a valid string"
    ):
        papermill.execute_notebook(*files, {"run_dir": 10}, **options)


# The live picture --------------------------------------------------------------------------------


class Shown:
    """Stands for IPython's display and for the handle that it returns."""

    def __init__(self):
        self.pictures = []

    def __call__(self, picture, raw, display_id):
        self.update(picture, raw)
        return self

    def update(self, picture, raw):
        self.pictures.append(picture)


@pytest.fixture
def shown(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(notebook, "display", shown)
    monkeypatch.setattr(notebook, "get_ipython", lambda: object())
    return shown


def test_a_stage_is_shown_in_one_output_that_is_not_drawn_at_every_step(shown):
    live = notebook.Live("sft")
    for record in STEPS * 100:
        live(record)
    assert len(shown.pictures) < 5
    assert shown.pictures[0]["text/plain"] == "sft: step 1 of 4"


def test_the_last_step_is_always_drawn(shown):
    live = notebook.Live("sft")
    for record in [*STEPS, {"step": 4, "of": 4, "loss": 0.2}]:
        live(record)
    assert shown.pictures[-1]["text/plain"] == "sft: step 4 of 4"


def test_nothing_is_shown_outside_a_notebook(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(notebook, "display", shown)
    monkeypatch.setattr(notebook, "get_ipython", lambda: None)
    notebook.Live("sft")(STEPS[0])
    assert not shown.pictures


def test_the_picture_has_a_bar_and_a_curve_with_alternative_text():
    html = curves.live(STEPS, "sft")
    assert '<progress value="3" max="4"' in html and "loss 0.333" in html
    assert 'alt="loss of sft by step"' in html


def test_a_first_step_has_no_curve_yet():
    assert "<img" not in curves.live(STEPS[:1], "sft")


# Records -----------------------------------------------------------------------------------------


def test_what_a_notebook_recorded_is_read_back_or_says_which_one_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is missing: run notebook 03 with the same"):
        notebook.summary(tmp_path, "03_code_switched_sft")
    notebook.record(tmp_path, "03_code_switched_sft", [tmp_path / "sft"], loss=0.5)
    made = notebook.summary(tmp_path, "03_code_switched_sft")
    assert made["loss"] == 0.5 and made["outputs"] == ["sft"]
    assert {"time", "commit", "versions"} <= set(made)
