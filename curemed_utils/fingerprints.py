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
from curemed_utils.parameters import FILES, complete, declared
from curemed_utils.training import checkpoints, stages

# Results that few notebooks read; those of the others are read by all later ones.
READ_BY = {
    "00_start_here": (),
    "02_verification_stats": (),
    "07_evaluation": ("08_figures", "09_trust"),
    "08_figures": (),
    "09_trust": (),
}
MADE_WHEN = ("time", "commit", "versions")  # in a summary, no results
NEVER_COUNT = {"run_dir", "curation_max_usd", "eval_max_usd", "judge_max_usd"}
BY_CONTENT = {*FILES, "model_id", "hub_dataset", "ood_data"}  # where such a file or folder is there
# They check answers and settings of a reader, and make no result.
CHECKS = ("curemed_utils.course.exercises", "curemed_utils.parameters")
IN_REPOSITORY = re.compile(r'paths\.(SAMPLE|SOURCE_DATA)((?: / "[\w./]+")*)')
BESIDE = re.compile(r'\(__file__\)\.(?:with_name\(|parent / )"([\w./]+)"')
SUFFIX = re.compile(r'\(__file__\)\.with_suffix\("([\w.]+)"\)')
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
    recorded = json.loads(summary.read_text(encoding="utf-8"))
    made = [directory / output for output in recorded["outputs"]]
    if recorded.get("unanswered") or not all(path.exists() for path in made):
        return False
    return files[0].read_text() == of_notebook(name, parameters, directory)


def of_notebook(name: str, given: dict, directory: Path) -> str:
    """A digest of notebook, modules and parameters, and of all that they read, by content."""
    notebook = paths.NOTEBOOKS / f"{name}.ipynb"
    parameters = complete(given, declared(notebook))
    parts = [content(notebook), json.dumps(_that_count(parameters), sort_keys=True, default=str)]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for file in sorted(read_by(code)):
        parts.append(f"{file.name} {content(file)}")
    if parameters.get("data_source") == "release" or '"CUREMED_RELEASE"' in "".join(code):
        folder = os.environ.get("CUREMED_RELEASE", "")
        parts.append(content(paths.resolve(folder)) if folder else "")
    for earlier in sorted(mark(name, directory).parent.glob("*.done")):
        if earlier.stem < name and name in READ_BY.get(earlier.stem, [name]):
            parts.append(_results(earlier.stem, directory))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _that_count(parameters: dict) -> dict:
    """Without caps, loggers, places; with the content of what is named."""
    counted = {name: value for name, value in parameters.items() if name not in NEVER_COUNT}
    for kind in stages.KINDS:
        for name in stages.IDLE:
            counted.pop(f"{kind}_{name}", None)
        options = counted.get(f"{kind}_options", {})
        counts = [name for name in options if name not in stages.IDLE]
        counted[f"{kind}_options"] = {name: options[name] for name in counts}
    for name in BY_CONTENT & {*counted}:
        counted[name] = _by_content(counted[name])
    for name in counted.get("baselines", []):
        model = models.load_models().get(name)
        counted[f"baseline {name}"] = model and _by_content(model.id)
    strategy = counted.get("strategy", "none")
    counted["accelerate"] = content(paths.PROFILES / "accelerate" / f"{strategy}.yaml")
    return counted


def _by_content(named: str | dict) -> str | dict:
    if isinstance(named, dict):
        return {key: _by_content(value) for key, value in named.items()}
    path = paths.resolve(named)
    return [path.name, content(path)] if named and path.exists() else named


def _results(name: str, directory: Path) -> str:
    """What an earlier notebook left: its numbers, and its outputs by content."""
    file = paths.summary_file(directory, name)
    if not file.exists():
        return ""
    summary = json.loads(file.read_text(encoding="utf-8"))
    results = {key: value for key, value in summary.items() if key not in MADE_WHEN}
    results["outputs"] = {each: content(directory / each) for each in summary["outputs"]}
    return json.dumps(results, sort_keys=True)


def content(path: Path) -> str:
    """A digest of a file, a checkpoint, or the files below a folder; empty if nothing is there."""
    if (path / "config.json").is_file():
        return checkpoints.identity(path) + content(path / "log.jsonl")
    if path.is_dir():
        inner = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
        shown = [file for file in inner if not HIDDEN.search(file.as_posix())]
        digests = [f"{file.as_posix()} {content(path / file)}" for file in shown]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_by(cells: list[str]) -> set[Path]:
    """The modules that cells import, directly or not, and the files that both name."""
    files, left = set(), []
    for cell in cells:
        code = re.sub(r"(?m)^\s*[%!].*", "", cell)
        files |= _named_in(code, paths.NOTEBOOKS / "cell")
        left += _imported_by(code)
    while left:
        file = left.pop()
        if file not in files:
            files.add(file)
            text = file.read_text(encoding="utf-8")
            files |= _named_in(text, file)
            left += _imported_by(text)
    return files


def _imported_by(code: str) -> list[Path]:
    files = []
    for module in _modules(code):
        if module.startswith("curemed_utils.") and not module.startswith(CHECKS):
            path = PACKAGE.parent.joinpath(*module.split("."))
            places = [path.with_suffix(".py"), path / "__init__.py"]  # or a name in one of these:
            places += [path.parent.with_suffix(".py"), path.parent / "__init__.py"]
            files += [place for place in places if place.is_file()][:1]
    return files


@cache
def _modules(code: str) -> list[str]:
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
    return modules


def _named_in(code: str, file: Path) -> set[Path]:
    if file.name == "paths.py":  # it names all, and reads none
        return set()
    named = {file.with_suffix(ending) for ending in SUFFIX.findall(code)}
    named |= {file.parent / name for name in BESIDE.findall(code)}
    for folder, inner in IN_REPOSITORY.findall(code):
        path = getattr(paths, folder).joinpath(*re.findall(r'"(.+?)"', inner))
        named |= {*path.glob("*.jsonl")} if path == paths.SAMPLE else {path}
    return {path for path in named if path.exists()}
