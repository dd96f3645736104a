"""What a file really is by its first bytes, its text, and the JSON objects in a text."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic_core import to_json

from curemed_utils import paths

KINDS = paths.beside(__file__, ".yaml")
LINE_END = re.compile(r"\r\n|\n|\r")  # others may stand inside a JSON string


class DataError(ValueError):
    """Input that can't be used; the message names file and line."""


def read_text(path: str | Path) -> str:
    """The text of a file (`text_of`); DataError where it can't be read."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{paths.show(path)}: can't be read ({reason})") from None
    return text_of(raw, paths.show(path))


def text_of(raw: bytes, name: str) -> str:
    """The text in a file's bytes, UTF-8 or UTF-16, without the mark at its start.

    DataError says what else the file is (`files.yaml`), or which line is not UTF-8.
    """
    start = raw[:99].lstrip(b"\xef\xbb\xbf\r\n\t ")
    for first, kind in KINDS.items():
        if start.startswith(first.encode("latin-1")):
            raise DataError(f"{name}: is {kind}")
    try:
        return raw.decode(json.detect_encoding(raw))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fault = f"is not {error.encoding.upper()} ({error.reason})"
        raise DataError(f"{name}, line {line}: {fault}; save the file as UTF-8") from None


def write_whole(path: Path, text: str | Iterable[str]) -> Path:
    """Writes a text, or parts of one, in UTF-8, whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
    return part.replace(path)


def json_objects(
    text: str, name: str, faults: list[str], unit: str = ""
) -> Iterator[tuple[str, dict]]:
    """Place and value of each object in a text: one a line (JSON Lines), or all in one JSON list.

    A place is "<name>, <unit> 3"; the unit is 'line' or 'item' where not given. `faults` gets what
    can't be read by itself; DataError for a list that can't be. NaN is read as null.
    """
    is_list = text.lstrip().startswith("[")
    unit = unit or ("item" if is_list else "line")
    parts = json_value(text, name) if is_list else LINE_END.split(text)
    for number, part in enumerate(parts, 1):
        place = f"{name}, {unit} {number}"
        if not is_list and not part.strip():
            continue
        try:
            value = part if is_list else json_value(part.lstrip("\ufeff"), place)
            yield place, _object(value, place)
        except DataError as error:
            faults.append(str(error))


def json_value(text: str, place: str) -> object:
    """What a JSON text holds; DataError for other texts, and for a key twice in an object."""
    hooks = {"parse_float": _number, "parse_constant": _number, "object_pairs_hook": _no_key_twice}
    try:
        return json.loads(text, **hooks)
    except (ValueError, RecursionError) as error:
        reason = str(error).replace("line 1 ", "")
        fault = f"is not JSON, one object a line or one list of them ({reason})"
        raise DataError(f"{place}: {fault}") from None


def _number(text):
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is no number: write null, or nothing")
    return None if math.isnan(number) else number


def _no_key_twice(pairs):
    record = dict(pairs)
    if len(record) < len(pairs):
        [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {key!r} stands {times} times in {record!s:.60} …")
    return record


def _object(value, place):
    if not isinstance(value, dict):
        raise DataError(f"{place}: is a JSON {type(value).__name__}, not an object")
    try:
        to_json(value)  # fails for half a surrogate pair, and beyond about 250 levels
    except ValueError as error:
        raise DataError(f"{place}: can't be written as JSON in UTF-8 ({error})") from None
    return value
