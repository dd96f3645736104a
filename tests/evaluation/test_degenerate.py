"""Statistics of verdicts that do not vary, are unknown, or are not there."""

import math

import make
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curemed_utils import evaluation
from curemed_utils.data import DataError
from curemed_utils.evaluation import calibration, comparisons, intervals, rates
from curemed_utils.paper import curves, figures_data, measured

TRUTHS = st.sampled_from([True, False, None])


def kappa_of(a, b):
    return rates.agreement(a, b)["kappa"]


def compare(first, second, **more):
    """Two models' verdicts on the same French items."""
    pair = [make.verdicts("a", French=first), make.verdicts("b", French=second)]
    both = pd.concat(pair, ignore_index=True)
    return comparisons.compare_all(both, [("a", "b")], resamples=200, **more).iloc[0]


# Pairs ------------------------------------------------------------------------------------------


def test_all_against_nothing_is_a_difference():
    line = compare([True] * 20, [False] * 20)
    assert line["p_paired"] == line["p_paired_holm"] == pytest.approx(2**-19)
    assert line["p_paired"] == pytest.approx(line["p_mcnemar"])
    assert (line["difference"], line["low"]) == (-100, -100)
    assert -80 < line["high"] < -60


def test_no_difference_at_all_has_p_1_and_an_interval_all_the_same():
    for truth in (True, False):
        line = compare([truth] * 20, [truth] * 20)
        assert (line["difference"], line["p_paired"], line["p_mcnemar"]) == (0, 1, 1)
        assert -20 < line["low"] == -line["high"] < -5


def test_one_item_more_that_differs_never_raises_p():
    lines = [compare([True] * n + [False] * (20 - n), [False] * 20) for n in range(21)]
    p = [line["p_paired"] for line in lines]
    assert p == sorted(p, reverse=True) and p[0] == 1
    lows = [line["low"] for line in lines]
    assert lows == sorted(lows, reverse=True)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_items_have_no_p_and_say_so(n):
    line = compare([True] * n, [False] * n)
    assert line[["low", "high", "p_paired", "p_paired_holm"]].isna().all()
    assert (line["difference"], line["n_groups"]) == (-100, n)


def test_groups_that_all_change_alike_count_as_groups():
    groups = {f"French-{n}": str(n % 10) for n in range(60)}
    line = compare([True] * 60, [False] * 60, groups=groups)
    assert line["p_paired"] == pytest.approx(2**-9)
    assert line["p_mcnemar"] < 1e-9
    assert line["high"] > compare([True] * 60, [False] * 60)["high"]


def test_a_small_change_that_all_items_share_is_seen():
    runs = [make.verdicts("a", run, French=[run == 0] * 20) for run in range(3)]
    runs += [make.verdicts("b", run, French=[False] * 20) for run in range(3)]
    line = comparisons.compare_all(pd.concat(runs, ignore_index=True), [("a", "b")]).iloc[0]
    assert line["difference"] == pytest.approx(-100 / 3)
    assert line["low"] < line["difference"] < line["high"] < 0
    assert line["p_paired"] < 0.001 < line["p_mcnemar"] == 1


def test_unknown_verdicts_are_left_out_and_counted():
    line = compare([True] * 8 + [None] * 4, [False] * 10 + [None] * 2)
    assert line[["n_items", "n_unknown"]].tolist() == [8, 4]
    assert line["difference"] == -100


def test_a_model_without_any_verdict_is_not_scored_wrong_as_published_either():
    with pytest.raises(DataError, match="share no item with a verdict in 'la_paper'"):
        compare([True] * 8, [None] * 8, metric="la_paper")
    line = compare([True] * 8, [True] * 7 + [None], metric="la_paper")
    assert line["difference"] == pytest.approx(-100 / 8)


@pytest.mark.heavy
@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TRUTHS, TRUTHS), min_size=1, max_size=30))
def test_limits_hold_the_difference_and_stay_on_the_scale(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    known = [pair for pair in pairs if None not in pair]
    if not known:
        with pytest.raises(DataError, match="share no item"):
            compare(first, second)
        return
    line, mirrored = compare(first, second), compare(second, first)
    assert line["n_items"] == len(known)
    assert pd.notna(line["low"]) == (len(known) >= intervals.FEW)
    if pd.isna(line["low"]):
        return
    assert -100 <= line["low"] <= line["difference"] <= line["high"] <= 100
    assert line["low"] < line["high"] and 0 < line["p_paired"] <= 1
    assert mirrored["p_paired"] == pytest.approx(line["p_paired"])
    assert mirrored["high"] == pytest.approx(-line["low"])


@pytest.mark.heavy
@pytest.mark.parametrize("n", [6, 10, 20, 60])
@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (0, 0.02), (0, 0.98), (0, 1), (0.3, 0.3), (0.02, 0.2)]
)
def test_intervals_of_pairs_cover_and_true_nulls_stand(only_first, only_second, n):
    random = np.random.default_rng(0)
    covered, rejected = [], []
    for _ in range(400):
        drawn = random.random(n)
        first, second = drawn < only_first, drawn > 1 - only_second
        line = _difference(first, second, random)
        true = 100 * (only_second - only_first)
        covered.append(line["low"] - 1e-6 <= true <= line["high"] + 1e-6)
        rejected.append(line["p_paired"] < 0.05)
    assert np.mean(covered) >= 0.92
    if only_first == only_second:
        assert np.mean(rejected) <= 0.07


def _difference(first, second, random) -> dict:
    """The comparison of two models' answers, each item a group."""
    changed, n = second.astype(float) - first, len(first)
    weights = random.standard_gamma((n - 2) / n, (300, n))
    draws = weights @ changed / weights.sum(axis=1)
    return comparisons._difference(pd.Series(changed), n, draws)


# Kappa and rates --------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TRUTHS, TRUTHS), max_size=20))
def test_kappa_is_of_known_pairs_and_of_raters_who_vary(pairs):
    a, b = pd.Series([x for x, _ in pairs], dtype=object), pd.Series([y for _, y in pairs])
    kappa = kappa_of(a, b)
    known = [pair for pair in pairs if None not in pair]
    varies = all(len({pair[side] for pair in known}) == 2 for side in (0, 1))
    assert math.isnan(kappa) != varies
    if varies:
        assert -1 <= kappa <= 1 and kappa == pytest.approx(kappa_of(b, a))


def test_unknown_verdicts_are_no_disagreement():
    a = pd.Series([True, None, False, np.nan])
    assert kappa_of(a, pd.Series([True, True, False, False])) == 1
    assert kappa_of(a.astype("boolean"), pd.Series([True, True, False, False])) == 1


def test_a_rater_who_never_varies_has_no_kappa_and_the_table_says_so():
    always, mixed = pd.Series([True, True]), pd.Series([True, False])
    assert all(math.isnan(kappa_of(always, other)) for other in (always, mixed, ~always))
    judged = make.judged_outputs([(True, True, True, 5), (True, True, False, 1)])
    line = calibration.compare(judged, "model").loc["m"]
    assert math.isnan(line["kappa"]) and line["note"] == "no kappa: a side never varies"


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.5, 0.5), (0.4, 0.3), (0.9, 0.1)])
def test_a_check_no_better_than_chance_corrects_nothing(sensitivity, specificity):
    assert math.isnan(rates.rogan_gladen(0.7, sensitivity, specificity))
    both = rates.rogan_gladen(np.array([0.7, 0.7]), np.array([sensitivity, 1]), specificity)
    assert np.isnan(both[0])


def labelled(*counts):
    """Labels of weight 1: how many accepted and true, accepted and false, rejected and true, …"""
    cells = [(True, True), (True, False), (False, True), (False, False)]
    lines = [cell for cell, count in zip(cells, counts, strict=True) for _ in range(count)]
    return pd.DataFrame(lines, columns=["verdict", "truth"]).assign(weight=1.0)


def test_a_share_that_was_cut_to_the_scale_says_so():
    rate = rates.corrected_rate(pd.Series([True] * 95 + [False] * 5), labelled(18, 3, 2, 17))
    assert (rate.estimate, rate.reason) == (1, "1.07, cut to 0-1")
    within = rates.corrected_rate(pd.Series([True] * 60 + [False] * 40), labelled(18, 3, 2, 17))
    assert within.reason == ""


def test_an_interval_left_open_says_why():
    rate = rates.corrected_rate(pd.Series([True, False] * 50), labelled(3, 2, 2, 3))
    assert (rate.low, rate.high, rate.reason) == (0, 1, "the labels may mean chance")


def test_labels_that_say_nothing_are_left_out():
    seen, labels = pd.Series([True] * 6 + [False] * 4), labelled(18, 3, 2, 17)
    blank = pd.DataFrame([{"verdict": True, "truth": None, "weight": 1.0}] * 5)
    more = pd.concat([labels.astype(object), blank], ignore_index=True)
    assert rates.corrected_rate(seen, more) == rates.corrected_rate(seen, labels)


# Nothing there ----------------------------------------------------------------------------------


def test_a_table_without_a_line_says_so():
    nothing = make.verdicts(French=[True]).iloc[:0]
    for count in (
        lambda: evaluation.table(nothing, ["model"]),
        lambda: evaluation.outcomes(nothing),
        lambda: intervals.estimates(nothing),
        lambda: comparisons.compare_all(nothing, [("a", "b")]),
    ):
        with pytest.raises(DataError, match="no verdicts: the table is empty"):
            count()
    with pytest.raises(DataError, match="no outputs to compare"):
        calibration.compare(make.judged_outputs([(True, True, True, 1)]).iloc[:0], "model")


def test_one_response_and_unknown_ones_are_counted():
    one = intervals.estimates(make.verdicts(French=[True]), metrics=("la",)).iloc[0]
    assert one["value"] == 100 and math.isnan(one["low"]) and one["n_groups"] == 1
    table = evaluation.table(make.verdicts(French=[None, None], Thai=[True]), ["language"])
    assert math.isnan(table.loc["French", "la"]) and table.loc["French", "n_unknown_la"] == 2


def test_responses_of_no_tier_are_a_group_of_their_own():
    verdicts = make.verdicts(French=[True, False], Latin=[True])
    table = evaluation.table(verdicts.assign(tier=["high", "high", None]), ["tier"])
    assert table["n"].tolist() == [2, 1] and table["la"].tolist() == [50, 100]


def test_a_language_that_nothing_was_scored_in_hides_no_other():
    table = make.judged_outputs([(True, True, True, 3), (True, False, False, 1)])
    table = pd.concat([table, make.judged_outputs([(None, True, True, 2)], language="Thai")])
    agreement = calibration.compare(table, ["model", "language"]).reset_index()
    alt = figures_data.verifier_agreement(agreement).alt
    assert "over 4 responses; too few verdicts in each language" in alt
    cells = [(True, True, True, 20), (True, False, False, 20), (True, True, False, 4)]
    enough = pd.concat([table, make.judged_outputs(cells, language="Hausa")])
    agreement = calibration.compare(enough, ["model", "language"]).reset_index()
    assert "lowest 0.82 for m in Hausa" in figures_data.verifier_agreement(agreement).alt


def test_logs_without_a_reward_give_no_line():
    assert curves.rewards({"stage1_high": pd.DataFrame({"step": [1], "loss": [2.0]})}).empty


def test_a_run_without_held_out_verdicts_says_what_is_missing(tmp_path):
    file = tmp_path / "evaluation" / "sft" / "verdicts.jsonl"
    file.parent.mkdir(parents=True)
    verdicts = make.verdicts(French=[True]).assign(set="train")
    verdicts.to_json(file, orient="records", lines=True)
    results = measured.results_of(tmp_path)
    assert results.scores is None
    assert "held-out verdicts of sft: notebook 07" in results.missing
