"""Whether every link leads somewhere: of pages, of notebooks' prose, and of the built book.

`python docs/links.py [SITE …]` reads the repository's pages and the sites named, without a
network; `--ask` also asks the servers of other sites, which takes a network and some patience.
"""

import argparse
import itertools
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from curemed_utils import paths

PAGES = (
    "*.md",
    "docs/*.md",
    "papermill_params/**/*.md",
    "curemed_utils/sample/**/*.md",
    ".github/**/*.md",
    "notebooks/*.ipynb",
)
SCHEMES = ("http", "https", "mailto")
TAGS = {
    "a": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
    "script": "src",
    "form": "action",
}
PATIENCE = 20  # seconds for a server
SHY = (401, 403, 405, 429)  # answers to a program of pages that a browser shows
BARE = re.compile(r"https?://[^\s<>()\[\]\"'`]+[^\s<>()\[\]\"'`.,;:]")

UNREAD = re.compile(r"\]\[\w[^\]]*\]|\]\([^)]*\)?")  # left as text: a space, or no such reference


@dataclass(frozen=True)
class Link:
    """A link as it is written: on which page, in which line (from 1; of a notebook, its cell)."""

    page: Path
    line: int
    url: str

    def __str__(self):
        return f"{paths.show(self.page)}:{self.line}: {self.url}"


def pages(root: Path = paths.ROOT) -> list[Path]:
    """The pages and notebooks whose links are read."""
    listed = []
    for pattern in PAGES:
        listed += sorted(root.glob(pattern))
    return listed


def texts_of(page: Path) -> list[tuple[int, str]]:
    """The Markdown of a page, with the line before it; of a notebook, cell by cell."""
    if page.suffix != ".ipynb":
        return [(0, page.read_text(encoding="utf-8"))]
    cells = nbformat.read(page, as_version=4).cells
    numbered = enumerate(cells)
    return [(number, cell.source) for number, cell in numbered if cell.cell_type == "markdown"]


def links_of(page: Path) -> list[Link]:
    """All links and pictures of a page, in Markdown, in HTML, or bare; each once a line."""
    links = []
    for before, text in texts_of(page):
        for line, url in urls_of(text):
            place = before if page.suffix == ".ipynb" else line
            links.append(Link(page, place, url))
    return list(dict.fromkeys(links))


def urls_of(text: str) -> list[tuple[int, str]]:
    """(line, address) of each link in Markdown; code is no link."""
    urls, line = [], 1
    for token in walk(MarkdownIt("commonmark").enable("table").parse(text)):
        if token.map:
            line = token.map[0] + 1
        line += token.type in ("softbreak", "hardbreak")
        if token.type == "link_open":
            urls.append((line, token.attrs["href"]))
        elif token.type == "image":
            urls.append((line, token.attrs["src"]))
        elif token.type in ("html_block", "html_inline"):
            urls += [(line, url) for url in urls_of_html(token.content)]
        elif token.type == "text":
            urls += [(line, url) for url in BARE.findall(token.content)]
            urls += [(line, text) for text in UNREAD.findall(token.content)]
    return urls


def walk(tokens: Iterable):
    """Tokens in reading order, those within a paragraph or a picture after it."""
    for token in tokens:
        yield token
        yield from walk(token.children or ())


def urls_of_html(html: str) -> list[str]:
    urls = []
    for tag in BeautifulSoup(html, "html.parser").find_all(list(TAGS)):
        url = tag.get(TAGS[tag.name])
        if url:
            urls.append(url)
    return urls


def anchors_of(page: Path) -> set[str]:
    """The places of a page that a link can name: its headings, as GitHub and the book name them."""
    anchors = set()
    for _, text in texts_of(page):
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        for opening, inside in itertools.pairwise(tokens):
            if opening.type == "heading_open":
                anchors.add(first_free(anchor(inside), anchors))
        for tag in BeautifulSoup(text, "html.parser").find_all(id=True):
            anchors.add(tag["id"])
    return anchors


def anchor(heading) -> str:
    """The name of a heading's place, from its token."""
    words = [part.content for part in heading.children if part.type in ("text", "code_inline")]
    return re.sub(r"[^\w\- ]", "", "".join(words).strip().lower()).replace(" ", "-")


def first_free(name: str, taken: set[str]) -> str:
    """A second heading of the same words gets a number."""
    names = [name, *(f"{name}-{number}" for number in range(1, len(taken) + 1))]
    return next(one for one in names if one not in taken)


def fault_of(link: Link, root: Path = paths.ROOT) -> str:
    """What is wrong with a link as far as files can tell; empty if nothing is."""
    if link.url.startswith("]"):
        return "not read as a link"
    parts = urlsplit(link.url)
    if parts.scheme or parts.netloc:
        return foreign_fault(link.url)
    target = link.page
    if parts.path:
        target = (link.page.parent / unquote(parts.path)).resolve()
    is_inside = target.is_relative_to(root) and not target.is_relative_to(root / "runs")
    if parts.path.startswith("/") or not is_inside:
        return "leads out of the repository"
    if not target.exists():
        return "leads nowhere"
    has_places = target.suffix in (".md", ".ipynb")
    if parts.fragment and has_places and unquote(parts.fragment) not in anchors_of(target):
        return "no such heading"
    return ""


def foreign_fault(url: str) -> str:
    """What is wrong with the form of another site's address; whether it answers, `ask` says."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        return "an address of no known kind"
    if parts.scheme == "mailto":
        return "" if "@" in parts.path else "no address of a person"
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.hostname or "") or re.search(r"\s", url):
        return "no address of a site"
    return ""


def faults(root: Path = paths.ROOT) -> list[str]:
    """The links of the repository's pages that lead nowhere, with their places."""
    named = []
    for page in pages(root):
        for link in links_of(page):
            fault = fault_of(link, root)
            if fault:
                named.append(f"{link}: {fault}")
    return named


def site_faults(site: Path) -> list[str]:
    """The links of a built site that lead nowhere, or that need the network or a server's root."""
    parsed, ids = {}, {}
    for file in sorted(site.rglob("*.html")):
        parsed[file] = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
        ids[file] = {tag["id"] for tag in parsed[file].find_all(id=True)}
    named = []
    for file, page in parsed.items():
        for tag in page.find_all(list(TAGS)):
            url = "" if "canonical" in tag.get("rel", ()) else tag.get(TAGS[tag.name])
            fault = site_fault(url, tag.name, file, site, ids) if url else ""
            if fault:
                named.append(f"{file.relative_to(site)}: {fault}: {url}")
    return named


def site_fault(url: str, tag: str, file: Path, site: Path, ids: dict[Path, set[str]]) -> str:
    parts = urlsplit(url)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return foreign_fault(url) if tag == "a" else f"{tag} from the network"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if parts.path.startswith("/") or not target.is_relative_to(site.resolve()):
        return "leads out of the site"
    if not target.is_file():
        return "leads nowhere"
    if parts.fragment and target in ids and unquote(parts.fragment) not in ids[target]:
        return "no such place"
    return ""


def foreign(root: Path = paths.ROOT) -> list[str]:
    """The addresses of other sites that pages name, each once."""
    urls = set()
    for page in pages(root):
        urls |= {link.url for link in links_of(page) if link.url.startswith("http")}
    return sorted(urls)


def answer_of(url: str) -> str:
    """What a server says of an address: 'ok', 'shy' (it refuses programs), or what is wrong."""
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (links.py)"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return "ok"
    except urllib.error.HTTPError as error:
        return "shy" if error.code in SHY else f"status {error.code}"
    except OSError as error:  # no such host, no answer in time
        return str(getattr(error, "reason", error)) or type(error).__name__


def ask(urls: list[str]) -> dict[str, str]:
    """{address: what its server says}, eight at a time."""
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(urls, pool.map(answer_of, urls), strict=True))


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code, 1 if a link leads nowhere."""
    parser = argparse.ArgumentParser(description="Do all links lead somewhere?")
    parser.add_argument("site", nargs="*", type=Path, help="a built book, such as runs/book")
    parser.add_argument("--ask", action="store_true", help="ask other sites too: needs a network")
    args = parser.parse_args(argv)
    named = faults()
    for site in args.site:
        if not (site / "index.html").is_file():
            parser.error(f"{site} holds no built book; `make book` makes one")
        named += site_faults(site)
    for url, answer in (ask(foreign()) if args.ask else {}).items():
        print(f"{answer:12} {url}")
        if answer not in ("ok", "shy"):
            named.append(f"{url}: {answer}")
    print("\n".join(named) or f"no fault in the links of {len(pages())} pages")
    return 1 if named else 0


if __name__ == "__main__":
    sys.exit(main())
