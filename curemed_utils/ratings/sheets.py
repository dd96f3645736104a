"""Rating sheets as files (Appendix D): what raters are told, CSV and XLSX written, and both read back as tables of cells."""

import csv
import io
import re
import unicodedata
from collections import Counter
from contextlib import closing
from pathlib import Path

from curemed_utils import paths
from curemed_utils.data import DataError, Row

GROUPS = {"clinicians": "medical_correctness", "native speakers": "language_quality"}  # a group's column in Table 5
TEXTS = ("question", "reasoning", "answer")
REVISED = {"revised question": "question", "revised answer": "answer"}
COLUMNS = ("id", "language", *TEXTS, "rating", "comment", *REVISED, "group", "rater")
OPTIONAL = ("comment", *REVISED)
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
NO_SHEETS = (".xls", ".xlsb", ".ods", ".numbers")  # a spreadsheet's, but not read here
CELL = 32767  # characters that fit in a cell of Excel
TASK = {
    "clinicians": "Is the medicine right? Judge question and answer by what is accepted practice today.",
    "native speakers": "Is the language right? Judge whether question and answer are in the language named, free of mistakes, and worded "
    "as people would say it to a doctor or nurse. Loanwords that are usual in medicine are fine.",
}
SCALE = {  # what 1 to 5 mean
    "clinicians": (
        "wrong from start to end, or dangerous to rely on",
        "mostly wrong, with a serious error",
        "partly right, with an error that matters",
        "right but for a small point",
        "fully right and safe to rely on",
    ),
    "native speakers": (
        "another language, or impossible to understand",
        "hard to understand, with many or bad mistakes",
        "understandable, with clear mistakes or unnatural wording",
        "right and natural but for a small point",
        "fully right, natural, all in the language",
    ),
}


def instructions(group: str) -> list[str]:
    """What a rater of the group reads first, a paragraph a line."""
    return [
        f"Rating medical questions and answers: {group}",
        "The questions and answers were written by a language model. They are about no real patient.",
        TASK[group],
        "The reasoning is there to help you. It may mix English with the language on purpose; don't rate it.",
        "Write one whole number from 1 to 5 into the column 'rating':",
        *(f"{number} - {label}" for number, label in enumerate(SCALE[group], 1)),
        "An item that anyone rates 1, 2 or 3 needs revision: please say in 'comment' what is wrong. You may comment on any item.",
        "If you know the right text, write all of it into 'revised question' or 'revised answer'. Leave the other columns as they are.",
        "You may skip items (leave the rating empty) and stop whenever you like. Save the file under its own name, in its own format.",
    ]


def shown(row: Row) -> dict[str, str]:
    """Question, reasoning and answer as raters see them: without tags, with numbered steps, without characters no sheet takes."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    texts = {"question": row.question, "reasoning": re.sub(r"<step(\d+)>", r"\n\1. ", row.reasoning), "answer": row.answer}
    plain = {name: re.sub(r"</?(thinking|step\d+|answer)>", "", text).replace("\r\n", "\n") for name, text in texts.items()}
    return {name: ILLEGAL_CHARACTERS_RE.sub("", text).replace("\r", "\n").strip() for name, text in plain.items()}


def cells(row: Row, group: str, rater: str) -> dict:
    texts = shown(row)
    if long := [name for name, text in texts.items() if len(text) >= CELL]:
        raise DataError(f"row {row.id!r}: its {long[0]} is longer than the {CELL:,} characters of a cell; shorten it or leave the row out")
    return dict.fromkeys(COLUMNS, "") | {"id": row.id, "language": row.language, "group": group, "rater": rater} | texts


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet might run the text."""
    return text[:1] in ("\t", "\r") or unicodedata.normalize("NFKC", text.lstrip()[:1]) in tuple("=+-@")


def escaped(text: str) -> str:
    """A cell's text, with an apostrophe before what a spreadsheet might run."""
    return f"'{text}" if _is_formula(text) else text


def unescaped(text: str) -> str:
    """`escaped` undone."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def write_csv(path: Path, group: str, records: list[dict]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # Excel knows UTF-8 by the mark
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for record in records:
            table.writerow([escaped(str(record[name])) for name in COLUMNS])


def write_xlsx(path: Path, group: str, records: list[dict]) -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font, PatternFill, Protection
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book, top = Workbook(), Alignment(wrap_text=True, vertical="top")
    first, sheet = book.active, book.create_sheet("Items")
    first.title, first.column_dimensions["A"].width = "Instructions", 100
    for line in instructions(group):
        first.append([line])
        first.cell(first.max_row, 1).alignment = top
    first["A1"].font = Font(bold=True, size=14)
    sheet.append(COLUMNS)
    for record in records:
        sheet.append([record[name] if record[name] != "" else None for name in COLUMNS])
    for row in sheet.iter_rows():
        for cell, name in zip(row, COLUMNS, strict=True):
            cell.alignment = top
            if isinstance(cell.value, str):
                cell.data_type, cell.quotePrefix = "s", _is_formula(cell.value)
            if cell.row > 1 and name in ("rating", *OPTIONAL):
                cell.protection, cell.number_format = Protection(locked=False), "General" if name == "rating" else "@"
            elif cell.row == 1:
                cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")
    widths = {"id": 18, "language": 12, "question": 50, "reasoning": 60, "rating": 8, "group": 15, "rater": 15}
    for number, name in enumerate(COLUMNS, 1):
        sheet.column_dimensions[get_column_letter(number)].width = widths.get(name, 40)
    letter = get_column_letter(COLUMNS.index("rating") + 1)
    choice = DataValidation("list", formula1='"1,2,3,4,5"', allow_blank=True, showErrorMessage=True)
    choice.errorTitle, choice.error = "Rating", "A whole number from 1 to 5, or nothing."
    choice.add(f"{letter}2:{letter}{len(records) + 1}")
    sheet.add_data_validation(choice)
    sheet.freeze_panes, sheet.print_title_rows = "B2", "1:1"
    sheet.page_setup.orientation, sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = "landscape", 1, 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.protection.sheet, sheet.protection.formatColumns, sheet.protection.formatRows = True, False, False  # False: allowed
    book.save(path)


def found(folder: Path) -> list[Path]:
    """The files of a folder that are, or look like, sheets."""
    if not folder.is_dir():
        raise DataError(f"{paths.show(folder)} is not a folder; name the folder of the sheets, or a list of files")
    kept = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES + NO_SHEETS]
    return sorted(path for path in kept if not path.name.startswith(("~$", ".")))


def read(path: Path) -> list[tuple[str, list[list]]]:
    """(sheet name, rows of cells) of a file, '' for a text file; sheets without any cell, and the instructions, left out."""
    try:
        if path.suffix.lower() not in (".xlsx", ".xlsm"):
            return [("", _read_text(path))]
        from openpyxl import load_workbook

        with closing(load_workbook(path, read_only=True)) as book:
            tables = [(sheet.title, [list(row) for row in sheet.iter_rows(values_only=True)]) for sheet in book.worksheets]
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror or error})") from None
    except DataError:
        raise
    except Exception as error:  # a broken workbook fails in zip, XML or openpyxl, each with classes of its own
        raise DataError(f"is no workbook that can be read ({type(error).__name__}: {error}); save it as .xlsx again") from None
    tables = [(name, rows) for name, rows in tables if name != "Instructions" and any(cell is not None for row in rows for cell in row)]
    if not tables:
        raise DataError("holds no sheet of items")
    return tables


def _read_text(path: Path) -> list[list[str]]:
    if path.suffix.lower() in NO_SHEETS:
        raise DataError(f"{path.suffix} is not read; save it as .xlsx or as 'CSV UTF-8'")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 at byte {error.start}; save it as 'CSV UTF-8' or .xlsx") from None
    if "\0" in text or not text.strip():
        raise DataError("is empty, or not text; save it as 'CSV UTF-8' or .xlsx")
    rows, lines = [], csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=text.partition("\n")[0].count), strict=True)
    try:
        rows.extend(lines)
    except csv.Error as error:
        raise DataError(f"row {len(rows) + 1}: quotes or cells are broken ({error}); save it as 'CSV UTF-8' or .xlsx again") from None
    return rows


def records(table: list[list]) -> list[tuple[int, dict]]:
    """Rows that hold anything, as (row number from 1, cells by column); only `rating` stays as the sheet has it.

    Raises DataError for missing or doubled columns. Cells beyond the header are under 'overflow'."""
    header = [str(cell or "").strip().casefold() for cell in table[0]]
    missing = [name for name in COLUMNS if name not in (*header, *OPTIONAL)]
    twice = [name for name, n in Counter(header).items() if name and n > 1]
    if missing or twice:
        said = [f"lacks the columns {', '.join(missing)}"] * bool(missing) + [f"has the columns {', '.join(twice)} twice"] * bool(twice)
        raise DataError(f"{' and '.join(said)}; found: {', '.join(filter(None, header)) or 'none'}. Take the header of the export")
    made = []
    for number, cells in enumerate(table[1:], 2):
        texts = [unescaped("" if cell is None else str(cell)) for cell in cells]
        if any(text.strip() for text in texts):
            record = dict.fromkeys(OPTIONAL, "") | dict.fromkeys(header, "") | dict(zip(header, texts, strict=False))
            record["rating"] = cells[header.index("rating")] if header.index("rating") < len(cells) else None
            over = any(text.strip() for text in texts[len(header) :])
            record["overflow"] = "has more cells than the header has columns: text with a separator, not quoted" if over else ""
            made.append(
                (number, {name: text.strip() if name in ("id", "language", "group", "rater") else text for name, text in record.items()})
            )
    return made


def rating(value: object, group: str) -> int | None:
    """1-5, also '4.0', full-width and other scripts' digits, or a number with its label; None for a blank; else ValueError."""
    text = "" if value is None else str(value).strip()
    number, _, label = (part.strip() for part in text.partition(" - "))
    if re.fullmatch(r"\d([.,]0*)?", number) and 1 <= int(number[0]) <= 5 and label in ("", SCALE[group][int(number[0]) - 1]):
        return int(number[0])
    if text:
        raise ValueError(f"rating {text[:40]!r} is no whole number from 1 to 5; write the number alone, or leave it empty")
    return None
