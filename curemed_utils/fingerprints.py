"""What a finished notebook rests on: where all that is the same, it isn't run again."""

import ast
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path

from curemed_utils import paths
from curemed_utils.evaluation import models
from curemed_utils.judge.models import LIMITS
from curemed_utils.parameters import complete, declared
from curemed_utils.training import checkpoints, stages

RULES = paths.beside(__file__, ".yaml")
# Of a stage, all that doesn't shape its weights.
NEVER_COUNT = {*RULES["never_count"], *stages.IDLE, *LIMITS}
for _kind in stages.KINDS:
    NEVER_COUNT |= {f"{_kind}_{name}" for name in stages.IDLE}
# They check answers and settings of a reader, and make no result.
CHECKS = ("curemed_utils.course.exercises", "curemed_utils.parameters")
DATA = re.compile(r'"([\w/]*\.\w+|ood|tasks)"')  # names of files, and two folders
STARTED = re.compile(r'"-m", "(curemed_utils\.\w+)"')
HIDDEN = re.compile(r"(^|/)(\.|__pycache__/)")
PACKAGE = Path(__file__).parent


def mark(name: str, directory: Path) -> Path:
    """The file that says with what a notebook of a run came to its end."""
    return paths.executed(directory, name).with_suffix(".done")


def is_done(name: str, parameters: dict, directory: Path) -> bool:
    """Whether the notebook came to its end with all this, and all that it made is there."""
    summary = paths.summary_file(directory, name)
    files = [mark(name, directory), summary, paths.executed(directory, name)]
    if not all(file.exists() for file in files):
        return False
    recorded = json.loads(summary.read_bytes())
    made = [directory / output for output in recorded["outputs"]]
    if recorded.get("unanswered") or not all(path.exists() for path in made):
        return False
    now = of_notebook(name, parameters, directory) + filled_in(name, directory)
    return files[0].read_text() == now


def of_notebook(name: str, given: dict, directory: Path) -> str:
    """A digest of notebook, modules and parameters, and of all that they read, by content."""
    notebook = paths.NOTEBOOKS / f"{name}.ipynb"
    parameters = complete(given, declared(notebook))
    cells = json.loads(notebook.read_bytes())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    counted = _that_count(parameters)
    release = os.environ.get("CUREMED_RELEASE")
    from_release = parameters.get("data_source") == "release"
    if release and (from_release or '"CUREMED_RELEASE"' in "".join(code)):
        counted["release"] = content(paths.resolve(release))
    parts = [json.dumps(counted, sort_keys=True, default=str)]
    for file in [notebook, *sorted(read_by(code))]:
        parts.append(f"{file.name} {content(file)}")
    for earlier in sorted(mark(name, directory).parent.glob("*.done")):
        if earlier.stem < name and name in RULES["read_by"].get(earlier.stem, [name]):
            parts.append(_results(earlier.stem, directory))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _that_count(parameters):
    counted = {}
    for name, value in parameters.items():
        if name in ("sft_options", "grpo_options", "judge_options"):
            counted[name] = {key: value[key] for key in value if key not in NEVER_COUNT}
        elif name not in NEVER_COUNT:
            counted[name] = _by_content(value) if name in RULES["files"] else value
    strategy = paths.PROFILES / "accelerate" / f"{parameters.get('strategy')}.yaml"
    counted["accelerate"] = content(strategy)
    for name in counted.get("baselines", []):
        counted[f"baseline {name}"] = _by_content(models.find(name).id)
    return counted


def _by_content(named):
    if isinstance(named, dict):
        return {key: _by_content(value) for key, value in named.items()}
    path = paths.resolve(named)
    return [path.name, content(path)] if named and path.exists() else named


def _results(name, directory):
    file = paths.summary_file(directory, name)
    if not file.exists():
        return ""
    summary = json.loads(file.read_bytes())
    results = {key: value for key, value in summary.items() if key not in RULES["made_when"]}
    results["outputs"] = {each: content(directory / each) for each in summary["outputs"]}
    return json.dumps(results, sort_keys=True)


def filled_in(name: str, directory: Path) -> str:
    """The content of the sheet that a notebook makes, people fill in, and it reads again."""
    sheet = paths.labels_file(directory)
    return content(sheet) if name == "09_trust" else ""


def content(path: Path) -> str:
    """A digest of a file, a checkpoint, or the files below a folder; empty if nothing is there."""
    if (path / "config.json").is_file():
        return checkpoints.identity(path) + content(path / "log.jsonl")
    if path.is_dir():
        inner = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        shown = sorted(name for name in inner if not HIDDEN.search(name))
        digests = [f"{name} {content(path / name)}" for name in shown]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_by(cells: list[str]) -> set[Path]:
    """The modules that cells import, directly or not, and the files that both name."""
    files = set()
    left = [(paths.NOTEBOOKS / "cell", re.sub(r"(?m)^\s*[%!].*", "", cell)) for cell in cells]
    while left:
        file, code = left.pop()
        if file.name != "paths.py":  # it names all, and reads none
            files |= _named_in(code, file)
        for module in {*map(_file_of, _imported_by(code))} - files - {None}:
            files.add(module)
            left.append((module, module.read_text(encoding="utf-8")))
    return files


@cache
def _imported_by(code):
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:  # the kernel will say so
        return []
    modules = [f"{name}.__main__" for name in STARTED.findall(code)]
    for node in nodes:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in modules if name.startswith("curemed_utils.")]


def _file_of(module):
    if module.startswith(CHECKS):
        return None
    path = PACKAGE.parent.joinpath(*module.split("."))
    for place in (path, path.parent):  # the last name may be one in a module
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _named_in(code, file):
    named, folders = set(), [file.parent]
    if "paths.SOURCE_DATA" in code:
        named.add(paths.SOURCE_DATA)
    if "paths.SAMPLE" in code:
        named |= {*paths.SAMPLE.glob("*.jsonl")}
        folders.append(paths.SAMPLE)
    for name in DATA.findall(code):
        places = [folder / name for folder in folders]
        if name.startswith("."):
            places = [file.with_suffix(name)]
        named |= {path for path in places if path.exists()}
    return named
