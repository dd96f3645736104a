"""Figures 1 to 3: the method, and examples of code-switched reasoning.

Small tables of `figures/source_data` in, a matplotlib Figure out.
"""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from curemed_utils import languages
from curemed_utils.paper import style
from curemed_utils.paper.style import BLUE, COLUMN, ORANGE, PAGE, PURPLE, SKY

HEAD = {"color": "black", "fontweight": "bold"}
ROLES = {  # by colour, and by slant or weight for those who see no colour
    "target": {"color": BLUE, "fontstyle": "italic"},
    "english": {"color": "black"},
    "wrong": {"color": "#A33B00"},
    "right": {"color": "#00694C", "fontweight": "bold"},
}
PIPELINE = (
    "The CURE-MED pipeline in three panels. A, data: MedlinePlus topics become multiple-choice "
    "questions, are filtered, turned into open questions with code-switched reasoning, and rated "
    "by humans. B: supervised fine-tuning of Qwen2.5-Instruct on these traces. C: GRPO in three "
    "stages, from high- over medium- to low-resource languages."
)


@style.applied()
def pipeline(composition: pd.DataFrame) -> Figure:
    """Figure 1: from health topics to a model in three steps, with the row counts of Figure 8."""
    n = composition[["n_sft", "n_rft"]].sum()
    curation = [
        "MedlinePlus health topics",
        "multiple-choice questions, composed\nin each of 13 languages",
        "filters: too easy for three small\nmodels, or ambiguous",
        "open question, code-switched\nreasoning, one short answer",
        "ratings by clinicians and\nnative speakers",
    ]
    tuning = [
        "Qwen2.5-Instruct",
        f"{n['n_sft']:,} code-switched traces:\nEnglish argument, clinical terms\nof the language",
        "loss on reasoning and answer:\n$-\\log p_\\theta(\\mathbf{r}, y^* | x)$",
        "a model that reasons in steps\nand answers in the language",
    ]
    curriculum = [
        f"{n['n_rft']:,} questions, a group of rollouts each",
        "$R = 0.65\\,R_{acc} + 0.30\\,R_{lang} + 0.05\\,R_{fmt}$",
    ]
    for number, tier in enumerate(languages.TIERS, 1):
        plus = "+ " if number > 1 else ""
        names = ", ".join(languages.in_tier(tier))
        curriculum.append(f"stage {number}: {plus}{tier}-resource tier\n{names}")
    drawn, (ax,) = style.figure(PAGE, 3.05, PIPELINE)
    ax.set(xlim=(0, 100), ylim=(0, 43))
    ax.axis("off")
    _panel(ax, 0, 31, "A  Data", SKY)
    _panel(ax, 34.5, 26, "B  Cold start: SFT", ORANGE)
    _panel(ax, 64, 36, "C  Curriculum: GRPO", PURPLE)
    _chain(ax, 1.5, 28, SKY, curation)
    _chain(ax, 36, 23, ORANGE, tuning)
    _chain(ax, 65.5, 33, PURPLE, curriculum)
    _arrow(ax, (31, 21), (34.5, 21), linewidth=1.4)
    _arrow(ax, (60.5, 21), (64, 21), linewidth=1.4)
    return drawn


def _panel(ax: Axes, x: float, width: float, title: str, color: str) -> None:
    _box(ax, x, 0, width, 42.5, color, 0.13)
    ax.text(x + 1.5, 39.2, title, fontsize=9, fontweight="bold", va="center")


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, color: str, alpha: float
) -> None:
    round_corners = "round,pad=0,rounding_size=1.2"
    shape = FancyBboxPatch((x, y), width, height, boxstyle=round_corners, linewidth=0)
    shape.set(facecolor=color, alpha=alpha)
    ax.add_patch(shape)


def _arrow(ax: Axes, start: tuple, end: tuple, **look) -> None:
    look = dict(arrowstyle="-|>", color="black", shrinkA=0, shrinkB=0, **look)
    ax.annotate("", end, start, arrowprops=look)


def _chain(ax: Axes, x: float, width: float, color: str, texts: list[str]) -> None:
    """Boxes from the top down, each as high as its lines need, an arrow from one to the next."""
    heights = [1.6 + 2.5 * (text.count("\n") + 1) for text in texts]
    gap = (35.5 - sum(heights)) / (len(texts) - 1)
    top, middle = 36.8, x + width / 2
    for number, (text, height) in enumerate(zip(texts, heights, strict=True)):
        if number:
            _arrow(ax, (middle, top), (middle, top - gap), linewidth=0.8, mutation_scale=6)
            top -= gap
        _box(ax, x, top - height, width, height, "white", 1)
        _box(ax, x, top - height, width, height, color, 0.35)
        look = dict(ha="center", va="center", fontsize=7, linespacing=1.15)
        ax.text(middle, top - height / 2, text, **look)
        top -= height


def code_switched(example: pd.DataFrame, language: str = "French") -> Figure:
    """Figure 2 with an example of our own: a question, its code-switched reasoning, its answer.

    `example` has part (question, step1 …, answer), role (a key of `ROLES`) and text, in reading
    order. The language stands apart from English.
    """
    text = " ".join(example["text"])
    families = style.fonts(text)

    def write(ax: Axes, top: float) -> float:
        title = f"Code-switched reasoning ({language})"
        top = style.flow(ax, [(title, {**HEAD, "fontsize": 9})], 4, top, 232) - 3
        return _parts(ax, example, 4, top, 232, families)

    alt = f"A code-switched example in {language}, {language} in blue italics: {text}"
    return _written(write, COLUMN, alt)


def side_by_side(
    example: pd.DataFrame,
    language: str = "Spanish",
    titles: tuple[str, str] = ("Fluent, and wrong", "Code-switched, and right"),
) -> Figure:
    """Figure 3 with an example of our own: one question, a wrong and a right response.

    `example` has response (both | untrained | trained), and the columns of Figure 2's example.
    """
    text = " ".join(example["text"])
    families = style.fonts(text)
    responses = dict(tuple(example.groupby("response")))

    def write(ax: Axes, top: float) -> float:
        top = _parts(ax, responses["both"], 4, top, 490, families) - 4
        ends = []
        for x, name, title in zip((4, 258), ("untrained", "trained"), titles, strict=True):
            below = style.flow(ax, [(title, {**HEAD, "fontsize": 8.5})], x, top, 236) - 2
            ends.append(_parts(ax, responses[name], x, below, 236, families))
        return min(ends)

    alt = f"Two responses to one question in {language}, {' | '.join(titles)}: {text}"
    return _written(write, PAGE, alt)


@style.applied()
def _written(write: Callable[[Axes, float], float], width: float, alt: str) -> Figure:
    """A page of text as high as what `write` needs: it is tried on a long page first."""
    height = 10.0
    for _ in range(2):
        drawn, (ax,) = style.figure(width, height, alt)
        drawn.set_layout_engine("none")
        ax.set_position([0, 0, 1, 1])
        ax.axis("off")
        height -= (write(ax, 72 * height - 5) - 2) / 72
    return drawn


def _parts(
    ax: Axes, example: pd.DataFrame, x: float, top: float, width: float, families: list[str]
) -> float:
    """Writes each part as a paragraph with its name in front; returns where the last one ends."""
    for part, rows in example.groupby("part", sort=False):
        name = f"<{part}>" if part.startswith("step") else part.capitalize()
        spans = [(name, {**HEAD, "fontsize": 7.5})]
        for row in rows.itertuples():
            spans.append((row.text, {**ROLES[row.role], "fontfamily": families}))
        top = style.flow(ax, spans, x, top, width) - 2.5
    return top
