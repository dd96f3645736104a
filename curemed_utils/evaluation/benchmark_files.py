"""Files of other benchmarks: where their rows lie, and the forms that a row may have."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePath
from string import ascii_uppercase
from typing import NamedTuple

from curemed_utils import data, paths
from curemed_utils.data import DataError
from curemed_utils.data.rows import parse_object

TYPES = (".jsonl", ".json", ".parquet", ".arrow")
# What `datasets` writes beside rows, and the original MedQA's shortened or translated copies
NO_ROWS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
COPIES = {"4_options", "tw_translated_jsonl"}
SPLITS = {"test", "train", "dev", "valid", "validation"}
RIGHT = ("answer_idx", "correct_option", "answer")  # the first that a row has says what is right


class File(NamedTuple):
    label: str  # how messages call it
    inner: PurePath  # below the path that was given
    read: Callable[[], bytes]


def files_of(place: str | Path) -> list[File]:
    """The files with rows of a file, a folder, a zip file or a dataset of the hub.

    Where files or folders are named by split, the test files alone, and of the original MedQA no
    copies: whoever wants another file names it. Raises DataError if there is none.
    """
    root = Path(place).expanduser()
    local = root.exists()
    files = []
    for path, inner, read in _walk(root if local else _download(str(place))):
        hidden = any(part.startswith((".", "__MACOSX")) for part in inner.parts)
        if inner.suffix in TYPES and inner.name not in NO_ROWS and not hidden:
            files.append(File(paths.show(path) if local else f"{place}/{inner}", inner, read))
    if root.suffix not in TYPES:
        files = [file for file in files if not COPIES & set(file.inner.parts)]
        if any(SPLITS & _words(file) for file in files):
            files = [file for file in files if "test" in _words(file)]
    if not files:
        wanted = f"no test file ending in {', '.join(TYPES)}"
        raise DataError(f"{place}: holds {wanted}; to read another split or copy, name its file")
    return files


def _words(file: File) -> set[str]:
    return set(re.findall("[a-z]+", str(file.inner).lower()))


def _walk(root: Path) -> Iterator[tuple[Path, PurePath, Callable[[], bytes]]]:
    """Path of every file, its path below `root` without the names of zip files, and its reader."""
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        folder = PurePath(path.relative_to(root)).parent
        if path.suffix == ".zip":
            try:
                archive = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError) as error:
                fault = f"can't be opened as a zip file ({error})"
                raise DataError(f"{paths.show(path)}: {fault}") from None
            for name in sorted(archive.namelist()):
                yield path / name, folder / name, partial(archive.read, name)
        elif path.is_file():
            yield path, folder / path.name, path.read_bytes


def _download(name: str) -> Path:
    import huggingface_hub

    wanted = [f"*{ending}" for ending in (*TYPES, ".zip")]
    try:
        root = huggingface_hub.snapshot_download(name, repo_type="dataset", allow_patterns=wanted)
        return Path(root)
    except Exception as error:  # hub, network and impossible names fail in their own classes
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        fault = "is no file or folder here, and the hub gives no dataset of that name"
        raise DataError(f"{name!r} {fault} ({why})") from None


def records_of(file: File) -> Iterator[tuple[int, dict | DataError]]:
    """Number (the line in JSON Lines, else the row, from 1) and record of every row.

    A row that can't be read comes as the DataError that says why. Raises DataError if the whole
    file can't be read.
    """
    try:
        rows = _rows(file.read().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(f"{file.label}: can't be read ({error})") from None
    for number, row in rows:
        if not isinstance(row, dict | DataError):
            row = DataError(f"is a JSON {type(row).__name__}, not an object")
        yield number, row


def _rows(raw: bytes) -> list[tuple[int, object]]:
    if raw.startswith(b"PAR1"):
        from pyarrow import parquet

        return list(enumerate(parquet.read_table(io.BytesIO(raw)).to_pylist(), 1))
    if raw.startswith(b"\xff\xff\xff\xff"):  # an Arrow stream, as `datasets` saves it
        from pyarrow import ipc

        return list(enumerate(ipc.open_stream(raw).read_all().to_pylist(), 1))
    if raw.lstrip().startswith(b"["):
        return list(enumerate(json.loads(raw), 1))
    lines = enumerate(raw.splitlines(), 1)
    return [(number, _parsed(line)) for number, line in lines if line.strip()]


def _parsed(line: bytes) -> dict | DataError:
    try:
        return parse_object(line)
    except DataError as error:
        return error


# Forms of a row ---------------------------------------------------------------------------------


def parts_of(record: dict | DataError) -> dict:
    """{question, options, keys} of a row in any published form; keys are letters.

    MedExpQA's `full_question` has the clinical case, which its `question` lacks. Raises DataError
    that says what is wrong with the row.
    """
    if isinstance(record, DataError):
        raise record
    question = record.get("full_question") or record.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"has no text under 'question'; {_fields(record)}")
    options, letter_of = _options(_pairs(record))
    keys = _keys(record, options, letter_of)
    return {"question": question.strip(), "options": options, "keys": keys}


def _fields(record: dict) -> str:
    return f"its fields are {', '.join(map(str, record))}"


def _missing(value: object) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or value != value or blank  # NaN is not equal to itself


def _name(value: object) -> str:
    """What a key or a text is compared by: `2.0` is "2", "(B)" is "b"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return data.normalize(str(value)).strip(" ().")


def _pairs(record: dict) -> list[tuple]:
    """Key and text of each option, as the source has them."""
    for name in ("options", "choices"):
        options = record.get(name)
        if options and isinstance(options, dict):
            return list(options.items())
        if options and isinstance(options, list):
            if all(isinstance(option, dict) for option in options):
                return [(option.get("key"), option.get("value")) for option in options]
            return list(zip(ascii_uppercase, options, strict=False))
    raise DataError(f"has no options under 'options' or 'choices'; {_fields(record)}")


def _options(pairs: list[tuple]) -> tuple[dict[str, str], dict[str, str]]:
    """Letter -> text of the options that are there, and key in the source -> letter of all."""
    sources = [_name(key) for key, _ in pairs]
    first = 0 if "0" in sources else 1
    options, letter_of = {}, {}
    for source, (key, text) in zip(sources, pairs, strict=True):
        number = re.fullmatch(r"1?\d|2[0-5]", source)
        letter = ascii_uppercase[int(source) - first] if number else source.upper()
        if not re.fullmatch("[A-Z]", letter):
            raise DataError(f"option key {key!r} is neither a letter nor a number")
        if letter in letter_of.values():
            raise DataError(f"option keys {', '.join(sources)} name an option twice")
        letter_of[source] = letter
        if not _missing(text):
            if isinstance(text, bool) or not isinstance(text, str | int | float):
                raise DataError(f"option {letter} is a JSON {type(text).__name__}, not a text")
            options[letter] = str(text).strip()
    if len(options) < 2:
        raise DataError(f"has {len(options)} options; two or more are needed")
    return options, letter_of


def _keys(record: dict, options: dict[str, str], letter_of: dict[str, str]) -> list[str]:
    field = next((field for field in RIGHT if not _missing(record.get(field))), None)
    if field is None:
        raise DataError(f"says no right option under {', '.join(RIGHT)}; {_fields(record)}")
    by_key = {letter.lower(): letter for letter in options} | letter_of
    by_text = {_name(text): letter for letter, text in reversed(options.items())}
    letter_by = by_key | by_text if field == "answer" else by_text | by_key  # the right side wins
    value = record[field]
    if isinstance(value, list):
        right = value
    elif _name(value) in letter_by:
        right = [value]
    else:
        right = re.split(r"[,，、;；/\s]+", str(value).strip())
    letters = [letter_by.get(_name(part)) for part in right]
    if not letters or None in letters:
        wanted = f"none of the options {', '.join(letter_of).upper()} or their texts"
        raise DataError(f"{field} is {value!r}, which names {wanted}")
    for letter in letters:
        if letter not in options:
            raise DataError(f"{field} is {value!r}, but option {letter} has no text")
    return sorted(set(letters))
