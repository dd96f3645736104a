"""The curriculum: the pool of a stage, the mixture, the plateau, and what came of them."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from curemed_utils import data, languages
from curemed_utils.evaluation import intervals
from curemed_utils.training import curricula


@pytest.fixture
def rft(make_row):
    """RFT rows with 20 or more, and an odd number, a language."""
    rows = []
    for place, name in enumerate(languages.NAMES):
        for n in range(21 + 2 * place):
            rows.append(make_row(language=name, id=f"{name}-{n}", question=f"{name} {n} ?"))
    return rows


def by_language(rows):
    ids = defaultdict(set)
    for row in rows:
        ids[row.language].add(row.id)
    return ids


def tiers(rows) -> Counter:
    return Counter(languages.get(row.language).tier for row in rows)


# Pools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["retain", "plateau"])
@pytest.mark.parametrize("stage", languages.STAGES)
def test_a_stage_holds_its_tier_whole_and_retains_floor_of_earlier_tiers(rft, stage, name):
    whole, pool = by_language(rft), by_language(curricula.pool(rft, stage, name))
    rank = languages.TIERS.index(languages.STAGES[stage])
    earlier = list(itertools.chain(*map(languages.in_tier, languages.TIERS[:rank])))
    new = languages.in_tier(languages.STAGES[stage])
    assert set(pool) == {*earlier, *new}
    assert all(pool[name] == whole[name] for name in new)
    for name in earlier:
        assert len(pool[name]) == math.floor(0.85 * len(whole[name])), name


def test_stage_pools_are_nested_in_each_earlier_language(rft):
    first, second, third = (by_language(curricula.pool(rft, stage)) for stage in languages.STAGES)
    assert all(first[name] > second[name] >= third[name] for name in languages.in_tier("high"))
    assert all(second[name] > third[name] for name in languages.in_tier("medium"))


def test_retaining_all_keeps_every_earlier_row(rft):
    assert len(curricula.pool(rft, "stage3_low", retain=1.0)) == len(rft)


def test_a_retained_share_is_not_lost_to_rounding(make_row):
    rows = []
    for name in languages.NAMES:
        rows += [make_row(n, id=f"{name}{n}", language=name) for n in range(100)]
    kept = Counter(row.language for row in curricula.pool(rows, "stage2_medium", retain=0.29))
    assert kept["French"] == 29 and kept["Thai"] == 100


@pytest.mark.parametrize(
    ("name", "sizes"), [("mixture", ["high", "medium"]), ("none", ["high", "medium", "low"])]
)
def test_a_mixture_keeps_all_rows_so_far_and_none_takes_all_at_once(rft, name, sizes):
    pool = curricula.pool(rft, "stage2_medium", name)
    assert tiers(pool) == tiers(row for row in rft if languages.get(row.language).tier in sizes)


def test_a_language_without_rows_is_named(rft):
    some = [row for row in rft if row.language not in ("Thai", "French")]
    with pytest.raises(
        data.DataError,
        match=r"stage1_high has no rows in French: raise max_per_language or rft_share",
    ):
        curricula.pool(some, "stage1_high")
    with pytest.raises(data.DataError, match=r"stage2_medium has no rows in Thai"):
        curricula.pool(some, "stage2_medium")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"curriculum": "mixtures"}, "curriculum is 'mixtures'"), ({"retain": 1.2}, "retain must")],
)
def test_an_unknown_curriculum_or_share_is_refused_by_name(rft, options, message):
    with pytest.raises(ValueError, match=message):
        curricula.pool(rft, "stage1_high", **options)


@pytest.mark.parametrize(
    ("stage", "total"), [("stage1_high", 1187), ("stage2_medium", 1728), ("stage3_low", 3074)]
)
def test_stage_pools_are_as_large_as_the_released_ones(release, released, stage, total):
    published = {}
    for path in (release / "datasets" / "RFT_data" / "staged" / languages.STAGES[stage]).glob(
        "*.jsonl"
    ):
        published[path.stem] = sum(1 for line in path.read_bytes().split(b"\n") if line.strip())
    pool = curricula.pool(released["rft"], stage)
    assert len(pool) == total
    assert Counter(row.language for row in pool) == published


# Mixture -----------------------------------------------------------------------------------------


def drawn(rft, stage, n, alpha=0.85, seed=0):
    return list(
        itertools.islice(curricula.mixture(curricula.pool(rft, stage, "mixture"), alpha, seed), n)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.85, 0.99])
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_every_batch_holds_the_old_share_to_within_one_prompt(rft, alpha, batch):
    rows = drawn(rft, "stage2_medium", 20 * batch, alpha)
    old = [tiers(rows[first : first + batch])["high"] for first in range(0, len(rows), batch)]
    assert all(math.floor(alpha * batch) <= count <= math.ceil(alpha * batch) for count in old)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.85])
def test_a_stage_holds_its_share_to_within_2_percent(rft, alpha):
    rows = drawn(rft, "stage3_low", 500, alpha)
    expected = {"high": alpha * alpha, "medium": alpha * (1 - alpha), "low": 1 - alpha}
    assert all(
        abs(tiers(rows)[tier] / len(rows) - share) < 0.02 for tier, share in expected.items()
    )


def test_no_row_comes_again_before_all_of_its_tier_have_come(rft):
    rows = [
        row
        for row in drawn(rft, "stage2_medium", 2000)
        if languages.get(row.language).tier == "high"
    ]
    n = tiers(rft)["high"]
    assert all(
        len({row.id for row in rows[first : first + n]}) == n
        for first in range(0, len(rows) - n, n)
    )


def test_a_seed_fixes_the_order_and_another_changes_it(rft):
    rows = drawn(rft, "stage2_medium", 50)
    assert rows == drawn(list(reversed(rft)), "stage2_medium", 50)
    assert rows != drawn(rft, "stage2_medium", 50, seed=1)


def test_the_first_stage_is_all_new(rft):
    assert tiers(drawn(rft, "stage1_high", 100)) == {"high": 100}


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_a_share_that_leaves_no_room_for_the_new_tier_is_refused(rft, alpha):
    with pytest.raises(ValueError, match="alpha must lie in 0-1"):
        drawn(rft, "stage2_medium", 1, alpha)


# Plateau -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "patience", "over"),
    [
        ([0.1, 0.2, 0.3, 0.4], 2, False),
        ([0.1, 0.4, 0.3, 0.2], 2, True),
        ([0.4, 0.4, 0.4, 0.4], 2, True),
        ([0.9, 0.1, 0.2, 0.3, 0.4], 2, False),
        ([0.4, 0.3, 0.2], 2, False),
        ([0.4, 0.3], 1, True),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
    ],
)
def test_a_plateau_is_a_later_half_no_higher_than_the_earlier(rewards, patience, over):
    assert curricula.plateaued(rewards, patience) is over


# Measures ----------------------------------------------------------------------------------------


def probed(models, n_prompts=12, samples=6, seed=0, level=None):
    """Verdicts on prompts of three tiers; `level(model, prompts)`: chances of a reward of 1."""
    rng, parts = np.random.default_rng(seed), []
    for tier in languages.TIERS:
        chances = rng.beta(0.8, 0.8, n_prompts)
        for model in models:
            now = chances if level is None else level(model, chances)
            paid = rng.binomial(1, now, (samples, n_prompts)).ravel()
            names = {"sample": np.repeat(range(samples), n_prompts), "paid_accuracy": paid}
            part = pd.DataFrame(names | {"paid_language": 0.0, "paid_format": 0.0})
            ids = [f"{tier} {n:03}" for n in range(n_prompts)] * samples
            parts.append(part.assign(model=model, tier=tier, id=ids))
    truths = dict.fromkeys(("correct", "in_language", "well_formed"))
    return pd.concat(parts, ignore_index=True).assign(**truths)


CHECKPOINTS = ["sft", *languages.STAGES]


@pytest.mark.heavy
@pytest.mark.parametrize("n_prompts", [12, 60])
def test_a_model_that_forgets_nothing_has_lost_nothing_within_its_interval(n_prompts):
    tables = [curricula.lost(probed(CHECKPOINTS, n_prompts, seed=seed)) for seed in range(300)]
    every = pd.concat(tables)
    for _, rows in every.groupby("model"):
        assert abs(rows["lost"].mean()) < 3 * rows["lost"].sem()
        covers = (rows["low"].le(0) & rows["high"].ge(0)).mean()
        assert 0.93 < covers < 0.975
    last = every.xs("stage3_low", level="model")
    assert last["plain"].mean() > 5 * last["plain"].sem()  # the best of noisy levels is too high


def test_the_plain_difference_counts_luck_as_forgetting():
    """On two checkpoints that are the same there is nothing to choose: both are one number."""
    table = curricula.lost(probed(["sft", "stage1_high"]))
    assert table["plain"].tolist() == pytest.approx(table["lost"].tolist())


def test_what_is_lost_is_found():
    def level(model, chances):
        return np.full(len(chances), 0.5 if model == "stage3_low" else 0.9)

    table = curricula.lost(probed(CHECKPOINTS, 40, level=level)).loc["stage3_low"]
    assert (table["low"] > 0.2).all() and (table["low"] < 0.4).all() and (table["high"] > 0.4).all()


def test_forgetting_is_of_tiers_that_an_earlier_stage_trained():
    table = curricula.lost(probed(CHECKPOINTS))
    kinds = table["kind"].unstack()[list(languages.TIERS)].loc[list(languages.STAGES)]
    assert kinds.to_numpy().tolist() == [
        ["learning", "transfer", "transfer"],
        ["forgetting", "learning", "transfer"],
        ["forgetting", "forgetting", "learning"],
    ]


def test_few_prompts_give_no_number():
    table = curricula.lost(probed(CHECKPOINTS, 5))
    assert table[["plain", "lost", "low", "high"]].isna().all(axis=None)


@pytest.mark.heavy
def test_identical_runs_differ_by_less_than_the_noise_19_times_in_20():
    within = []
    for seed in range(200):
        lab = curricula.lab(probed(["sft", "sft again"], seed=seed)).unstack("model")
        apart = (lab["reward", "sft"] - lab["reward", "sft again"]).abs()
        within += (apart < lab["noise", "sft"]).tolist()
    assert 0.92 < np.mean(within) < 0.97


def test_one_run_of_a_probe_knows_no_noise():
    assert curricula.lab(probed(["sft"], samples=1))["noise"].isna().all()


def test_the_gap_is_that_of_the_intervals_of_an_evaluation(make_row):
    """One definition: high-resource less low-resource languages, each language counting once."""
    rng, lines = np.random.default_rng(0), []
    for name in languages.NAMES:
        for n in range(3):
            line = {"id": f"{name}-{n}", "language": name, "tier": languages.get(name).tier}
            lines.append(line | {"correct": bool(rng.integers(2))})
    verdicts = pd.DataFrame(lines).assign(model="sft", sample=0, seed=0, set="test")
    truths = ("in_language", "complete", "well_formed")
    verdicts = verdicts.assign(**dict.fromkeys(truths)).astype(dict.fromkeys(truths, "boolean"))
    of_intervals = intervals.estimates(verdicts.astype({"correct": "boolean"}), metrics=("la",))
    gap = of_intervals.set_index("statistic").loc["tier_gap", "value"]
    levels = curricula.lab(verdicts)["LA"].unstack("tier")
    assert 100 * (levels["high"] - levels["low"])["sft"] == pytest.approx(gap)


def test_the_lab_averages_by_model_and_tier_and_leaves_out_the_unknown():
    verdicts = pd.DataFrame(
        {
            "model": ["sft", "sft", "one"],
            "tier": ["high", "high", "low"],
            "paid_accuracy": [0.65, None, 0.0],
            "paid_language": [0.3, 0.0, None],
            "paid_format": [0.05, 0.05, 0.0],
            "correct": [True, None, False],
            "in_language": [True, False, None],
            "well_formed": [True, True, False],
        }
    )
    table = curricula.lab(verdicts)
    assert table.index.tolist() == [("sft", "high"), ("one", "low")]
    parts = table.drop(columns="noise")
    assert parts.loc[("sft", "high")].tolist() == pytest.approx([0.85, 1.0, 0.5, 1.0])
    assert math.isnan(table.loc[("one", "low"), "reward"])
    assert table.loc[("one", "low"), "LA"] == 0 and math.isnan(table.loc[("one", "low"), "LC"])
