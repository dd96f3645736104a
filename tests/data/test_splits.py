import random
from collections import Counter, defaultdict

import pytest

from curemed_utils import audit, data, languages
from curemed_utils.data import splits

# Shares and groups --------------------------------------------------------------------------------


def ids(rows):
    return {row.id for row in rows}


def test_splits_are_disjoint_and_lose_nothing(sample):
    parts = splits.split(sample, 0.2, 0.2, seed=0)
    assert (
        sum(map(len, parts.values()))
        == len(ids(parts["sft"]) | ids(parts["rft"]) | ids(parts["test"]))
        == len(sample)
    )


def test_a_topic_lies_whole_on_one_side(sample):
    parts = splits.split(sample, 0.2, 0.2, seed=0)
    topics = [{row.topic for row in part} for part in parts.values()]
    assert sum(map(len, topics)) == len(set.union(*topics))


def test_equal_questions_of_a_language_never_straddle(make_row):
    rows = [
        make_row(2 * n + k, question=text)
        for n in range(40)
        for k, text in enumerate((f"Cas {n} ?", f"  CAS  {n} ?"))
    ]
    parts = splits.split(rows, 0.3, 0.3, seed=0)
    questions = [{data.normalize(row.question) for row in part} for part in parts.values()]
    assert sum(map(len, questions)) == len(set.union(*questions)) == 40


def test_a_split_does_not_depend_on_the_rows_order(sample):
    there, back = (splits.split(rows, 0.2, 0.2, seed=0) for rows in (sample, sample[::-1]))
    assert {name: ids(part) for name, part in there.items()} == {
        name: ids(part) for name, part in back.items()
    }


def test_a_split_depends_on_the_seed_alone(sample):
    first, again, other = (splits.split(sample, 0.2, 0.2, seed) for seed in (0, 0, 1))
    assert first == again
    assert ids(first["test"]) != ids(other["test"])


def test_shares_of_a_split(make_row):
    parts = splits.split([make_row(n) for n in range(100)], 0.2, 0.25, seed=0)
    assert {name: len(part) for name, part in parts.items()} == {"sft": 60, "rft": 20, "test": 20}


def test_rft_seen_puts_that_share_of_rft_into_sft_as_well(make_row):
    parts = splits.split([make_row(n) for n in range(100)], 0.2, 0.5, seed=0, rft_seen=0.25)
    assert len(ids(parts["rft"]) & ids(parts["sft"])) == 10
    assert not ids(parts["test"]) & (ids(parts["rft"]) | ids(parts["sft"]))


def test_a_split_that_would_be_empty_is_refused(make_row):
    with pytest.raises(data.DataError, match=r"2 rows leave .*empty; raise max_per_language"):
        splits.split([make_row(0), make_row(1)], 0.2, 0.2, seed=0)


@pytest.mark.parametrize("name", ["test_share", "rft_share", "rft_seen"])
def test_a_share_outside_0_to_1_is_refused_by_name(sample, name):
    shares = {"test_share": 0.2, "rft_share": 0.2, "rft_seen": 0.0} | {name: 1.5}
    with pytest.raises(ValueError, match=name):
        splits.split(sample, seed=0, **shares)


# Counting -----------------------------------------------------------------------------------------


def test_count_has_a_row_a_language_and_a_total(make_row):
    table = splits.count(
        {"sft": [make_row(0), make_row(1, language="Thai")], "test": [make_row(2)]}
    )
    assert table.loc["French"].tolist() == [1, 1]
    assert table.loc["Thai"].tolist() == [1, 0]
    assert table.loc["all"].tolist() == [2, 1]


# Random rows --------------------------------------------------------------------------------------


def random_rows(seed, make_row):
    """Rows whose languages, topics and equal questions are drawn, with many or few topics."""
    draw = random.Random(seed)
    number, topics, with_topic, repeated = (
        draw.choice([300, 1500]),
        draw.choice([60, 400, 10**6]),
        draw.random(),
        draw.random() * 0.03,
    )
    weights = [draw.uniform(0.5, 1) ** n for n in range(len(languages.NAMES))]
    return [
        make_row(
            n,
            language=draw.choices(languages.NAMES, weights)[0],
            question=f"Q {draw.randrange(number)}" if draw.random() < repeated else f"unique {n}",
            topic=f"t{draw.randrange(topics)}" if draw.random() < with_topic else "",
        )
        for n in range(number)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_groups_stay_whole_and_shares_hold_in_every_language(seed, make_row):
    rows = random_rows(seed, make_row)
    parts = splits.split(rows, 0.2, 0.2, seed)
    side = {row.id: name for name, part in parts.items() for row in part}
    assert len(side) == sum(map(len, parts.values())) == len(rows)
    together = defaultdict(set)
    for row in rows:
        together[row.language, data.normalize(row.question)].add(side[row.id])
        if row.topic:
            together["topic", row.topic].add(side[row.id])
    assert {len(sides) for sides in together.values()} == {1}
    groups = dict(zip((row.id for row in rows), splits.groups_of(rows), strict=True))
    for language in languages.NAMES:
        own = [row for row in rows if row.language == language]
        largest = max(Counter(groups[row.id] for row in own).values(), default=0)
        counts = Counter(side[row.id] for row in own)
        assert abs(counts["test"] - 0.2 * len(own)) <= largest
        assert abs(counts["rft"] - 0.2 * (len(own) - counts["test"])) <= largest
    shuffled = random.Random(1).sample(rows, len(rows))
    again = splits.split(shuffled, 0.2, 0.2, seed)
    assert {name: {row.id for row in part} for name, part in again.items()} == {
        n: {r.id for r in p} for n, p in parts.items()
    }


def test_a_question_under_two_topics_pulls_both_together(make_row):
    rows = [make_row(n, topic=f"t{n // 4}") for n in range(80)]
    rows += [
        make_row(100, question="Same ?", topic="t0"),
        make_row(101, question=" SAME ?", topic="t1"),
        make_row(102, question="same ?"),
    ]
    for seed in range(20):
        parts = splits.split(rows, 0.3, 0.3, seed)
        assert (
            sum(
                any(row.topic in ("t0", "t1") or row.id == "r102" for row in part)
                for part in parts.values()
            )
            == 1
        )


def test_the_audit_finds_nothing_that_straddles_a_split(make_row):
    rows = [
        make_row(n, question=f"Q {n % 150}", topic=f"t{n % 30}" if n % 3 else "")
        for n in range(300)
    ]
    counts = audit.audit_splits(splits.split(rows, 0.2, 0.2, seed=0)).counts
    assert counts["test_in_train"] == counts["rft_in_sft"] == 0
