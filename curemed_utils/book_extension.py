"""The book's extension of Sphinx: formulas as MathML, figures with alt text, and excerpts under search results without a server."""

import json
import re
from functools import partial
from pathlib import Path

import latex2mathml.converter
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger


def setup(app: Sphinx) -> dict:
    """What Sphinx calls to load this module. `book_alts` is {SHA-256 of a figure's PNG: its alt text}: MyST-NB names files so, and
    passes a figure's width on but not its alt text."""
    app.add_config_value("book_alts", {}, "env", dict)
    app.add_html_math_renderer("mathml", (partial(_formula, display="inline"), None), (partial(_formula, display="block"), None))
    app.connect("doctree-read", _describe)
    app.connect("html-page-context", lambda app, page, *_: app.add_js_file("texts.js") if page == "search" else None)
    app.connect("build-finished", _texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _formula(writer, node: nodes.Element, display: str) -> None:
    tex = node.astext()
    if display == "block":  # between \left and \right latex2mathml sets limits beside a sum, not under it
        tex = re.sub(r"\\(sum|prod|min|max)\s*(?=[_^])", r"\\\1\\limits", tex)
    try:
        formula = latex2mathml.converter.convert(tex, display=display)
    except Exception:  # its errors have no class in common
        formula = ""
    if not formula or re.search(r"\\|&(?![#\w]+;)", formula):  # what it doesn't know it leaves as it is
        getLogger(__name__).warning("the formula %s can't be drawn: latex2mathml doesn't know all of it", tex, location=node)
    writer.body.append(formula)
    raise nodes.SkipNode


def _describe(app: Sphinx, doctree: nodes.document) -> None:
    for image in doctree.findall(nodes.image):
        image["alt"] = image.get("alt") or app.config.book_alts.get(Path(image["uri"]).stem, "")
        if not image["alt"]:
            getLogger(__name__).warning("a figure has no alt text", location=image)


def _texts(app: Sphinx, error: Exception | None) -> None:
    """Writes what the search page takes its excerpts from where a browser lets no page read another: opened as files."""
    texts = {}
    for page in () if error else sorted(app.env.found_docs):
        main = BeautifulSoup((app.outdir / f"{page}.html").read_text(encoding="utf-8"), "html.parser").find(attrs={"role": "main"})
        for tag in main.select("script, style, svg, .text_html, .headerlink"):
            tag.decompose()
        for tag in main.find_all(lambda tag: tag.name != "section"):
            tag.unwrap()
        texts[f"{page}.html"] = str(main)
    found = 'if (location.protocol === "file:") window.fetch = async (url) => ({text: () => TEXTS[url.replace("./", "")]});'
    file = app.outdir / "_static" / "texts.js"
    file.write_text(f"const TEXTS = {json.dumps(texts, ensure_ascii=False)};\n{found}\n", encoding="utf-8")
