"""CUREMED-BENCH as tasks for lm-evaluation-harness, inspect_ai and lighteval, with the prompts and the scorers of this workbook.

The tasks read the exported rows, whose prompts stand in them, and score by `score`: whoever runs them needs this package and one
of the three harnesses (the extra 'harness'), and none of the notebooks. How to start each is said at the head of its file.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from curemed_utils import data, languages, paths, prompts, rewards
from curemed_utils.training import checkpoints

TASKS = Path(__file__).parent / "tasks"
FILES = {
    "lm_eval": ("lm_eval/_common_yaml", "lm_eval/utils.py"),
    "inspect": ("curemed_inspect.py",),
    "lighteval": ("curemed_lighteval.py",),
}
ROWS = "rows/test.jsonl"
FIELDS = ("id", "language", "system", "question", "answer", "accepted")
PARTS = ("accuracy", "language", "format")
NAME = "curemed_bench"
MAX_NEW_TOKENS = 1024


def write(rows: Iterable[data.Row], folder: str | Path, which: Sequence[str] = tuple(FILES)) -> list[Path]:
    """Writes the rows and the task files of each harness in `which` into `folder`; returns the paths, the rows' first.

    A row goes out with its prompt (`prompts.messages`), its answer and its accepted answers; reasoning stays here. The folder can
    be moved as a whole. Raises ValueError for an unknown harness, DataError where there is no row or an id comes twice.
    """
    folder = Path(folder).expanduser()
    if unknown := [name for name in which if name not in FILES] or not which:
        raise ValueError(f"which is {list(which)!r}: {unknown if which else 'nothing'} is not among {', '.join(FILES)}")
    records = [_record(row) for row in rows]
    if not records:
        raise data.DataError("there is no row to write a task of")
    seen = set()
    for record in records:
        if record["id"] in seen:
            raise data.DataError(f"duplicate id {record['id']!r}: give every row its own, so that results can be told apart")
        seen.add(record["id"])
    written = [data.write_jsonl(records, folder / ROWS)]
    for file in (file for name in which for file in FILES[name]):
        (folder / file).parent.mkdir(exist_ok=True)
        written.append(Path(shutil.copyfile(TASKS / file, folder / file)))
    return written + (_write_yaml(folder, records) if "lm_eval" in which else [])


def _record(row: data.Row) -> dict:
    system, user = (turn["content"] for turn in prompts.messages(row))
    return row.model_dump(include=set(FIELDS)) | {"system": system, "question": user}


def _write_yaml(folder: Path, records: list[dict]) -> list[Path]:
    """One task a language, one over all rows, and a group: what differs from `_common_yaml`."""
    for old in (folder / "lm_eval").glob(f"{NAME}*.yaml"):
        old.unlink()
    found = {record["language"] for record in records}
    names = {name: f"{NAME}_{name.lower()}" for name in languages.NAMES if name in found}
    metadata = {"version": 1.0, "rows": identity(folder)}
    tasks = {
        task: {"include": "_common_yaml", "task": task, "dataset_kwargs": {"language": name}, "metadata": metadata}
        for name, task in (names | {"": f"{NAME}_all"}).items()
    }
    # The group's mean counts languages, not rows: the harness would weigh by all rows, those without a verdict included.
    means = [{"metric": part, "weight_by_size": False} for part in PARTS]
    tasks[NAME] = {"group": NAME, "task": list(names.values()), "aggregate_metric_list": means, "metadata": metadata}
    files = {folder / "lm_eval" / f"{task}.yaml": config for task, config in tasks.items()}
    for file, config in files.items():
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return list(files)


# What the task files use ------------------------------------------------------------------------------------------------


def read(folder: str | Path, language: str = "") -> list[dict]:
    """The rows of a folder that `write` made, of one language or all, as dictionaries with the keys `FIELDS`.

    Raises ValueError for an unknown language, DataError for one without rows and for a file that can't be read.
    """
    wanted = languages.get(language).name if language else ""
    found = [row.model_dump(include=set(FIELDS)) for row in data.read_jsonl(Path(folder) / ROWS) if wanted in ("", row.language)]
    if not found:
        raise data.DataError(f"{paths.show(Path(folder) / ROWS)}: holds no row in {wanted}")
    return found


def identity(folder: str | Path) -> str:
    """A digest of the folder's rows and prompts, for a result to carry."""
    return checkpoints.digest((Path(folder) / ROWS).read_bytes())


def score(response: str, record: dict) -> dict[str, float | None]:
    """`rewards.score` of a response: 'accuracy', 'language' and 'format', None where nothing can tell."""
    return rewards.score(response, data.Row(**{field: record[field] for field in FIELDS}))
