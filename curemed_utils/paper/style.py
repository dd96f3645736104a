"""What all figures share: one style, one palette, fonts, and files of the same bytes."""

import io
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.textpath import text_to_path

from curemed_utils import languages

# Okabe and Ito's palette: distinct under every common colour blindness. Where two of a figure's
# colours print as the same grey, a marker, a line style or a hatch tells them apart as well.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"
TIER_COLORS = {"high": SKY, "medium": ORANGE, "low": PURPLE}
BY_TIER = [name for tier in languages.TIERS for name in languages.in_tier(tier)]  # as trained
COLUMN, PAGE = 3.4, 7.0  # inches: one column, both columns
FONTS = (  # for scripts that DejaVu Sans lacks, looked for in this order
    *("Noto Sans Ethiopic", "Abyssinica SIL", "Nyala", "Kefa"),
    *("Noto Sans Bengali", "Lohit Bengali", "Vrinda", "Bangla Sangam MN"),
    *("Noto Sans Devanagari", "Lohit Devanagari", "Mangal", "Kohinoor Devanagari"),
    *("Noto Sans Thai", "Loma", "Tahoma", "Thonburi"),
    *("Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "Yu Gothic", "Hiragino Sans"),
    *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic"),
)
_STYLE_FILE = Path(__file__).with_name("curemed.mplstyle")


class MissingFont(LookupError):
    """No font on this machine draws a text; the message names characters and fonts."""


@contextmanager
def applied() -> Iterator[None]:
    """The workbook's style over matplotlib's defaults, whatever the reader's own settings are.

    Also a decorator: `@style.applied()`.
    """
    with plt.style.context(["default", _STYLE_FILE]):
        yield


def figure(
    width: float, height: float, alt: str, columns: int = 1, rows: int = 1, **options
) -> tuple[Figure, list[Axes]]:
    """An empty figure (inches) and its axes, kept out of pyplot: a notebook shows it once.

    `alt` says what the figure shows, for those who can't see it.
    """
    drawn = Figure(figsize=(width, height))
    FigureCanvasAgg(drawn)
    drawn.alt = alt
    axes = drawn.subplots(rows, columns, squeeze=False, **options)
    return drawn, list(axes.flat)


def shown(figure: Figure) -> tuple[bytes, dict]:
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
    """Writes `<folder>/<name>.pdf` and `.png` of each figure.

    Neither carries a date, so that the same data give the same bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, drawn in figures.items():
        pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
        png.write_bytes(shown(drawn)[0])
        metadata = {"CreationDate": None, "ModDate": None, "Subject": drawn.alt}
        with applied():
            drawn.savefig(pdf, metadata=metadata)
        files += [pdf, png]
    return files


# Parts of figures --------------------------------------------------------------------------------


def heat_map(ax: Axes, values: pd.DataFrame) -> None:
    """Percentages as numbers on cividis: white on its dark half, black on its light half."""
    look = dict(cmap="cividis", vmin=0, vmax=100, cbar=False, linewidths=0.5)
    look |= dict(annot=True, fmt=".0f", annot_kws={"fontsize": 7})
    sns.heatmap(values.astype(float), ax=ax, **look)
    for text, value in zip(ax.texts, values.stack().to_numpy(float), strict=True):
        text.set_color("black" if value > 48 else "white")
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)


def slanted(ax: Axes, names: list[str]) -> None:
    """Names of a heat map's columns, slanted so that long ones fit."""
    places = np.arange(len(names)) + 0.5
    ax.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")


# Text in any script ------------------------------------------------------------------------------


def fonts(text: str) -> list[str]:
    """Font families that together draw every character of `text`, for `fontfamily=`.

    MissingFont names the characters that no font of `FONTS` on this machine can draw.
    """
    families, undrawn = _families(text)
    if undrawn:
        characters = "".join(sorted(undrawn))[:20]
        name = unicodedata.name(characters[0], "no name")
        raise MissingFont(
            f"no font here draws {characters!r} ({name}): install a font of that script, "
            "such as Google's Noto Sans, and delete matplotlib's font cache"
        )
    return families


def boxed(text: str) -> str:
    """`text` with a box for each character that no font here draws: models may write anything."""
    undrawn = _families(text)[1]
    return "".join("□" if c in undrawn else c for c in text)


def _families(text: str) -> tuple[list[str], set[str]]:
    """Families that draw the text, and the characters that none of them draws."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans"]  # comes with matplotlib
    undrawn = {c for c in text if not c.isspace()} - _letters("DejaVu Sans")
    for family in FONTS:
        if undrawn and family in installed and undrawn & _letters(family):
            families.append(family)
            undrawn -= _letters(family)
    return families, undrawn


@cache
def _letters(family: str) -> set[str]:
    path = font_manager.findfont(family, fallback_to_default=False)
    return {chr(code) for code in font_manager.get_font(path).get_charmap()}


def flow(ax: Axes, spans: list[tuple[str, dict]], x: float, y: float, width: float) -> float:
    """Writes one paragraph from (x, y) down, broken at `width`; returns the y below it.

    `spans` are texts with properties of matplotlib's Text, `fontsize` in the first one. Units are
    points from the lower left corner of `ax`.
    """
    size, left, leading = spans[0][1]["fontsize"], x, 1.45
    for text, properties in spans:
        look = {"fontsize": size, **properties}
        space = _advance(" ", look)
        for word in text.split():
            advance = _advance(word, look)
            if word.startswith((".", ",", ":", ";")):
                x -= space
            if x > left and x + advance > left + width:
                x, y = left, y - leading * size
            place = (x, y - size)
            ax.annotate(word, place, xycoords="axes points", annotation_clip=False, **look)
            x += advance + space
    return y - leading * size


def _advance(text: str, look: dict) -> float:
    """The width of a text in points, white space at its ends included, as the font has it."""
    names = {"fontfamily": "family", "fontsize": "size", "fontstyle": "style"}
    names["fontweight"] = "weight"
    font = font_manager.FontProperties(**{names[k]: v for k, v in look.items() if k in names})
    bars, both = (
        text_to_path.get_text_width_height_descent(written, font, False)[0]
        for written in ("||", f"|{text}|")
    )
    return both - bars
