"""One row of a data set, and the JSON Lines files that hold rows."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator

from curemed_utils import languages, paths, trace
from curemed_utils.data.files import DataError, json_objects, read_text, write_whole
from curemed_utils.data.normal import forms_of

SPLITS = ("sft", "rft", "test")


def _comparable(form):
    if not forms_of(form):
        raise ValueError("must hold a letter or a number")
    return form


class Row(BaseModel):
    """One open question (x, r, y*) of Section 3.1, and the multiple-choice item it came from.

    `reasoning` and `answer` hold the tags of `trace.py`; `reasoning_monolingual` is wholly in
    `language`. `accepted` lists all short right answers, empty where only a judge can tell.
    `lineage` is what made the row. Further fields are kept.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    language: str
    question: str
    answer: str
    reasoning: str = ""
    reasoning_monolingual: str = ""
    topic: str = ""
    accepted: list[Annotated[str, AfterValidator(_comparable)]] = []
    mcq_question: str = ""
    options: dict[str, str] = {}
    key: str = ""
    source: str = ""
    lineage: dict = {}

    @field_validator("id", "question", "answer")
    @classmethod
    def _not_blank(cls, value):
        if trace.is_blank(value):
            raise ValueError("must not be blank")
        return value

    @field_validator("language")
    @classmethod
    def _known_language(cls, value):
        return languages.get(value).name


def checked_row(record: dict) -> Row:
    """DataError names each field at fault, or one that differs from ours in case alone."""
    for field in record:
        name = field.strip().lower()
        if field != name and name in Row.model_fields:
            raise DataError(f"field {field!r}: did you mean {name!r}?")
    try:
        return Row.model_validate(record)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            field = ".".join(map(str, fault["loc"]))
            hint = languages.nearest(field, record) if fault["type"] == "missing" else ""
            faults.append(f"field {field!r}: {fault['msg'].removeprefix('Value error, ')}{hint}")
        raise DataError("; ".join(faults)) from None


def read_jsonl(path: str | Path, source: str = "", language: str | None = None) -> list[Row]:
    """Rows of one file, all of `language` where given; ids default to `<source>-<number>`.

    DataError has the first ten faults by file and line.
    """
    path = Path(path)
    if path.parent.name == "data" and not path.exists():
        raise DataError(str(paths.missing(path.parents[1], path)))
    rows, faults, place_of = [], [], {}
    records = json_objects(read_text(path), paths.show(path), faults)
    for number, (place, record) in enumerate(records):
        defaults = {"id": f"{source or path.stem}-{number}", "source": source}
        try:
            row = checked_row(defaults | record)
            if language and row.language != language:
                raise DataError(f"language is {row.language!r}, but the file is for {language!r}")
            if row.id in place_of:
                raise DataError(f"duplicate id {row.id!r}, first on {place_of[row.id]}")
        except DataError as error:
            faults.append(f"{place}: {error}")
            continue
        place_of[row.id] = place.rpartition(", ")[2]
        rows.append(row)
    if faults:
        raise DataError(listed(faults))
    if not rows:
        raise DataError(f"{paths.show(path)}: holds no row")
    return rows


def listed(faults: Sequence[str]) -> str:
    """The first ten faults, one a line, and how many more there are."""
    lines = list(faults[:10])
    if len(faults) > 10:
        lines.append(f"… and {len(faults) - 10} more")
    return "\n".join(lines)


def write_jsonl(rows: Iterable[Row | dict], path: str | Path) -> Path:
    """Writes rows as UTF-8 JSON Lines, whole or not at all."""
    return write_whole(Path(path), map(_line, rows))


def _line(row):
    record = row.model_dump(exclude_defaults=True) if isinstance(row, Row) else row
    return json.dumps(record, ensure_ascii=False) + "\n"
