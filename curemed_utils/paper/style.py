"""What all figures share: one style, one palette, and files of the same bytes."""

import io
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from curemed_utils import languages, paths

LOOKS = paths.beside(__file__, ".yaml")
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = LOOKS["palette"]
TIER_COLORS = LOOKS["tiers"]
BY_TIER = [name for tier in languages.TIERS for name in languages.in_tier(tier)]  # as trained
ALTS = paths.beside(__file__, "alts.yaml")
COLUMN, PAGE = 3.4, 7.0  # inches: one column, both columns

# `@style.applied()`: the workbook's style, whatever the reader's own is.
applied = partial(plt.style.context, ["default", Path(__file__).with_name("curemed.mplstyle")])


def figure(
    width: float, height: float, alt: str, columns: int = 1, rows: int = 1, **options
) -> tuple[Figure, list[Axes]]:
    """An empty figure (inches) with its alt text, and its axes; out of pyplot: shown once."""
    drawn = Figure(figsize=(width, height))
    FigureCanvasAgg(drawn)
    drawn.alt = alt
    axes = drawn.subplots(rows, columns, squeeze=False, **options)
    return drawn, list(axes.flat)


def alt(name: str, **values) -> str:
    """A description of `alts.yaml` with its `values` filled in."""
    return ALTS[name].format(**values)


def as_png(figure: Figure) -> tuple[bytes, dict]:
    """A finished figure as a notebook shows it: its PNG (200 dpi), and its alt text and width."""
    if not hasattr(figure, "png"):
        raw = io.BytesIO()
        with applied():
            if layout := figure.get_layout_engine():
                layout.execute(figure)
                figure.set_layout_engine("none")  # laid out once: PNG and PDF are one picture
            metadata = {"Software": None, "Description": figure.alt}
            figure.savefig(raw, format="png", metadata=metadata)
        figure.png = raw.getvalue()
    return figure.png, {"alt": figure.alt, "width": int(figure.get_figwidth() * 100)}


def save(figures: dict[str, Figure], folder: str | Path) -> list[Path]:
    """Writes `<folder>/<name>.pdf` and `.png` of each figure, without a date."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, drawn in figures.items():
        pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
        png.write_bytes(as_png(drawn)[0])
        metadata = {"CreationDate": None, "ModDate": None, "Subject": drawn.alt}
        with applied():
            drawn.savefig(pdf, metadata=metadata)
        files += [pdf, png]
    return files


def note(ax: Axes, text: str, place: tuple, offset: tuple, **look) -> None:
    """Small text whose middle lies `offset` points from `place` (in data coordinates)."""
    look = {"fontsize": 7, "ha": "center", **look}
    ax.annotate(text, place, offset, textcoords="offset points", **look)


def heat_map(ax: Axes, values: pd.DataFrame) -> None:
    """Percentages as numbers on cividis, a column a language, in the order of the tiers."""
    values = values.reindex(columns=BY_TIER).astype(float)
    sns.heatmap(values, ax=ax, **LOOKS["heat_map"])
    for text, value in zip(ax.texts, values.stack().dropna(), strict=True):
        text.set_color("black" if value > 48 else "white")
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    slanted = dict(rotation=45, ha="right", rotation_mode="anchor")
    ax.set_xticks(np.arange(len(BY_TIER)) + 0.5, BY_TIER, **slanted)
