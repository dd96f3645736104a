"""The course on the book's start page: its questions, times and pictures are read, not typed."""

import base64
import io
import re

import chapters
import links
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from curemed_utils import paths

NOTEBOOKS = paths.notebooks()
NUMBERS = [path.stem[:2] for path in NOTEBOOKS]


def png(width: int = 1400, height: int = 700) -> str:
    drawn = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(drawn, "png")
    return base64.b64encode(drawn.getvalue()).decode()


def with_outputs(*data: dict, duration: float | None = None, cell_id: str = "x"):
    metadata = {"image/png": {"alt": "A [white] figure"}}
    outputs = [new_output("display_data", one, metadata=metadata) for one in data]
    notebook = new_notebook(cells=[new_code_cell("draw()", id=cell_id, outputs=outputs)])
    if duration is not None:
        notebook.metadata["papermill"] = {"duration": duration}
    return notebook


@pytest.fixture
def listed(tmp_path):
    executed = {}
    for number, path in enumerate(NOTEBOOKS):
        cell_id = chapters.CHOSEN["chapters"][path.stem[:2]]["cell"]
        data = {"image/png": png()}
        executed[path.stem] = with_outputs(data, duration=7.4 + 60 * number, cell_id=cell_id)
    return chapters.chapters(executed, tmp_path / "pictures")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_shown_cell_is_a_cell_of_code(path):
    cells = nbformat.read(path, as_version=4).cells
    kinds = {cell.id: cell.cell_type for cell in cells}
    assert kinds.get(chapters.CHOSEN["chapters"][path.stem[:2]]["cell"]) == "code"


def test_times_come_from_notebook_teaching_and_run(listed):
    assert [one.number for one in listed] == NUMBERS
    assert {one.lecture for one in listed} == {60}
    table = nbformat.read(NOTEBOOKS[0], as_version=4)
    prose = "\n".join(cell.source for cell in table.cells)
    for one in listed:
        assert re.search(rf"^\| {one.number} .* \| {one.reading} min \|$", prose, re.M)
    course = chapters.course(listed).replace("\N{NO-BREAK SPACE}", " ")
    assert "7 s to run" in course and "67 s to run" in course and "10 min to run" in course


def test_a_chapter_says_its_question_its_needs_and_its_exercises(listed):
    for one, path in zip(listed, NOTEBOOKS, strict=True):
        text = path.read_text(encoding="utf-8")
        assert one.question in text and one.needs in text and one.makes in text
        assert one.exercises == text.count("exercises.check(") >= 2
        block = chapters.block(one)
        assert one.question in block and f"(notebooks/{path.name})" in block and one.out in block


def test_a_picture_is_small_and_keeps_its_alt_text(listed, tmp_path):
    file = tmp_path / "pictures" / f"{NOTEBOOKS[4].stem}.png"
    with Image.open(file) as image:
        assert image.size == (720, 360)
    assert "![A white figure](docs/pictures/" in listed[4].shown


def test_a_table_is_shown_where_there_is_no_picture(tmp_path):
    html = (
        "<div><style scoped>x</style><table class='dataframe'>\n<tr><td>7</td></tr></table></div>"
    )
    made = chapters.shown(with_outputs({"text/html": html}), "x", "00", tmp_path)
    assert "<table" in made and ">7<" in made and "style" not in made and "\n" not in made
    both = with_outputs({"text/html": html}, {"image/png": png()})
    assert chapters.shown(both, "x", "00", tmp_path).startswith("[![")
    assert chapters.shown(with_outputs(), "x", "00", tmp_path) == ""
    assert chapters.shown(with_outputs(), "other", "00", tmp_path) == ""


def test_a_notebook_without_a_time_or_an_output_is_shown_without(tmp_path):
    executed = {path.stem: new_notebook() for path in NOTEBOOKS}
    first = chapters.chapters(executed, tmp_path / "pictures")[0]
    assert "to run" not in chapters.block(first) and "} out" not in chapters.block(first)


def test_three_ways_with_the_time_of_their_notebooks(listed):
    text = chapters.ways(listed).replace("\N{NO-BREAK SPACE}", " ")
    minutes = {one.number: one.reading for one in listed}
    assert text.count("{container} way\n") == 3
    for way in chapters.CHOSEN["ways"]:
        assert chapters.hours(sum(minutes[number] for number in way["notebooks"])) in text


def test_links_of_the_start_page_lead_to_files(listed):
    for _, url in links.urls_of(chapters.ways(listed)):
        assert links.fault_of(links.Link(paths.ROOT / "index.md", 1, url)) == ""


@pytest.mark.parametrize(
    ("minutes", "told"), [(35, "35 min"), (60, "1 h"), (160, "2 h 40 min"), (125, "2 h 5 min")]
)
def test_hours(minutes, told):
    assert chapters.hours(minutes) == told
