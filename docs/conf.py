"""Sphinx's configuration of the book: MyST-NB, formulas as MathML, figures with alt text, and a
search that works on files opened without a server."""

import base64
import hashlib
import json
import re
from functools import partial
from pathlib import Path

import latex2mathml.converter
import nbformat
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

project = html_title = "CURE-Med Workbook"
extensions = ["myst_nb", "sphinx.ext.githubpages"]  # the latter leaves `.nojekyll`
include_patterns = [
    "*.md",
    "docs/*.md",
    "notebooks/*.ipynb",
    "papermill_params/README.md",
    "papermill_params/slurm/README.md",
    "curemed_utils/sample/README.md",
]
exclude_patterns = ["docs/index.md"]  # it is index.md
myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
smartquotes = False
html_theme = "furo"
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

ON_FILES = 'if (location.protocol === "file:")'
NO_FETCH = 'window.fetch = async (url) => ({text: () => TEXTS[url.replace("./", "")]});'


def setup(app: Sphinx) -> dict:
    """What Sphinx calls first."""
    inline, block = partial(draw_formula, display="inline"), partial(draw_formula, display="block")
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("doctree-read", describe_figures)
    app.connect("html-page-context", add_texts)
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def draw_formula(writer, node: nodes.Element, display: str) -> None:
    """A formula as MathML; one that latex2mathml doesn't know is a fault of the page."""
    tex = node.astext()
    if display == "block":  # between \left and \right it sets limits beside a sum, not under it
        tex = re.sub(r"\\(sum|prod|min|max)\s*(?=[_^])", r"\\\1\\limits", tex)
    try:
        formula = latex2mathml.converter.convert(tex, display=display)
    except Exception:  # its errors have no class in common
        formula = ""
    if not formula or re.search(r"\\|&(?![#\w]+;)", formula):  # it leaves what it doesn't know
        warn = getLogger(__name__).warning
        warn(
            "the formula %s can't be drawn: latex2mathml doesn't know all of it", tex, location=node
        )
    writer.body.append(formula)
    raise nodes.SkipNode


def describe_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Gives each figure its alt text; MyST-NB passes on a figure's width, but not its text."""
    images = list(doctree.findall(nodes.image))
    page = Path(app.srcdir, f"{app.env.docname}.ipynb")
    alts = alt_texts(page) if images and page.exists() else {}
    for image in images:
        image["alt"] = image.get("alt") or alts.get(Path(image["uri"]).stem, "")
        if not image["alt"]:
            getLogger(__name__).warning("a figure has no alt text", location=image)


def alt_texts(notebook: Path) -> dict[str, str]:
    """{SHA-256 of a figure's PNG: its alt text}; MyST-NB names a figure's file so."""
    alts = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                name = hashlib.sha256(base64.b64decode(picture)).hexdigest()
                alts[name] = output.metadata.get("image/png", {}).get("alt", "")
    return alts


def add_texts(app: Sphinx, page: str, *_) -> None:
    """The search page takes excerpts from a script where no page may read another."""
    if page == "search":
        app.add_js_file("texts.js")


def write_texts(app: Sphinx, error: Exception | None) -> None:
    """Writes the text of every page for that script."""
    if error:
        return
    texts = {}
    for page in sorted(app.env.found_docs):
        html = Path(app.outdir, f"{page}.html").read_text(encoding="utf-8")
        main = BeautifulSoup(html, "html.parser").find(attrs={"role": "main"})
        for tag in main.select("script, style, svg, .text_html, .headerlink"):
            tag.decompose()
        for tag in main.find_all(lambda tag: tag.name != "section"):
            tag.unwrap()
        texts[f"{page}.html"] = str(main)
    script = f"const TEXTS = {json.dumps(texts, ensure_ascii=False)};\n{ON_FILES} {NO_FETCH}\n"
    Path(app.outdir, "_static", "texts.js").write_text(script, encoding="utf-8")
