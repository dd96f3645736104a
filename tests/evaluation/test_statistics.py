import itertools
import math

import make
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from curemed_utils import evaluation, languages
from curemed_utils.data import DataError
from curemed_utils.evaluation import comparisons, intervals
from curemed_utils.evaluation.verdicts import METRICS


def both(*tables):
    return pd.concat(tables, ignore_index=True)


def by_statistic(table, metric="la", **more):
    """The lines of `estimates` for one group, by statistic."""
    return intervals.estimates(table, metrics=(metric,), **more).set_index("statistic")


# Scores -------------------------------------------------------------------------------------------


@pytest.fixture
def three():
    """Two high-resource languages of 16 and 8 items, one low-resource language of 8."""
    return make.verdicts(
        French=[True] * 12 + [False] * 4,
        Spanish=[True] * 4 + [False] * 4,
        Yoruba=[True] * 2 + [False] * 6,
    )


def test_micro_macro_worst_and_tier_gap(three):
    found = by_statistic(three)
    assert found["value"].to_dict() == pytest.approx(
        {"micro": 56.25, "macro": 50, "worst": 25, "tier_gap": 37.5}
    )
    assert found.loc["worst", "worst"] == "Yoruba"
    assert found.loc["micro", ["n_groups", "n_unknown"]].tolist() == [32, 0]
    assert ((found["low"] < found["value"]) & (found["value"] < found["high"])).all()


def test_scores_agree_with_the_table_of_percentages(three):
    three.loc[[0, 17], "correct"] = pd.NA
    three.loc[:3, "in_language"] = False
    three.loc[2:6, "complete"] = False
    table = evaluation.table(three, ["model"]).iloc[0]
    found = intervals.estimates(three).query("statistic == 'micro'").set_index("metric")
    assert found["value"].to_dict() == pytest.approx(table[list(METRICS)].to_dict())
    assert found.loc["la", "n_unknown"] == table["n_unknown_la"] == 2


def test_the_deviation_is_over_runs():
    runs = [make.verdicts(run=n, French=[True] * n + [False] * (4 - n)) for n in (1, 2, 3)]
    found = by_statistic(both(*runs)).loc["micro"]
    assert (found["value"], found["sd"]) == (50, pytest.approx(25))
    assert math.isnan(by_statistic(runs[0]).loc["micro", "sd"])


def test_a_metric_without_a_verdict_has_no_value_and_no_interval(three):
    found = by_statistic(three.assign(correct=pd.array([pd.NA] * 32, "boolean")))
    assert found[["value", "low", "high"]].isna().all(axis=None)
    assert found["n_unknown"].tolist() == [32] * 4


def test_all_alike_is_not_taken_for_certainty():
    found = by_statistic(make.verdicts(French=[False] * 93, Yoruba=[False] * 93))
    assert found.loc["micro", "low"] == 0 and 1 < found.loc["micro", "high"] < 3
    assert found.loc["worst", "high"] > found.loc["micro", "high"]
    assert math.isnan(found.loc["tier_gap", "low"])


def test_the_worst_languages_upper_limit_is_corrected_for_the_search():
    half = [n % 2 == 0 for n in range(100)]
    two, one = (
        by_statistic(make.verdicts(French=half, Yoruba=half)).loc["worst"],
        by_statistic(make.verdicts(French=half)).loc["micro"],
    )
    assert two["low"] == pytest.approx(one["low"], abs=0.7)
    assert two["high"] > one["high"] + 0.7


def test_parallel_items_that_agree_count_once():
    answers = [n % 2 == 0 for n in range(60)]
    table = make.verdicts(French=answers, Yoruba=answers)
    groups = {i: i.split("-")[1] for i in table["id"]}
    width = lambda found: found.loc["micro", "high"] - found.loc["micro", "low"]  # noqa: E731
    apart, together, alone = (
        by_statistic(table),
        by_statistic(table, groups=groups),
        by_statistic(make.verdicts(French=answers)),
    )
    assert width(apart) < 0.75 * width(together)
    assert width(together) == pytest.approx(width(alone), rel=0.05)
    assert together.loc["micro", "n_groups"] == 60
    assert together.loc["tier_gap", "value"] == 0


def test_a_table_in_any_order_and_with_a_repeated_index_scores_alike(three):
    table = both(three, three.assign(model="n"))
    shuffled = pd.concat([table[8:], table[:8]]).set_index(np.zeros(64, int))
    keys = ["model", "metric", "statistic"]

    def pick(verdicts):
        return intervals.estimates(verdicts).set_index(keys)["value"].sort_index()

    pd.testing.assert_series_equal(pick(table), pick(shuffled))
    assert evaluation.table(shuffled, ["model"])["la"].tolist() == pytest.approx([56.25, 56.25])
    right = evaluation.outcomes(shuffled).eq("right").groupby(shuffled["model"]).sum()
    assert right.tolist() == [18, 18]


def test_a_model_twice_and_ids_without_a_group_are_refused(three):
    with pytest.raises(
        DataError,
        match=r"32 responses, such as to 'French-0', repeat item, seed and sample: a model is",
    ):
        intervals.estimates(both(three, three))
    with pytest.raises(DataError, match=r"32 ids, such as 'French-0', are not in `groups`"):
        intervals.estimates(three, groups={})


# Pairs --------------------------------------------------------------------------------------------


def pair(only_first=8, only_second=1, right=10, wrong=5):
    first = [True] * (only_first + right) + [False] * (only_second + wrong)
    second = [False] * only_first + [True] * (right + only_second) + [False] * wrong
    return both(make.verdicts("a", French=first), make.verdicts("b", French=second))


def compare(table, first, second, **more):
    """The one line of a comparison."""
    return comparisons.compare_all(table, [(first, second)], **more).iloc[0]


def test_a_pair():
    found = compare(pair(), "a", "b")
    assert found[["n_items", "n_groups", "right_first", "right_second"]].tolist() == [24, 24, 8, 1]
    assert found["difference"] == pytest.approx(100 * -7 / 24)
    assert found["low"] < found["difference"] < found["high"] < 0
    assert found["p_mcnemar"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert 0.001 < found["p_paired"] < 0.05


def test_runs_vote_in_mcnemar_and_average_in_the_difference():
    runs = [make.verdicts("a", n, French=[True, n > 0, n > 1]) for n in range(3)] + [
        make.verdicts("b", n, French=[False] * 3) for n in range(3)
    ]
    found = compare(both(*runs), "a", "b")
    assert (found["right_first"], found["right_second"], found["n_tied"]) == (2, 0, 0)
    assert found["difference"] == pytest.approx(-100 * (1 + 2 / 3 + 1 / 3) / 3)
    even = [table for table in runs if table["seed"].iloc[0] < 2]
    assert compare(both(*even), "a", "b")["n_tied"] == 1


def test_items_that_one_model_lacks_are_counted():
    table = pair()
    table = table[
        ~((table["model"] == "b") & table["id"].isin(["French-3", "French-4"]))
        & ~((table["model"] == "a") & (table["id"] == "French-9"))
    ]
    table.loc[table["id"] == "French-0", "correct"] = pd.NA
    found = compare(table, "a", "b")
    assert found[["n_items", "n_no_second", "n_no_first", "n_unknown"]].tolist() == [
        20,
        2,
        1,
        1,
    ]


def test_equal_models_do_not_differ():
    found = compare(pair(0, 0), "a", "b")
    assert found[["difference", "p_mcnemar", "p_paired"]].tolist() == [0, 1, 1]


def test_few_groups_give_no_interval_and_say_so():
    found = compare(pair(), "a", "b", groups={f"French-{n}": str(n % 5) for n in range(24)})
    assert pd.isna(found[["low", "high", "p_paired"]]).all() and found["n_groups"] == 5
    assert found["difference"] == pytest.approx(100 * -7 / 24) and found["p_mcnemar"] < 0.05


def test_holm_corrects_over_all_pairs():
    table = both(pair(), make.verdicts("c", French=[True] * 12 + [False] * 12))
    found = comparisons.compare_all(table, list(itertools.combinations("abc", 2)))
    raw = found["p_mcnemar"].sort_values()
    assert found.loc[raw.index, "p_mcnemar_holm"].iloc[0] == pytest.approx(3 * raw.iloc[0])
    assert (found["p_paired_holm"] >= found["p_paired"]).all()


def test_holm_steps_down_from_the_smallest_and_leaves_out_what_is_unknown():
    corrected = comparisons._holm(pd.Series([0.04, np.nan, 0.01, 0.03, 0.9]))
    assert corrected.tolist() == pytest.approx([0.09, np.nan, 0.04, 0.09, 0.9], nan_ok=True)
    assert comparisons._holm(pd.Series([np.nan])).isna().all()


def test_pairs_that_cannot_be_compared_are_refused():
    with pytest.raises(DataError, match=r"\('a', 'x'\) share no item with a verdict in 'la'"):
        compare(pair(), "a", "x")
    with pytest.raises(DataError, match=r"\('a', 'c'\) share no item with a verdict in 'la'"):
        compare(both(pair(), make.verdicts("c", Thai=[True])), "a", "c")


# Do they hold? ------------------------------------------------------------------------------------


def simulated(rates, draws, groups=1):
    """As many models as draws; `rates` (draws x items) are true in `groups` languages alike."""
    ids = [
        (f"{language.code}-{n}", language.name)
        for language in languages.ALL[:groups]
        for n in range(rates.shape[1])
    ]
    right = np.random.default_rng(1).random((draws, groups, rates.shape[1])) < rates[:, None]
    table = pd.DataFrame(ids * draws, columns=["id", "language"])
    table = table.assign(
        model=np.repeat([f"m{n}" for n in range(draws)], len(ids)),
        set="test",
        seed=0,
        sample=0,
        response="a",
        finish_reason="stop",
    )
    table = table.assign(correct=right.ravel(), in_language=True, complete=True)
    return table.astype(dict.fromkeys(["correct", "in_language", "complete"], "boolean"))


def coverage(table, rate, **more):
    found = intervals.estimates(table, metrics=("la",), resamples=500, **more).query(
        "statistic == 'micro'"
    )
    return ((found["low"] <= 100 * rate) & (100 * rate <= found["high"])).mean()


def parallel(topics, rates, draws, seed=3):
    """`draws` models on topics in all languages of `rates`; answers to a topic correlate by 0.3."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(draws, topics, 1))
    own = rng.normal(size=(draws, topics, len(rates)))
    right = np.sqrt(0.3) * shared + np.sqrt(0.7) * own < norm.ppf(list(rates.values()))
    ids = [(f"{language}-{n}", language) for n in range(topics) for language in rates]
    table = pd.DataFrame(ids * draws, columns=["id", "language"])
    models = np.repeat([f"m{n}" for n in range(draws)], len(ids))
    table = table.assign(model=models, set="test", seed=0, sample=0, correct=right.ravel())
    table = table.assign(response="a", finish_reason="stop", in_language=True, complete=True)
    table = table.astype(dict.fromkeys(["correct", "in_language", "complete"], "boolean"))
    return table, {name: name.split("-")[1] for name, _ in ids}


def covered(topics, draws):
    """The shares of intervals that hold the true value, or NaN where there is none."""
    of_tier = {"high": 0.7, "medium": 0.5, "low": 0.3}
    rates = {language.name: of_tier[language.tier] for language in languages.ALL}
    table, groups = parallel(topics, rates, draws)
    lines = intervals.estimates(table, groups, ("la",), resamples=500)
    mean = 100 * np.mean(list(rates.values()))
    true = lines["statistic"].map({"micro": mean, "macro": mean, "worst": 30, "tier_gap": 40})
    holds = lines["low"].le(true) & lines["high"].ge(true)
    return holds.where(lines["low"].notna()).groupby(lines["statistic"]).mean()


@pytest.mark.parametrize("topics", [2, 5])
def test_fewer_than_six_topics_give_no_interval_of_any_kind(topics):
    assert covered(topics, 3).isna().all()


def test_intervals_of_topics_in_all_languages_cover():
    shares = covered(6, 60)
    assert shares[["micro", "macro", "tier_gap"]].between(0.88, 1).all() and shares["worst"] > 0.9


@pytest.mark.heavy
@pytest.mark.parametrize("topics", [6, 10, 20, 40])
def test_intervals_of_topics_cover_in_93_to_97_percent(topics):
    shares = covered(topics, 1000)
    within = 0.015  # two standard errors of 1000 draws
    assert shares[["micro", "macro", "tier_gap"]].between(0.93 - within, 0.97 + within).all()
    assert shares["worst"] >= 0.95


def test_few_questions_of_a_language_leave_micro_an_interval_and_macro_none():
    table = make.verdicts(French=[True, False] * 3, Yoruba=[True, False, True])
    lines = by_statistic(table)
    assert lines.index[lines["low"].notna()].tolist() == ["micro"]
    assert lines["value"].notna().all()


def test_undecided_answers_bound_a_share():
    verdicts = make.verdicts(French=[True] * 8)
    verdicts["in_language"] = pd.array([True] * 3 + [False] + [None] * 4, "boolean")
    table = evaluation.table(verdicts, ["language"])
    bounds = table.loc["French", ["lc", "lc_least", "lc_most", "n_unknown_lc"]]
    assert bounds.tolist() == [75, 37.5, 87.5, 4]


@pytest.mark.heavy
@pytest.mark.parametrize(("rate", "items"), [(0.05, 100), (0.5, 100), (0.95, 300)])
def test_intervals_cover_the_rate(rate, items):
    assert 0.9 <= coverage(simulated(np.full((200, items), rate), 200), rate) <= 0.99


@pytest.mark.heavy
def test_intervals_over_parallel_items_need_their_groups():
    topics = np.random.default_rng(2).beta(1.2, 1.2, (100, 100))
    table = simulated(topics, 100, groups=len(languages.ALL))
    groups = {i: i.split("-")[1] for i in table["id"].unique()}
    assert 0.90 <= coverage(table, 0.5, groups=groups) <= 0.99
    assert coverage(table, 0.5) < 0.8


@pytest.mark.heavy
def test_a_true_null_is_rejected_at_the_level():
    pairs = [(f"m{2 * n}", f"m{2 * n + 1}") for n in range(200)]
    found = comparisons.compare_all(simulated(np.full((400, 150), 0.4), 400), pairs, resamples=500)
    assert (found["p_mcnemar"] < 0.05).mean() <= 0.07
    assert (found["p_paired"] < 0.05).mean() <= 0.09
    topics = np.random.default_rng(2).beta(0.6, 0.6, (200, 60))
    table = simulated(topics, 200, groups=len(languages.ALL))
    found = comparisons.compare_all(
        table, pairs[:100], groups={i: i.split("-")[1] for i in table["id"].unique()}, resamples=500
    )
    assert (found["p_paired"] < 0.05).mean() <= 0.12 < (found["p_mcnemar"] < 0.05).mean()


# Faults -------------------------------------------------------------------------------------------


@pytest.fixture
def faulty():
    """20 responses: truncated although right, empty, unjudged, undecided; four are wrong."""
    table = make.verdicts(French=[True, False, None, None] + [False] * 4 + [True] * 12)
    table = table.assign(
        judge="j",
        judged_correct=table["correct"],
        judged_language=table["in_language"],
        judge_error=None,
    )
    table.loc[0, "finish_reason"] = "length"
    table.loc[1, "response"] = " \u200b"
    table.loc[2, "judge_error"] = "500"
    return table


def test_faults_are_told_apart(faulty):
    counts = evaluation.outcomes(faulty).value_counts().to_dict()
    of_harness = {"truncated": 1, "empty": 1, "judge_failed": 1}
    assert counts == of_harness | {"right": 12, "wrong": 4, "undecided": 1}
    of_model = evaluation.table(faulty, ["model"]).loc["m"]
    assert (of_model["faults"], of_model["marked"]) == (15, True)


def test_more_than_five_percent_of_faults_are_marked(faulty):
    one = faulty.iloc[3:].reset_index(drop=True).assign(response=["a"] * 16 + [""])
    edge = both(one, make.verdicts(Yoruba=[True] * 3))
    for table, marked in ((faulty, True), (edge, False)):
        assert evaluation.table(table, ["model"])["marked"].tolist() == [marked]
    assert evaluation.table(edge, ["model"])["faults"].tolist() == [5]
