"""CUREMED-BENCH for lm-evaluation-harness, inspect_ai and lighteval; each task's head says how."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import yaml

from curemed_utils import data, languages, paths, prompts, rewards
from curemed_utils.training import checkpoints

TASKS = paths.PROFILES / "harness"
ROWS = "rows/test.jsonl"
FIELDS = ("id", "language", "system", "question", "answer", "accepted")
PARTS = ("accuracy", "language", "format")
UNKNOWN = ("accuracy_unknown", "language_unknown")
NAME = "curemed_bench"
MAX_NEW_TOKENS = 1024


def write_tasks(rows: Iterable[data.Row], folder: Path) -> Path:
    """Writes the rows, without their reasoning, and the tasks into `folder`, which may be moved.

    DataError where there is no row or an id comes twice.
    """
    data.write_jsonl(map(_record, rows), folder / ROWS)
    spoken = {record["language"] for record in read_records(folder)}
    shutil.rmtree(folder / "lm_eval", ignore_errors=True)
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TASKS, folder, ignore=no_cache, dirs_exist_ok=True)
    for name, config in _lm_eval(spoken).items():
        config["metadata"] = {"version": 1.0, "rows": rows_digest(folder)}
        text = yaml.safe_dump(config, sort_keys=False)
        (folder / "lm_eval" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def _record(row):
    system, user = prompts.messages(row)
    texts = {"system": system["content"], "question": user["content"]}
    return row.model_dump(include=set(FIELDS)) | texts


def _lm_eval(spoken):
    tasks = {f"{NAME}_{name.lower()}": name for name in languages.NAMES if name in spoken}
    # Else the harness weighs by all rows, those without a verdict too.
    means = [{"metric": part, "weight_by_size": False} for part in PARTS]
    configs = {NAME: {"group": NAME, "task": list(tasks), "aggregate_metric_list": means}}
    for task, language in (tasks | {f"{NAME}_all": ""}).items():
        chosen = {"language": language}
        configs[task] = {"include": "_common_yaml", "task": task, "dataset_kwargs": chosen}
    return configs


def read_records(folder: Path, language: str = "") -> list[dict]:
    """The rows that `write_tasks` wrote, of one language or all; DataError if there is none."""
    wanted = languages.get(language).name if language else ""
    rows = [row for row in data.read_jsonl(folder / ROWS) if wanted in ("", row.language)]
    if not rows:
        raise data.DataError(f"{paths.show(folder / ROWS)}: holds no row in {wanted}")
    return [row.model_dump(include=set(FIELDS)) for row in rows]


def rows_digest(folder: Path) -> str:
    """A digest of the folder's rows and prompts."""
    return checkpoints.digest((folder / ROWS).read_bytes())


def score_response(response: str, record: dict) -> dict[str, float]:
    """PARTS of a response, NaN where nothing can tell, and UNKNOWN: 1 where they are NaN."""
    parts = rewards.score(response, data.Row(**record))
    scores = {name: math.nan if part is None else part for name, part in parts.items()}
    for name in UNKNOWN:
        scores[name] = float(math.isnan(scores[name.removesuffix("_unknown")]))
    return scores
