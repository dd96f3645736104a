"""A folder that `datasets.load_dataset(folder, "yoruba")` opens."""

import json
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData

from curemed_utils import data, extras, languages, paths
from curemed_utils.data import DataError, Row, card
from curemed_utils.data.splits import count


def export(
    splits: dict[str, list[Row]],
    folder: str | Path,
    name: str = "CURE-Med workbook export",
    licence: str = "",
    topics_source: str = "not recorded",
) -> list[Path]:
    """Writes splits as a dataset folder, whole or not at all, over an earlier export only.

    Configurations are the languages in lower case and 'all', the default. `licence` is the hub's
    name of one ('apache-2.0'), or empty. Returns the paths, the card first. DataError for no row,
    an unknown split, and a folder of other things.
    """
    folder = Path(folder).expanduser().resolve()
    for split in splits:
        if split not in data.SPLITS:
            raise DataError(f"split {split!r} is none of {', '.join(data.SPLITS)}")
    if not any(splits.values()):
        raise DataError("there is no row to export")
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder):
        raise DataError(f"{paths.show(folder)} is no earlier export: name a new folder")
    extras.need("datasets")
    splits = {split: splits.get(split, []) for split in data.SPLITS}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        part = Path(temporary) / folder.name
        _write_tables(splits, part)
        _card(splits, name, licence, topics_source).save(part / "README.md")
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    return [folder / "README.md", *sorted(folder.rglob("*.parquet"))]


def _is_export(folder):
    if {path.name for path in folder.glob("[!.]*")} != {"README.md", "parquet"}:
        return False
    return card.TAGS[-1] in (folder / "README.md").read_text(encoding="utf-8")


def _write_tables(splits, folder):
    """A file a language and split, all with the same columns of text or JSON."""
    from datasets import Features, Json, Value

    parts, columns = defaultdict(list), {}
    for split, rows in splits.items():
        for row in rows:
            cells = row.model_dump()
            parts[f"{row.language.lower()}/{split}"].append(cells)
            for field, value in cells.items():
                is_text = isinstance(value, str) and columns.get(field) != Json()
                columns[field] = Value("string") if is_text else Json()
    schema = Features(columns).arrow_schema
    for name, rows in parts.items():
        for cells in rows:
            for field in cells:
                if columns[field] == Json():
                    cells[field] = json.dumps(cells[field], ensure_ascii=False)
        file = folder / "parquet" / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), file)


def _card(splits, name, licence, topics_source):
    rows = [row for part in splits.values() for row in part]
    n_unstated = sum(map(_came_without_licence, rows))
    header = DatasetCardData(
        pretty_name=name,
        language=sorted({languages.get(row.language).code for row in rows}),
        license=licence or "unknown",
        task_categories=["question-answering", "text-generation"],
        tags=card.TAGS,
        configs=_configs(splits),
    )
    sources = Counter(row.source or "not recorded" for row in rows)
    return DatasetCard.from_template(
        header,
        Path(__file__).with_name("dataset_card.md"),
        composition=card.markdown(count(splits)),
        topics_source=topics_source,
        sources=card.markdown(pd.DataFrame({"rows": sources}).sort_index()),
        licence=licence,
        n_unstated=n_unstated,
    )


def _came_without_licence(row):
    return row.source.startswith(("release-", "hub-")) or row.id.startswith("release-")


def _configs(splits):
    files = {"all": []}
    for split, rows in splits.items():
        if rows:
            files["all"].append({"split": split, "path": f"parquet/*/{split}.parquet"})
        for name in sorted({row.language.lower() for row in rows}):
            file = {"split": split, "path": f"parquet/{name}/{split}.parquet"}
            files.setdefault(name, []).append(file)
    configs = [{"config_name": name, "data_files": files[name]} for name in files]
    configs[0]["default"] = True
    return configs
