"""Every link of README, guides, cards and notebooks' prose leads to a file and a heading."""

import http.server
import threading
from urllib.parse import urlsplit

import links
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook, writes

from curemed_utils import paths

PAGES = links.pages()
READ = ("README.md", "CONTRIBUTING.md", "docs/gpu.md", "notebooks/00_start_here.ipynb")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    named = {str(link): links.fault_of(link) for link in links.links_of(page)}
    assert {link: fault for link, fault in named.items() if fault} == {}


def test_all_pages_are_read_and_their_links_seen():
    names = {page.relative_to(paths.ROOT).as_posix() for page in PAGES}
    assert names >= {*READ, "curemed_utils/sample/README.md", "papermill_params/README.md"}
    assert len(links.links_of(paths.ROOT / "docs/teaching.md")) > 80
    assert {urlsplit(url).hostname for url in links.foreign()} >= {"arxiv.org", "doi.org"}


@pytest.fixture
def folder(tmp_path):
    other = "# One `word`, and *two*\n\n## Twice\n\n## Twice\n\n<a id='mark'></a>\n"
    (tmp_path / "other.md").write_text(other)
    cells = [new_markdown_cell("# Start"), new_markdown_cell("### 1 · A task (5 min)")]
    (tmp_path / "told.ipynb").write_text(writes(new_notebook(cells=cells)))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/made.md").write_text("made by a run")
    return tmp_path


GOOD = """[a](other.md), [b](other.md#one-word-and-two), [c](other.md#twice-1), [d][there]
![e](told.ipynb) <https://example.org/x> [f](told.ipynb#1--a-task-5-min) [g](#title)
[h](other.md#mark) `[code](gone.md)` <a href="other.md">i</a>

```
[in a block](gone.md)
```

# Title

[there]: other.md
"""


def test_links_that_lead_somewhere_are_no_fault(folder):
    (folder / "page.md").write_text(GOOD)
    assert len(links.links_of(folder / "page.md")) == 9
    assert links.faults(folder) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[x](gone.md)", "leads nowhere"),
        ("![x](gone.png)", "leads nowhere"),
        ('<img src="gone.png">', "leads nowhere"),
        ("| a |\n|---|\n| [x](gone.md) |", "leads nowhere"),
        ("[x](#gone)", "no such heading"),
        ("[x](other.md#twice-2)", "no such heading"),
        ("[x](told.ipynb#1-a-task-5-min)", "no such heading"),
        ("[x](../elsewhere.md)", "leads out of the repository"),
        ("[x](/other.md)", "leads out of the repository"),
        ("[x](runs/made.md)", "leads out of the repository"),
        ("[x][gone]", "not read as a link"),
        ("[x](other file.md)", "not read as a link"),
        ("https://no-site/x", "no address of a site"),
        ("[x](htps://example.org)", "an address of no known kind"),
        ("[x](mailto:nobody)", "no address of a person"),
    ],
)
def test_a_dead_link_is_named_with_its_line(folder, text, fault):
    (folder / "page.md").write_text(f"# Page\n\n{text}\n")
    (named,) = links.faults(folder)
    line = 5 if text.startswith("|") else 3
    assert named.startswith(f"{folder}/page.md:{line}: ") and named.endswith(f": {fault}")


def test_a_dead_link_in_a_notebook_is_named_with_its_cell(folder):
    cells = [new_markdown_cell("fine"), new_markdown_cell("[x](../gone.md)")]
    (folder / "notebooks").mkdir()
    (folder / "notebooks/00.ipynb").write_text(writes(new_notebook(cells=cells)))
    (named,) = links.faults(folder)
    assert "00.ipynb:1: ../gone.md: leads nowhere" in named


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="gone.html">', "leads nowhere"),
        ('<a href="#gone">', "no such place"),
        ('<a href="/index.html">', "leads out of the site"),
        ('<a href="../index.html">', "leads out of the site"),
        ('<link href="https://example.org/x.css">', "link from the network"),
        ('<img src="//example.org/x.png">', "img from the network"),
    ],
)
def test_a_dead_link_of_a_site_is_named(tmp_path, html, fault):
    page = tmp_path / "site" / "index.html"
    page.parent.mkdir()
    fine = '<p id="here"><a href="#here">x</a><img src="data:image/png;base64,">'
    page.write_text(fine + '<link rel="canonical" href="https://example.org/book/">')
    assert links.site_faults(page.parent) == []
    page.write_text(fine + html)
    (named,) = links.site_faults(page.parent)
    assert named.startswith(f"index.html: {fault}")


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_other_sites_are_asked(address):
    urls = [f"{address}/200", f"{address}/404", f"{address}/403"]
    assert list(links.ask(urls).values()) == ["ok", "status 404", "shy"]
    (fault,) = links.ask(["http://127.0.0.1:9/gone"]).values()
    assert "refused" in fault


def test_the_command_ends_with_1_where_a_link_is_dead(folder, capsys, monkeypatch):
    monkeypatch.setattr(links, "faults", lambda: ["page.md:1: gone.md: leads nowhere"])
    assert links.main([]) == 1
    assert "gone.md" in capsys.readouterr().out
    monkeypatch.setattr(links, "faults", list)
    monkeypatch.setattr(links, "foreign", lambda: ["http://127.0.0.1:9/gone"])
    assert links.main([]) == 0
    assert links.main(["--ask"]) == 1
