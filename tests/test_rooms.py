"""The rooms: which may import which, what they show, how large they are."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import curemed_utils
from curemed_utils import paths

MODULE = Path(curemed_utils.__file__).parent
FILES = sorted(MODULE.rglob("*.py"))
ROOMS = sorted(file.parent.name for file in MODULE.glob("*/__init__.py"))
LONGEST = 300  # lines


def name_of(file: Path) -> str:
    return file.relative_to(MODULE).as_posix()


def room_of(module: str) -> str:
    """The room of a module's full name, or the file at the front door."""
    return module.split(".")[1]


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = ["lint-imports", "--no-cache", "--config", str(paths.ROOT / "pyproject.toml")]
    program = str(Path(sys.executable).with_name(command[0]))
    return subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copied(tmp_path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "sample")
    shutil.copytree(MODULE, tmp_path / "curemed_utils", ignore=ignored)
    return tmp_path


def test_the_directions_hold(copied):
    done = lint(copied)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("data/rows.py", "from curemed_utils.training import stages"),
        ("training/launch.py", "from curemed_utils import paper"),
        ("evaluation/verdicts.py", "from curemed_utils import run"),
    ],
)
def test_a_forbidden_import_is_named(copied, file, line):
    with (copied / "curemed_utils" / file).open("a", encoding="utf-8") as opened:
        opened.write(f"\n{line}\n")
    done = lint(copied)
    assert done.returncode == 1
    assert f"curemed_utils.{file.removesuffix('.py').replace('/', '.')} ->" in done.stdout


def private_names(file: Path) -> list[str]:
    """The underscore names of other rooms that a file uses."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules, private = set(), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("curemed_"):
            continue
        for alias in node.names:
            modules.add(alias.asname or alias.name)
            if alias.name.startswith("_"):
                private.append(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id in modules and node.attr.startswith("_"):
            private.append(f"{node.value.id}.{node.attr}")
    public = ("_fields", "_replace", "_asdict")  # of named tuples
    return [name for name in private if "__" not in name and not name.endswith(public)]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_private_name_crosses_a_file(file):
    assert private_names(file) == []


def test_private_names_would_be_found(tmp_path):
    file = tmp_path / "one.py"
    file.write_text(
        "from curemed_utils import data\nfrom curemed_utils.data import _x\ndata._y()\n"
    )
    assert private_names(file) == ["curemed_utils.data._x", "data._y"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_at_most_ten_names(room):
    tree = ast.parse((MODULE / room / "__init__.py").read_text(encoding="utf-8"))
    names = [a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert len(names) <= 10


def test_rooms_load_without_torch():
    imports = ", ".join(f"curemed_utils.{room}" for room in ROOMS)
    check = "assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys, {imports}; {check}"], check=True)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_short(file):
    n_lines = len(file.read_text(encoding="utf-8").splitlines())
    assert n_lines <= LONGEST


def test_half_of_the_lines_are_under_60_characters():
    lines = [line for file in FILES for line in file.read_text(encoding="utf-8").splitlines()]
    lengths = sorted(map(len, lines))
    assert lengths[len(lengths) // 2] < 60


def test_the_walk_of_a_row_names_functions_that_there_are():
    text = (paths.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    hops = re.findall(r"^\| \d+ \| `([\w/]+\.py): ([\w.]+)`", text, re.MULTILINE)
    assert 10 < len(hops) <= 25
    for file, name in hops:
        tree = ast.parse((MODULE / file).read_text(encoding="utf-8"))
        for part in name.split("."):
            (tree,) = [node for node in tree.body if getattr(node, "name", "") == part]


def test_readme_prints_the_tree_of_a_run():
    assert paths.run_tree() in (paths.ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_fits_on_a_few_screens():
    assert len((paths.ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_the_package_holds_every_file_beside_its_code():
    """What pyproject.toml says is installed: a wheel without a data file fails at its first use."""
    with (paths.ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["curemed_utils"]
    package = paths.ROOT / "curemed_utils"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    present = {path for path in package.rglob("*.*") if path.is_file()}
    code = {path for path in present if path.suffix in (".py", ".pyc")}
    assert present - code <= installed
