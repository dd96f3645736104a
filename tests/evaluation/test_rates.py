"""Kappa, and rates corrected by labels."""

import math

import numpy as np
import pandas as pd
import pytest

from curemed_utils.evaluation import rates


def labelled(cells):
    """Labels of (verdict, truth, weight, count)."""
    lines = []
    for *cell, count in cells:
        lines += [cell] * count
    return pd.DataFrame(lines, columns=["verdict", "truth", "weight"])


def share(n_true, n_false, n_undecided=0):
    values = [True] * n_true + [False] * n_false + [None] * n_undecided
    return pd.Series(values, dtype="boolean")


def kappa_of(a, b):
    return rates.agreement(a, b)["kappa"]


def test_kappa_is_zero_by_chance_and_undefined_for_two_constants():
    a, b = pd.Series([True, True, False, False]), pd.Series([True, False, True, False])
    assert (kappa_of(a, a), kappa_of(a, b), kappa_of(a, ~a)) == (1, 0, -1)
    always = pd.Series([True, True])
    assert math.isnan(kappa_of(always, always))


def test_rogan_gladen_by_hand():
    # sensitivity 45 / 50, specificity 40 / 50; (.6 + .8 - 1) / (.9 + .8 - 1)
    labels = labelled(
        [(True, True, 1, 45), (False, True, 1, 5), (False, False, 1, 40), (True, False, 1, 10)]
    )
    rate = rates.corrected_rate(share(600, 400, 77), labels)
    assert rate.estimate == pytest.approx(0.4 / 0.7)
    assert (rate.n, rate.reason) == (100, "")
    assert 0.35 < rate.low < rate.estimate < rate.high < 0.75
    assert rate == rates.corrected_rate(share(600, 400), labels)


def test_weights_undo_the_stratified_sample():
    # 700 accepted, 300 rejected, 20 labels of each: 95% and 30% yes
    labels = labelled(
        [(True, True, 35, 19), (True, False, 35, 1), (False, True, 15, 6), (False, False, 15, 14)]
    )
    rate = rates.corrected_rate(share(700, 300), labels)
    assert rate.estimate == pytest.approx(0.7 * 0.95 + 0.3 * 0.3)
    flat = rates.corrected_rate(share(700, 300), labels.assign(weight=1))
    assert abs(flat.estimate - rate.estimate) > 0.05


def test_more_labels_narrow_the_interval_and_rates_stay_within_bounds():
    cells = [(True, True, 1, 18), (False, True, 1, 2), (False, False, 1, 17), (True, False, 1, 3)]
    few, many = (
        rates.corrected_rate(share(500, 500), labelled([(*c, k * n) for *c, n in cells]))
        for k in (1, 16)
    )
    assert many.high - many.low < 0.45 * (few.high - few.low)
    top = rates.corrected_rate(share(95, 5), labelled(cells))
    assert top.estimate == top.high == 1 and 0.5 < top.low < 1
    bottom = rates.corrected_rate(share(10, 90), labelled(cells))
    assert bottom.estimate == bottom.low == 0 and 0 < bottom.high < 0.5


def test_a_rate_that_the_labels_rule_out_is_nan_and_not_certainty():
    labels = labelled(
        [(True, True, 1, 90), (False, True, 1, 10), (False, False, 1, 85), (True, False, 1, 15)]
    )
    for seen in (share(1000, 0), share(0, 1000)):
        rate = rates.corrected_rate(seen, labels)
        assert math.isnan(rate.estimate) and "errs otherwise here" in rate.reason


def test_labels_that_may_mean_chance_leave_everything_open():
    labels = labelled(
        [(True, True, 1, 3), (False, True, 1, 2), (False, False, 1, 3), (True, False, 1, 2)]
    )
    assert rates.corrected_rate(share(50, 50), labels)[:3] == (pytest.approx(0.5), 0, 1)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([(True, True, 1, 5), (True, False, 1, 5)], "no label of one verdict"),
        ([(False, True, 1, 5), (False, False, 1, 5)], "no label of one verdict"),
        ([(True, True, 1, 5), (False, True, 1, 5)], "or of one truth"),
        ([(True, False, 1, 5), (False, False, 1, 5)], "or of one truth"),
        (
            [(True, True, 1, 5), (True, False, 1, 5), (False, True, 1, 5), (False, False, 1, 5)],
            "no better than chance: sensitivity 0.50",
        ),
        ([], "no label"),
    ],
)
def test_a_rate_that_labels_cannot_tell_is_nan_and_says_why(cells, reason):
    rate = rates.corrected_rate(share(60, 40), labelled(cells))
    assert math.isnan(rate.estimate) and math.isnan(rate.low) and math.isnan(rate.high)
    assert reason in rate.reason
    assert rates.corrected_rate(share(0, 0, 3), labelled(cells)).reason == "no verdict to correct"


@pytest.mark.parametrize("per_verdict", [25, 60])
def test_the_interval_covers_the_truth(per_verdict):
    """About 95% of 300 simulated sheets must cover the true share.

    They are drawn half and half from a check that accepts 80%.
    """
    rng = np.random.default_rng(0)
    accepted, precision, missed = 0.8, 0.97, 0.2
    true = accepted * precision + (1 - accepted) * missed
    hits, widths = 0, []
    for _ in range(300):
        right, wrong = rng.binomial(per_verdict, precision), rng.binomial(per_verdict, missed)
        cells = [
            (True, True, 8, right),
            (True, False, 8, per_verdict - right),
            (False, True, 2, wrong),
            (False, False, 2, per_verdict - wrong),
        ]
        n = rng.binomial(1000, accepted)
        rate = rates.corrected_rate(share(n, 1000 - n), labelled(cells))
        hits += rate.low <= true <= rate.high
        widths.append(rate.high - rate.low)
    assert 0.92 <= hits / 300 <= 0.995
    assert np.mean(widths) < 1.3 / math.sqrt(per_verdict)
