"""Every mark of a figure against its source row."""

import drawn
import numpy as np
import pandas as pd
import pytest

from curemed_utils import languages
from curemed_utils.paper import curves, figures_data, figures_method, figures_results, style
from curemed_utils.paper.sources import published


def places(ax) -> list[tuple]:
    """Where the marks of scatter plots lie."""
    return [tuple(map(float, xy)) for marks in ax.collections for xy in marks.get_offsets()]


def areas(ax) -> dict[tuple, float]:
    sizes = {}
    for marks in ax.collections:
        for xy, size in zip(marks.get_offsets().tolist(), marks.get_sizes(), strict=True):
            sizes[tuple(xy)] = size
    return sizes


def labels(ax, axis: str) -> list[str]:
    ticks = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    return [label.get_text() for label in ticks]


def heat_maps(figure):
    """Each heat map as a table of what its colours show, checked against its written numbers."""
    for ax in figure.axes:
        values = np.ma.filled(ax.collections[0].get_array(), np.nan)
        written = [text.get_text() for text in ax.texts if text.get_text() not in languages.TIERS]
        assert [f"{value:.0f}" for value in values.ravel() if not np.isnan(value)] == written
        yield pd.DataFrame(values, labels(ax, "y"), labels(figure.axes[-1], "x"))


# Figures 1 to 3 ----------------------------------------------------------------------------------


def test_figure_1_shows_the_counts_of_its_table():
    text = " ".join(t.get_text() for t in drawn.figure("fig01_pipeline").axes[0].texts)
    counts = published("figure08")[["n_sft", "n_rft"]].sum()
    assert f"{counts['n_sft']:,} code-switched" in text
    assert f"{counts['n_rft']:,} questions" in text
    assert all(name in text for name in languages.PUBLISHED)


@pytest.mark.parametrize(
    "name, table", [("fig02_code_switching", "figure02"), ("fig03_side_by_side", "figure03")]
)
def test_the_examples_show_every_word_in_its_role(name, table):
    left = []
    for text in drawn.figure(name).axes[0].texts:
        left.append((text.get_text(), text.get_color(), text.get_fontstyle()))
    for row in published(table).itertuples():
        look = figures_method.ROLES[row.role]
        for word in row.text.split():
            left.remove((word, look["color"], look.get("fontstyle", "normal")))
    assert len(left) < 20  # heads of the parts


# Figures 4 to 6 ----------------------------------------------------------------------------------


def test_figure_4_puts_every_model_on_its_row():
    table = published("table02")
    ax = drawn.figure("fig04_tradeoff").axes[0]
    assert sorted(places(ax)) == sorted(zip(table["lc_mean"], table["la_mean"], strict=True))
    assert {t.get_text() for t in ax.texts} == set(table["model"].str.replace("-Qwen2.5", ""))
    sizes = areas(ax)
    for kind in ("baseline", "cure-med"):
        part = table[table["kind"].eq(kind)].sort_values("params_b")
        ordered = [sizes[row.lc_mean, row.la_mean] for row in part.itertuples()]
        assert ordered == sorted(ordered)


def test_figure_4_names_a_run_s_models_in_its_legend():
    table = published("table02")
    ax = drawn.figure("fig04_tradeoff run").axes[0]
    published_places = zip(table["lc_mean"], table["la_mean"], strict=True)
    assert sorted(places(ax)) == sorted([*published_places, (50, 20), (59, 29)])
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["baseline", "CURE-MED", "this run: base", "this run: stage3_low"]


def test_a_run_with_many_faults_carries_its_dagger_into_the_figure():
    scores = drawn.SCORES.replace("base", "base †")
    legend = figures_results.tradeoff(published("table02"), scores).axes[0].get_legend()
    assert "this run: base †" in [text.get_text() for text in legend.get_texts()]
    assert "† over 5%" in legend.get_title().get_text()


def test_figure_4_s_labels_touch_no_other_mark_and_far_ones_have_a_line():
    figure = drawn.figure("fig04_tradeoff")
    ax = figure.axes[0]
    table, sizes = published("table02"), areas(ax)
    for text in ax.texts:
        box = drawn.box_of(text, figure)
        for row in table.itertuples():
            place = (row.lc_mean, row.la_mean)
            spot = ax.transData.transform(place)
            distance = np.hypot(*(np.clip(spot, box.min, box.max) - spot))
            radius = np.sqrt(sizes[place]) / 2 * figure.dpi / 72
            assert distance > radius - 1.5, f"{text.get_text()} touches {row.model}"
    lines = {text.get_text() for text in ax.texts if text.arrow_patch}
    assert lines == {"Gemma-7B", "Meditron-7B"}


def test_figure_5_follows_table_2():
    table = published("table02").set_index("model")
    for ax, metric in zip(drawn.figure("fig05_scaling").axes, ("lc", "la"), strict=True):
        families = ("Qwen2.5-Instruct", "CURE-MED-Qwen2.5")
        for line, band, family in zip(ax.lines, ax.collections, families, strict=True):
            rows = table.loc[[f"{family}-{size}" for size in figures_results.SIZES]]
            means = rows[f"{metric}_mean"].tolist()
            assert line.get_ydata().tolist() == means
            written = [t.get_text() for t in ax.texts if t.get_color() == line.get_color()]
            assert written == [f"{value:.1f}" for value in means]
            corners = {(round(x), round(y, 4)) for x, y in band.get_paths()[0].vertices}
            for n, (mean, std) in enumerate(zip(means, rows[f"{metric}_std"], strict=True)):
                assert {(n, round(mean - std, 4)), (n, round(mean + std, 4))} <= corners


def test_figure_6_draws_every_bar_at_its_row_s_height():
    figure = drawn.figure("fig06_medical_baselines")
    ax = figure.axes[0]
    table = published("figure06").pivot(index="model", columns="benchmark", values="accuracy")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(ax.containers) == 6
    for bars, model in zip(ax.containers, names, strict=True):
        heights = [bar.get_height() for bar in bars]
        heights = dict(zip(labels(ax, "x"), heights, strict=True))
        assert heights == pytest.approx(table.loc[model].to_dict())
    written = [text.get_text() for text in ax.texts]
    assert "74.0" in written and "73.5" in written  # no tie where HuatuoGPT leads


# Per language and tier ---------------------------------------------------------------------------


def test_heat_maps_show_tables_6_and_7():
    maps = heat_maps(drawn.figure("table06_07_per_language"))
    for shown, metric in zip(maps, ("la", "lc"), strict=True):
        for size, table in (("3B", "table07"), ("7B", "table06")):
            rows = published(table).set_index("language")
            for label, part in (("base", "base"), ("CURE-MED", "cure_med")):
                assert shown.loc[f"{size} {label}"].to_dict() == rows[f"{metric}_{part}"].to_dict()


def test_heat_maps_show_tables_9_and_10():
    maps = heat_maps(drawn.figure("table09_10_proprietary"))
    for shown, (metric, table) in zip(maps, (("la", "table09"), ("lc", "table10")), strict=True):
        rows = published(table)
        assert shown.size == len(rows)
        for row in rows.itertuples():
            assert shown.loc[row.model, row.language] == getattr(row, metric)


def test_a_run_has_heat_maps_of_its_own():
    for shown, name in zip(heat_maps(drawn.figure("of_a_run")), ("la", "lc"), strict=True):
        rows = drawn.SCORES.query(f"metric == '{name}' and language != 'all'")
        assert shown.size == len(rows)
        for row in rows.itertuples():
            assert shown.loc[row.model, row.language] == row.value


def test_heat_maps_leave_empty_what_a_run_has_not_measured():
    scores = drawn.SCORES[drawn.SCORES["language"].isin(["all", "Thai"])]
    for ax, value in zip(figures_results.of_a_run(scores).axes, ("38", "68"), strict=True):
        numbers = [text.get_text() for text in ax.texts if text.get_text().isdigit()]
        assert len(numbers) == 2 and numbers[-1] == value


def test_the_tier_gap_counts_each_language_once():
    axes = drawn.figure("table06_07_tier_gap").axes
    for ax, title in zip(axes, drawn.gaps(), strict=True):
        size, metric = title.split()
        table = published("table06" if size == "7B" else "table07").set_index("language")
        ends = table[[f"{metric.lower()}_base", f"{metric.lower()}_cure_med"]]
        for line, tier in zip(ax.lines, languages.TIERS, strict=True):
            names = languages.in_tier(tier)
            means = ends.loc[names].mean()
            assert line.get_ydata().tolist() == pytest.approx(means.tolist())
        high, low = ax.lines[0].get_ydata(), ax.lines[2].get_ydata()
        spread = [f"gap {high[end] - low[end]:.0f}" for end in (0, 1)]
        assert [text.get_text() for text in ax.texts] == spread


# Data and checks ---------------------------------------------------------------------------------


def test_figure_8_draws_every_count_and_family():
    left, right = drawn.figure("fig08_composition").axes
    table = published("figure08").set_index("language")
    names = labels(left, "y")
    for bars, column in zip(left.containers, ("n_sft", "n_rft", "n_test"), strict=True):
        assert [bar.get_width() for bar in bars] == table.loc[names, column].tolist()
    totals = table[["n_sft", "n_rft", "n_test"]].sum(axis=1)
    shares = 100 * totals / totals.sum()
    written = [f"{totals[name]:,} ({shares[name]:.1f}%)" for name in names]
    assert [t.get_text() for t in left.texts] == written
    families = totals.groupby(table["family"]).sum()
    assert len(families) == 8
    widths = [bar.get_width() for bar in right.containers[0]]
    assert widths == families[labels(right, "y")].tolist()
    members = [text.get_text().replace("\n", " ") for text in right.texts]
    assert set(", ".join(members).split(", ")) == set(languages.PUBLISHED)


def test_ratings_stand_where_table_5_says():
    ax = drawn.figure("table05_ratings").axes[0]
    table = published("table05").set_index("language").loc[labels(ax, "y")]
    for line, column in zip(ax.lines, figures_data.RATED, strict=True):
        assert line.get_xdata().tolist() == table[column].tolist()


def test_the_decomposition_draws_every_share():
    ax = drawn.figure("lc_decomposition").axes[0]
    table = published("lc_decomposition").set_index("model").loc[labels(ax, "y")]
    columns = [column for column in figures_data.SHARES if table[column].any()]
    for bars, column in zip(ax.containers, columns, strict=True):
        assert [bar.get_width() for bar in bars] == pytest.approx(table[column].tolist())
    assert ax.lines[0].get_xdata().tolist() == table["lc_complete"].tolist()


def test_the_agreement_is_its_table_s():
    (shown,) = heat_maps(drawn.figure("verifier_agreement"))
    for row in published("verifier_agreement").itertuples():
        kappa = 100 * row.kappa if row.n_scored >= 30 else np.nan
        assert shown.loc[row.model, row.language] == pytest.approx(kappa, nan_ok=True)


def test_a_real_model_s_arms_stand_beside_table_3():
    table03 = published("table03").query("metric == 'lc' and model_size == '1.5B'")
    naive, switched = table03["mean"].iloc[[1, 2]]
    top, below = drawn.figure("real_arms").axes
    arms, pairs = published("real_arms"), published("real_pairs")
    for ax, table, printed in (
        (top, arms, table03["mean"].iloc[:3].tolist()),
        (below, pairs, [switched - naive]),
    ):
        rings, marks = ax.lines[:2]
        assert rings.get_xdata().tolist() == pytest.approx(printed)
        assert marks.get_xdata().tolist() == table["lc"].tolist()
        assert labels(ax, "y")[len(printed) :] == table[table.columns[0]].tolist()
        ends = [segment[:, 0].tolist() for segment in ax.collections[1].get_segments()]
        assert np.array(ends) == pytest.approx(table[["lc_low", "lc_high"]].to_numpy())
    bounds = [segment[:, 0].tolist() for segment in top.collections[0].get_segments()]
    assert np.array(bounds) == pytest.approx(arms[["lc_wrong", "lc_right"]].to_numpy())
    sizes = [segment[:, 0].tolist() for segment in below.collections[0].get_segments()]
    assert np.array(sizes)[:, 1] == pytest.approx(pairs["lc_detectable"])
    assert top.lines[2].get_xdata().tolist()[1:] == arms["lc_complete"].tolist()[1:]


def test_one_changed_number_changes_its_figure():
    table = published("table02").replace({"lc_mean": {18.70: 81.70}})
    changed = style.as_png(figures_results.tradeoff(table))[0]
    assert changed != style.as_png(drawn.figure("fig04_tradeoff"))[0]


# Curves ------------------------------------------------------------------------------------------


def test_reward_curves_are_dots_a_step_and_averages_of_five():
    ax = drawn.figure("demo_rewards").axes[0]
    lines, dots = iter(ax.lines), iter(ax.collections)
    start = 0
    for _, part in published("demo_rewards").groupby("stage", sort=False):
        for column in ("reward", "accuracy", "language", "format"):
            line = next(lines)
            smooth = part[column].rolling(5).mean()
            assert line.get_ydata().tolist() == pytest.approx(smooth.tolist(), nan_ok=True)
            assert next(dots).get_offsets()[:, 1].tolist() == pytest.approx(part[column].tolist())
            assert line.get_xdata().tolist() == [start + step for step in part["step"]]
        start += len(part)


def test_levels_are_drawn_by_tier_with_the_noise_of_identical_runs():
    lab = published("demo_levels").assign(noise=0.1)
    figure = curves.forgetting_curves(lab)
    for tier, ax in zip(("high", "medium", "low"), figure.axes, strict=True):
        levels = lab.loc[lab["tier"].eq(tier), "reward"].tolist()
        assert tier in ax.get_title() and ax.lines[0].get_ydata().tolist() == levels
        assert [text.get_text() for text in ax.texts] == [f"{level:.2f}" for level in levels]
        band = ax.collections[0].get_datalim(ax.transData)
        assert band.y0 == pytest.approx(min(levels) - 0.1)
        assert band.y1 == pytest.approx(max(levels) + 0.1)
    assert not curves.forgetting_curves(lab.drop(columns="noise")).axes[0].collections


def test_weights_of_the_language_are_drawn_with_intervals_over_the_published_models():
    lines = [("SFT", 60.0, 40.0), ("0.30", 90.0, 85.0)]
    table = pd.DataFrame(lines, columns=["weight", "lc", "la"])
    for part in ("lc", "la"):
        table[f"{part}_low"], table[f"{part}_high"] = table[part] - 9, table[part] + 4
    drawn = figures_results.language_price(table, published("table02"))
    (ax,) = drawn.axes
    places = [line.get_xydata()[0].tolist() for line in ax.lines]
    assert places == table[["lc", "la"]].values.tolist()
    across, up = ax.collections[-2:]
    ends = [segment[:, 0].tolist() for segment in across.get_segments()]
    assert ends == table[["lc_low", "lc_high"]].values.tolist()
    ends = [segment[:, 1].tolist() for segment in up.get_segments()]
    assert ends == table[["la_low", "la_high"]].values.tolist()
    assert "CURE-MED-7B" in {text.get_text() for text in ax.texts}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == table["weight"].tolist()
    assert len({line.get_marker() for line in ax.lines}) == len(table)
    assert all(f"tiny model, {weight}: LC" in drawn.alt for weight in table["weight"])
    assert ax.get_ylim()[1] > table["la_high"].max()
