"""Figures and tables: every mark against its source row, the same bytes everywhere, legible, and nothing that collides."""

import itertools
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from curemed_utils import data, languages, paths
from curemed_utils.paper import claims, code_switching, curves, style, tables
from curemed_utils.paper import figures as plots
from curemed_utils.paper import sources as paper

P = paper.published
OWN = pd.DataFrame(
    [
        (model, size, metric, language, float(value), 12)
        for model, size, shift in (("base", 0.001, 0), ("stage3_low", 0.001, 9))
        for metric, start in (("la", 20), ("lc", 50))
        for language, value in [("all", start + shift), *((name, start + shift + i) for i, name in enumerate(languages.NAMES))]
    ],
    columns=["model", "params_b", "metric", "language", "value", "n"],
)
LEVELS = pd.DataFrame({"high": [0.8, 0.9], "medium": [0.4, 0.6], "low": [0.5, 0.45]}, index=["sft", "stage3_low"])

BESIDE = pd.DataFrame(
    [
        (language, measure, 4.9, 4.0 + 0.05 * i, 3.5 + 0.05 * i, 4.2 + 0.05 * i)
        for measure in ("medical_correctness", "language_quality")
        for i, language in enumerate(languages.NAMES)
    ],
    columns=["language", "measure", "published", "mean", "low", "high"],
)
FOUND = pd.DataFrame(
    [
        (check, language)
        for n, check in enumerate(("near_duplicates", "answers_with_option_letter"), 1)
        for language in languages.NAMES[: 6 * n]
        for _ in range(9 * n)
    ],
    columns=["check", "language"],
)


def gaps():
    return {f"{size} {name}": t for size, number in (("3B", "table07"), ("7B", "table06")) for name, t in paper.per_tier(P(number)).items()}


DRAWN = {
    "fig01": lambda: plots.pipeline(P("figure08")),
    "fig02": lambda: plots.code_switched(P("figure02")),
    "fig03": lambda: plots.side_by_side(P("figure03")),
    "fig04": lambda: plots.tradeoff(P("table02")),
    "fig04 own": lambda: plots.tradeoff(P("table02"), OWN),
    "fig05": lambda: plots.scaling(P("table02")),
    "fig05 own": lambda: plots.scaling(P("table02"), OWN),
    "fig06": lambda: plots.medical_baselines(P("figure06")),
    "fig06 own": lambda: plots.medical_baselines(P("figure06"), OWN),
    "fig08": lambda: plots.composition(P("figure08")),
    "ratings": lambda: plots.human_ratings(P("table05")),
    "per language": lambda: plots.per_language({"3B": P("table07"), "7B": P("table06")}),
    "per language own": lambda: plots.per_language({"3B": P("table07"), "7B": P("table06")}, OWN),
    "proprietary": lambda: plots.proprietary(P("table09"), P("table10")),
    "proprietary own": lambda: plots.proprietary(P("table09"), P("table10"), OWN),
    "gap": lambda: plots.tier_gap(gaps()),
    "decomposition": lambda: plots.lc_decomposition(P("lc_decomposition")),
    "agreement": lambda: plots.verifier_agreement(P("verifier_agreement")),
    "rewards": lambda: curves.reward_curves(P("demo_rewards")),
    "forgetting": lambda: curves.forgetting(curves.levels(P("demo_levels"))),
    "rating intervals": lambda: plots.rating_intervals(BESIDE),
    "audit": lambda: plots.audit_findings(FOUND, dict.fromkeys(languages.NAMES, 100)),
    "gap own": lambda: plots.tier_gap({"mean reward x 100": 100 * LEVELS}),
}
COMMITTED = {  # files in figures/ -> how they are drawn
    "fig01_pipeline": "fig01",
    "fig02_code_switching": "fig02",
    "fig03_side_by_side": "fig03",
    "fig04_tradeoff": "fig04",
    "fig05_scaling": "fig05",
    "fig06_medical_baselines": "fig06",
    "fig08_composition": "fig08",
    "table05_ratings": "ratings",
    "table06_07_per_language": "per language",
    "table09_10_proprietary": "proprietary",
    "table06_07_tier_gap": "gap",
    "lc_decomposition": "decomposition",
    "verifier_agreement": "agreement",
    "demo_rewards": "rewards",
    "demo_forgetting": "forgetting",
}
every_figure = pytest.mark.parametrize("name", DRAWN)


@pytest.fixture(scope="module")
def figures():
    made = {}

    def get(name) -> Figure:
        if name not in made:
            made[name] = DRAWN[name]()
            style.shown(made[name])
            made[name].canvas.draw()  # on the screen's scale again
        return made[name]

    return get


# Every mark against its source row ----------------------------------------------------------------------------------


def offsets(ax):
    return [tuple(map(float, xy)) for collection in ax.collections for xy in collection.get_offsets()]


def heat_maps(figure):
    """Each heat map as a table of what its colours show, checked against the numbers written on them."""
    for ax in figure.axes:
        values = np.ma.filled(ax.collections[0].get_array(), np.nan)
        rows, columns = ([label.get_text() for label in labels] for labels in (ax.get_yticklabels(), figure.axes[-1].get_xticklabels()))
        shown = pd.DataFrame(values, index=rows, columns=columns)
        assert [f"{value:.0f}" for value in values.ravel()] == [
            text.get_text() for text in ax.texts if text.get_text() not in languages.TIERS
        ]
        yield shown


def test_figure_1_shows_the_counts_of_its_table(figures):
    text = " ".join(t.get_text() for t in figures("fig01").axes[0].texts)
    counts = P("figure08")[["n_sft", "n_rft"]].sum()
    assert f"{counts['n_sft']:,} code-switched" in text and f"{counts['n_rft']:,} questions" in text
    assert all(name in text for name in languages.NAMES)


@pytest.mark.parametrize("name, table", [("fig02", "figure02"), ("fig03", "figure03")])
def test_the_examples_show_every_word_in_its_role(figures, name, table):
    example = P(table)
    shown = [(t.get_text(), t.get_color(), t.get_fontstyle()) for t in figures(name).axes[0].texts]
    wanted = [
        (word, plots.ROLES[row.role]["color"], plots.ROLES[row.role].get("fontstyle", "normal"))
        for row in example.itertuples()
        for word in row.text.split()
    ]
    heads = len(shown) - len(wanted)
    assert [word for word in shown if word in wanted] and heads < 20
    remaining = list(shown)
    for word in wanted:
        remaining.remove(word)


def test_figure_4_puts_every_model_on_its_row(figures):
    table = P("table02")
    ax = figures("fig04").axes[0]
    assert sorted(offsets(ax)) == sorted(zip(table["lc_mean"], table["la_mean"], strict=True))
    assert {t.get_text() for t in ax.texts} == set(table["model"].str.replace("-Qwen2.5", ""))
    sizes = {tuple(xy): s for c in ax.collections for xy, s in zip(c.get_offsets().tolist(), c.get_sizes(), strict=True)}
    for kind in ("baseline", "cure-med"):
        part = table[table["kind"].eq(kind)].sort_values("params_b")
        assert np.all(np.diff([sizes[row.lc_mean, row.la_mean] for row in part.itertuples()]) >= 0)


def test_figure_4_adds_a_run_s_models(figures):
    table = P("table02")
    found = offsets(figures("fig04 own").axes[0])
    assert sorted(found) == sorted([*zip(table["lc_mean"], table["la_mean"], strict=True), (50, 20), (59, 29)])


def test_a_run_with_many_faults_carries_its_dagger_into_the_figures():
    figure = plots.tradeoff(P("table02"), OWN.replace("base", "base †"))
    assert "base †" in [t.get_text() for t in figure.axes[0].texts]
    assert any("† over 5%" in t.get_text() for t in figure.axes[0].get_legend().get_texts())
    index = pd.MultiIndex.from_product([["base", "sft"], ["train", "test"]], names=["model", "set"])
    table = pd.DataFrame(dict.fromkeys(("reward", "la", "lc", "well_formed"), 1.0), index).assign(marked=[True, False, False, False])
    assert [t.get_text() for t in curves.checkpoints(table).axes[0].get_xticklabels()] == ["base †", "sft"]


def test_figure_4_s_labels_stand_nearest_to_their_own_marks_and_touch_none(figures):
    figure = figures("fig04")
    ax, renderer = figure.axes[0], figure.canvas.get_renderer()
    table = P("table02").assign(name=lambda t: t["model"].str.replace("-Qwen2.5", "")).set_index("name")
    spots = {name: ax.transData.transform((row.lc_mean, row.la_mean)) for name, row in table.iterrows()}
    sizes = {tuple(xy): s for c in ax.collections for xy, s in zip(c.get_offsets().tolist(), c.get_sizes(), strict=True)}
    for text in ax.texts:
        box = text.get_window_extent(renderer)
        distance = {name: np.hypot(*(np.clip(spot, box.min, box.max) - spot)) for name, spot in spots.items()}
        for name, row in table.iterrows():
            radius = np.sqrt(sizes[row.lc_mean, row.la_mean]) / 2 * figure.dpi / 72
            assert distance[name] > radius - 1.5, f"{text.get_text()} touches {name}"


def test_figure_5_follows_table_2(figures):
    table = P("table02").set_index("model")
    for ax, metric in zip(figures("fig05").axes, ("lc", "la"), strict=True):
        for line, family in zip(ax.lines, ("Qwen2.5-Instruct", "CURE-MED-Qwen2.5"), strict=True):
            rows = table.loc[[f"{family}-{size}" for size in plots.SIZES]]
            assert line.get_ydata().tolist() == rows[f"{metric}_mean"].tolist()
            written = [t.get_text() for t in ax.texts if t.get_color() == line.get_color()]
            assert written == [f"{value:.1f}" for value in rows[f"{metric}_mean"]]
        for band, family in zip(ax.collections, ("Qwen2.5-Instruct", "CURE-MED-Qwen2.5"), strict=True):
            rows = table.loc[[f"{family}-{size}" for size in plots.SIZES]]
            corners = {(round(x), round(y, 4)) for x, y in band.get_paths()[0].vertices}
            for i, row in enumerate(rows.itertuples()):
                mean, std = getattr(row, f"{metric}_mean"), getattr(row, f"{metric}_std")
                assert {(i, round(mean - std, 4)), (i, round(mean + std, 4))} <= corners


def test_figure_5_shows_a_run_s_first_and_last_model(figures):
    for ax, (first, last) in zip(figures("fig05 own").axes, ((50, 59), (20, 29)), strict=True):
        assert ax.lines[-1].get_ydata().tolist() == [first, last] and ax.get_xticklabels()[0].get_text() == "this run"


@pytest.mark.parametrize("name, models", [("fig06", 6), ("fig06 own", 7)])
def test_figure_6_draws_every_bar_at_its_row_s_height(figures, name, models):
    ax = figures(name).axes[0]
    table = P("figure06").pivot(index="model", columns="benchmark", values="accuracy")
    names = [text.get_text() for text in figures(name).legends[0].get_texts()]
    benchmarks = [label.get_text() for label in ax.get_xticklabels()]
    assert len(names) == len(ax.containers) == models
    for bars, model in zip(ax.containers, names, strict=True):
        heights = dict(zip(benchmarks, (bar.get_height() for bar in bars), strict=False))
        if model in table.index:
            assert heights == pytest.approx(table.loc[model].to_dict())
        else:
            assert model == "this run: stage3_low" and heights["CUREMED-BENCH"] == 29


def test_figure_8_draws_every_count_and_family(figures):
    left, right = figures("fig08").axes
    table = P("figure08").set_index("language")
    names = [label.get_text() for label in left.get_yticklabels()]
    for bars, column in zip(left.containers, ("n_sft", "n_rft", "n_test"), strict=True):
        assert [bar.get_width() for bar in bars] == table.loc[names, column].tolist()
    totals = table[["n_sft", "n_rft", "n_test"]].sum(axis=1)
    assert [t.get_text() for t in left.texts] == [f"{totals[n]:,} ({100 * totals[n] / totals.sum():.1f}%)" for n in names]
    families = totals.groupby(table["family"]).sum()
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert len(labels) == 8 and [bar.get_width() for bar in right.containers[0]] == families[labels].tolist()
    assert {name for text in right.texts for name in text.get_text().replace("\n", " ").split(", ")} == set(languages.NAMES)


def test_ratings_stand_where_table_5_says(figures):
    ax = figures("ratings").axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    table = P("table05").set_index("language").loc[names]
    assert [line.get_xdata().tolist() for line in ax.lines] == [table[c].tolist() for c in ("medical_correctness", "language_quality")]


def test_heat_maps_show_tables_6_and_7(figures):
    for shown, metric in zip(heat_maps(figures("per language")), ("la", "lc"), strict=True):
        for size, table in (("3B", "table07"), ("7B", "table06")):
            rows = P(table).set_index("language")
            for label, part in (("base", "base"), ("CURE-MED", "cure_med")):
                assert shown.loc[f"{size} {label}"].to_dict() == rows[f"{metric}_{part}"].to_dict()


def test_heat_maps_show_tables_9_and_10(figures):
    for shown, (metric, table) in zip(heat_maps(figures("proprietary")), (("la", "table09"), ("lc", "table10")), strict=True):
        rows = P(table)
        found = {(row.language, row.model): shown.loc[row.model, row.language] for row in rows.itertuples()}
        assert found == {(row.language, row.model): getattr(row, metric) for row in rows.itertuples()} and shown.size == len(rows)


@pytest.mark.parametrize("name", ["per language own", "proprietary own"])
def test_heat_maps_add_a_run_s_last_model(figures, name):
    for shown, metric in zip(heat_maps(figures(name)), ("la", "lc"), strict=True):
        mine = OWN[OWN["model"].eq("stage3_low") & OWN["metric"].eq(metric) & ~OWN["language"].eq("all")].set_index("language")["value"]
        assert shown.loc["this run: stage3_low"].to_dict() == mine.to_dict()


def test_the_tier_gap_is_the_micro_average_of_its_table(figures):
    n = P("figure08").set_index("language")["n_test"]
    for ax, (title, _) in zip(figures("gap").axes, gaps().items(), strict=True):
        size, metric = title.split()
        table = P("table06" if size == "7B" else "table07").set_index("language")
        for line, tier in zip(ax.lines, languages.TIERS, strict=True):
            names = languages.in_tier(tier)
            right = [(table.loc[names, f"{metric.lower()}_{part}"] * n[names]).sum() / n[names].sum() for part in ("base", "cure_med")]
            assert line.get_ydata().tolist() == pytest.approx(right)
        spread = [f"gap {ax.lines[0].get_ydata()[i] - ax.lines[2].get_ydata()[i]:.0f}" for i in (0, 1)]
        assert [text.get_text() for text in ax.texts] == spread


def test_the_decomposition_draws_every_share(figures):
    ax = figures("decomposition").axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    table = P("lc_decomposition").set_index("model").loc[names]
    columns = [c for c in ("lc", "cut_only", "both", "language_only", "neither", "undecided", "blank") if table[c].any()]
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [pytest.approx(table[c].tolist()) for c in columns]
    assert ax.lines[0].get_xdata().tolist() == table["lc_complete"].tolist()


def test_the_agreement_is_its_table_s(figures):
    (shown,) = heat_maps(figures("agreement"))
    for row in P("verifier_agreement").itertuples():
        assert shown.loc[row.model, row.language] == row.agreement


def test_reward_curves_are_moving_averages_of_their_rows(figures):
    table = P("demo_rewards")
    lines = iter(figures("rewards").axes[0].lines)
    start = 0
    for _, part in table.groupby("stage", sort=False):
        for column in ("reward", "accuracy", "language", "format"):
            line = next(lines)
            assert line.get_ydata().tolist() == pytest.approx(part[column].rolling(5, min_periods=1).mean().tolist())
            assert line.get_xdata().tolist() == [start + step for step in part["step"]]
        start += len(part)


def test_the_forgetting_matrix_writes_levels_and_changes(figures):
    ax = figures("forgetting").axes[0]
    levels = curves.levels(P("demo_levels"))
    best = levels.cummax().shift()
    wanted = [
        f"{value:.2f}" + ("" if np.isnan(best.loc[model, tier]) else f"\n({value - best.loc[model, tier]:+.2f})")
        for model, row in levels.iterrows()
        for tier, value in row.items()
    ]
    assert [text.get_text() for text in ax.texts] == wanted


def test_rating_intervals_stand_where_the_table_says(figures):
    for ax, (_, part) in zip(figures("rating intervals").axes, BESIDE.groupby("measure", sort=False), strict=True):
        names = [label.get_text() for label in figures("rating intervals").axes[0].get_yticklabels()]
        part = part.set_index("language").loc[names]
        published, means = ax.lines[0].get_xdata(), ax.lines[1].get_xdata()
        assert (published.tolist(), means.tolist()) == (part["published"].tolist(), part["mean"].tolist())
        ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
        assert ends == [pytest.approx([row.low, row.high]) for row in part.itertuples()]


def test_the_audit_s_picture_counts_findings(figures):
    ax = figures("audit").axes[0]
    checks = [label.get_text().replace(" ", "_") for label in ax.get_yticklabels()]
    wanted = [str(len(FOUND.query("check == @check and language == @name"))) for check in checks for name in languages.NAMES]
    assert [text.get_text() for text in ax.texts] == wanted and checks[0] == "answers_with_option_letter"
    assert plots.audit_findings(FOUND.iloc[:0], {}).alt.endswith("most: none")


def test_rewards_are_read_from_logs_and_missing_parts_stay_missing():
    log = pd.DataFrame({"reward": [0.1, None, 0.3], "rewards/format/mean": [1.0, None, 0.5], "loss": [1, 2, 3]})
    table = curves.rewards({"stage1_high": log})
    assert table["reward"].tolist() == [0.1, 0.3] and table["step"].tolist() == [1, 2] and table["accuracy"].isna().all()
    assert [line.get_label() for line in curves.reward_curves(table).axes[0].lines] == ["reward", "format"]


# Legible ------------------------------------------------------------------------------------------------------------


def texts(figure: Figure) -> list:
    """Every text that is drawn."""
    found = list(figure.texts)
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]:
        found += [*legend.get_texts(), legend.get_title()]
    for ax in figure.axes:
        found += ax.texts
        if ax.axison:
            found += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
            for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
                low, high = sorted(limits)
                found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@every_figure
def test_text_is_seven_points_or_more(figures, name):
    assert {t.get_text(): t.get_fontsize() for t in texts(figures(name)) if t.get_fontsize() < 7} == {}


@every_figure
def test_no_text_is_cut_at_the_edge(figures, name):
    figure = figures(name)
    renderer, (width, height) = figure.canvas.get_renderer(), figure.bbox.size
    boxes = {t.get_text(): t.get_window_extent(renderer) for t in texts(figure)}
    assert [text for text, b in boxes.items() if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1] == []


@every_figure
def test_no_two_texts_overlap(figures, name):
    figure = figures(name)
    renderer = figure.canvas.get_renderer()
    boxes = [(t.get_text(), t.get_rotation(), t.get_window_extent(renderer).padded(-1)) for t in texts(figure)]
    level = [(text, box) for text, rotation, box in boxes if rotation in (0, 90)]  # the box of a slanted label holds mostly nothing
    assert [(a, b) for (a, one), (b, other) in itertools.combinations(level, 2) if one.overlaps(other)] == []


def seen(color, matrix) -> np.ndarray:
    """A colour in CIE L*a*b* as somebody sees it whose vision the matrix (on linear RGB) stands for."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(matrix @ linear, 0, 1)
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x / 0.9505, y, z / 1.089))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


VISION = {  # Machado, Oliveira and Fernandes (2009), severity 1; grey: luminance alone
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}


def entries(figure: Figure) -> dict:
    """What tells the entries of a figure's legends apart: colour, and marker, line style and hatch."""
    found = {}
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if hasattr(handle, "get_hatch") and hasattr(handle, "get_facecolor"):
                face = np.atleast_2d(handle.get_facecolor())[0][:3]
                paths_ = handle.get_paths()[0].vertices.shape if hasattr(handle, "get_paths") else None
                found[text.get_text()] = (tuple(face), (handle.get_hatch() or "", paths_))
            else:
                found[text.get_text()] = (handle.get_color(), (handle.get_marker(), handle.get_linestyle(), handle.get_linewidth()))
    return found


@pytest.mark.parametrize("vision", VISION)
@every_figure
def test_what_a_legend_names_can_be_told_apart(figures, name, vision):
    alike = []
    for (a, (one, form)), (b, (other, form_b)) in itertools.combinations(entries(figures(name)).items(), 2):
        if form == form_b and np.linalg.norm(seen(one, np.array(VISION[vision])) - seen(other, np.array(VISION[vision]))) < 10:
            alike.append((a, b))
    assert alike == []


@every_figure
def test_every_figure_says_what_it_shows(figures, name):
    assert len(figures(name).alt) > 40
    png, about = style.shown(figures(name))
    assert about["alt"] == figures(name).alt and figures(name).alt[:30].encode() in png


def test_the_readme_describes_its_pictures_as_they_are(figures):
    pictures = re.findall(r"!\[([^]]*)\]\(figures/(\w+)\.png\)", (paths.ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(pictures) >= 6
    for alt, name in pictures:
        assert alt == figures(COMMITTED[name]).alt, name


# The same everywhere ------------------------------------------------------------------------------------------------

SAVE = "from curemed_utils import paper, plots, style; import sys; style.save(plots.{call}, 'x', sys.argv[1])"


@pytest.mark.parametrize("call", ["tradeoff(paper.published('table02'))", "code_switched(paper.published('figure02'))"])
def test_two_processes_in_two_folders_write_the_same_bytes(tmp_path, call):
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.grid: True\nsavefig.dpi: 30\n")
    for name, seed in (("a", "1"), ("b", "2")):
        here = tmp_path if name == "b" else paths.ROOT
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(paths.ROOT)}
        subprocess.run([sys.executable, "-c", SAVE.format(call=call), tmp_path / name], check=True, cwd=here, env=environment)
    for suffix in ("pdf", "png"):
        assert (tmp_path / "a" / f"x.{suffix}").read_bytes() == (tmp_path / "b" / f"x.{suffix}").read_bytes()


def test_an_album_writes_what_is_put_into_it(figures, tmp_path):
    album = style.Album(tmp_path, {"a": figures("fig05")})
    album["b"] = figures("fig06")
    assert sorted(path.name for path in album.close()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    assert (tmp_path / "b.png").read_bytes() == style.shown(figures("fig06"))[0]


@pytest.mark.parametrize("file", ["fig02_code_switching", "fig04_tradeoff", "fig06_medical_baselines", "fig08_composition"])
def test_the_committed_figures_are_those_of_the_committed_tables(figures, tmp_path, file):
    for path in style.save(figures(COMMITTED[file]), file, tmp_path):
        assert path.read_bytes() == (paths.FIGURES / path.name).read_bytes(), "run make figures and commit what it draws"


@pytest.fixture
def changed_source(tmp_path, monkeypatch):
    """A function that replaces one text in a copy of the source data, which is then what everything reads."""

    def change(name, old, new):
        folder = tmp_path / "source_data"
        shutil.copytree(paths.SOURCE_DATA, folder, dirs_exist_ok=True)
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(paths, "SOURCE_DATA", folder)

    return change


def test_one_changed_number_changes_its_figure_and_is_named(changed_source, figures):
    changed_source("table02_main_results.csv", "Mistral-7B,medium,7,baseline,18.70", "Mistral-7B,medium,7,baseline,81.70")
    assert style.shown(plots.tradeoff(P("table02")))[0] != style.shown(figures("fig04"))[0]
    with pytest.raises(paper.SourceChanged, match=r"table02_main_results.csv, line 11: Mistral-7B,medium,7,baseline,81.70.*\n.*paper.seal"):
        paper.check_sources()


def test_a_changed_number_that_stands_elsewhere_too_is_contradicted(changed_source):
    changed_source(
        "table02_main_results.csv", "CURE-MED-Qwen2.5-14B,large,14,cure-med,90.27", "CURE-MED-Qwen2.5-14B,large,14,cure-med,90.72"
    )
    table = claims.check("no release")
    assert "Table 3: LC mean of codeswitch_sft_curriculum_rl, 14B" in table.loc[~table["agrees"], "claim"].tolist()


def test_the_source_data_are_sealed():
    paper.check_sources()
    assert all(P(path.stem)["source"].str.len().min() > 10 for path in paths.SOURCE_DATA.glob("*.csv"))


def test_a_row_that_vanished_or_moved_is_noticed(changed_source):
    changed_source("figure05_labels.csv", "Qwen2.5-Instruct-3B,lc,10.8,arXiv:2601.13262 Figure 5\n", "")
    with pytest.raises(paper.SourceChanged, match=r"figure05_labels.csv: rows are missing"):
        paper.check_sources()


# The paper as a test ------------------------------------------------------------------------------------------------


def test_the_disagreements_of_the_paper_appear_and_nothing_else():
    table = claims.check("no release")
    wrong = table[~table["agrees"]]
    single_runs = {
        f"Table 2: {metric} of {model}-3B, as micro average"
        for metric in ("LA", "LC")
        for model in ("Qwen2.5-Instruct", "CURE-MED-Qwen2.5")
    }
    single_runs |= {f"Table 2: {metric} of CURE-MED-Qwen2.5-7B, as micro average" for metric in ("LA", "LC")}
    labels = {f"Figure 5: {metric} of Qwen2.5-Instruct-3B" for metric in ("LC", "LA")}
    data_ = {"instances of CUREMED-BENCH", "share of French", "share of Bengali"}
    macro = set(table.loc[table["claim"].str.contains("as macro"), "claim"])
    assert set(wrong["claim"]) == {"Table 3: LC mean of base, 32B"} | labels | single_runs | macro | data_
    assert len(macro) == 18 and len(table) == 417
    ablation = wrong.set_index("claim").loc["Table 3: LC mean of base, 32B"]
    assert (ablation["published"], ablation["recomputed"], round(ablation["difference"], 2)) == (35.57, 41.51, 5.94)


def test_with_the_release_tables_8_to_10_follow_from_the_verdicts(release):
    table = claims.check(release)
    verdicts = table[table["claim"].str.startswith("Tables 8-10")]
    assert len(verdicts) == 84 and verdicts["agrees"].all()


def test_what_is_measured_on_the_release_is_what_was_committed(release):
    for name, table in paper.measured(release).items():
        committed = P(name).drop(columns="source")
        pd.testing.assert_frame_equal(table[committed.columns], committed, check_dtype=False, obj=name)


# Tables -------------------------------------------------------------------------------------------------------------

SOURCES = {1: "table01", 2: "table02", 3: "table03", 4: "table04", 5: "table05", 6: "table06", 7: "table07", 8: "table08", 9: "table09"}
SOURCES |= {10: "table10", 11: "table11", 12: "table12"}


@pytest.mark.parametrize("number, name", SOURCES.items())
def test_a_table_holds_every_number_of_its_source(number, name):
    source = P(name).select_dtypes("float").drop(columns=["params_b", "size"], errors="ignore")
    cells = " ".join(str(cell) for cell in tables.table(number).data.to_numpy().ravel()).split()
    for value in source.to_numpy().ravel():
        cells.remove(f"{value:.2f}")


@pytest.mark.parametrize("number", SOURCES)
def test_latex_is_whole(number):
    text = tables.latex(tables.table(number), f"t{number}")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    columns = len(text.split(r"\begin{tabular}{")[1].split("}")[0])
    assert {line.count("&") + 1 for line in body.strip().splitlines()} == {columns}
    assert text.count("{") == text.count("}") and r"\begin{table}" in text and " nan" not in text
    assert not set("_%") & set(text.replace(r"\_", "").replace(r"\%", ""))


def test_the_best_of_table_2_is_marked():
    text = tables.latex(tables.table(2), "t")
    assert r"CURE-MED-Qwen2.5-32B & large & 32 & \bfseries 94.96 $\pm$ 0.40 & \bfseries 70.04 $\pm$ 0.04" in text
    assert r"\itshape 86.79" in text and text.count(r"\bfseries") == 2 and text.count(r"\itshape") == 2


@pytest.mark.parametrize("number", [2, 6, 7, 8, 9, 10])
def test_a_table_adds_a_run_s_rows_and_says_so(number):
    text = tables.latex(tables.table(number, OWN), "t")
    assert "this run" in text and "own held-out prompts" in text and any(value in text for value in ("29.00", "30.00", "60.00"))


def test_there_is_no_table_13():
    with pytest.raises(ValueError, match="tables 1 to 12"):
        tables.table(13)


# A run of one's own, and scripts ------------------------------------------------------------------------------------


def test_a_run_that_has_not_begun_says_what_is_missing(tmp_path):
    own = paper.own(tmp_path)
    assert own[:4] == (None, None, None, None) and len(own.missing) == 8
    assert "data/sft.jsonl: notebook 01" in own.missing and paper.own_examples(tmp_path) == {}


def test_a_half_done_run_gives_what_it_has(tmp_path, sample):
    for name, rows in (("sft", sample[:100]), ("rft", sample[100:150]), ("test", sample[150:])):
        data.write_jsonl(rows, tmp_path / "data" / f"{name}.jsonl")
    own = paper.own(tmp_path)
    assert own.composition[["n_sft", "n_rft", "n_test"]].sum().tolist() == [100, 50, 45] and own.scores is None
    assert own.missing[0] == "checkpoints/stage1_high: notebook 04"
    assert plots.composition(own.composition).alt.startswith("Left: rows of 13 languages")


def test_a_script_without_a_font_is_named():
    with pytest.raises(style.MissingFont, match="install Noto Sans Ethiopic"):
        style.fonts("ልጁ")
    assert style.fonts("Ọ̀rọ̀ àìsàn, Đau bụng, ƙarfe, ışık") == ["DejaVu Sans"]
    assert style.boxed("asma ልጁ") == "asma □□"


def test_a_label_that_finds_no_room_is_an_error():
    table = pd.concat([P("table02").assign(lc_mean=1.0, la_mean=1.0, model="a model of an exceedingly long name")] * 9, ignore_index=True)
    with pytest.raises(ValueError, match="no room"):
        plots.tradeoff(table)


MARKED = {"French": "figure02", "Spanish": "figure03"}


@pytest.mark.parametrize("language", MARKED)
def test_switches_are_found_where_the_marked_examples_have_them(language):
    example = P(MARKED[language])
    known = " ".join(example.loc[example["part"].isin(["question", "answer"]), "text"])
    right = total = 0
    for _, rows in example[example["part"].str.startswith("step")].groupby("part"):
        words = [(word, row.role) for row in rows.itertuples() for word in row.text.split()]
        found = [role for text, role in code_switching.spans(" ".join(w for w, _ in words), language, known) for _ in text.split()]
        right += sum(role == mine for (_, role), mine in zip(words, found, strict=True))
        total += len(words)
    assert right / total > 0.8


def test_switches_in_another_script_are_exact():
    found = code_switching.spans("The ไข้ suggests ปอดอักเสบ here.", "Thai")
    assert found == [("The", "english"), ("ไข้", "target"), ("suggests", "english"), ("ปอดอักเสบ", "target"), ("here.", "english")]
    assert code_switching.spans("  ", "Thai") == []


def test_an_example_of_untagged_text_is_one_response():
    example = code_switching.example("¿Qué es?", "Una gripe", "Spanish")
    assert example["part"].tolist() == ["question", "response"]
    judged = code_switching.example("¿Qué es?", "<step1>a</step1><answer>La gripe</answer>", "Spanish", correct=False)
    assert judged.iloc[-1].to_dict() == {"part": "answer", "role": "wrong", "text": "La gripe"}
