"""Figures are legible: no small, cut or overlapping text, colours apart, alternative text."""

import itertools
import re

import drawn
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from curemed_utils import paths
from curemed_utils.paper import style

every_figure = pytest.mark.parametrize("name", drawn.ALL)


def legends(figure: Figure) -> list:
    own = [ax.get_legend() for ax in figure.axes]
    return [*figure.legends, *filter(None, own)]


def texts(figure: Figure) -> list:
    """Every text that is drawn."""
    shown = list(figure.texts)
    for legend in legends(figure):
        shown += [*legend.get_texts(), legend.get_title()]
    for ax in figure.axes:
        shown += ax.texts
        if not ax.axison:
            continue
        shown += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = sorted(limits)
            inside = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            shown += [tick.label1 for tick in inside]
    return [text for text in shown if text.get_visible() and text.get_text().strip()]


@every_figure
def test_text_is_seven_points_or_more(name):
    sizes = {text.get_text(): text.get_fontsize() for text in texts(drawn.figure(name))}
    assert {text: size for text, size in sizes.items() if size < 7} == {}


@every_figure
def test_no_text_is_cut_at_the_edge(name):
    figure = drawn.figure(name)
    width, height = figure.bbox.size
    for text in texts(figure):
        box = drawn.box_of(text, figure)
        assert box.x0 > -1 and box.y0 > -1, text.get_text()
        assert box.x1 < width + 1 and box.y1 < height + 1, text.get_text()


@every_figure
def test_no_two_texts_overlap(name):
    figure = drawn.figure(name)
    boxes = []
    for text in texts(figure):
        if text.get_rotation() in (0, 90):  # the box of a slanted label holds mostly nothing
            box = drawn.box_of(text, figure)
            boxes.append((text.get_text(), box.padded(-1)))
    for (one, box), (other, its_box) in itertools.combinations(boxes, 2):
        assert not box.overlaps(its_box), f"{one} over {other}"


def test_no_name_lies_on_a_mark_or_an_interval_of_the_language_weight():
    figure = drawn.figure("language_price")
    (ax,) = figure.axes
    ends = [segment for lines in ax.collections[-2:] for segment in lines.get_segments()]
    covered = [ax.transData.transform(segment) for segment in ends]
    covered += [ax.transData.transform(line.get_xydata()[[0, 0]]) for line in ax.lines]
    for text in ax.texts:
        box = drawn.box_of(text, figure)
        for (x0, y0), (x1, y1) in covered:
            is_beside = max(x0, x1) < box.x0 or min(x0, x1) > box.x1
            assert is_beside or max(y0, y1) < box.y0 or min(y0, y1) > box.y1, text.get_text()


def seen(color, matrix) -> np.ndarray:
    """A colour in CIE L*a*b* as the vision sees it that `matrix` (on linear RGB) stands for."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(np.array(matrix) @ linear, 0, 1)
    relative = xyz / (0.9505, 1, 1.089)
    curve = np.where(relative > 0.008856, relative ** (1 / 3), 7.787 * relative + 16 / 116)
    fx, fy, fz = curve
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


VISION = {  # Machado, Oliveira and Fernandes (2009), severity 1; grey: luminance alone
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}


def looks(figure: Figure) -> dict:
    """What tells the entries of a figure's legends apart: colour; marker, line and hatch."""
    entries = {}
    for legend in legends(figure):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if hasattr(handle, "get_hatch") and hasattr(handle, "get_facecolor"):
                color = tuple(np.atleast_2d(handle.get_facecolor())[0][:3])
                shape = None
                if hasattr(handle, "get_paths"):
                    shape = handle.get_paths()[0].vertices.round(3).tolist()
                form = (handle.get_hatch() or "", shape)
            else:
                color = handle.get_color()
                form = (handle.get_marker(), handle.get_linestyle(), handle.get_linewidth())
            entries[text.get_text()] = (color, form)
    return entries


@pytest.mark.parametrize("vision", VISION)
@every_figure
def test_what_a_legend_names_can_be_told_apart(name, vision):
    pairs = itertools.combinations(looks(drawn.figure(name)).items(), 2)
    for (one, (color, form)), (other, (its_color, its_form)) in pairs:
        if form == its_form:
            matrix = VISION[vision]
            distance = np.linalg.norm(seen(color, matrix) - seen(its_color, matrix))
            assert distance >= 10, f"{one} looks like {other}"


@every_figure
def test_every_figure_says_what_it_shows(name):
    figure = drawn.figure(name)
    png, about = style.as_png(figure)
    assert len(figure.alt) > 40 and about["alt"] == figure.alt
    assert figure.alt[:30].encode() in png


def test_the_readme_describes_its_pictures_as_they_are():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    for alt, name in re.findall(r"!\[([^]]*)\]\(figures/(\w+)\.png\)", readme):
        assert alt == drawn.figure(name).alt, name
