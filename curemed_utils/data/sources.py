"""Where rows come from: a folder with a file a language, the authors' release, the hub."""

import io
from pathlib import Path

import pandas as pd

from curemed_utils import extras, languages, paths, trace
from curemed_utils.data.files import read_text
from curemed_utils.data.rows import DataError, Row, checked_row, listed, read_jsonl

HUB_DATASET = "Aikyam-Lab/CUREMED-BENCH"
ADVICE = "; set CUREMED_RELEASE to the root of the released data"


def read_folder(folder: Path, prefix: str, advice: str = "") -> list[Row]:
    """Rows of `<folder>/<Language>.jsonl`; ids default to `<prefix>-<code>-<number>`.

    Hidden files (`._French.jsonl`, `~$French.jsonl`) are passed over. DataError names a published
    language without a file, and a misnamed file (`French.json`).
    """
    if not folder.is_dir():
        raise DataError(f"{paths.show(folder)} is not a folder{advice}")
    names, faults = set(), []
    for path in sorted(folder.glob("[!.~]*.*")):
        name, ending = path.stem, path.suffix
        if ending == ".jsonl" and name in languages.NAMES:
            names.add(name)
        elif ending == ".jsonl":
            hint = languages.nearest(name, languages.NAMES)
            faults.append(f"{paths.show(path)}: no language has this name{hint}")
        elif ending.lower() in (".jsonl", ".json", ".ndjson") and name.title() in languages.NAMES:
            advice = f"name it {name.title()}.jsonl, with an object a line"
            faults.append(f"{paths.show(path)}: is not read; {advice}")
    missing = [f"{name}.jsonl" for name in languages.PUBLISHED if name not in names]
    if missing:
        faults.append(f"{paths.show(folder)} lacks {', '.join(missing)}")
    if faults:
        raise DataError(listed(faults))
    rows = []
    for name in languages.NAMES:
        if name in names:
            source = f"{prefix}-{languages.get(name).code}"
            rows += read_jsonl(folder / f"{name}.jsonl", source, name)
    return rows


def _checked(records, place):
    rows, faults = [], []
    for number, record in enumerate(records):
        try:
            rows.append(checked_row(record))
        except DataError as error:
            faults.append(f"{place}, row {number}: {error}")
    if faults:
        raise DataError(listed(faults))
    return rows


def read_release(root: str | Path | None = None) -> dict[str, list[Row]]:
    """The released rows; the 1,431 test questions stand only in the CSVs of judged outputs."""
    root = paths.release(root)
    sft = read_folder(root / "datasets" / "SFT_data", "release-sft", ADVICE)
    rft = read_folder(root / "datasets" / "RFT_data", "release-rft", ADVICE)
    test = []
    for name in languages.PUBLISHED:
        test += _test_rows(release_file(root, "test", name), languages.get(name))
    return {"sft": sft, "rft": rft, "test": test}


def release_file(root: Path, split: str, language: str) -> Path:
    """The file of a split and language; for test the first CSV of outputs."""
    if split != "test":
        return root / "datasets" / f"{split.upper()}_data" / f"{language}.jsonl"
    folder, pattern = root / "baseline_inference", f"*_logic_evaluation/{language}_*.csv"
    for path in sorted(folder.rglob(pattern)):
        return path
    raise DataError(f"{paths.show(folder)} has no {pattern}{ADVICE}")


def _test_rows(path, language):
    columns = ["Question", "Response"]
    text = io.StringIO(read_text(path))
    try:
        table = pd.read_csv(text, usecols=columns, dtype=str, keep_default_na=False)[columns]
    except ValueError as error:
        raise DataError(f"{paths.show(path)}: {error}") from None
    source, records = f"release-test-{language.code}", []
    for number, (question, answer) in enumerate(table.itertuples(index=False)):
        record = {"id": f"{source}-{number}", "language": language.name, "source": source}
        answer = trace.render_answer(answer.strip())
        records.append(record | {"question": question, "answer": answer})
    return _checked(records, paths.show(path))


def read_hub(dataset: str = HUB_DATASET) -> dict[str, list[Row]]:
    """Rows by split of a dataset on the hub or of a local folder; empty cells are left out."""
    extras.need("datasets")
    import datasets

    folder = paths.resolve(dataset)
    try:
        loaded = datasets.load_dataset(str(folder) if folder.is_dir() else dataset)
    except Exception as error:  # hub, network and file formats all have their own classes
        fault = f"can't be loaded ({type(error).__name__}: {error})"
        advice = "Check the network and HF_TOKEN, or give a local folder as hub_dataset"
        raise DataError(f"data_source hub: {dataset!r} {fault}. {advice}") from error
    parts = {}
    for split, table in loaded.items():
        records = []
        for number, cells in enumerate(table):
            record = {"id": f"hub-{split}-{number}", "source": f"hub-{split}"}
            filled = {name: cell for name, cell in cells.items() if cell is not None}
            records.append(record | filled)
        parts[split] = _checked(records, f"{dataset}, split {split!r}")
    return parts
