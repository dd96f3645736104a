"""Files and rows of published benchmarks: folders, zip files and hub datasets; JSON Lines, JSON lists, Parquet and Arrow."""

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from string import ascii_uppercase
from typing import NamedTuple

from curemed_utils import data, paths
from curemed_utils.data import DataError
from curemed_utils.data.rows import parse_object

TYPES = (".jsonl", ".json", ".parquet", ".arrow")
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # files that `datasets` writes beside rows
_DERIVED = {"4_options", "tw_translated_jsonl"}  # the original MedQA's questions once more, shortened or translated
_KEYS = ("answer_idx", "correct_option", "answer")  # the first that a row has says which options are right
_SPLITS = {"test", "train", "dev", "valid", "validation"}


class File(NamedTuple):
    label: str  # how messages call it
    inner: PurePath  # where it lies below the path that was given
    names: tuple[str, ...]  # names of the folders around it and its own, outermost first
    load: Callable[[], bytes]


def find(given: str | Path) -> list[File]:
    """The files with rows under `given`: a file, a folder, a zip file, or the name of a dataset on the hub, which is downloaded.

    Where files or folders are named by split, the test files alone, and of the original MedQA no derived copies: whoever wants
    another file names it. Raises DataError if there is none.
    """
    root, shown = Path(given).expanduser(), paths.show(given)
    around = root.absolute().parts[-3:]
    if not root.exists():
        root, shown, around = _download(str(given)), str(given), (str(given),)
    found = []
    for path in [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file()):
        inner = PurePath(path.name) if path == root else PurePath(path.relative_to(root))
        label = shown if path == root else f"{shown}/{inner.as_posix()}"
        if path.suffix == ".zip":
            found += _zipped(path, label, around, inner)
        else:
            found.append(File(label, inner, (*around, *inner.parts), path.read_bytes))
    found = [f for f in found if f.inner.suffix in TYPES and f.inner.name not in _ABOUT]
    found = [f for f in found if not any(part.startswith((".", "__MACOSX")) for part in f.inner.parts)]
    if not root.is_file() or root.suffix == ".zip":
        found = [f for f in found if not _DERIVED & set(f.inner.parts)]
        if any(_SPLITS & _words(f) for f in found):
            found = [f for f in found if "test" in _words(f)]
    if not found:
        raise DataError(f"{shown}: holds no test file ending in {', '.join(TYPES)}; to read another split or copy, name its file")
    return found


def _words(file: File) -> set[str]:
    return set(re.findall("[a-z]+", str(file.inner).lower()))


def _zipped(path: Path, label: str, around: tuple[str, ...], inner: PurePath) -> list[File]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{label}: can't be opened as a zip file ({error})") from None
    names = sorted(name for name in archive.namelist() if not name.endswith("/"))
    folder = (*around, *inner.parent.parts)
    return [
        File(f"{label}/{name}", inner.parent / name, (*folder, *PurePath(name).parts), lambda name=name: archive.read(name))
        for name in names
    ]


def _download(name: str) -> Path:
    import huggingface_hub

    try:
        wanted = [f"*{ending}" for ending in (*TYPES, ".zip")]
        return Path(huggingface_hub.snapshot_download(name, repo_type="dataset", allow_patterns=wanted))
    except Exception as error:  # the hub, the network and a name that can't be one all fail in their own classes
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(f"{name!r} is no file or folder here, and the hub gives no dataset of that name ({why})") from None


def records(file: File) -> Iterator[tuple[int, dict | DataError]]:
    """Number (the line in JSON Lines, else the row, from 1) and record of every row; a DataError in place of one that can't be read.

    Raises DataError if the file as a whole can't be read.
    """
    try:
        raw = file.load().removeprefix(b"\xef\xbb\xbf")
        rows = _rows(raw)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(f"{file.label}: can't be read ({error})") from None
    for number, row in rows:
        known = isinstance(row, dict | DataError)
        yield number, row if known else DataError(f"is a JSON {type(row).__name__}, not an object")


def _rows(raw: bytes) -> list[tuple[int, object]]:
    if raw.startswith(b"PAR1"):
        import pyarrow.parquet

        return list(enumerate(pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist(), 1))
    if raw.startswith(b"\xff\xff\xff\xff"):  # an Arrow stream, as `datasets` saves it
        import pyarrow

        return list(enumerate(pyarrow.ipc.open_stream(raw).read_all().to_pylist(), 1))
    if raw.lstrip().startswith(b"["):
        return list(enumerate(json.loads(raw), 1))
    return [(number, _parsed(line)) for number, line in enumerate(raw.splitlines(), 1) if line.strip()]


def _parsed(line: bytes) -> dict | DataError:
    try:
        return parse_object(line)
    except DataError as error:
        return error


# Forms of a row -----------------------------------------------------------------------------------------------------


def parts(record: dict) -> tuple[dict, dict]:
    """What a row holds in any published form, as {question, options, keys, rationale} with letters for keys, and its other fields.

    DataError says what is wrong with it. MedExpQA's `full_question` has the clinical case, which its `question` lacks.
    """
    name = "question" if _missing(record.get("full_question")) else "full_question"
    if not isinstance(record.get(name), str) or not record[name].strip():
        raise DataError(f"has no text under {name!r}; its fields are {', '.join(map(str, record))}")
    options, letter_of = _options(record)
    keys = _keys(record, options, letter_of)
    found = {"question": record[name].strip(), "options": options, "keys": keys, "rationale": _rationale(record, keys, letter_of)}
    return found, {field: value for field, value in record.items() if field not in (name, "options", "rationale")}


def _missing(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # NaN is not equal to itself


def _options(record: dict) -> tuple[dict[str, str], dict[str, str]]:
    """Letter -> text of the options that are there, and key in the source -> letter of all."""
    given = next((record[name] for name in ("options", "choices") if record.get(name)), None)
    if isinstance(given, list) and all(isinstance(one, dict) and {"key", "value"} <= one.keys() for one in given):
        pairs = [(one["key"], one["value"]) for one in given]
    elif isinstance(given, list):
        pairs = list(zip(ascii_uppercase, given, strict=False))
    elif isinstance(given, dict):
        pairs = list(given.items())
    else:
        raise DataError(f"has no options under 'options' or 'choices'; its fields are {', '.join(map(str, record))}")
    sources = [_plain(key) for key, _ in pairs]
    first = 0 if "0" in sources else 1
    letters = [ascii_uppercase[int(key) - first] if re.fullmatch("1?[0-9]|2[0-5]", key) else key for key in sources]
    if odd := [key for (key, _), letter in zip(pairs, letters, strict=True) if not re.fullmatch("[A-Z]", letter)]:
        raise DataError(f"option key {odd[0]!r} is neither a letter nor a number")
    if len(set(letters)) < len(letters):
        raise DataError(f"option keys {', '.join(str(key) for key, _ in pairs)} name an option twice")
    options = {letter: value for letter, (_, value) in zip(letters, pairs, strict=True) if not _missing(value)}
    if odd := [letter for letter, value in options.items() if isinstance(value, bool) or not isinstance(value, str | int | float)]:
        raise DataError(f"option {odd[0]} is a JSON {type(options[odd[0]]).__name__}, not a text")
    if len(options) < 2:
        raise DataError(f"has {len(options)} options; two or more are needed")
    return {letter: str(value).strip() for letter, value in options.items()}, dict(zip(sources, letters, strict=True))


def _plain(key: object) -> str:
    key = int(key) if isinstance(key, float) and key.is_integer() else key
    return unicodedata.normalize("NFKC", str(key)).strip(" ().").upper()


def _keys(record: dict, options: dict[str, str], letter_of: dict[str, str]) -> list[str]:
    name = next((name for name in _KEYS if not _missing(record.get(name))), None)
    if name is None:
        raise DataError(f"says no right option under {', '.join(_KEYS)}; its fields are {', '.join(map(str, record))}")
    texts: dict[str, str] = {}
    for letter, text in options.items():
        texts.setdefault(data.normalize(text), letter)

    def letter(part: object) -> str | None:
        by_key, by_text = letter_of.get(_plain(part)), texts.get(data.normalize(str(part)))
        by_key = by_key or (_plain(part) if _plain(part) in options else None)
        return by_text or by_key if name == "answer" else by_key or by_text

    value = record[name]
    if not isinstance(value, list):
        whole = letter(value)
        joined = re.fullmatch("[A-Z]{2,}", str(value)) and set(str(value)) <= set(options)
        value = [whole] if whole else list(value) if joined else [p for p in re.split(r"[,，、;；/\s]+", str(value)) if p]
    found = [letter(part) for part in value]
    if not found or None in found:
        raise DataError(f"{name} is {record[name]!r}, which names none of the options {', '.join(letter_of)} or their texts")
    if absent := [key for key in found if key not in options]:
        raise DataError(f"{name} is {record[name]!r}, but option {absent[0]} has no text")
    return sorted(set(found))


def _rationale(record: dict, keys: list[str], letter_of: dict[str, str]) -> str:
    """What argues for the right options: MMedBench's `rationale`, MedExpQA's `full_answer` or else its `explanations` of them."""
    for name in ("rationale", "full_answer"):
        if isinstance(record.get(name), str):
            return record[name].strip()
    parts = record["explanations"] if isinstance(record.get("explanations"), dict) else {}
    right = [part for key, part in parts.items() if letter_of.get(_plain(key)) in keys]
    return "\n".join(text for part in right if isinstance(text := part.get("text") if isinstance(part, dict) else part, str)).strip()
