"""The authors' released GPT-4o verdicts, counted again (Tables 8 to 10)."""

import re
from pathlib import Path

import pandas as pd

from curemed_utils import languages, paths
from curemed_utils.data import DataError

NAMES = paths.beside(__file__, ".yaml")
METRICS = NAMES["metrics"]


def score_release(root: str | Path | None = None) -> pd.DataFrame:
    """Tables 8-10 rebuilt from the published GPT-4o verdicts under `root` (or `CUREMED_RELEASE`).

    Columns: model, metric ('la' | 'lc'), language (or 'all': the micro average), value (percent),
    n (rows), n_blank. As published, a blank verdict counts in the denominator.
    """
    lines = []
    for path, *keys in released_files(root):
        verdicts = read_released(path, keys[1])["verdict"]
        lines.append((*keys, verdicts.sum(), len(verdicts), verdicts.isna().sum()))
    columns = ["model", "metric", "language", "n_true", "n", "n_blank"]
    counts = pd.DataFrame(lines, columns=columns)
    groups = counts.assign(language="all").groupby(["model", "metric", "language"])
    total = groups.sum().reset_index()
    scores = pd.concat([counts, total], ignore_index=True)
    scores["value"] = 100 * scores["n_true"] / scores["n"]
    return scores[["model", "metric", "language", "value", "n", "n_blank"]]


def released_files(root: str | Path | None = None) -> list[tuple[Path, str, str, str]]:
    """Path, model, metric ('la' or 'lc') and language of every CSV of published verdicts.

    They lie under `root`; DataError names one that is elsewhere.
    """
    closed = paths.release(root) / "baseline_inference" / "closed_source"
    files = []
    for path in sorted(closed.rglob("BaseModel_*_evaluation/*.csv")):
        metric = METRICS.get(path.parent.name.split("_")[1])
        language = path.name.split("_")[0]
        if metric is None or language not in languages.BY_NAME:
            expected = "expected BaseModel_logic_evaluation/French_….csv"
            raise DataError(f"{paths.show(path)}: neither folder nor name fits; {expected}")
        folder = str(path.parent.parent.relative_to(closed))
        key = re.sub(r"[\W_]", "", folder).lower()
        model = NAMES["models"].get(key, folder)
        files.append((path, model, metric, language))
    if not files:
        raise FileNotFoundError(f"no CSV under {paths.show(closed)}: set CUREMED_RELEASE")
    return files


def read_released(path: Path, metric: str, texts: tuple[str, ...] = ()) -> pd.DataFrame:
    """The columns `texts` of one released CSV, and `verdict` (boolean, NA where blank)."""
    column = {"lc": "Language_Score", "la": "Logic_Score"}[metric]
    try:
        rows = pd.read_csv(path, usecols=[*texts, column], dtype=str, keep_default_na=False)
    except ValueError as error:
        raise DataError(f"{paths.show(path)}: {error}") from None
    scores = rows[column].str.strip().str.lower()
    odd = rows.loc[~scores.isin(["true", "false", ""]), column]
    if len(odd):
        place = f"{paths.show(path)}, row {odd.index[0]}"
        raise DataError(f"{place}: {column} is {odd.iloc[0]!r}, not True, False or blank")
    verdict = scores.map({"true": True, "false": False}).astype("boolean")
    return rows[list(texts)].assign(verdict=verdict)
