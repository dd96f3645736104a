"""Rows: read and validated from three sources, and written."""

import difflib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from curemed_utils import languages, paths

SPLITS = ("sft", "rft", "test")
HUB_DATASET = "Aikyam-Lab/CUREMED-BENCH"
_JSON = "_json"  # ends the name of a table's column whose cells hold JSON


class DataError(ValueError):
    """Input that can't be used; the message names file, line and what is wrong."""


class Row(BaseModel):
    """One open question (x, r, y*) of Section 3.1 and, where known, the multiple-choice item it came from.

    `reasoning` holds `<thinking><step1>…</step1>…</thinking>` and `answer` holds `<answer>…</answer>`; test rows of the
    release have no reasoning. `reasoning_monolingual` is the same argument wholly in `language`, for the ablation's naive
    SFT, and empty where there is none. `accepted` is a closed list of short right answers, empty where only a judge can
    tell. `lineage` is what made the row (`curation`). Further fields are kept as they are.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    language: str
    question: str
    answer: str
    reasoning: str = ""
    reasoning_monolingual: str = ""
    topic: str = ""
    accepted: list[str] = []
    mcq_question: str = ""
    options: dict[str, str] = {}
    key: str = ""
    source: str = ""
    lineage: dict = {}

    @field_validator("id", "question", "answer")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        return languages.get(value).name


def read_jsonl(path: str | Path, source: str = "", language: str | None = None) -> list[Row]:
    """Rows of one JSON Lines file.

    Rows without an id get `<source>-<line>`. With `language`, every row must carry it. Raises DataError that lists
    the first ten faults by file and line: encoding, JSON, missing or blank fields, labels, duplicate ids, no row at all.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        hint = "; notebook 01 makes a run's data: run it with the same run_dir first" if path.parent.name == "data" else ""
        raise DataError(f"{paths.show(path)}: can't be read ({error.strerror or error}){hint}") from None
    rows, faults, seen = [], [], {}
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = _parse(line, f"{source or path.stem}-{number - 1}", source)
            if language and row.language != language:
                raise DataError(f"language is {row.language!r}, but the file is for {language!r}")
            if row.id in seen:
                raise DataError(f"duplicate id {row.id!r}, first on line {seen[row.id]}")
        except DataError as error:
            faults.append(f"{paths.show(path)}, line {number}: {error}")
            continue
        seen[row.id] = number
        rows.append(row)
    if faults:
        raise DataError(listed(faults))
    if not rows:
        raise DataError(f"{paths.show(path)}: holds no row")
    return rows


def listed(faults: Sequence[str], limit: int = 10) -> str:
    """The first `limit` faults, one a line, and how many more there are."""
    lines = list(faults[:limit])
    if len(faults) > limit:
        lines.append(f"… and {len(faults) - limit} more")
    return "\n".join(lines)


def _parse(line: bytes, default_id: str, source: str) -> Row:
    return _row({"id": default_id, "source": source} | parse_object(line))


def parse_object(line: bytes) -> dict:
    """The JSON object in one line of a file; DataError says what else the line is."""
    try:
        record = json.loads(line.decode("utf-8"))
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError("holds half a surrogate pair (\\ud800-\\udfff); write the whole character") from None
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise DataError(f"is a JSON {type(record).__name__}, not an object")
    return record


def _row(record: dict) -> Row:
    try:
        return Row.model_validate(record)
    except ValidationError as error:
        said = [f"field {'.'.join(map(str, e['loc']))!r}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise DataError("; ".join(said)) from None


def write_jsonl(rows: Iterable[Row | dict], path: str | Path) -> Path:
    """Writes rows as UTF-8 JSON Lines, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for row in rows:
            record = row.model_dump(exclude_defaults=True) if isinstance(row, Row) else row
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    part.replace(path)
    return path


def normalize(text: str) -> str:
    """Text for comparison: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# Sources ------------------------------------------------------------------------------------------------------------


def read_folder(folder: Path, prefix: str) -> list[Row]:
    """Rows of `<folder>/<Language>.jsonl`; DataError names the published languages that are missing, and what is misnamed."""
    if not folder.is_dir():
        raise DataError(f"{paths.show(folder)} is not a folder; set CUREMED_RELEASE to the unpacked release's root")
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem not in languages.NAMES:
            near = difflib.get_close_matches(path.stem.title(), languages.NAMES, n=1)
            raise DataError(f"{paths.show(path)}: no language has this name" + (f"; rename it to {near[0]}.jsonl" if near else ""))
    missing = [name for name in languages.PUBLISHED if not (folder / f"{name}.jsonl").exists()]
    if missing:
        raise DataError(f"{paths.show(folder)} lacks {', '.join(name + '.jsonl' for name in missing)}")
    return [
        row
        for language in languages.ALL
        if (folder / f"{language.name}.jsonl").exists()
        for row in read_jsonl(folder / f"{language.name}.jsonl", f"{prefix}-{language.code}", language.name)
    ]


def read_release(root: str | Path | None = None) -> dict[str, list[Row]]:
    """The authors' released rows: SFT and RFT files, and the test questions out of the verdict CSVs."""
    root = paths.release(root)
    return {
        "sft": read_folder(root / "datasets" / "SFT_data", "release-sft"),
        "rft": read_folder(root / "datasets" / "RFT_data", "release-rft"),
        "test": read_release_test(root),
    }


def read_release_test(root: Path) -> list[Row]:
    """The test questions (1,431 in the release), which stand only in the CSVs of judged baseline outputs."""
    return [row for name in languages.PUBLISHED for row in _test_rows(release_file(root, "test", name), languages.get(name))]


def release_file(root: Path, split: str, language: str) -> Path:
    """The file of the release that holds a split's rows of a language: JSON Lines, for test the first CSV of judged outputs."""
    if split != "test":
        return root / "datasets" / f"{split.upper()}_data" / f"{language}.jsonl"
    pattern = f"*_logic_evaluation/{language}_*.csv"
    found = sorted((root / "baseline_inference").rglob(pattern))
    if not found:
        raise DataError(f"{paths.show(root / 'baseline_inference')} has no {pattern}; set CUREMED_RELEASE to the release's root")
    return found[0]


def _test_rows(path: Path, language: languages.Language) -> list[Row]:
    try:
        table = pd.read_csv(path, usecols=["Question", "Response"], dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{paths.show(path)}: {error}") from None
    rows = []
    for number, (question, answer) in enumerate(table.itertuples(index=False)):
        record = {
            "id": f"release-test-{language.code}-{number}",
            "language": language.name,
            "question": question,
            "answer": f"<answer>{answer.strip()}</answer>" if answer.strip() else "",
            "source": f"release-test-{language.code}",
        }
        try:
            rows.append(_row(record))
        except DataError as error:
            raise DataError(f"{paths.show(path)}, row {number}: {error}") from None
    return rows


def read_hub(dataset: str = HUB_DATASET) -> dict[str, list[Row]]:
    """Rows by split of a dataset on the hub, or of a local folder in a form that `datasets` opens, as `export.export` writes."""
    import datasets

    try:
        loaded = datasets.load_dataset(dataset)
    except Exception as error:  # the hub, the network and file formats all fail in their own classes
        raise DataError(
            f"data_source hub: {dataset!r} can't be loaded ({type(error).__name__}: {error}). "
            "Check the network and HF_TOKEN, give a local folder as hub_dataset, or take data_source sample or release"
        ) from error
    return {name: [_hub_row(record, dataset, name, n) for n, record in enumerate(part)] for name, part in loaded.items()}


def _hub_row(record: dict, dataset: str, split_name: str, number: int) -> Row:
    source = f"hub-{split_name}"
    given = {}
    for key, value in record.items():
        if value is not None:
            given |= _column(key, value)
    try:
        return _row({"id": f"{source}-{number}", "source": source} | given)
    except DataError as error:
        raise DataError(f"{dataset}, split {split_name!r}, row {number}: {error}") from None


def as_column(field: str, value: object) -> tuple[str, object]:
    """The table column and the cell of a row's field: text and `accepted` as they are, all else as JSON in `<field>_json`.

    Parquet has one type a column and fills in the keys that a dict lacks; JSON keeps every value as it was. Raises DataError
    for a value that JSON can't hold.
    """
    if field == "accepted" or (isinstance(value, str) and not field.endswith(_JSON)):
        return field, value
    try:
        return field + _JSON, json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"field {field!r} can't be written as JSON ({error})") from None


def _column(name: str, cell: object) -> dict:
    """The field that `as_column` made a column of; a column of another origin that only looks like one is left as it is."""
    if name.endswith(_JSON) and isinstance(cell, str):
        try:
            return {name.removesuffix(_JSON): json.loads(cell)}
        except ValueError:
            pass
    return {name: cell}
