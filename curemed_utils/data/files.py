"""What a file really is by its first bytes, its text, and the JSON objects in a text."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic_core import to_json

from curemed_utils import paths

KINDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
TOO_DEEP = "is nested too deep: 200 levels at most"
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
    """The text in a file's bytes: UTF-8, or UTF-16 with its mark, without that mark.

    DataError says what a file is that holds no text (`files.yaml`), or where it is not UTF-8.
    """
    check_kind(raw, name)
    marked = raw.startswith(UTF_16)
    if b"\0" in raw and not marked:
        line = raw.count(b"\n", 0, raw.index(0)) + 1
        fault = "holds a zero byte: cut off by a crash, or UTF-16"
        raise DataError(f"{name}, line {line}: {fault}; save the file as UTF-8")
    try:
        text = raw.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fault = f"is not {error.encoding.upper()} ({error.reason})"
        raise DataError(f"{name}, line {line}: {fault}; save the file as UTF-8") from None
    if re.match(r"\s*<[!?h]", text, re.IGNORECASE):
        raise DataError(f"{name}: is a web page (HTML) or XML: download the file itself")
    return text


def check_kind(raw: bytes, name: str) -> None:
    """DataError for a file of a known kind that is no text."""
    for first, kind in KINDS.items():
        if raw.startswith(first.encode("latin-1")):
            raise DataError(f"{name}: is {kind}")


def json_objects(
    text: str, name: str, faults: list[str], unit: str = ""
) -> Iterator[tuple[str, dict]]:
    """Place and value of each object in a text: one a line (JSON Lines), or all in one JSON list.

    A place is "<name>, <unit> 3"; the unit is 'line' or 'item' where not given. `faults` gets a
    line for each object that can't be read. NaN is read as null.
    """
    is_list = text.lstrip().startswith("[")
    unit, parts = unit or ("item" if is_list else "line"), LINE_END.split(text)
    if is_list:
        try:
            parts = _value(text)
        except DataError as error:
            faults.append(f"{name}: {error}")
            return
    for number, part in enumerate(parts, 1):
        place = f"{name}, {unit} {number}"
        if not is_list and not part.strip():
            continue
        try:
            record = _checked(part) if is_list else parse_object(part)
        except DataError as error:
            faults.append(f"{place}: {error}")
            continue
        yield place, record


def parse_object(line: str) -> dict:
    """The JSON object in one line, or DataError."""
    return _checked(_value(line.lstrip("\ufeff")))


def _value(text: str) -> object:
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_float=_number, parse_constant=_number
        )
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        fault = f"is not JSON: {error.msg} at {line}column {error.colno}"
        raise DataError(f"{fault}; wanted is one object a line, or one list of them") from None
    except RecursionError:
        raise DataError(TOO_DEEP) from None
    except DataError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"is not JSON ({error})") from None


def _object(pairs: list[tuple]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        keys = [repr(key) for key, n in counts.items() if n > 1]
        start = f"{pairs[0][0]!r}: {pairs[0][1]!r:.40}"
        raise DataError(f"has the key {', '.join(keys)} more than once, in {{{start} …}}")
    return record


def _number(text: str) -> float | None:
    number = float(text)
    if math.isinf(number):
        raise DataError(f"is not JSON: {text} is no number of JSON; write null, or nothing")
    return None if math.isnan(number) else number


def _checked(value: object) -> dict:
    if not isinstance(value, dict):
        raise DataError(f"is a JSON {type(value).__name__}, not an object")
    try:
        to_json(value)
    except ValueError as error:
        if "surrogate" in str(error):
            raise DataError("holds half a character (a lone surrogate such as \\ud800)") from None
        raise DataError(TOO_DEEP) from None
    return value
