"""Figures 1 to 3: the method, and examples of code-switched reasoning."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from curemed_utils import languages, paths
from curemed_utils.paper import style
from curemed_utils.paper.style import COLUMN, PAGE

HEAD = {"color": "black", "fontweight": "bold"}
ROLES = style.LOOKS["roles"]
PANELS = style.LOOKS["panels"]


@style.applied()
def pipeline(composition: pd.DataFrame) -> Figure:
    """Figure 1: from health topics to a model in three steps, with the row counts of Figure 8."""
    texts = paths.beside(__file__, "pipeline.yaml")
    facts = composition[["n_sft", "n_rft"]].sum().to_dict()
    for tier in languages.TIERS:
        facts[tier] = ", ".join(languages.in_tier(tier))
    drawn, (ax,) = style.figure(PAGE, 3.05, texts["alt"])
    ax.set(xlim=(0, 100), ylim=(0, 43))
    ax.axis("off")
    for (x, width, color), title in zip(PANELS, texts["panels"], strict=True):
        _box(ax, x, 0, width, 42.5, color, 0.13)
        ax.text(x + 1.5, 39.2, title, fontsize=9, fontweight="bold", va="center")
    for panel, steps in zip(PANELS, texts["panels"].values(), strict=True):
        _chain(ax, *panel, [step.format(**facts) for step in steps])
    for x, _, _ in PANELS[1:]:
        _arrow(ax, (x - 3.5, 21), (x, 21), linewidth=1.4)
    return drawn


def _box(ax, x, y, width, height, color, alpha):
    look = dict(boxstyle="round,pad=0,rounding_size=1.2", linewidth=0)
    shape = FancyBboxPatch((x, y), width, height, facecolor=color, alpha=alpha, **look)
    ax.add_patch(shape)


def _arrow(ax, start, end, **look):
    look = dict(arrowstyle="-|>", color="black", shrinkA=0, shrinkB=0, **look)
    ax.annotate("", end, start, arrowprops=look)


def _chain(ax, x, width, color, texts):
    heights = [1.6 + 2.5 * (text.count("\n") + 1) for text in texts]
    gap = (35.5 - sum(heights)) / (len(texts) - 1)
    top, middle = 36.8, x + width / 2
    for number, (text, height) in enumerate(zip(texts, heights, strict=True)):
        if number:
            _arrow(ax, (middle, top), (middle, top - gap), linewidth=0.8, mutation_scale=6)
            top -= gap
        _box(ax, x + 1.5, top - height, width - 3, height, "white", 1)
        _box(ax, x + 1.5, top - height, width - 3, height, color, 0.35)
        look = dict(ha="center", va="center", fontsize=7, linespacing=1.15)
        ax.text(middle, top - height / 2, text, **look)
        top -= height


def code_switched(example: pd.DataFrame) -> Figure:
    """Figure 2 with an example of our own.

    `example` has part (question, step1 …, answer), role (a key of `ROLES`) and text, in reading
    order.
    """

    def write(ax, top):
        head = {**HEAD, "fontsize": 9}
        top = _flow(ax, [("Code-switched reasoning (French)", head)], 4, top, 232) - 3
        return _parts(ax, example, 4, top, 232)

    alt = "A code-switched example in French, French in blue italics: "
    return _written(write, COLUMN, alt + " ".join(example["text"]))


def side_by_side(example: pd.DataFrame) -> Figure:
    """Figure 3 with an example of our own: one question, a wrong and a right response.

    `example` has Figure 2's columns and response (both | untrained | trained).
    """
    titles = {"untrained": "Fluent, and wrong", "trained": "Code-switched, and right"}
    responses = dict(tuple(example.groupby("response")))

    def write(ax, top):
        top = _parts(ax, responses["both"], 4, top, 490) - 4
        ends = []
        for x, (name, title) in zip((4, 258), titles.items(), strict=True):
            below = _flow(ax, [(title, {**HEAD, "fontsize": 8.5})], x, top, 236) - 2
            ends.append(_parts(ax, responses[name], x, below, 236))
        return min(ends)

    alt = f"Two responses to one question in Spanish, {' | '.join(titles.values())}: "
    return _written(write, PAGE, alt + " ".join(example["text"]))


@style.applied()
def _written(write, width, alt):
    """A page as high as what `write` needs, which is tried on a long page first."""
    height = 10.0
    for _ in range(2):
        drawn, (ax,) = style.figure(width, height, alt)
        drawn.set_layout_engine("none")
        ax.set_position([0, 0, 1, 1])
        ax.axis("off")
        height -= (write(ax, 72 * height - 5) - 2) / 72
    return drawn


def _parts(ax, example, x, top, width):
    for part, rows in example.groupby("part", sort=False):
        name = f"<{part}>" if part.startswith("step") else part.capitalize()
        spans = [(name, {**HEAD, "fontsize": 7.5})]
        for row in rows.itertuples():
            spans.append((row.text, ROLES[row.role]))
        top = _flow(ax, spans, x, top, width) - 2.5
    return top


def _flow(ax, spans, x, y, width):
    """Writes one paragraph from (x, y) down, in points, broken at `width`; returns the y below.

    `spans` are texts with properties of matplotlib's Text, `fontsize` in the first one.
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


def _advance(text, look):
    """The width of a text, white space at its ends included, as the font has it."""
    font = Text(**look).get_fontproperties()
    widths = []
    for written in (f"|{text}|", "||"):
        widths.append(text_to_path.get_text_width_height_descent(written, font, False)[0])
    return widths[0] - widths[1]
