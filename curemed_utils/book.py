"""The executed notebooks and the guides as a web site that needs no network: `python -m curemed_utils.book [RUN_DIR] [--output DIR]`."""

import argparse
import base64
import hashlib
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.util.console import strip_escape_sequences
from sphinx.util.docutils import docutils_namespace

from curemed_utils import paths, run

GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "papermill_params/README.md",
    "papermill_params/slurm/README.md",
    "curemed_utils/sample/README.md",
)
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)[^)]*\)")
WIDGET = "application/vnd.jupyter.widget-view+json"
SETTINGS = {
    "project": "CURE-Med Workbook",
    "html_title": "CURE-Med Workbook",
    "html_theme": "furo",
    "html_static_path": [str(Path(__file__).with_name("book.css"))],
    "html_css_files": ["book.css"],
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_math_renderer": "mathml",
    "extensions": ["myst_nb", "curemed_utils.book_extension"],
    "myst_enable_extensions": ["colon_fence", "dollarmath"],
    "myst_heading_anchors": 4,
    "nb_execution_mode": "off",
    "smartquotes": False,
}
TINY = "tiny: about one million parameters, made from scratch in minutes on a CPU. It shows the method at work and knows no medicine"


def build(run_dir: str | Path = "", output: str | Path = "") -> Path:
    """Builds the site of a run (empty: the demo's) in `output` (empty: runs/book) and returns its first page.

    UsageError: a notebook is missing or not run to its end, `output` holds something else than a book, or a page has a fault, such
    as a dead link, a figure without alt text or a formula that can't be drawn.
    """
    run_dir, output = (Path(given or paths.runs() / name).expanduser().resolve() for given, name in ((run_dir, "demo"), (output, "book")))
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not (output / ".buildinfo").exists()):
        raise run.UsageError(f"{paths.show(output)} holds something else than a book; choose another --output")
    notebooks = executed(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        source, site, said = Path(folder) / "source", Path(folder) / "html", io.StringIO()
        settings = SETTINGS | collect(notebooks, source)
        with docutils_namespace():
            app = Sphinx(source, None, site, Path(folder) / "doctrees", "html", settings, None, said, warningiserror=True, parallel=2)
            app.build(force_all=True)
        if app.statuscode:
            raise run.UsageError(f"the book has faults:\n{strip_escape_sequences(said.getvalue()).replace(f'{source}/', '')}")
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(site, output)
    return output / "index.html"


def executed(run_dir: Path) -> dict[str, nbformat.NotebookNode]:
    """The executed notebooks of a run by name, without this machine's paths; UsageError: some are missing or not run to their end."""
    found, faults = {}, []
    for name in (path.stem for path in run.notebooks()):
        file = run_dir / "notebooks" / f"{name}.ipynb"
        if not file.exists():
            faults.append(f"{name} is missing")
            continue
        text = run.scrub(file.read_text(encoding="utf-8"))
        text = text.replace(run.scrub(f"{paths.ROOT}/"), "").replace(run.scrub(str(run_dir)), run_dir.name)
        found[name] = nbformat.reads(text, as_version=4)
        code = [cell for cell in found[name].cells if cell.cell_type == "code" and cell.source.strip()]
        if not all(cell.execution_count for cell in code) or any(one.output_type == "error" for cell in code for one in cell.outputs):
            faults.append(f"{name} was not run to its end")
    if faults:
        raise run.UsageError(f"{paths.show(run_dir)} holds no whole run: {', '.join(faults)}; `make demo` makes one")
    return found


def collect(notebooks: dict[str, nbformat.NotebookNode], source: Path) -> dict:
    """Writes the pages, and the files of the repository that they link to, under `source` as they lie in the repository.

    Returns settings for Sphinx: which files are pages, and {SHA-256 of a figure's PNG: its alt text}.
    """
    alts = {}
    for name, notebook in notebooks.items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = _with_files(cell.source, f"notebooks/{name}.ipynb", source)
            elif cell.cell_type == "code":
                alts |= _still(cell)
        notebook.metadata.pop("widgets", None)
        _write(source / "notebooks" / f"{name}.ipynb", nbformat.writes(notebook))
    guides = [page for page in GUIDES if (paths.ROOT / page).exists()]
    for page in guides:
        _write(source / page, _with_files((paths.ROOT / page).read_text(encoding="utf-8"), page, source))
    _write(source / "index.md", _start(notebooks, guides))
    return {"include_patterns": ["index.md", "notebooks/*", *guides], "book_alts": alts}


def _with_files(text: str, page: str, source: Path) -> str:
    """Copies the files that Markdown links to beside the page; a link to a folder becomes its text, for a site shows no folders."""

    def bring(link: re.Match) -> str:
        target = (paths.ROOT / page).parent.joinpath(link[2]).resolve()
        if target.is_file() and target.is_relative_to(paths.ROOT):
            copy = source / target.relative_to(paths.ROOT)
            if not copy.exists():
                _write(copy, target.read_bytes())
        return link[1] if target.is_dir() else link[0]

    return LINK.sub(bring, text)


def _still(cell: nbformat.NotebookNode) -> dict[str, str]:
    """Makes a code cell fit for a page without a kernel, and returns the alt texts of its figures."""
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        cell.metadata.tags = [*cell.metadata.get("tags", []), "hide-input"]
    alts = {}
    for output in cell.outputs:
        data = output.get("data", {})
        if data.pop(WIDGET, None) and "text/html" not in data:
            data["text/html"] = "<p><em>Interactive in JupyterLab: <code>make lab</code>.</em></p>"
        if "image/png" in data:
            picture = hashlib.sha256(base64.b64decode(data["image/png"])).hexdigest()
            alts[picture] = output.metadata.get("image/png", {}).get("alt", "")
    return alts


def _start(notebooks: dict[str, nbformat.NotebookNode], guides: list[str]) -> str:
    heads = {f"/notebooks/{name}.ipynb": re.match(r"# (.+)\n+\*\*(.+)\*\*", made.cells[0].source) for name, made in notebooks.items()}
    titles = {f"/{page}": re.search(r"^# (.+)", (paths.ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)[1] for page in guides}
    titles["/README.md"] = "About the workbook"  # its own title is the site's
    models = {made.metadata.get("papermill", {}).get("parameters", {}).get("model_id", "tiny") for made in notebooks.values()} - {"tiny"}
    page = Path(__file__).with_name("book_start.md").read_text(encoding="utf-8")
    return page.format(
        model=f"{', '.join(sorted(models))}, trained further" if models else TINY,
        rows="\n".join(f"| [{head[1]}]({page}) | {head[2]} |" for page, head in heads.items()),
        notebooks="\n".join(heads),
        guides="\n".join(f"{title} <{page}>" for page, title in titles.items()),
    )


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.book", description="Make a web site of a run's executed notebooks.")
    parser.add_argument("run_dir", nargs="?", default="", metavar="RUN_DIR", help="a run that has all notebooks (default: runs/demo)")
    parser.add_argument("--output", default="", metavar="DIR", help="where the site goes (default: runs/book)")
    args = parser.parse_args(argv)
    try:
        print(f"open {paths.show(build(args.run_dir, args.output))} in a browser")
    except run.UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
