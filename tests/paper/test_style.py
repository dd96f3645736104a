"""The same bytes everywhere."""

import os
import subprocess
import sys

import drawn
import pytest

from curemed_utils import paths
from curemed_utils.paper import style

SAVE = """
import sys
import drawn
from curemed_utils.paper import style
style.save({"x": drawn.figure(sys.argv[1])}, sys.argv[2])
"""


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["fig04_tradeoff", "fig02_code_switching"])
def test_two_processes_in_two_folders_write_the_same_bytes(tmp_path, name):
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.grid: True\nsavefig.dpi: 30\n")
    path = os.pathsep.join([str(paths.ROOT), str(paths.ROOT / "tests")])
    for folder, seed in ((paths.ROOT, "1"), (tmp_path, "2")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", SAVE, name, tmp_path / seed]
        subprocess.run(command, check=True, cwd=folder, env=environment)
    for file in ("x.pdf", "x.png"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "fig02_code_switching",
        "fig04_tradeoff",
        "fig06_medical_baselines",
        pytest.param("fig08_composition", marks=pytest.mark.heavy),
        pytest.param("table06_07_per_language", marks=pytest.mark.heavy),
    ],
)
def test_the_committed_figures_are_those_of_the_committed_tables(tmp_path, name):
    files = style.save({name: drawn.figure(name)}, tmp_path)
    assert [file.name for file in files] == [f"{name}.pdf", f"{name}.png"]
    for file in files:
        committed = (paths.FIGURES / file.name).read_bytes()
        assert file.read_bytes() == committed, "run make figures and commit what it draws"
