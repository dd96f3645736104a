"""Offline verdicts beside the published ones."""

import math

import make
import pandas as pd
import pytest

from curemed_utils.data import DataError
from curemed_utils.evaluation import calibration, labels
from curemed_utils.paper import figures_data

FRENCH = "Le patient est atteint de la grippe saisonnière et doit rester au lit."
ENGLISH = "The patient suffers from seasonal influenza and should stay in bed."
THAI = "ควรพบแพทย์เพื่อรับการรักษาที่เหมาะสมต่อไป"
PARTS = ["lc", "language_only", "cut_only", "both", "neither", "undecided", "blank"]


# What was published -----------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A function that writes outputs and their verdicts on language as the release has them."""

    def write(responses, verdicts, kind="language", **where):
        return make.released_verdicts(tmp_path, verdicts, kind=kind, responses=responses, **where)

    return write


def test_published_outputs_keep_their_order_and_verdicts(tree):
    tree([FRENCH, ENGLISH, ""], ["True", "false", ""])
    root = tree(["x"], ["True"], model="gpt/gpt5_nano", language="Thai")
    outputs = calibration.released_outputs(root)
    columns = ["model", "language", "row", "question", "reference", "response", "published"]
    assert outputs.columns.tolist() == columns
    first = [["Claude 3 Haiku", "French", number] for number in range(3)]
    expected = [*first, ["GPT-5-nano", "Thai", 0]]
    assert outputs[["model", "language", "row"]].to_numpy().tolist() == expected
    assert outputs["response"].tolist() == [FRENCH, ENGLISH, "", "x"]
    assert outputs["published"].tolist() == [True, False, pd.NA, True]
    assert (outputs["question"].unique(), outputs["reference"].unique()) == ("Q", "R")


def test_verdicts_on_logic_are_not_taken_for_language(tree):
    tree(["logic"], ["False"], kind="logic")
    outputs = calibration.released_outputs(tree([FRENCH], ["True"]))
    assert outputs["response"].tolist() == [FRENCH]


def test_a_release_with_logic_verdicts_alone_says_what_is_missing(tree):
    with pytest.raises(FileNotFoundError, match="BaseModel_language_evaluation"):
        calibration.released_outputs(tree(["logic"], ["False"], kind="logic"))


def test_a_missing_column_and_an_odd_verdict_are_named(tree):
    root = tree([FRENCH, FRENCH], ["True", "Maybe"])
    with pytest.raises(DataError, match=r"\.csv, row 1: Language_Score is 'Maybe'"):
        calibration.released_outputs(root)
    next(root.rglob("*.csv")).write_text("Question,Response,Language_Score\nQ,R,True\n")
    with pytest.raises(DataError, match=r"French_x_language_evaluation\.csv: .*Test Response"):
        calibration.released_outputs(root)


# Complete or cut --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (FRENCH, "French"),
        ("Est-ce grave ?", "French"),
        (f"**{FRENCH}**\n", "French"),
        ("Il faut boire (surtout de l'eau.)", "French"),
        ("« Il faut boire. »", "French"),
        ("| a | b |\n|---|---|\n| c | Il faut boire. |", "French"),
        ("रोगी को आराम करना चाहिए।", "Hindi"),
        ("ታካሚው ማረፍ አለበት።", "Amharic"),
        ("ታካሚው ማረፍ አለበት፡፡", "Amharic"),
        ("患者は安静が必要です。", "Japanese"),
        ("患者は安静が必要です（入院）。", "Japanese"),
        ("ควรพบแพทย์ทันที.", "Thai"),
        ("À revoir dans 7 à 12.", "French"),
        ("<thinking><step1>x</step1></thinking><answer>grippe</answer>", "French"),
    ],
)
def test_complete(text, language):
    assert calibration.completeness(text, language) == (True, "")


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", "French", "empty"),
        ("Le patient est atteint de", "French", "no sentence mark"),
        ("Le patient (fièvre)", "French", "no sentence mark"),
        ("Le patient est atteint de **la grippe**", "French", "no sentence mark"),
        ("Voici pourquoi :", "French", "no sentence mark"),
        ("Fièvre, toux,", "French", "no sentence mark"),
        ("Les risques suivants.\n\n1.", "French", "empty list item"),
        ("Les risques suivants.\n-", "French", "empty list item"),
        ("患者は安静が必要で、", "Japanese", "no sentence mark"),
        ("รวมถึงไวรัส (", "Thai", "dangling"),
        ("โรคงูสวัด (Herpes Zoster) ซึ่ง", "Thai", "dangling"),
        ("ผู้ป่วยควรพบแพทย์และ", "Thai", "dangling"),
        ("โดยเฉพาะ (โรคหัวใจ", "Thai", "dangling"),
        ("ควรฉีด **วัคซีน", "Thai", "dangling"),
        ("Important information on the flow to the", "Thai", "no sentence mark"),
        ("<thinking><step1>x.</step1>", "French", "no closed answer"),
        (
            "<thinking><step1>x.</step1></thinking><answer>Il faut boire.",
            "French",
            "no closed answer",
        ),
    ],
)
def test_cut_off(text, language, reason):
    verdict, why = calibration.completeness(text, language)
    assert verdict is False and reason in why


def test_a_thai_end_without_a_mark_is_undecided():
    assert calibration.completeness(THAI, "Thai").verdict is None


@pytest.fixture
def judged(tree):
    """Five French responses of one model and two Thai ones, judged."""
    responses = [FRENCH, FRENCH[:-10], ENGLISH, ENGLISH[:-5], FRENCH]
    tree(responses, ["True", "False", "False", "False", "False"])
    root = tree([THAI, "ควรพบแพทย์ทันที."], ["False", ""], language="Thai")
    return calibration.judge_offline(calibration.released_outputs(root))


def test_the_offline_verdicts_stand_beside_the_published(judged):
    assert judged["in_language"].tolist()[:5] == [True, True, False, False, True]
    assert judged["complete"].tolist() == [True, False, True, False, True, pd.NA, True]
    assert judged["reason"][2].startswith("reads as en")
    assert judged["cut"][1].startswith("no sentence mark")
    assert judged["published"].tolist()[:2] == [True, False]
    assert judged["in_language"].dtype == judged["complete"].dtype == "boolean"


def test_the_language_of_the_answer_counts_where_there_is_one():
    response = f"<thinking><step1>{ENGLISH}</step1></thinking><answer>{FRENCH}</answer>"
    table = pd.DataFrame({"language": ["French"], "response": [response]})
    assert calibration.judge_offline(table)["in_language"].tolist() == [True]


# Agreement --------------------------------------------------------------------------------------


def compared(*cells):
    return calibration.compare(make.judged_outputs(cells), "model").loc["m"]


def test_agreement_by_hand():
    line = compared(
        (True, True, True, 40),
        (True, True, False, 10),
        (True, False, False, 25),
        (False, True, True, 5),
        (False, True, False, 20),
    )
    # 40 + 45 of 100 agree; by chance .5 * .45 + .5 * .55 = .5
    assert line["agreement"] == pytest.approx(85) and line["kappa"] == pytest.approx(0.7)
    assert line[["n", "n_scored", "false_accept", "false_reject"]].tolist() == [100, 100, 10, 5]


def test_undecided_and_blank_are_counted_and_never_scored():
    line = compared(
        (True, True, True, 3),
        (None, True, True, 2),
        (True, None, False, 4),
        (False, None, False, 1),
        (True, True, None, 5),
    )
    assert line[["n", "n_scored", "agreement"]].tolist() == [15, 4, 100]


def test_nothing_scored_is_nan_not_zero():
    line = compared((None, True, True, 2))
    assert line[["agreement", "kappa"]].isna().all()


def test_groups_may_have_two_names():
    table = make.judged_outputs([(True, True, True, 1)])
    assert calibration.compare(table, ["model", "language"]).index.tolist() == [("m", "French")]


def test_the_decomposition_adds_up():
    cells = [
        (True, True, True, 40),
        (False, True, True, 2),
        (False, True, False, 10),
        (True, False, False, 20),
        (False, False, False, 6),
        (True, True, False, 8),
        (None, True, False, 3),
        (False, None, False, 1),
        (True, True, None, 10),
    ]
    other = make.judged_outputs([(True, True, True, 1)], model="other")
    table = pd.concat([make.judged_outputs(cells), other])
    shares = calibration.decompose(table).loc["m"]
    assert shares[PARTS].tolist() == [42, 10, 20, 6, 8, 4, 10]
    assert (shares["n"], shares["n_complete"]) == (100, 73)
    assert shares["lc_complete"] == pytest.approx(100 * 42 / 73)


def test_without_a_complete_response_its_share_is_nan():
    shares = calibration.decompose(make.judged_outputs([(True, False, False, 2)])).loc["m"]
    assert math.isnan(shares["lc_complete"]) and shares["n_complete"] == 0


# The picture ------------------------------------------------------------------------------------


def test_the_bars_of_each_model_add_up():
    cells = [(True, True, True, 60), (True, False, False, 30), (False, True, False, 10)]
    other = make.judged_outputs([(True, True, True, 5)], "b")
    table = pd.concat([make.judged_outputs(cells, "a"), other])
    (ax,) = figures_data.lc_decomposition(calibration.decompose(table).reset_index()).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    widths = {bars.get_label(): round(bars[0].get_width()) for bars in ax.containers}
    expected = {"consistent, as published": 60, "only cut off": 30, "only other language": 10}
    assert widths == expected
    assert ax.lines[0].get_xdata()[0] == pytest.approx(100 * 60 / 70)


# The released data ------------------------------------------------------------------------------

MODELS = ["Claude 3 Haiku", "GPT-5-nano", "Gemini 2.5 Pro"]


@pytest.fixture(scope="module")
def released_table(release):
    return calibration.judge_offline(calibration.released_outputs(release))


def test_the_released_rows_are_all_there(released_table):
    sizes = released_table.groupby("model").size()
    assert set(MODELS) <= set(sizes.index) and set(sizes) == {1431}
    assert len(set(labels.response_ids(released_table))) == len(released_table)


def test_as_many_released_outputs_are_cut_as_reading_them_finds(released_table):
    """Shares counted without this rule; two points apart at most."""
    cut = 100 * (~released_table["complete"]).groupby(released_table["model"]).mean()
    for model, share in zip(MODELS, (1, 31, 94), strict=True):
        assert abs(cut[model] - share) < 2
    undecided = released_table[released_table["complete"].isna()]
    assert set(undecided["language"]) == {"Thai"}


def test_released_outputs_called_cut_are_the_long_ones(released_table):
    """GPT-5-nano stopped at a token limit: what is cut must lie near its language's longest."""
    nano = released_table[released_table["model"].eq("GPT-5-nano")].dropna(subset="complete")
    length = nano["response"].str.len()
    longest = length.groupby(nano["language"]).transform(lambda values: values.quantile(0.9))
    share = length / longest
    assert share[~nano["complete"]].quantile(0.05) > 0.8
    assert share[nano["complete"]].median() < 0.7


def test_the_offline_check_agrees_with_the_publication(released_table):
    overall = calibration.compare(released_table.assign(all="all"), "all").loc["all"]
    assert overall["agreement"] > 84 and overall["kappa"] > 0.69
    assert overall["n_scored"] > 0.93 * overall["n"]
    models = calibration.compare(released_table, "model")["agreement"]
    assert models["Gemini 2.5 Pro"] > models["GPT-5-nano"] < models["Claude 3 Haiku"]


def test_published_lc_is_mostly_truncation(released_table):
    shares = calibration.decompose(released_table)
    assert shares["lc"].round(2)[MODELS].tolist() == [93.43, 69.11, 4.33]
    claude, nano, gemini = shares.loc[MODELS, "cut_only"]
    assert gemini > 80 > nano > 10 > claude
    assert (shares["lc_complete"] >= shares["lc"]).all()
    assert shares[PARTS].sum(axis=1).tolist() == pytest.approx([100] * len(shares))
