"""A dataset folder that `datasets.load_dataset(folder, "yoruba")` opens, with its card, and its way to the hub."""

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curemed_utils import data, languages, paths
from curemed_utils.data import DataError, Row, card
from curemed_utils.data.rows import as_column
from curemed_utils.data.splits import count

TAG = "curemed-workbook"
UNSTATED = "unstated-licence"  # the card's tag where rows came without a licence
UNREVIEWED = "No clinician and no native speaker has reviewed these rows."
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
_SHOWN = 5  # values of a lineage field that the card lists
TEXT = """
# {name}

Open medical questions with code-switched reasoning and one verifiable answer, made with the CURE-Med workbook after the method of
CURE-Med ([arXiv:2601.13262](https://arxiv.org/abs/2601.13262)). **Research data: not for medical advice, and not validated for any
clinical use.**

```python
from datasets import load_dataset

load_dataset(FOLDER_OR_REPOSITORY, "{config}")    # one language, its name in lower case; "all" has every language
```

Parquet is what `load_dataset` opens; `jsonl/` holds the same rows as JSON Lines. Columns whose name ends in `_json` hold JSON text, so
that dictionaries and lists come back as they were; the workbook's `data.read_hub` gives the rows whole. A split that has no row of a
language is left out of that language's configuration.

## Composition

{composition}

## Provenance

Topics: {topics_source}

{sources}

{lineage}

## Licence

{licence}

## Limits

{limits} Answers can be wrong in any language, and more often in those with few resources. Rows of one topic, and rows with equal
questions, lie in one split; whoever mixes splits loses that.
"""


def export(
    splits: dict[str, list[Row]],
    folder: str | Path,
    name: str = "CURE-Med workbook export",
    licence: str = "",
    limits: str = UNREVIEWED,
    topics_source: str = "not recorded",
) -> list[Path]:
    """Writes {'sft', 'rft', 'test'} as a dataset folder, whole or not at all, and gives the paths written, README.md first.

    Configurations are the languages that have rows, in lower case, and 'all', the default. `licence` is the hub's identifier
    of one ('apache-2.0'); empty means that none is stated. `limits` says what nobody has reviewed. An earlier export in `folder`
    is replaced. Raises DataError if there is no row, a split is unknown, or `folder` holds anything else.
    """
    folder = Path(folder).expanduser().resolve()
    if unknown := sorted(splits.keys() - set(data.SPLITS)):
        raise DataError(f"split {unknown[0]!r} is none of {', '.join(data.SPLITS)}")
    rows = [row for part in splits.values() for row in part]
    if not rows:
        raise DataError("there is no row to export")
    if folder.exists() and not _is_export(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{paths.show(folder)} is there and is no earlier export: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        part = Path(temporary) / folder.name
        files = _write_tables(splits, _schema(rows), part)
        text = _header(rows, files, name, licence) + _text(splits, rows, name, licence, limits, topics_source)
        (part / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    return [folder / "README.md", *sorted(path for path in folder.rglob("*.*") if path.suffix in (".parquet", ".jsonl"))]


def push(folder: str | Path, repo_id: str, licence: str = "", private: bool = True) -> str:
    """Uploads an exported folder to the hub as dataset `repo_id`, private unless told otherwise, and gives its address.

    The token is that of HF_TOKEN. Rows that came without a licence (the authors' release, a hub dataset) are refused unless
    `licence` says under which they may be published; the card is changed to say so. Raises DataError for a folder that is no
    export, a missing token, rows without a licence, and a repository that is public where a private one is meant.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if not _is_export(folder):
        raise DataError(f"{paths.show(folder)} is no exported folder: write one with export() first")
    readme = folder / "README.md"
    _, header, text = readme.read_text(encoding="utf-8").split("---\n", 2)
    fields = yaml.safe_load(header)
    if UNSTATED in fields["tags"] and not licence:
        raise DataError(
            f"{paths.show(folder)} holds rows that came without a licence, so they must not be published again; "
            "if their owners allow it, say under which licence: push(..., licence='…')"
        )
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise DataError("HF_TOKEN is not set: make a token with write access at huggingface.co/settings/tokens and set it")
    if licence:
        fields["license"], fields["tags"] = licence, [tag for tag in fields["tags"] if tag != UNSTATED]
        head, rest = text.split("## Licence\n", 1)
        text = f"{head}## Licence\n\n{licence}, as stated on publication.\n\n## Limits\n{rest.split('## Limits' + chr(10), 1)[1]}"
        readme.write_text(f"---\n{_yaml(fields)}---\n{text}", encoding="utf-8")
    api = HfApi(token=token)
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    if private and not api.repo_info(repo_id, repo_type="dataset").private:
        raise DataError(f"{repo_id} is public already: say push(..., private=False), or name another repository")
    stale = ["parquet/**", "jsonl/**"]
    api.upload_folder(folder_path=folder, repo_id=repo_id, repo_type="dataset", commit_message="Dataset export", delete_patterns=stale)
    return f"{api.endpoint}/datasets/{repo_id}"


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return names == {"README.md", "parquet", "jsonl"} and TAG in (folder / "README.md").read_text(encoding="utf-8")


# Tables -------------------------------------------------------------------------------------------------------------


def _write_tables(splits: dict[str, list[Row]], schema: pa.Schema, folder: Path) -> dict[str, dict[str, str]]:
    """Writes both formats; the Parquet files as {configuration: {split: path}}, those without a row left out."""
    files = defaultdict(dict)
    for split in data.SPLITS:
        for language in languages.NAMES:
            if rows := [row for row in splits.get(split, []) if row.language == language]:
                stem = f"{language.lower()}/{split}"
                files[language.lower()][split] = f"parquet/{stem}.parquet"
                _write_parquet(rows, schema, folder / f"parquet/{stem}.parquet")
                data.write_jsonl(rows, folder / f"jsonl/{stem}.jsonl")
    return files


def _cells(row: Row) -> dict[str, object]:
    try:
        return dict(as_column(field, value) for field, value in row.model_dump().items())
    except DataError as error:
        raise DataError(f"row {row.id!r}: {error}") from None


def _schema(rows: list[Row]) -> pa.Schema:
    """One schema for every file, so that languages and splits open together; a row without a column has null there."""
    names = dict.fromkeys(name for row in rows for name in _cells(row))
    return pa.schema([(name, pa.list_(pa.string()) if name == "accepted" else pa.string()) for name in names])


def _write_parquet(rows: list[Row], schema: pa.Schema, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([_cells(row) for row in rows], schema=schema), path)


# The card -----------------------------------------------------------------------------------------------------------


def _header(rows: list[Row], files: dict[str, dict[str, str]], name: str, licence: str) -> str:
    every = {split: [found[split] for found in files.values() if split in found] for split in data.SPLITS}
    configs = {"all": every} | {config: files[config] for config in sorted(files)}
    fields = {
        "pretty_name": name,
        "language": sorted({languages.get(row.language).code for row in rows}),
        "license": licence or "unknown",
        "task_categories": ["question-answering", "text-generation"],
        "size_categories": [next((size for most, size in SIZES.items() if len(rows) < most), "n>1M")],
        "tags": ["medical", "multilingual", TAG, *([UNSTATED] if _unstated(rows) and not licence else [])],
        "configs": [
            {"config_name": config}
            | ({"default": True} if config == "all" else {})
            | {"data_files": [{"split": split, "path": path} for split, path in found.items() if path]}
            for config, found in configs.items()
        ],
    }
    return f"---\n{_yaml(fields)}---\n"


def _text(splits: dict[str, list[Row]], rows: list[Row], name: str, licence: str, limits: str, topics_source: str) -> str:
    return TEXT.format(
        name=name,
        config=min(row.language for row in rows).lower(),
        composition=_frame(count({split: splits.get(split, []) for split in data.SPLITS})),
        topics_source=topics_source,
        sources=_frame(pd.Series(Counter(row.source or "not recorded" for row in rows), name="rows").sort_index().to_frame()),
        lineage=_lineage(rows),
        licence=_licence(rows, licence),
        limits=limits,
    )


def _yaml(fields: dict) -> str:
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _unstated(rows: list[Row]) -> int:
    """Rows of the authors' release, or of a hub dataset: neither came with a licence that this module knows."""
    return sum(row.source.startswith(("release-", "hub-")) or row.id.startswith("release-") for row in rows)


def _licence(rows: list[Row], licence: str) -> str:
    if licence:
        return f"{licence}, as stated by whoever made this export."
    if number := _unstated(rows):
        return f"Not stated: {number:,} rows came without one, from the authors' release or the hub. **Don't publish them again.**"
    return "Not stated by whoever made this export; the licence of each source is under Provenance, as far as rows carry it."


def _lineage(rows: list[Row]) -> str:
    """What rows record of how they were made: each field of `lineage`, how many values it has, and the most frequent ones."""
    values: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        for field, value in (getattr(row, "lineage", None) or {}).items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str | int | float) and one != "":
                    values[field][str(one)] += 1
    if not values:
        return "Rows record no lineage."
    lines = []
    for field, counts in values.items():
        shown = "; ".join(f"{value} ({number:,})".replace("|", "\\|") for value, number in counts.most_common(_SHOWN))
        lines.append((field, f"{len(counts):,}", shown + (" …" if len(counts) > _SHOWN else "")))
    return card.table(("lineage", "values", "most frequent (rows)"), lines)


def _frame(table: pd.DataFrame) -> str:
    rows = [(str(key), *(f"{value:,}" for value in values)) for key, values in zip(table.index, table.to_numpy(), strict=True)]
    return card.table(("", *map(str, table.columns)), rows)
