"""The book: a web site of executed notebooks that needs no network, whole and without dead ends."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import book
import links
import nbformat
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from curemed_utils import paths

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of Sphinx, about MyST-Parser
]
WIDGET = "application/vnd.jupyter.widget-view+json"
NAMES = [path.stem for path in paths.notebooks()]
FORMULAS = r"""Inline
$\hat A_i = \frac{R_i - \operatorname{mean}(R)}{\operatorname{std}(R) + \epsilon}$
and a block:

$$
\mathcal{J}(\theta) = \mathbb{E}\left[\frac{1}{G} \sum_{i=1}^{G}
\min\left(\rho_i \hat A_i,
\operatorname{clip}(\rho_i, 1-\epsilon, 1+\epsilon) \hat A_i\right)\right],
\qquad
R_\text{fmt} = \begin{cases} 1 & \text{if it has the form} \\ 0 & \text{else} \end{cases}
$$
"""
EXERCISE = """<details><summary>Solution</summary>

1. Use **bold** judgement, and $x^2$.

</details>
"""
METADATA = {
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    "widgets": {"application/vnd.jupyter.widget-state+json": {}},
}
LINKS = "[paths](../curemed_utils/paths.py), [next](01_data_curation.ipynb#checks)"


def png() -> str:
    drawn = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(drawn, format="png")
    return base64.b64encode(drawn.getvalue()).decode()


def shown(data: dict, **metadata):
    return new_output("display_data", data, metadata=metadata)


def cell(source: str, *outputs, **metadata):
    return new_code_cell(source, execution_count=1, outputs=list(outputs), metadata=metadata)


def every_kind(run_dir: Path) -> list:
    widget = {WIDGET: {"model_id": "0", "version_major": 2, "version_minor": 0}}
    table = "<table class='dataframe'><tr><td>a cell of a table</td></tr></table>"
    return [
        cell("seed: int = 0  # a parameter", tags=["parameters"]),
        cell(
            f'run_dir = "{run_dir}"',
            new_output("stream", text=f"{paths.ROOT}/runs and {Path.home()}/x"),
            tags=["injected-parameters"],
        ),
        new_markdown_cell(f"## Ideas\n\n{FORMULAS}\n{LINKS}\n\n### Details\n\n{EXERCISE}"),
        cell(
            "drawn",
            shown(
                {"image/png": png(), "text/plain": "<Figure>"},
                **{"image/png": {"alt": "An empty figure", "width": 340}},
            ),
        ),
        cell("still", shown(widget | {"text/html": "<p>a still picture of the explorer</p>"})),
        cell("table", shown({"text/html": table})),
        cell("coloured", new_output("stream", text="\x1b[31mred\x1b[0m and plain")),
        cell("folded", tags=["hide-input"]),
    ]


def headings_of(name: str) -> str:
    """A notebook's own headings, to which the guides link."""
    cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return "\n\n".join(re.findall(r"^##+ .*$", prose, re.MULTILINE))


def write_run(run_dir: Path, first: list) -> Path:
    """A run of small executed notebooks; `first` are the first one's own cells."""
    for name in NAMES:
        head = new_markdown_cell(
            f"# {name[:2]} · Title of {name[:2]}\n\n**What does {name[3:6]} ask?**"
        )
        own = first if name.startswith("00") else []
        word = "\n\nForgetting." if name.startswith("05") else ""
        end = new_markdown_cell(headings_of(name) + word)
        file = run_dir / "notebooks" / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[head, *own, end], metadata=METADATA), file)
    return run_dir


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    return book.build(
        write_run(folder / "mine", every_kind(folder / "mine")), folder / "site"
    ).parent


@pytest.fixture(scope="module")
def page(site) -> BeautifulSoup:
    return read(site / "notebooks" / "00_start_here.html")


def read(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def faults(site: Path) -> list[str]:
    """What is wrong with the pages of a site: ends that lead nowhere, needs of the network, things
    left undrawn, private paths.
    """
    pages = {file: read(file) for file in site.rglob("*.html")}
    found = links.site_faults(site)
    for file, parsed in pages.items():
        found += [
            f"{file.name}: no alt text: {img.get('src', '')[:60]}"
            for img in parsed.find_all("img")
            if not img.get("alt", "").strip()
        ]
        found += [
            f"{file.name}: undrawn: {math.text}"
            for math in parsed.find_all("math")
            if "\\" in math.text
        ]
        found += _undrawn(file, parsed)
    for file in (
        file
        for suffix in ("html", "js", "css")
        for file in site.rglob(f"*.{suffix}")
        if "_downloads" not in file.parts
    ):
        text = file.read_text(encoding="utf-8")
        found += [
            f"{file.name}: a private path"
            for private in (str(paths.ROOT), f"{Path.home()}/")
            if private in text
        ]
        found += [
            f"{file.name}: from the network: {url}"
            for url in re.findall(r"(?:url\(|@import\s+)[\"']?(https?:|//)", text)
        ]
    return found


def _undrawn(file: Path, parsed: BeautifulSoup) -> list[str]:
    """TeX that is left in a page's prose."""
    main = BeautifulSoup(str(parsed.find(attrs={"role": "main"})), "html.parser")
    for tag in main.select("pre, code, script, style, .cell_output"):
        tag.decompose()
    return [
        f"{file.name}: undrawn: {tex}"
        for tex in re.findall(r"\$\$|\$\\?\w[^$]*\$|\\[a-zA-Z]{2,}", main.text)
    ]


def headings_outside_navigation(file: Path) -> list[str]:
    parsed = read(file)
    listed = {link["href"] for link in parsed.select(".toc-tree a")}
    sections = parsed.select("[role=main] section section")
    assert sections
    return [section["id"] for section in sections if f"#{section['id']}" not in listed]


def pages_with(site: Path, stem: str) -> set[str]:
    """The pages that the search index has for a word's stem."""
    index = json.loads(
        re.fullmatch(
            r"Search\.setIndex\((.*)\)",
            (site / "searchindex.js").read_text(encoding="utf-8"),
            re.DOTALL,
        )[1]
    )
    pages = set()
    for terms in (index["terms"], index["titleterms"]):
        numbers = terms.get(stem, [])
        numbers = [numbers] if isinstance(numbers, int) else numbers
        pages |= {index["docnames"][number] for number in numbers}
    return pages


def test_the_pages_are_whole_and_need_no_network(site):
    assert faults(site) == []


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="#gone">x</a>', "no such place"),
        ('<img src="index.html" alt=" ">', "no alt text"),
        ('<script src="https://example.org/x.js"></script>', "from the network"),
        ("<style>@import 'https://example.org/x.css'</style>", "from the network"),
        ("<main role='main'>$$ x $$</main>", "undrawn"),
        ("<main role='main'>$x_i$</main>", "undrawn"),
        ("<math><mi>\\foo</mi></math>", "undrawn"),
        (f"{paths.ROOT}/runs", "a private path"),
    ],
)
def test_a_fault_of_a_page_would_be_found(tmp_path, fault, named):
    (tmp_path / "index.html").write_text(f"<p>{fault}</p>")
    assert any(named in one for one in faults(tmp_path))


def test_all_notebooks_and_guides_are_in_the_navigation(site):
    start = read(site / "index.html")
    listed = {link["href"] for link in start.select(".sidebar-tree a")}
    guides = [*(paths.ROOT / "docs").glob("*.md"), *paths.PROFILES.rglob("README.md")]
    guides += [paths.ROOT / "README.md", paths.ROOT / "CONTRIBUTING.md"]
    pages = {f"notebooks/{name}.html" for name in NAMES}
    for guide in guides:
        if guide.name != "index.md":
            pages.add(guide.relative_to(paths.ROOT).with_suffix(".html").as_posix())
    assert listed >= pages
    assert "no medicine" in start.text and "medical advice" in start.text


def test_the_start_page_names_the_model_of_a_larger_run(tmp_path):
    notebooks = book.executed(write_run(tmp_path / "run", []))
    assert "knows no medicine" in book.model_of(notebooks)
    parameters = {"model_id": "Qwen/Qwen2.5-7B-Instruct"}
    notebooks[NAMES[3]].metadata["papermill"] = {"parameters": parameters}
    assert book.model_of(notebooks) == "Qwen/Qwen2.5-7B-Instruct, trained further"


def test_a_notebooks_headings_are_in_the_navigation(site):
    assert headings_outside_navigation(site / "notebooks" / "00_start_here.html") == []


def test_formulas_are_mathml(page):
    block = page.find("math", display="block")
    assert {tag.name for tag in block.find_all()} >= {"mfrac", "munderover", "mtable", "mtext"}
    assert "clip" in block.text and "𝔼" in block.text and "𝒥" in block.text
    assert len(page.find_all("math")) == 3


def test_a_figure_has_its_alt_text_and_width(page):
    assert page.find("img", alt="An empty figure")["width"] == "340"


def test_a_widget_is_its_html(page):
    assert "a still picture of the explorer" in page.text
    assert "model_id" not in str(page)


def test_details_hold_rendered_markdown(page):
    folded = page.find("details", class_=None)
    assert folded.find("summary").text == "Solution"
    assert folded.find("strong").text == "bold" and folded.find("li") and folded.find("math")


def test_hidden_sources_fold_and_parameters_stay(page):
    folded = [
        details.find("pre").text.strip() for details in page.find_all("details", class_="hide")
    ]
    assert folded == ["folded"]
    assert "seed: int = 0" in page.text and 'run_dir = "mine"' in page.text


def test_this_machines_paths_are_gone(page):
    assert "runs and ~/x" in page.text


def test_coloured_text_and_tables(page):
    assert "\x1b" not in page.text
    assert page.find(class_="-Color-Red").text == "red"
    assert page.select_one(".output.text_html table.dataframe").text == "a cell of a table"


def test_links_lead_to_files_and_pages(page, site):
    link = page.find("a", download=True)
    linked = (site / "notebooks" / link["href"]).resolve()
    assert linked.read_bytes() == (paths.ROOT / "curemed_utils/paths.py").read_bytes()
    assert page.find("a", string="next")["href"] == "01_data_curation.html#checks"


def test_a_word_is_found(site):
    assert pages_with(site, "forget") >= {"notebooks/05_grpo_stage2_medium"}
    assert "Forgetting." in (site / "_static" / "texts.js").read_text(encoding="utf-8")
    assert not pages_with(site, "zzz")


def test_faults_of_the_sources_are_all_named(tmp_path):
    cells = [
        new_markdown_cell(
            r"## Faults"
            "\n\n"
            r"$\nosuchcommand{x}$, $\left( x$ and [dead](../notebooks/no_such.ipynb)"
        ),
        cell("drawn", shown({"image/png": png()})),
    ]
    with pytest.raises(book.BookError) as error:
        book.build(write_run(tmp_path / "run", cells), tmp_path / "site")
    for fault in (
        r"\nosuchcommand{x} can't be drawn",
        r"\left( x can't be drawn",
        "no_such.ipynb",
        "a figure has no alt text",
    ):
        assert fault in str(error.value)
    assert not (tmp_path / "site").exists()


def test_a_run_that_is_not_whole_is_refused_with_its_gaps(tmp_path, capsys):
    write_run(tmp_path, [new_code_cell("not run")])
    (tmp_path / "notebooks" / "05_grpo_stage2_medium.ipynb").unlink()
    assert book.main([str(tmp_path), "--output", str(tmp_path / "site")]) == 2
    said = capsys.readouterr().err
    assert (
        "00_start_here was not run to its end, 05_grpo_stage2_medium is missing" in said
        and "make demo" in said
    )


def test_only_a_book_is_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(book.BookError, match="something else than a book"):
        book.build(tmp_path, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.browser
class TestDemo:
    @pytest.fixture(scope="class")
    def site(self, tmp_path_factory) -> Path:
        return book.build("", tmp_path_factory.mktemp("demo") / "site").parent

    def test_the_pages_are_whole_and_need_no_network(self, site):
        assert faults(site) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_its_headings_are_in_the_navigation(self, site, name):
        assert headings_outside_navigation(site / "notebooks" / f"{name}.html") == []

    def test_search_finds_a_word_with_its_surroundings_without_a_server(self, site, tmp_path):
        browser = [
            shutil.which("chromium"),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
        ]
        address = f"file://{site}/search.html?q=forgetting"
        done = subprocess.run(
            [*browser, "--virtual-time-budget=5000", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=60,
        )
        results = BeautifulSoup(done.stdout, "html.parser").select("ul.search > li")
        excerpts = [
            one.find("p", class_="context").text
            for one in results
            if "05_grpo_stage2_medium" in one.find("a")["href"]
        ]
        assert any("forgetting" in excerpt for excerpt in excerpts)
