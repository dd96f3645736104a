"""The course on the book's start page: each notebook with its question, its times and a picture.

Times are read where they stand: running in the executed notebook, working through in notebook 00,
lecturing in `docs/teaching.md`. `chapters.yaml` says which output is shown.
"""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from PIL import Image

from curemed_utils import paths

DOCS = paths.ROOT / "docs"
CHOSEN = yaml.safe_load((DOCS / "chapters.yaml").read_text(encoding="utf-8"))
MINUTES = {"Five": 5, "Ten": 10, "Fifteen": 15, "Twenty": 20}  # as teaching.md writes them
WIDTH = 720  # pixels of a picture, twice what it takes on the page
COLORS = 64


@dataclass(frozen=True)
class Chapter:
    """A notebook as the start page shows it; times in minutes, `ran` in seconds or None."""

    name: str
    title: str
    question: str
    needs: str
    makes: str
    exercises: int
    reading: int
    lecture: int
    ran: float | None
    out: str
    shown: str  # Markdown or HTML; empty where the run has no such output

    @property
    def number(self) -> str:
        return self.name[:2]


def chapters(executed: dict[str, NotebookNode], pictures: Path) -> list[Chapter]:
    """All chapters in order; `executed` are a run's notebooks by name, pictures are written."""
    pictures.mkdir(parents=True)
    return [chapter(path, executed[path.stem], pictures) for path in paths.notebooks()]


def chapter(path: Path, executed: NotebookNode, pictures: Path) -> Chapter:
    number = path.stem[:2]
    chosen = CHOSEN["chapters"][number]
    notebook = nbformat.read(path, as_version=4)
    head = notebook.cells[0].source
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return Chapter(
        name=path.stem,
        title=re.search(r"^# (.+)$", head, re.M)[1],
        question=re.search(r"^\*\*(.+\?)\*\*$", head, re.M)[1],
        needs=fact(head, "Needs"),
        makes=fact(head, "Makes"),
        exercises="\n".join(code).count("exercises.check("),
        reading=reading_minutes()[number],
        lecture=lecture_minutes()[number],
        ran=executed.metadata.get("papermill", {}).get("duration"),
        out=chosen["out"],
        shown=shown(executed, chosen["cell"], path.stem, pictures),
    )


def fact(head: str, name: str) -> str:
    """A row of the table at the top of a notebook."""
    return re.search(rf"^\| \*\*{name}\*\* \| (.+) \|$", head, re.M)[1]


def reading_minutes() -> dict[str, int]:
    """Minutes to work through each notebook, by number, from the table of the first one."""
    cells = nbformat.read(paths.notebooks()[0], as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    rows = re.findall(r"^\| (\d\d) .*\| (\d+) min \|$", prose, re.M)
    return {number: int(minutes) for number, minutes in rows}


def lecture_minutes() -> dict[str, int]:
    """Minutes of each notebook's plan, by number, from `docs/teaching.md`."""
    text = (DOCS / "teaching.md").read_text(encoding="utf-8")
    parts = re.split(r"^### (\d\d) · .*$", text, flags=re.M)
    minutes = {}
    for number, plan in zip(parts[1::2], parts[2::2], strict=True):
        words = re.findall(r"^- \*\*(\w+) minutes\.\*\*", plan, re.M)
        minutes[number] = sum(MINUTES[word] for word in words)
    return minutes


def shown(notebook: NotebookNode, cell_id: str, name: str, pictures: Path) -> str:
    """The first picture of a cell, written to `pictures`, or else its first table."""
    file = pictures / f"{name}.png"
    cells = [cell for cell in notebook.cells if cell.get("id") == cell_id]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    for output in outputs:
        picture = output.get("data", {}).get("image/png")
        if picture:
            write_small(picture, file)
            alt = output.metadata.get("image/png", {}).get("alt", "")
            image = f"![{re.sub(r'[][]', '', alt)}](docs/{file.parent.name}/{file.name})"
            return f"[{image}](notebooks/{name}.ipynb)"
    for output in outputs:
        html = output.get("data", {}).get("text/html")
        if html:
            return table(html)
    return ""


def write_small(picture: str, file: Path) -> None:
    """A figure's PNG (base64), made small enough for a page with eleven of them."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        whole = image.convert("RGB")
    height = round(whole.height * WIDTH / whole.width)
    small = whole.resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLORS, dither=Image.Dither.NONE).save(file, optimize=True)


def table(html: str) -> str:
    """A table of pandas' in one line, as the book's pages show it."""
    cleaned = BeautifulSoup(html, "html.parser").find("table")
    text = re.sub(r"\s*\n\s*", "", str(cleaned))
    return f'<div class="cell_output"><div class="output text_html"><div>{text}</div></div></div>'


def course(listed: list[Chapter]) -> str:
    """The chapters as Markdown, one block each."""
    return "\n\n".join(block(one) for one in listed)


def block(one: Chapter) -> str:
    facts = [f"{one.reading} min to work through", f"{one.lecture} min as a lecture"]
    if one.ran is not None:
        facts.insert(1, f"{duration(one.ran)} to run")
    facts.append(f"{one.exercises} exercises")
    line = " · ".join(fact.replace(" ", "\N{NO-BREAK SPACE}") for fact in facts)
    comes_out = f"::::{{container}} out\n{one.shown}\n\n{one.out}\n::::" if one.shown else ""
    return f""":::::{{container}} chapter
::::{{container}} about
**[{one.title}](notebooks/{one.name}.ipynb)**

{one.question}

:::{{container}} facts
{line}
:::

:::{{container}} hands
You need {one.needs}.

You get {one.makes}.
:::
::::

{comes_out}
:::::"""


def duration(seconds: float) -> str:
    """Seconds under a minute and a half, else minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def hours(minutes: int) -> str:
    whole, rest = divmod(minutes, 60)
    parts = [f"{whole} h"] * bool(whole) + [f"{rest} min"] * bool(rest)
    return " ".join(parts)


def ways(listed: list[Chapter]) -> str:
    """The ways through the course as Markdown, with the time that each takes."""
    by_number = {one.number: one for one in listed}
    blocks = []
    for way in CHOSEN["ways"]:
        steps = [by_number[number] for number in way["notebooks"]]
        links = " → ".join(f"[{one.number}](notebooks/{one.name}.ipynb)" for one in steps)
        time = hours(sum(one.reading for one in steps)).replace(" ", "\N{NO-BREAK SPACE}")
        text = f"**{way['who']}**\n\n{links} · {time}\n\n{way['how']}"
        blocks.append(f":::{{container}} way\n{text}\n:::")
    return "::::{container} ways\n" + "\n\n".join(blocks) + "\n::::"
