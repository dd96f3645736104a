"""Sheets for people to fill in, as CSV or XLSX, written and read back."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import extras, paths
from curemed_utils.data import DataError, normalize
from curemed_utils.data.files import LINE_END, text_of

LONGEST = 32767  # characters in a cell of Excel
INSTRUCTIONS = "Instructions"  # the worksheet that is not read back
_DATA = paths.beside(__file__, ".yaml")
_PATTERN = {name: re.compile(of) for name, of in _DATA["patterns"].items()}

Choices = Mapping[str, Sequence[str]]  # a column's name -> what may stand in its cells


class Slip(NamedTuple):
    """A mistake and its place. Row 1 is the header."""

    file: str
    row: int
    fault: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.fault}"


class Line(NamedTuple):
    """A row that holds anything; `cells` maps columns to texts."""

    file: str
    row: int
    cells: dict[str, str]


def write_sheet(
    path: str | Path,
    columns: Sequence[str],
    records: Sequence[Mapping],
    choices: Choices,
    instructions: Sequence[str] = (),
) -> Path:
    """Writes a sheet with a row for each record, as CSV or XLSX by the name of `path`.

    A workbook offers `choices` as drop-downs and has `instructions` on its first worksheet. No text
    can run as a formula. DataError for a text too long for a cell.
    """
    path, table = Path(path), []
    for record in records:
        cells = [plain_text(str(record.get(name, ""))) for name in columns]
        if max(map(len, cells)) >= LONGEST:
            fault = f"a text is longer than the {LONGEST:,} characters of a cell"
            raise DataError(f"item {record.get('id')!r}: {fault}")
        table.append(cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if path.suffix == ".xlsx":
        _workbook(columns, table, choices, instructions).save(part)
    else:
        frame = pd.DataFrame(table, columns=list(columns), dtype=str)
        frame = frame.replace(_PATTERN["formula"], "'", regex=True)
        frame.to_csv(part, index=False, encoding="utf-8-sig")
    part.replace(path)
    return path


def _workbook(columns, table, choices, instructions):
    extras.need("openpyxl")
    from openpyxl import Workbook
    from openpyxl.styles import Alignment
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet = book.active
    sheet.title = "Items"
    for cells in [columns, *table]:
        sheet.append([text or None for text in cells])
    for name, column in zip(columns, sheet.iter_cols(), strict=True):
        for cell in column:
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if cell.value:
                cell.data_type = "s"
                cell.quotePrefix = bool(_PATTERN["formula"].match(cell.value))
        letter = column[0].column_letter
        sheet.column_dimensions[letter].width = 40
        if name in choices:
            listed = f'"{",".join(choices[name])}"'
            drop_down = DataValidation("list", listed, allow_blank=True, showErrorMessage=True)
            drop_down.add(f"{letter}2:{letter}{len(column)}")
            sheet.add_data_validation(drop_down)
    sheet.freeze_panes = "B2"
    if instructions:
        first = book.create_sheet(INSTRUCTIONS, 0)
        first.column_dimensions["A"].width = 100
        for text in instructions:
            first.append([text])
        book.active = 0
    return book


def plain_text(text: str) -> str:
    """A text as a cell holds it: stripped, and without control characters."""
    return _PATTERN["controls"].sub("", text).strip()


def sheets_in(folder: Path) -> list[Path]:
    """The files of a folder that are, or look like, sheets."""
    if not folder.is_dir():
        raise DataError(f"{paths.show(folder)} is not a folder of sheets")
    files = [path for path in folder.iterdir() if path.suffix.lower() in _DATA["endings"]]
    return sorted(path for path in files if not path.name.startswith(("~$", ".")))


def read_sheet(
    path: str | Path, columns: Sequence[str], choices: Choices
) -> tuple[list[Line], list[Slip]]:
    """Every row of a CSV or XLSX that holds anything, those with a slip too, and every slip.

    A cell in a column with choices comes back as one of them, or as '' where it is blank or none.
    The header is the first row that holds anything; where it is repeated, that is no row.
    """
    file = paths.show(path)
    try:
        raw = Path(path).read_bytes()
        is_zip = raw.startswith(b"PK")  # as a workbook is, whatever its name
        table = _workbook_rows(raw) if is_zip else _text_rows(raw, file)
    except Exception as error:  # of csv, zip, XML or openpyxl
        fault = f"can't be read ({type(error).__name__}: {error}); save it as 'CSV UTF-8' or .xlsx"
        return [], [Slip(file, 1, fault.replace(f"{file}: ", ""))]
    table = {row: texts for row, texts in enumerate(table, 1) if any(texts)}
    first = next(iter(table.values()), [])
    header = [normalize(name) for name in first]
    if wrong := [name for name in columns if header.count(name) != 1]:
        fault = f"these columns must stand there once: {', '.join(wrong)}"
        return [], [Slip(file, 1, f"{fault}. Take the header of the export")]
    lines, slips = [], []
    for row, texts in table.items():
        if texts == first:
            continue
        cells = dict.fromkeys(columns, "") | dict(zip(header, texts, strict=False))
        lines.append(Line(file, row, cells))
        for name, allowed in choices.items():
            text, cells[name] = cells[name], _chosen(cells[name], allowed)
            if text and not cells[name]:
                wanted = f"none of {', '.join(allowed)}; write one of them, or nothing"
                slips.append(Slip(file, row, f"{name} {text[:40]!r} is {wanted}"))
        if any(texts[len(header) :]):
            fault = "has more cells than the header: text with a separator, not quoted"
            slips.append(Slip(file, row, fault))
    times = Counter(line.cells["id"] for line in lines)
    for _, row, cells in lines:
        if times[cells["id"]] > 1:
            fault = f"{cells['id']!r} stands on several rows: none of them counts"
            slips.append(Slip(file, row, fault))
    return lines, slips


def _chosen(cell, allowed):
    """The choice that a cell means, in any case and any digits; '' for none."""
    text = re.sub(r"^(\d+)[.,]0*$", r"\1", normalize(cell))
    return next((choice for choice in allowed if choice.casefold() == text), "")


def _text_rows(raw, file):
    text = re.sub(r'\A"?sep=[^\r\n]*(\r\n|\n|\r)', "", text_of(raw, file), flags=re.IGNORECASE)
    separator = max(",;\t|", key=LINE_END.split(text.lstrip(), 1)[0].count)
    rows, reader = [], csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            rows.append([_PATTERN["escape"].sub("", cell.strip()) for cell in cells])
    except csv.Error as error:
        raise DataError(f"{error} in row {len(rows) + 1}") from None
    return rows


def _workbook_rows(raw):
    """The rows of the only worksheet that holds anything; merged cells say that they are."""
    extras.need("openpyxl")
    from openpyxl import load_workbook

    tables = {}
    for sheet in load_workbook(io.BytesIO(raw)).worksheets:
        rows = []
        for cells in sheet.values:
            rows.append(["" if cell is None else str(cell).strip() for cell in cells])
        for area in sheet.merged_cells.ranges:
            for cells in rows[area.min_row - 1 : area.max_row]:
                cells[area.min_col - 1] += f" (merged cells {area})"
        if sheet.title != INSTRUCTIONS and any(map(any, rows)):
            tables[sheet.title] = rows
    if len(tables) != 1:
        raise DataError(f"worksheets {list(tables)}, where one is wanted")
    return tables.popitem()[1]
