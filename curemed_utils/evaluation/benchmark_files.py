"""Files of other benchmarks, and the forms that their rows have."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

import pandas as pd

from curemed_utils import data, paths
from curemed_utils.data import DataError
from curemed_utils.data.files import json_objects, json_value, text_of
from curemed_utils.evaluation import choices

NAMES = paths.beside(__file__, ".yaml")
TYPES, RIGHT = NAMES["types"], NAMES["right"]
ENDINGS = tuple(TYPES + NAMES["refused"])
TURNS = re.compile(NAMES["turns"], re.S | re.I | re.X)


def files_of(place: str | Path) -> dict[str, Path]:
    """The files with rows of a file, a folder or a dataset of the hub, by what messages call them.

    Where names tell splits, the test files alone, and no copies of MedQA: whoever wants another
    file names it. DataError if there is none.
    """
    root = paths.resolve(place)
    local = root.exists()
    root = root if local else _download(str(place))
    files = {}
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        inner = path.relative_to(root)
        hidden = any(part.startswith((".", "__MACOSX")) for part in inner.parts)
        name = path.name.lower()
        if name.endswith(ENDINGS) and name != "dataset_infos.json" and not hidden:
            files[paths.show(path) if local else f"{place}/{inner}"] = path
    if root.is_dir():
        words = {label: _words(path.relative_to(root)) for label, path in files.items()}
        has_splits = any(map(set(NAMES["splits"]).intersection, words.values()))
        for label, path in list(files.items()):
            copied = set(NAMES["copies"]).intersection(path.relative_to(root).parts)
            if copied or (has_splits and "test" not in words[label]):
                del files[label]
    if not files:
        wanted = f"no test file ending in {', '.join(TYPES)}; write other kinds as JSON Lines"
        raise DataError(f"{place}: holds {wanted}, name the file of another split or copy")
    return files


def _words(path):
    return set(re.findall("[a-z]+", str(path).lower()))


def _download(name):
    from huggingface_hub import snapshot_download

    wanted = [f"*{ending}" for ending in ENDINGS]
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=wanted))
    except Exception as error:  # the hub has many classes
        place = paths.resolve(name)
        fault = f"is no file or folder here ({place}), and the hub gives no dataset of that name"
        raise DataError(f"{name!r} {fault} ({error!r:.200})") from None


def rows_of(path: Path, label: str, faults: list[str]) -> Iterator[tuple[str, dict]]:
    """Place and record of every row; `faults` gets a line for each that can't be read."""
    import pyarrow.parquet

    try:
        raw = path.read_bytes()
        if raw.startswith(b"PAR1"):
            rows = pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist()
        elif path.suffix.lower() == ".csv":
            text = io.StringIO(text_of(raw, label))
            rows = pd.read_csv(text, dtype=str, keep_default_na=False).to_dict("records")
        else:
            yield from json_objects(text_of(raw, label), label, faults, "row")
            return
    except DataError:
        raise
    except Exception as error:  # pyarrow and pandas have many classes
        raise DataError(f"{label}: can't be read ({error}); get it anew") from None
    for number, row in enumerate(rows, 1):
        yield f"{label}, row {number}", row


def is_asked(record: dict) -> bool:
    """Whether a row is a test question with an answer: no inference of MultiMed-X, no training row
    or open question without a rationale of AfriMed-QA."""
    unanswered = _is_open(record) and _missing(record.get("answer_rationale"))
    is_test = record.get("split", "test") == "test"
    return is_test and record.get("task") != "nli" and not unanswered


def _is_open(record):
    return record.get("question_type", "mcq") != "mcq"


def parts_of(record: dict) -> dict:
    """{question, options, keys, reference} of a row in any published form; keys are letters."""
    if record.get("task") == "qa":
        turns = TURNS.fullmatch(str(record.get("text")).strip())
        if not turns:
            raise DataError("its text has no 'Question:' or no 'Answer:' in its language")
        return {"options": {}, "keys": []} | turns.groupdict()
    # MedExpQA's `question` lacks the clinical case
    question = record.get("full_question") or record.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"has no text under 'question'; {_fields(record)}")
    parts = {"question": question.strip(), "options": {}, "keys": []}
    if _is_open(record):
        return parts | {"reference": record["answer_rationale"].strip()}
    options, letter_of = _options(_pairs(record))
    return parts | {"options": options, "keys": _keys(record, options, letter_of)}


def _fields(record):
    return f"its fields are {', '.join(record)}"


def _missing(value):
    return value is None or value != value or not str(value).strip()  # NaN equals nothing


def _name(value):
    """`2.0` and "option2" are "2", "(B)" is "b"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return re.sub(r"^option(?=\d+$)", "", data.normalize(str(value)).strip(" ()."))


def _pairs(record):
    """Key and text of each option; a list without keys gets letters."""
    options = record.get("options") or record.get("choices") or record.get("answer_options")
    if isinstance(options, str):
        options = json_value(options, "options")
    if isinstance(options, dict):
        return list(options.items())
    if not isinstance(options, list):
        raise DataError(f"has no options under 'options' or 'choices'; {_fields(record)}")
    if all(isinstance(option, dict) for option in options):
        pairs = []
        for option in options:
            text = option.get("value", option.get("text"))
            pairs.append((option.get("key", option.get("label")), text))
        return pairs
    if len(options) > len(ascii_uppercase):
        raise DataError(f"has {len(options)} options, more than letters")
    return list(zip(ascii_uppercase, options, strict=False))


def _options(pairs):
    """Letter -> text, and key in the source -> letter."""
    sources = [_name(key) for key, _ in pairs]
    first = 0 if "0" in sources else 1
    numbers = dict(zip(map(str, range(first, 26)), ascii_uppercase, strict=False))
    letters = [numbers.get(source, source.upper()) for source in sources]
    if len(set(letters)) < len(letters):
        raise DataError(f"option keys {', '.join(sources)} name an option twice")
    options, letter_of = {}, {}
    for letter, source, (key, text) in zip(letters, sources, pairs, strict=True):
        if not re.fullmatch("[A-Z]", letter):
            raise DataError(f"option key {key!r} is neither a letter nor a number")
        if _missing(text):
            continue
        if not isinstance(text, str | int | float):
            raise DataError(f"option {letter} is a JSON {type(text).__name__}, not a text")
        options[letter] = str(text).strip()
        letter_of[source] = letter
    if len(options) < 2:
        raise DataError(f"has {len(options)} options; two or more are needed")
    return choices.unlabelled(options), letter_of


def _keys(record, options, letter_of):
    """The right letters, on which all fields of RIGHT that name options agree."""
    by_key = {letter.lower(): letter for letter in options} | letter_of
    by_text = {}
    for letter, text in reversed(options.items()):
        labelled = [f"{letter}{sign} {text}" for sign in ".):"]
        by_text |= dict.fromkeys(map(_name, [text, *labelled]), letter)
    # where a key is also a text, the right side counts; a number is no text
    texts = {name: letter for name, letter in by_text.items() if not name.isdigit()}
    letter_by = dict.fromkeys(RIGHT, texts | by_key) | {"answer": by_key | by_text}
    fields = [field for field in RIGHT if not _missing(record.get(field))]
    if not fields:
        raise DataError(f"says no right option under {', '.join(RIGHT)}; {_fields(record)}")
    right = [_letters(record[field], letter_by[field], letter_of) for field in fields]
    shown = f"{fields[0]} is {record[fields[0]]!r}"
    if not right[0]:
        wanted = f"none of the options {', '.join(options)} or their texts"
        raise DataError(f"{shown}, which names {wanted} (a number: their keys)")
    meant = [{_name(options[letter]) for letter in letters} for letters in right]
    for field, texts in zip(fields, meant, strict=True):
        if texts and texts != meant[0]:
            raise DataError(f"{shown}, but {field} is {record[field]!r}")
    return sorted(right[0])


def _letters(value, letter_by, letter_of):
    """The letters that a field names; none where a part of it names no option."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = json_value(value, "answer")
    parts = value if isinstance(value, list) else [value]
    if not isinstance(value, list) and _name(value) not in letter_by:
        parts = re.split(r"[,，、;；/\s]+", str(value).strip())
    letters = set()
    for part in parts:
        letters.add((letter_by if isinstance(part, str) else letter_of).get(_name(part)))
    return set() if None in letters else letters
