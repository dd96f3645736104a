"""What all figures share: one style file, a palette, labels that don't collide, and files that come out the same everywhere."""

import io
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

# Okabe and Ito's palette: distinct under every common colour blindness. Where two of a figure's colours print as the same
# grey, a marker, a line style or a hatch tells them apart as well.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"
TIER_COLORS = {"high": SKY, "medium": ORANGE, "low": PURPLE}
COLUMN, PAGE = 3.4, 7.0  # inches: one column, both columns
FONTS = {  # fonts that hold a script's letters, looked for in this order
    "Ethiopic": ("Noto Sans Ethiopic", "Abyssinica SIL", "Nyala", "Kefa"),
    "Bengali": ("Noto Sans Bengali", "Lohit Bengali", "Vrinda", "Bangla Sangam MN"),
    "Devanagari": ("Noto Sans Devanagari", "Lohit Devanagari", "Mangal", "Kohinoor Devanagari"),
    "Thai": ("Noto Sans Thai", "Loma", "Tahoma", "Thonburi"),
    "Japanese": ("Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "Yu Gothic", "Hiragino Sans"),
    "Hangul": ("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo"),
}
_BLOCKS = {  # how Unicode's names of a script's characters begin
    "Ethiopic": ("ETHIOPIC",),
    "Bengali": ("BENGALI",),
    "Devanagari": ("DEVANAGARI",),
    "Thai": ("THAI",),
    "Japanese": ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"),
    "Hangul": ("HANGUL",),
}


class MissingFont(LookupError):
    """No font on this machine draws a text; the message names characters and fonts."""


@contextmanager
def applied() -> Iterator[None]:
    """The workbook's style over matplotlib's defaults, whatever the reader's own settings are."""
    with plt.style.context(["default", str(Path(__file__).with_name("curemed.mplstyle"))]):
        yield


def figure(width: float, height: float, alt: str, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """An empty figure (inches) and its axes, kept out of pyplot so that a notebook shows it once. `alt` says what it shows, for those
    who can't see it."""
    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    made.alt = alt
    return made, made.subplots(1, columns, squeeze=False, **options)[0]


def save(figure: Figure, name: str, folder: str | Path) -> list[Path]:
    """Writes `<folder>/<name>.pdf` and `.png` (200 dpi) without dates, so that the same data give the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
    png.write_bytes(shown(figure)[0])
    with applied():
        figure.savefig(pdf, metadata={"CreationDate": None, "ModDate": None, "Subject": figure.alt})
    return [pdf, png]


class Album(dict):
    """Figures by name, each written to `folder` (`save`) by another process while the next one is drawn; `close` waits for them."""

    def __init__(self, folder: str | Path, figures: dict[str, Figure] | None = None):
        super().__init__()
        self._folder, self._saving = folder, []
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
        for name, figure in (figures or {}).items():
            self[name] = figure

    def __setitem__(self, name: str, figure: Figure) -> None:
        super().__setitem__(name, figure)
        shown(figure)
        self._saving.append(self._pool.submit(save, figure, name, self._folder))

    def close(self) -> list[Path]:
        """The files written."""
        with self._pool:
            return [path for saving in self._saving for path in saving.result()]


def shown(figure: Figure) -> tuple[bytes, dict]:
    """A finished figure as a notebook shows it: PNG (200 dpi), drawn once, and metadata that carry its width and alt text into a page."""
    if not hasattr(figure, "png"):
        raw = io.BytesIO()
        with applied():
            if layout := figure.get_layout_engine():
                layout.execute(figure)
                figure.set_layout_engine("none")  # laid out once, so that PNG and PDF are the same picture
            figure.savefig(raw, format="png", metadata={"Software": None, "Description": figure.alt})
        figure.png = raw.getvalue()
    return figure.png, {"alt": figure.alt, "width": int(figure.get_figwidth() * 100)}


def fonts(text: str) -> list[str]:
    """Font families that together draw every character of `text`, for `fontfamily=`; DejaVu Sans comes with matplotlib and draws
    Latin scripts. MissingFont names the characters that no font of `FONTS` on this machine can draw."""
    families, left = _families(text)
    if left:
        scripts = [name for name in FONTS if any(unicodedata.name(c, "").startswith(_BLOCKS[name]) for c in left)]
        wanted = ", ".join(FONTS[name][0] for name in scripts) or "a font that has them"
        raise MissingFont(f"no font here draws {''.join(sorted(left))[:20]!r}: install {wanted}, and delete matplotlib's font cache")
    return families


def boxed(text: str) -> str:
    """`text` with a box in place of each character that `fonts` finds no font for: for what models write, which may be anything."""
    left = _families(text)[1]
    return "".join("□" if c in left else c for c in text)


def _families(text: str) -> tuple[list[str], set[str]]:
    """Families that draw the text, and the characters that none of them draws."""
    there = {entry.name for entry in font_manager.fontManager.ttflist}
    families, left = ["DejaVu Sans"], {c for c in text if not c.isspace()} - _letters("DejaVu Sans")
    for family in dict.fromkeys(name for names in FONTS.values() for name in names if name in there):
        if found := left & _letters(family):
            families.append(family)
            left -= found
    return families, left


@cache
def _letters(family: str) -> set[str]:
    path = font_manager.findfont(family, fallback_to_default=False)
    return {chr(code) for code in font_manager.get_font(path).get_charmap()}


def place_labels(ax: Axes, points: np.ndarray, radii: np.ndarray, texts: list[str], colors: list[str]) -> list[Text]:
    """Writes one label beside each point (data coordinates, n x 2) so that no label touches a mark (radii in points), another label,
    a leader line or the frame. Each takes the nearest free place around its mark; of several orders in which they may choose, the
    one with the shortest leader lines is kept. The same every time.

    Libraries that push labels apart by forces leave some overlapping in the corner of Figure 4. Raises ValueError if there is no room.
    """
    ax.figure.canvas.draw()  # settles the layout that the label sizes are measured in
    renderer, per_point = ax.figure.canvas.get_renderer(), ax.figure.dpi / 72
    labels = [ax.text(0, 0, text, fontsize=7, color=color, transform=None) for text, color in zip(texts, colors, strict=True)]
    sizes = np.array([label.get_window_extent(renderer).size for label in labels])
    spots, radii = ax.transData.transform(points), np.asarray(radii) * per_point
    apart = np.sort(np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1)), axis=1)
    orders = [np.argsort(apart[:, k], kind="stable") for k in range(1, min(9, len(spots)))] or [np.arange(len(spots))]
    frame = ax.get_window_extent(renderer).extents
    tried = [_placed(spots, radii, sizes, order, frame, per_point) for order in orders]
    boxes, lines, length = min(tried, key=lambda found: found[2])
    if not np.isfinite(length):
        raise ValueError(f"no room for {len(texts)} labels in this figure: make it larger, or show fewer models")
    to_data = ax.transData.inverted().transform
    for label, box in zip(labels, boxes, strict=True):
        label.set(position=to_data(box[:2]), transform=ax.transData, verticalalignment="bottom")
    for line in lines:
        ax.plot(*to_data(line).T, color=GREY, linewidth=0.5, zorder=1)
    return labels


def _placed(spots, radii, sizes, order, frame, per_point) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Boxes of the labels (n x 4), leader lines, and how far the labels lie from their marks in all.

    Where every place would have a leader line cross something, the nearest free one is taken all the same, at a price.
    """
    marks = np.column_stack([spots - radii[:, None], spots + radii[:, None]])
    boxes, lines, total = np.empty((0, 4)), [], 0.0
    placed = np.full((len(spots), 4), np.nan)
    for i in order:
        corners = spots[i] + (radii[i] + _REACH[:, None] * per_point) * _WAY - sizes[i] * (1 - _WAY) / 2
        places = np.hstack([corners, corners + sizes[i]])
        inside = (corners >= frame[:2]).all(axis=1) & (places[:, 2:] <= frame[2:]).all(axis=1)
        free = np.flatnonzero(inside & ~_overlap(places, np.vstack([marks, boxes])) & _plain(places, spots, radii, i, per_point))
        if not len(free):
            return placed, lines, np.inf
        in_the_way = np.vstack([boxes, marks[~((marks[:, :2] < spots[i]) & (spots[i] < marks[:, 2:])).all(axis=1)]])
        ways = (
            k for k in free if not _crosses(_leader(spots[i], places[k]), in_the_way) and not any(_crosses(x, places[[k]]) for x in lines)
        )
        chosen = next(ways, None)
        total += _REACH[free[0]] + 1000 if chosen is None else _REACH[chosen]
        placed[i] = places[free[0] if chosen is None else chosen]
        boxes = np.vstack([boxes, placed[i]])
        if np.hypot(*np.diff(_leader(spots[i], placed[i]), axis=0)[0]) > radii[i] + 8 * per_point:
            lines.append(_leader(spots[i], placed[i]))
    return placed, lines, total


def _plain(places: np.ndarray, spots: np.ndarray, radii: np.ndarray, i: int, per_point: float) -> np.ndarray:
    """Which places (n x 4) nobody would take for another mark's: nearest to their own, or at a leader's length and away from others."""
    away = np.clip(spots[None], places[:, None, :2], places[:, None, 2:]) - spots[None]
    gaps = np.hypot(away[..., 0], away[..., 1]) - radii
    others = np.delete(gaps, i, axis=1).min(axis=1, initial=np.inf)
    return (gaps[:, i] <= others + per_point) | ((gaps[:, i] > 8 * per_point) & (others > 4 * per_point))


def _leader(spot: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The line from a mark to the nearest point of its label's box."""
    return np.array([spot, np.clip(spot, box[:2], box[2:])])


_REACH = np.repeat(np.arange(2, 120, 3), 24)  # points from a mark's edge, and directions
_ANGLE = np.tile(np.linspace(0, 2 * np.pi, 24, endpoint=False), 40)
_WAY = np.column_stack([np.cos(_ANGLE), np.sin(_ANGLE)])


def _overlap(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which places (n x 4) touch any of the others (m x 4) or come within a pixel."""
    low, high = places[:, None, :2] - 1, places[:, None, 2:] + 1
    return ((others[None, :, :2] < high) & (others[None, :, 2:] > low)).all(axis=2).any(axis=1)


def _crosses(line: np.ndarray, boxes: np.ndarray) -> bool:
    along = np.linspace(line[0], line[1], 20)[None]
    return bool(((along > boxes[:, None, :2]) & (along < boxes[:, None, 2:])).all(axis=2).any())


def flow(ax: Axes, spans: list[tuple[str, dict]], x: float, y: float, width: float, leading: float = 1.45) -> float:
    """Writes `spans` of (text, properties of Text) as one paragraph from (x, y) down, broken at `width`; returns the y below it.

    Units are points from the lower left corner of `ax`.
    """
    size, left = spans[0][1].get("fontsize", 7.5), x
    for text, properties in spans:
        options = {"fontsize": size} | properties
        for word in text.split():
            advance, space = _advance(word, options), _advance(" ", options)
            if word.startswith((".", ",", ":", ";")):
                x -= space
            if x > left and x + advance > left + width:
                x, y = left, y - leading * size
            ax.annotate(word, (x, y - size), xycoords="axes points", va="baseline", annotation_clip=False, **options)
            x += advance + space
    return y - leading * size


def _advance(text: str, options: dict) -> float:
    """The width of a text in points, white space at its ends included, as the font has it and not as a screen rounds it."""
    names = {"fontfamily": "family", "fontsize": "size", "fontstyle": "style", "fontweight": "weight"}
    font = font_manager.FontProperties(**{names[name]: value for name, value in options.items() if name in names})
    bar, both = (text_to_path.get_text_width_height_descent(t, font, False)[0] for t in ("||", f"|{text}|"))
    return both - bar
