import asyncio
import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curemed_utils import languages, rewards, trace
from curemed_utils.course import playgrounds
from curemed_utils.evaluation import verdicts
from curemed_utils.judge import Verdict

STEPS = "<thinking><step1>fièvre</step1><step2>toux</step2></thinking>"
ANSWER = "<answer>grippe</answer>"
GOOD = STEPS + ANSWER


def in_tags(answer: str) -> str:
    return f"{STEPS}\n<answer>{answer}</answer>"


# Format -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\n" + STEPS + "\n\n" + ANSWER + "\n",
        GOOD.replace("><", ">\n\n <").replace("fièvre", "\nfièvre\n"),
        "<thinking><step1>une seule étape</step1></thinking>" + ANSWER,
        "<thinking>"
        + "".join(f"<step{n}>x</step{n}>" for n in range(1, 12))
        + "</thinking>"
        + ANSWER,
        "<thinking><step1>SpO2 < 90 % et pH > 7,45</step1></thinking>" + ANSWER,
    ],
)
def test_both_formats_accept(text):
    assert rewards.format_reward(text) == 1.0
    assert rewards.format_reward(text, strict=False) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "<thinking>sans étapes</thinking>" + ANSWER,
        "<thinking></thinking>" + ANSWER,
        "<thinking><step2>toux</step2></thinking>" + ANSWER,
        "<thinking><step1>fièvre</step1><step3>toux</step3></thinking>" + ANSWER,
        "<thinking><step2>toux</step2><step1>fièvre</step1></thinking>" + ANSWER,
        "<thinking><step1>fièvre</step1><step1>toux</step1></thinking>" + ANSWER,
        "<thinking><step1>fièvre</step2></thinking>" + ANSWER,
        "<thinking><step1>fièvre<step2>toux</step2></thinking>" + ANSWER,
        "<thinking><step1>fièvre</step1> puis <step2>toux</step2></thinking>" + ANSWER,
        "<thinking><step1></step1></thinking>" + ANSWER,
        "<thinking><step1> \n</step1><step2>toux</step2></thinking>" + ANSWER,
        "<thinking><step1>fièvre <step2>toux</step2></step1></thinking>" + ANSWER,
        STEPS + "<answer></answer>",
        STEPS + "<answer>  </answer>",
        "Voici : " + GOOD,
        GOOD + " Voilà.",
        STEPS + " donc " + ANSWER,
        ANSWER + STEPS,
    ],
)
def test_only_the_loose_format_accepts(text):
    assert rewards.format_reward(text) == 0.0
    assert rewards.format_reward(text, strict=False) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "grippe",
        STEPS,
        ANSWER,
        STEPS + "<answer>grippe",
        STEPS + "grippe</answer>",
        "<thinking><step1>fièvre</step1>" + ANSWER,
        STEPS + ANSWER + ANSWER,
        STEPS + STEPS + ANSWER,
        STEPS.upper() + ANSWER.upper(),
    ],
)
def test_both_formats_reject(text):
    assert rewards.format_reward(text) == 0.0
    assert rewards.format_reward(text, strict=False) == 0.0


def test_nested_tags_are_not_strict():
    assert (
        rewards.format_reward("<thinking><thinking><step1>x</step1></thinking></thinking>" + ANSWER)
        == 0.0
    )
    assert rewards.format_reward(STEPS + "<answer><answer>grippe</answer></answer>") == 0.0
    assert rewards.format_reward(f"<thinking><step1>x {ANSWER}</step1></thinking>") == 0.0


@pytest.mark.parametrize("tag", ["<thinking>", "<step1>", "<answer>", "<think>", "</thinking>"])
def test_a_policy_that_repeats_one_tag_is_scored_at_once(make_row, tag):
    began = time.perf_counter()
    scores = rewards.score(tag * 20_000, make_row(accepted=["grippe"]))
    assert scores == {"accuracy": 0.0, "language": 0.0, "format": 0.0}
    assert rewards.format_reward(tag * 20_000, strict=False) == 0.0
    for text in (tag * 20_000, in_tags(tag * 20_000)):
        for over in ("answer", "response"):
            rewards.language_reward(text, "French", over)
    assert time.perf_counter() - began < 4


def test_formats_on_the_released_traces(released):
    traces = [f"{row.reasoning}\n{row.answer}" for name in ("sft", "rft") for row in released[name]]
    strict = [rewards.format_reward(trace) for trace in traces]
    assert (strict.count(1.0), strict.count(0.0)) == (12357, 4442)
    assert all(rewards.format_reward(trace, strict=False) == 1.0 for trace in traces)


# Accuracy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("paludisme", "paludisme"),
        ("  Paludisme.\n", "paludisme"),
        ("« paludisme »", "paludisme"),
        ("heart   attack", "Heart Attack"),
        ("ＨＩＶ", "HIV"),
        ("喘息。", "喘息"),
        ("ﾏﾗﾘｱ", "マラリア"),
        ("मलेरिया।", "मलेरिया"),
        ("ወባ።", "ወባ"),
        ("e\u0301pilepsie", "épilepsie"),
    ],
)
def test_an_answer_equal_to_an_accepted_form_is_right(answer, accepted):
    assert rewards.accuracy_reward(in_tags(answer), [accepted], "<answer>autre</answer>") == 1.0


@pytest.mark.parametrize(
    "answer", ["İdrar yolu enfeksiyonu", "İDRAR YOLU ENFEKSİYONU", "idrar yolu enfeksiyonu."]
)
def test_the_turkish_dotted_capital_is_the_same_letter(answer):
    assert (
        rewards.accuracy_reward(
            in_tags(answer), ["idrar yolu enfeksiyonu"], "<answer>sistit</answer>"
        )
        == 1.0
    )


def test_the_reference_itself_is_right():
    assert (
        rewards.accuracy_reward(
            in_tags("C'est le paludisme"), ["paludisme"], "<answer>C'est le paludisme.</answer>"
        )
        == 1.0
    )


@pytest.mark.parametrize(
    "answer",
    [
        "dengue",
        "pas le paludisme",
        "paludisme ou dengue",
        "asthme, paludisme, tuberculose, dengue, grippe, pneumonie, diabète",
        "asthme\npaludisme",
        "paludism",
        "",
    ],
)
def test_another_or_a_longer_answer_is_wrong(answer):
    assert (
        rewards.accuracy_reward(
            in_tags(answer),
            ["paludisme", "malaria"],
            "<answer>Cette maladie est le paludisme.</answer>",
        )
        == 0.0
    )


def test_without_accepted_forms_accuracy_is_unknown():
    assert rewards.accuracy_reward(GOOD, [], ANSWER) is None


@pytest.mark.parametrize("answer", ["", " ", "…", "\u200b", "-"])
def test_an_empty_answer_is_never_right(answer):
    empty = f"<answer>{answer}</answer>"
    assert rewards.accuracy_reward(in_tags(answer), ["grippe", "", answer], empty) == 0.0


@pytest.mark.parametrize("text", ["grippe", STEPS + "<answer>grippe", GOOD + ANSWER])
def test_no_single_answer_block_is_wrong(text):
    assert rewards.accuracy_reward(text, ["grippe"], ANSWER) == 0.0


# Language ---------------------------------------------------------------------------------------

FRENCH = "Le patient doit prendre ce médicament chaque jour après le repas."


def test_an_answer_in_the_language_is_rewarded_whatever_the_reasoning():
    text = trace.render(["The patient has a fever and should rest."], FRENCH)
    assert rewards.language_reward(text, "French") == 1.0


@pytest.mark.parametrize("text", [in_tags(FRENCH), in_tags("\u3164"), in_tags(""), STEPS, ""])
def test_an_answer_in_another_language_or_none_is_not_rewarded(text):
    assert rewards.language_reward(text, "Korean") == 0.0


@pytest.mark.parametrize("answer", ["38,5", "grippe"])
def test_an_answer_too_short_to_tell_is_undecided(answer):
    assert rewards.language_reward(in_tags(answer), "French") is None


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="did you mean 'French'"):
        rewards.language_reward(GOOD, "french")


# Composite --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        ((1, 1, 1), 1.0),
        ((1, 0, 0), 0.65),
        ((0, 1, 0), 0.30),
        ((0, 0, 1), 0.05),
        ((0, 0, 0), 0.0),
        ((None, 1, 1), 1.0),
        ((None, 1, 0), 0.30 / 0.35),
        ((1, None, None), 1.0),
        ((0, None, None), 0.0),
    ],
)
def test_the_composite_is_the_weighted_mean_of_known_parts(parts, total):
    scores = dict(zip(("accuracy", "language", "format"), parts, strict=True))
    assert rewards.composite(scores) == pytest.approx(total)


def test_a_composite_of_nothing_known_is_nan():
    assert math.isnan(rewards.composite({"accuracy": None, "language": None, "format": None}))


def test_the_composite_takes_other_weights():
    assert (
        rewards.composite({"accuracy": 1.0, "format": 1.0}, {"accuracy": 0.5, "format": 0.25})
        == 0.75
    )


def test_score_gives_the_three_parts_of_a_response(make_row):
    row = make_row(answer=f"<answer>{FRENCH}</answer>", accepted=["aspirine"])
    assert rewards.score(in_tags(FRENCH), row) == {"accuracy": 1.0, "language": 1.0, "format": 1.0}
    assert rewards.score("aspirine", row) == {"accuracy": 0.0, "language": 0.0, "format": 0.0}


def test_each_sample_row_earns_full_reward(sample):
    totals = {
        row.id: rewards.composite(rewards.score(f"{row.reasoning}\n{row.answer}", row))
        for row in sample
    }
    assert {name: total for name, total in totals.items() if total != pytest.approx(1.0)} == {}


# Unknown parts of a group ----------------------------------------------------------------------

WEIGHTS = list(rewards.WEIGHTS.values())
NO = math.nan


def worth(*group: tuple) -> list[float]:
    """The rewards of one group's rollouts, a tuple of parts each."""
    return (rewards.filled(np.array([group], float), WEIGHTS) @ WEIGHTS)[0].tolist()


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        ([(1, 1, 1), (0, 0, 1)], [1.0, 0.05]),
        ([(1, 1, 1), (1, 0, 1), (1, NO, 1)], [1.0, 0.70, 0.85]),  # the mean of 1 and 0 is 0.5
        ([(NO, 1, 1), (NO, 0, 1)], [1.0, 0.05 / 0.35]),  # nobody's accuracy is known
        ([(1, NO, 1), (0, NO, 1)], [1.0, 0.05 / 0.70]),
        ([(NO, NO, 1), (NO, NO, 0)], [1.0, 0.0]),
        ([(1, 1, 1), (NO, NO, NO), (0, 1, 1)], [1.0, NO, 0.35]),  # a failed judge
        ([(NO, NO, NO)], [NO]),
        ([(1, NO, 1)], [1.0]),
    ],
)
def test_an_unknown_part_is_worth_what_the_group_has(group, wanted):
    assert worth(*group) == pytest.approx(wanted, nan_ok=True)


def test_a_part_without_weight_is_nothing_known():
    parts = np.array([[(NO, 1.0, NO), (1.0, 0.0, NO)]])
    assert np.isnan(rewards.filled(parts, [1.0, 0.0, 0.0])[0, 0]).all()
    assert (rewards.filled(parts, [1.0, 0.0, 0.0])[0, 1] @ [1.0, 0.0, 0.0]) == 1.0


PART = st.sampled_from([0.0, 0.4, 1.0, NO])


@given(st.lists(st.tuples(PART, PART, PART), min_size=1, max_size=8))
def test_a_worth_lies_in_its_range_and_known_parts_count(group):
    parts = np.array([group])
    known = ~np.isnan(parts)
    whole = rewards.filled(parts, WEIGHTS)
    assert (np.isnan(whole).all(axis=2) == ~known.any(axis=2)).all()
    assert np.nanmin(whole, initial=0) >= 0 and np.nanmax(whole, initial=1) <= 1
    assert (whole[known] == parts[known]).all()
    lone = [dict(zip(rewards.WEIGHTS, group[0], strict=True))]
    assert rewards.composite(lone[0]) == pytest.approx(worth(group[0])[0], nan_ok=True)


def earned(rule, n_groups: int = 4000) -> tuple[float, float]:
    """Mean advantage of long answers and of short ones, whose language can't be told.

    Both are right, and in their language, equally often; a group has 8 rollouts.
    """
    random = np.random.default_rng(0)
    shape = (n_groups, 8)
    is_short = random.random(shape) < 0.5
    parts = np.stack([random.random(shape) < p for p in (0.4, 0.8, 0.9)], axis=2).astype(float)
    parts[is_short, 1] = np.nan
    values = rule(parts)
    advantages = values - values.mean(axis=1, keepdims=True)
    advantages /= values.std(axis=1, ddof=1, keepdims=True) + 1e-4
    return advantages[~is_short].mean(), advantages[is_short].mean()


def test_answers_of_equal_worth_and_other_length_earn_the_same():
    long, short = earned(lambda parts: rewards.filled(parts, WEIGHTS) @ WEIGHTS)
    assert long == pytest.approx(short, abs=0.04)
    long, short = earned(lambda parts: np.nan_to_num(parts) @ WEIGHTS)  # unknown counts as 0
    assert long - short > 0.5


# By the run's rules -----------------------------------------------------------------------------


def test_every_accepted_answer_of_the_sample_earns_all(sample):
    stops = {"Japanese": "。", "Hindi": "।", "Bengali": "।", "Amharic": "።"}
    n = 0
    for row in sample:
        for form in row.accepted:
            n += 1
            for end in ("", ".", " …", stops.get(row.language, "!")):
                scores = rewards.score(in_tags(form + end), row)
                assert rewards.composite(scores) == 1.0, (row.id, form, scores)
    assert n >= 195


def test_accepted_answers_earn_all_in_training_and_evaluation(sample):
    rows = [row for row in sample for _ in range(2 * len(row.accepted))]
    forms = [form + end for row in sample for form in row.accepted for end in ("", ".")]
    texts = [in_tags(form) for form in forms]
    columns = pd.DataFrame([dict(row) for row in rows]).to_dict("list")
    assert len(texts) == len(rows) > 2 * len(sample)
    for values in one_step(rewards.Rewards(), texts, **columns).values():
        assert set(values) == {1.0}
    table = verdicts.rewarded(pd.DataFrame({"response": texts}), rows, 1, rewards.Rewards())
    assert set(table["reward"]) == {1.0}


@pytest.mark.parametrize("language", ["French", "Turkish", "Japanese", "Thai", "Amharic"])
def test_a_short_english_answer_earns_no_language(sample, language):
    row = next(row for row in sample if row.language == language and row.topic == "malaria")
    scores = rewards.score(in_tags("The disease is malaria."), row)
    assert scores["accuracy"] == 0.0 and scores["language"] != 1.0
    assert rewards.composite(scores) < 0.1


def test_an_accepted_answer_proves_no_language_of_a_whole_response(make_row):
    row = dict(make_row(accepted=["grippe"]))
    over_all = rewards.Rewards(language_over="response")
    text = trace.render(["The patient has a high fever and a dry cough since Monday."], "grippe")
    assert rewards.Rewards().unjudged(text, row)["language"] == 1.0
    assert over_all.unjudged(text, row)["language"] == 0.0


def test_a_judge_that_is_only_named_leaves_its_parts_unknown(make_row):
    rules = rewards.Rewards(accuracy_by="judge", language_by="judge", judge="gpt-4.1")
    row = dict(make_row(accepted=["grippe"]))
    scores = rules.score_at_once([GOOD, "grippe"], [row, row])
    assert [part["accuracy"] for part in scores] == [None, None]
    assert [part["format"] for part in scores] == [1.0, 0.0]
    assert "gpt-4.1, not asked" in str(rules)


def test_rules_say_what_they_are():
    rules = rewards.Rewards(strict_format=False, weights={**rewards.WEIGHTS, "format": 0.0})
    told = "language_over answer, strict_format False, accuracy 0.65, language 0.3, format 0.0"
    assert str(rules) == f"accuracy_by accepted, language_by offline, {told}"


# What TRL calls ---------------------------------------------------------------------------------


TEXTS = [in_tags(FRENCH), "grippe"]


def one_step(rules, texts, **columns):
    """What TRL gets in a step from all three functions, called the way TRL calls them."""
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    fields = {"question": "?", "answer": ANSWER, "accepted": [], "language": "French"}
    repeated = {name: [value] * len(texts) for name, value in fields.items()}
    functions = {function.__name__: function for function in rules.functions()}

    async def step():
        calls = [f(completions=completions, **repeated | columns) for f in functions.values()]
        return await asyncio.gather(*calls)

    return dict(zip(functions, asyncio.run(step()), strict=True))


def for_trl(name, texts, rules=None, **columns):
    return one_step(rules or rewards.Rewards(), texts, **columns)[name]


def test_accuracy_for_trl():
    columns = {"accepted": [["x"], ["grippe"]], "answer": [f"<answer>{FRENCH}</answer>", ANSWER]}
    assert for_trl("accuracy", TEXTS, **columns) == [1.0, 0.0]


def test_language_for_trl():
    assert for_trl("language", TEXTS, language=["French", "Thai"]) == [1.0, 0.0]


def test_format_for_trl():
    assert for_trl("format", TEXTS) == [1.0, 0.0]


def test_unknown_parts_stay_none_for_trl():
    assert for_trl("accuracy", [GOOD, GOOD], accepted=[[], ["grippe"]]) == [None, 1.0]


def test_a_batch_is_scored_once_for_all_three_functions(monkeypatch):
    calls, rules = [], rewards.Rewards()
    monkeypatch.setattr(rewards, "format_reward", lambda text, strict: calls.append(text) or 1.0)
    one_step(rules, [GOOD])
    assert len(calls) == 1
    one_step(rules, [GOOD])
    assert len(calls) == 2


# By a judge -------------------------------------------------------------------------------------


class StandIn:
    """Answers like a judge: one verdict after another, and remembers what it was asked."""

    def __init__(self, *values):
        self.values, self.asked = list(values), []

    async def score_async(self, task, items):
        self.asked += [(task, item) for item in items]
        values = [self.values.pop(0) for _ in items]
        return [Verdict(value, None if value is not None else "no answer") for value in values]


def test_a_judge_gives_partial_credit_and_an_exact_match_costs_nothing():
    judge = StandIn(0.4)
    rules = rewards.Rewards(accuracy_by="judge", judge=judge)
    other = in_tags("dengue")
    assert for_trl("accuracy", [GOOD, other], rules) == [1.0, 0.4]
    assert [(task, item["response"], item["reference"]) for task, item in judge.asked] == [
        ("reward_accuracy", other, "grippe")
    ]


def test_a_failed_judge_leaves_the_whole_rollout_out():
    rules = rewards.Rewards(accuracy_by="judge", judge=StandIn(None, 0.0))
    parts = one_step(rules, [in_tags("dengue")] * 2)
    assert [values[0] for values in parts.values()] == [None, None, None]
    assert (parts["accuracy"][1], parts["format"][1]) == (0.0, 1.0)


def test_a_judge_that_fails_on_most_rollouts_stops_the_training():
    with pytest.raises(RuntimeError, match=r"no verdict for 2 of 3 rollouts, e\.g\.: no answer"):
        for_trl(
            "accuracy",
            [in_tags("dengue")] * 3,
            rewards.Rewards(accuracy_by="judge", judge=StandIn(None, 0.5, None)),
        )


@pytest.mark.parametrize("over, seen", [("answer", FRENCH), ("response", in_tags(FRENCH))])
def test_the_judge_of_language_sees_the_part_that_the_rule_names(over, seen):
    judge = StandIn(1.0)
    assert for_trl(
        "language",
        [in_tags(FRENCH)],
        rewards.Rewards(language_by="judge", language_over=over, judge=judge),
    ) == [1.0]
    assert [(task, item["response"]) for task, item in judge.asked] == [("reward_language", seen)]


def test_the_offline_check_of_the_whole_response_rejects_code_switching():
    text = trace.render(["The patient has a high fever and a dry cough since Monday."], FRENCH)
    assert (
        rewards.language_reward(text, "French"),
        rewards.language_reward(text, "French", over="response"),
    ) == (1.0, 0.0)


@pytest.mark.parametrize(
    "rules",
    [
        {"accuracy_by": "exact"},
        {"language_by": "gpt"},
        {"language_over": "all"},
        {"accuracy_by": "judge"},
    ],
)
def test_rules_that_make_no_sense_are_refused(rules):
    with pytest.raises(ValueError, match=next(iter(rules))):
        rewards.Rewards(**rules)


# Gaming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", [language.name for language in languages.ALL])
def test_only_the_honest_response_earns_full_reward(sample, language):
    own = next(row for row in sample if row.language == language and row.topic == "malaria")
    others = [row for row in sample if row.topic == "malaria" and row.language != language]
    earned = {
        name: rewards.composite(rewards.score(text, own))
        for name, text in playgrounds.hacks(own, others).items()
    }
    assert earned.pop("honest") == pytest.approx(1.0)
    assert {name: total for name, total in earned.items() if total > 0.95} == {}
    judged_right = [
        name
        for name in earned
        if rewards.score(playgrounds.hacks(own, others)[name], own)["accuracy"]
    ]
    assert set(judged_right) <= {"empty steps", "no reasoning"}
