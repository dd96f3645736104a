"""The paper's published numbers, as committed tables; each row names the table or figure it was taken from."""

import pandas as pd

from curemed_utils import paths


def published(name: str) -> pd.DataFrame:
    """The table `figures/source_data/<name>*.csv`, e.g. 'table02' or 'figure08'; FileNotFoundError lists the known ones."""
    found = sorted(paths.SOURCE_DATA.glob(f"{name}*.csv"))
    if len(found) != 1:
        known = ", ".join(path.stem.split("_")[0] for path in sorted(paths.SOURCE_DATA.glob("*.csv")))
        raise FileNotFoundError(f"no single table {name!r} in {paths.show(paths.SOURCE_DATA)}; known: {known}")
    return pd.read_csv(found[0])


def proprietary() -> pd.DataFrame:
    """Tables 8-10 in the columns of `evaluation.score_release`: model, metric, language ('all' for Table 8), value in percent."""
    overall = published("table08").assign(language="all")
    parts = [overall, published("table09"), published("table10")]
    long = pd.concat(part.melt(["model", "language"], [c for c in ("la", "lc") if c in part], "metric", "value") for part in parts)
    return long[["model", "metric", "language", "value"]].reset_index(drop=True)
