"""Executed notebooks can be read: no progress bars, tables of at most ten columns, three digits."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from curemed_utils import paths

COLUMNS = 10
AS_PRINTED = "as-printed"  # tag of a cell that shows a source's numbers digit by digit
BAR = re.compile(r"\d%\||[█-▏]{2}|\d(it|s)/(s|it)\b|\?it/s")
DECIMAL = re.compile(r"(?<![\w.])(?<!arXiv:)(\d[\d,]*)\.(\d+)(?!\.?\d)")
NAMES = [path.stem for path in paths.notebooks()]


def is_too_exact(number: str) -> bool:
    """Whether a decimal number has more than three digits, or more decimals than its size needs.

    Of 0 to 1 two decimals, below 0.1 (a p-value, a learning rate) two digits after its zeros;
    up to 10 two decimals, up to 100 one, and none above, but 100.0 is a percentage like others.
    Whole numbers (counts, ids, years, tokens) may be of any length.
    """
    value, decimals = float(number.replace(",", "")), number.partition(".")[2]
    if value and value < 0.1:
        return len(decimals.lstrip("0")) > 2
    if value < 10:
        return len(decimals) > 2
    return len(decimals) > (value <= 100)


def too_exact(text: str) -> list[str]:
    numbers = [match.group() for match in DECIMAL.finditer(text)]
    return [number for number in numbers if is_too_exact(number)]


def columns_of(row) -> int:
    return sum(int(cell.get("colspan", 1)) for cell in row.find_all(["td", "th"]))


def shown_text(output: dict) -> tuple[str, list]:
    """The text that an output shows, and its tables; of a page or a widget its tables alone."""
    if output["output_type"] == "stream":
        return output["text"], []
    shown = output.get("data", {})
    if "text/html" in shown:
        tables = BeautifulSoup(shown["text/html"], "html.parser").find_all("table")
        return "\n".join(table.get_text("\n") for table in tables), tables
    is_picture = any(kind.startswith("image/") for kind in shown)
    return "" if is_picture else shown.get("text/plain", ""), []


def faults(notebook) -> list[str]:
    """What makes the outputs of an executed notebook hard to read, by number of code cell."""
    lines = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            text, tables = shown_text(output)
            if BAR.search(text):
                lines.append(f"cell {number}: a progress bar")
            for table in tables:
                width = max(map(columns_of, table.find_all("tr")), default=0)
                if width > COLUMNS:
                    lines.append(f"cell {number}: a table of {width} columns")
            exact = too_exact(text)
            if exact and AS_PRINTED not in cell.metadata.get("tags", []):
                lines.append(f"cell {number}: too many digits: {', '.join(exact[:4])}")
    return lines


def notebook_of(*outputs: dict, tags=()):
    cell = new_code_cell("shown", outputs=list(outputs), metadata={"tags": list(tags)})
    return new_notebook(cells=[new_code_cell("silent"), cell])


def printed(text: str) -> dict:
    return new_output("stream", text=text)


def table_of(*cells: str) -> dict:
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    html = f"<p>0.12345 is outside</p><table><tr><th>model</th>{row}</tr></table>"
    return new_output("display_data", {"text/html": html, "text/plain": "0.12345"})


def test_what_can_be_read_has_no_fault():
    fine = "0.35 of 1,431 rows (25.0 to 100.0), p = 0.0004 or 0.077, 4.89 ± 0.03, 2,048 tokens"
    names = "Qwen2.5-1.5B, arXiv:2601.13262, version 4.57.1, 2026-11-20, {3: 2, 421: 357}"
    picture = new_output("display_data", {"image/png": "", "text/plain": "<Figure 1.2345>"})
    shown = (printed(fine), printed(names), table_of("50%", "a row", "9.5"), picture)
    assert faults(notebook_of(*shown)) == []


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (printed("sft:  82%|████████▏ | 64/78 [00:02<00:00, 26.8it/s]"), "a progress bar"),
        (printed("\rsft: 0it [00:00, ?it/s]"), "a progress bar"),
        (printed("judged 100%|#####| 9/9"), "a progress bar"),
        (table_of(*"abcdefghij"), "a table of 11 columns"),
        (printed("likelihood 0.015625"), "too many digits: 0.015625"),
        (printed("loss 1.3863 nats"), "too many digits: 1.3863"),
        (printed("57.60 percent"), "too many digits: 57.60"),
        (printed("370.4 tokens"), "too many digits: 370.4"),
        (table_of("94.25 (92 to 95.8)"), "too many digits: 94.25"),
        (new_output("execute_result", {"text/plain": "{'a': 0.123}"}), "too many digits: 0.123"),
    ],
)
def test_a_fault_is_named_with_its_cell(output, fault):
    assert faults(notebook_of(output)) == [f"cell 2: {fault}"]


def test_a_sources_own_digits_are_shown_where_a_tag_says_so():
    assert faults(notebook_of(printed("85.21 ± 0.63"), tags=[AS_PRINTED])) == []
    assert faults(notebook_of(table_of(*"abcdefghij"), tags=[AS_PRINTED]))


def test_only_what_lays_the_papers_digits_side_by_side_shows_them_all():
    tagged = set()
    for path in paths.notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            if AS_PRINTED in cell.metadata.get("tags", []):
                tagged.add(path.name[:2])
    assert tagged == {"08", "10"}


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_the_demos_notebooks_can_be_read(name):
    """Of the finished run `demo`, wherever runs are kept."""
    assert faults(nbformat.read(paths.executed(paths.runs() / "demo", name), as_version=4)) == []
