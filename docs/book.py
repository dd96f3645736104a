"""The executed notebooks and the guides as a web site that needs no network.

`python docs/book.py [RUN_DIR] [--output DIR]`; how it looks is in `conf.py`.
"""

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

import chapters
import links
import nbformat
from sphinx.application import Sphinx
from sphinx.util.console import strip_escape_sequences
from sphinx.util.docutils import docutils_namespace

from curemed_utils import paths, run

PAGES = ("*.md", "docs", "notebooks", "papermill_params")
LINKED = (  # pages link to files in them
    "curemed_utils",
    "figures",
    "benchmarks",
    "tests",
    "install",
    "LICENSE",
    "CITATION.cff",
    "Makefile",
    "pyproject.toml",
    "*.txt",
    "*.yml",
)
TINY = (
    "tiny: about one million parameters, made from scratch in minutes on a CPU. "
    "It shows the method at work and knows no medicine"
)


class BookError(Exception):
    """A run that is not whole, a page with a fault, or an output folder that is no book."""


def build(run_dir: str | Path = "", output: str | Path = "") -> Path:
    """Builds the site of a run (empty: the demo's) in `output` (empty: runs/book).

    Returns its first page. BookError: a notebook is missing or not run to its end, `output`
    holds something else than a book, or a page has a fault, such as a dead link, a figure
    without alt text or a formula that can't be drawn.
    """
    run_dir = Path(run_dir or paths.runs() / "demo").expanduser().resolve()
    output = Path(output or paths.runs() / "book").expanduser().resolve()
    check_output(output)
    notebooks = executed(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        source, site = Path(folder, "source"), Path(folder, "html")
        collect(notebooks, source)
        course = chapters.chapters(notebooks, source / "docs" / "pictures")
        words = {"model": model_of(notebooks), "course": chapters.course(course)}
        words["ways"] = chapters.ways(course)
        faults = draw(source, site, words) or "\n".join(links.site_faults(site))
        if faults:
            raise BookError(f"the book has faults:\n{faults}")
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(site, output)
    return output / "index.html"


def check_output(output: Path) -> None:
    """Raises BookError where something would be overwritten that is no book."""
    is_book = (output / ".buildinfo").exists()
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not is_book):
        raise BookError(
            f"{paths.show(output)} holds something else than a book; choose another --output"
        )


def executed(run_dir: Path) -> dict[str, nbformat.NotebookNode]:
    """The executed notebooks of a run by name, without this machine's paths."""
    notebooks, faults = {}, []
    for name in (path.stem for path in paths.notebooks()):
        file = paths.executed(run_dir, name)
        if not file.exists():
            faults.append(f"{name} is missing")
            continue
        notebooks[name] = nbformat.reads(without_paths(file, run_dir), as_version=4)
        if not ran_to_its_end(notebooks[name]):
            faults.append(f"{name} was not run to its end")
    if faults:
        raise BookError(
            f"{paths.show(run_dir)} holds no whole run: {', '.join(faults)}; `make demo` makes one"
        )
    return notebooks


def without_paths(file: Path, run_dir: Path) -> str:
    """The text of an executed notebook, scrubbed of secrets and of where it was run."""
    text = run.scrub(file.read_text(encoding="utf-8"))
    text = text.replace(run.scrub(f"{paths.ROOT}/"), "")
    return text.replace(run.scrub(str(run_dir)), run_dir.name)


def ran_to_its_end(notebook: nbformat.NotebookNode) -> bool:
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed or not cell.execution_count:
            return False
    return True


def collect(notebooks: dict[str, nbformat.NotebookNode], source: Path) -> None:
    """A copy of the repository with the executed notebooks in place of the bare ones."""
    source.mkdir(parents=True)
    copied = [path for pattern in (*PAGES, *LINKED) for path in paths.ROOT.glob(pattern)]
    for path in copied:
        if path.is_dir():
            unread = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, source / path.name, ignore=unread)
        else:
            shutil.copy(path, source)
    shutil.copy(paths.ROOT / "docs" / "index.md", source / "index.md")
    for name, notebook in notebooks.items():
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")


def model_of(notebooks: dict[str, nbformat.NotebookNode]) -> str:
    """What the start page says about the model of the run."""
    for notebook in notebooks.values():
        parameters = notebook.metadata.get("papermill", {}).get("parameters", {})
        model = parameters.get("model_id", "tiny")
        if model != "tiny":
            return f"{model}, trained further"
    return TINY


def draw(source: Path, site: Path, words: dict[str, str]) -> str:
    """Has Sphinx write the site; returns the faults of the pages, empty if there are none."""
    warnings = io.StringIO()
    with docutils_namespace():
        app = Sphinx(
            source,
            paths.ROOT / "docs",
            site,
            source.with_name("doctrees"),
            "html",
            {"myst_substitutions": words},
            status=None,
            warning=warnings,
            warningiserror=True,
            parallel=2,
        )
        app.build(force_all=True)
    if not app.statuscode:
        return ""
    return strip_escape_sequences(warnings.getvalue()).replace(f"{source}/", "")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make a web site of a run's notebooks.")
    parser.add_argument("run_dir", nargs="?", default="", help="a whole run (default: runs/demo)")
    parser.add_argument("--output", default="", help="where it goes (default: runs/book)")
    args = parser.parse_args(argv)
    try:
        page = build(args.run_dir, args.output)
    except BookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"open {paths.show(page)} in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
