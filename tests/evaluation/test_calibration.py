import csv
import math

import numpy as np
import pandas as pd
import pytest

from curemed_utils.data import DataError
from curemed_utils.evaluation import calibration
from curemed_utils.paper import figures

FRENCH = "Le patient est atteint de la grippe saisonnière et doit rester au lit."
ENGLISH = "The patient suffers from seasonal influenza and should stay in bed."


# What was published -------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A function that writes one CSV of outputs and language verdicts as the release has them."""

    def write(responses, verdicts, model="claude", kind="language", language="French"):
        folder = tmp_path / "baseline_inference" / "closed_source" / model / f"BaseModel_{kind}_evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        rows = {"Question": "Q", "Response": "R", "Test Response": responses, f"{kind.title()}_Score": verdicts}
        pd.DataFrame(rows).to_csv(folder / f"{language}_x_{kind}_evaluation.csv", index=False)
        return tmp_path

    return write


def test_published_outputs_keep_their_order_and_verdicts(tree):
    tree([FRENCH, ENGLISH, ""], ["True", "false", ""])
    found = calibration.published(tree(["x"], ["True"], model="gpt/gpt5_nano", language="Thai"))
    assert found.columns.tolist() == ["model", "language", "row", "question", "reference", "response", "published"]
    assert found[["model", "language", "row"]].to_numpy().tolist() == [
        ["Claude 3 Haiku", "French", 0], ["Claude 3 Haiku", "French", 1], ["Claude 3 Haiku", "French", 2], ["GPT-5-nano", "Thai", 0],
    ]  # fmt: skip
    assert found["response"].tolist() == [FRENCH, ENGLISH, "", "x"]
    assert found["published"].tolist() == [True, False, pd.NA, True]
    assert (found["question"].unique(), found["reference"].unique()) == ("Q", "R")


def test_verdicts_on_logic_are_not_taken_for_language(tree):
    tree(["logic"], ["False"], kind="logic")
    assert calibration.published(tree([FRENCH], ["True"]))["response"].tolist() == [FRENCH]


def test_a_release_with_logic_verdicts_alone_says_what_is_missing(tree):
    with pytest.raises(FileNotFoundError, match="BaseModel_language_evaluation"):
        calibration.published(tree(["logic"], ["False"], kind="logic"))


def test_a_missing_column_and_an_odd_verdict_are_named(tree):
    root = tree([FRENCH, FRENCH], ["True", "Maybe"])
    with pytest.raises(DataError, match=r"French_x_language_evaluation\.csv, row 1: Language_Score is 'Maybe'"):
        calibration.published(root)
    next(root.rglob("*.csv")).write_text("Question,Response,Language_Score\nQ,R,True\n")
    with pytest.raises(DataError, match=r"French_x_language_evaluation\.csv: .*Test Response"):
        calibration.published(root)


# Complete or cut ----------------------------------------------------------------------------------------------------


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
        ("<thinking><step1>x.</step1></thinking><answer>Il faut boire.", "French", "no closed answer"),
    ],
)
def test_cut_off(text, language, reason):
    verdict, why = calibration.completeness(text, language)
    assert verdict is False and reason in why


def test_a_thai_end_without_a_mark_is_undecided():
    assert calibration.completeness("ควรพบแพทย์เพื่อรับการรักษาที่เหมาะสมต่อไป", "Thai").verdict is None


@pytest.fixture
def judged(tree):
    """Five French responses of one model and two Thai ones, judged."""
    responses = [FRENCH, FRENCH[:-10], ENGLISH, ENGLISH[:-5], FRENCH]
    tree(responses, ["True", "False", "False", "False", "False"])
    return calibration.judge_offline(
        calibration.published(tree(["ควรพบแพทย์เพื่อรับการรักษาที่เหมาะสมต่อไป", "ควรพบแพทย์ทันที."], ["False", ""], language="Thai"))
    )


def test_the_offline_verdicts_stand_beside_the_published(judged):
    assert judged["in_language"].tolist()[:5] == [True, True, False, False, True]
    assert judged["complete"].tolist() == [True, False, True, False, True, pd.NA, True]
    assert judged["reason"][2].startswith("reads as en") and judged["cut"][1].startswith("no sentence mark")
    assert judged["published"].tolist()[:2] == [True, False]
    assert judged["in_language"].dtype == judged["complete"].dtype == "boolean"


def test_the_language_of_the_answer_counts_where_there_is_one():
    table = pd.DataFrame({"language": ["French"], "response": [f"<thinking><step1>{ENGLISH}</step1></thinking><answer>{FRENCH}</answer>"]})
    assert calibration.judge_offline(table)["in_language"].tolist() == [True]


# Agreement ----------------------------------------------------------------------------------------------------------


def verdicts(cells, model="m", language="French"):
    """A table with `count` rows of (in_language, complete, published) for each cell."""
    rows = [cell for *cell, count in cells for _ in range(count)]
    table = pd.DataFrame(rows, columns=["in_language", "complete", "published"]).astype("boolean")
    n = range(len(table))
    texts = {"row": n, "question": "Q", "reference": "R", "response": [f"text {i}" for i in n], "reason": "", "cut": ""}
    return table.assign(model=model, language=language, **texts)


def test_agreement_by_hand():
    cells = [(True, True, True, 40), (True, True, False, 10), (True, False, False, 25), (False, True, True, 5), (False, True, False, 20)]
    found = calibration.agreement(verdicts(cells), "model").loc["m"]
    # 40 + 45 of 100 agree; by chance .5 * .45 + .5 * .55 = .5
    assert (found["agreement"], found["kappa"]) == (pytest.approx(85), pytest.approx(0.7))
    assert found[["n", "n_scored", "false_accept", "false_reject"]].tolist() == [100, 100, 10, 5]
    assert (found["n_complete"], found["agreement_complete"]) == (75, pytest.approx(80))


def test_undecided_and_blank_are_counted_and_never_scored():
    cells = [(True, True, True, 3), (None, True, True, 2), (True, None, False, 4), (False, None, False, 1), (True, True, None, 5)]
    found = calibration.agreement(verdicts(cells), ["model", "language"]).loc[("m", "French")]
    assert found[["n", "n_scored", "n_undecided", "n_blank", "agreement"]].tolist() == [15, 4, 6, 5, 100]


def test_nothing_scored_is_nan_not_zero():
    found = calibration.agreement(verdicts([(None, True, True, 2)]), "model").loc["m"]
    assert math.isnan(found["agreement"]) and math.isnan(found["kappa"]) and math.isnan(found["agreement_complete"])


def test_kappa_is_zero_by_chance_and_undefined_for_two_constants():
    a, b = pd.Series([True, True, False, False]), pd.Series([True, False, True, False])
    assert (calibration.kappa(a, a), calibration.kappa(a, b), calibration.kappa(a, ~a)) == (1, 0, -1)
    always = pd.Series([True, True])
    assert math.isnan(calibration.kappa(always, always))


def test_the_decomposition_adds_up():
    cells = [
        (True, True, True, 40), (False, True, True, 2), (False, True, False, 10), (True, False, False, 20), (False, False, False, 6),
        (True, True, False, 8), (None, True, False, 3), (False, None, False, 1), (True, True, None, 10),
    ]  # fmt: skip
    found = calibration.decompose(pd.concat([verdicts(cells), verdicts([(True, True, True, 1)], "other")])).loc["m"]
    columns = ["lc", "language_only", "cut_only", "both", "neither", "undecided", "blank"]
    assert found[columns].tolist() == [42, 10, 20, 6, 8, 4, 10]
    assert (found["n"], found["n_complete"], found["lc_complete"]) == (100, 73, pytest.approx(100 * 42 / 73))


def test_disagreements_are_seeded_and_balanced_over_languages():
    parts = [verdicts([(True, True, False, n), (True, True, True, 50), (None, True, False, 9)], language=name)
             for name, n in (("French", 40), ("Thai", 3), ("Hindi", 12))]  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    found = calibration.disagreements(table, 17, seed=1)
    assert found["language"].value_counts().to_dict() == {"French": 7, "Hindi": 7, "Thai": 3}
    assert not found["published"].any() and found["in_language"].all() and {"reason", "cut"} <= set(found)
    pd.testing.assert_frame_equal(found, calibration.disagreements(table, 17, seed=1))
    assert found["row"].tolist() != calibration.disagreements(table, 17, seed=2)["row"].tolist()
    assert len(calibration.disagreements(table, 999)) == 55


# The labelling sheet ------------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    """130 rows a language, most of them accepted."""
    cells = [(True, True, True, 100), (True, False, False, 20), (False, True, False, 4), (None, True, True, 6)]
    return pd.concat([verdicts(cells, language=name) for name in ("French", "Thai")], ignore_index=True)


def cells_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, change):
    """Rewrites a sheet with `change(number, record)` applied to every record."""
    rows = cells_of(path)
    for number, record in enumerate(rows):
        change(number, record)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_takes_equal_parts_and_hides_model_and_verdict(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "new" / "sheet.csv", 16, seed=3)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = cells_of(path)
    assert list(rows[0]) == list(calibration.SHEET)
    assert [row["language"] for row in rows] == ["French"] * 16 + ["Thai"] * 16
    assert {row[name] for row in rows for name in ("in_language", "complete", "correct", "labeller", "note")} == {""}
    drawn = table.assign(id=calibration.ids(table), outcome=calibration.outcomes(table)).set_index("id").loc[[row["id"] for row in rows]]
    counts = drawn.groupby(["language", "outcome"]).size()
    assert counts["French"].to_dict() == {"accepted": 4, "cut off": 4, "other language": 4, "undecided": 4}
    assert len(drawn) == drawn.index.nunique() == 32
    again = calibration.write_sheet(table, tmp_path / "again.csv", 16, seed=3)
    assert again.read_bytes() == path.read_bytes()
    assert calibration.write_sheet(table, tmp_path / "other.csv", 16, seed=4).read_bytes() != path.read_bytes()


def test_ids_hold_on_to_the_response_whatever_the_order(table):
    ids = calibration.ids(table)
    assert calibration.ids(table.iloc[::-1]) == ids[::-1] and len(set(ids)) == len(table)
    changed = calibration.ids(table.assign(response="another"))
    assert not set(changed) & set(ids)


@pytest.mark.parametrize("start", ["=1+1", "+1", "-fièvre", "@x", "\tx"])
def test_a_cell_cannot_start_a_formula(start, tmp_path):
    rows = cells_of(calibration.write_sheet(verdicts([(True, True, True, 1)]).assign(response=start), tmp_path / "s.csv", 1))
    assert rows[0]["response"] == f"'{start}"
    assert rows[0]["question"] == "Q"


def test_a_sheet_survives_line_breaks_quotes_and_odd_separators(tmp_path):
    text = 'a "quoted", cell;\nwith lines\u2028and \x85 more\r\n'
    path = calibration.write_sheet(verdicts([(True, True, True, 3)]).assign(response=text), tmp_path / "s.csv", 3)
    fill(path, lambda n, record: record.update(in_language="yes"))
    assert calibration.read_sheet(path).table["in_language"].tolist() == [True] * 3
    assert {row["response"] for row in cells_of(path)} == {text}


def test_labels_are_read_and_what_is_missing_is_counted(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 4)
    given = [("Yes", "no ", "unsure"), ("unsure", "", ""), ("", "", ""), ("no", "yes", "yes")]
    fill(path, lambda n, record: record.update(zip(calibration.LABELS, given[n % 4], strict=True), labeller="L", note="n"))
    labels = calibration.read_sheet(path)
    assert (labels.n_unlabelled, labels.n_unsure, len(labels.table)) == (2, 4, 8)
    assert labels.table["in_language"].tolist()[:4] == [True, pd.NA, pd.NA, False]
    assert labels.table["complete"].tolist()[:4] == [False, pd.NA, pd.NA, True]
    assert labels.table["correct"].tolist()[:4] == [pd.NA, pd.NA, pd.NA, True]
    assert labels.table.loc[0, ["language", "labeller", "note"]].tolist() == ["French", "L", "n"]


def test_a_sheet_saved_with_semicolons_is_read(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 4)
    fill(path, lambda n, record: record.update(correct="no"))
    pd.read_csv(path, dtype=str, keep_default_na=False).to_csv(path, sep=";", index=False)
    assert calibration.read_sheet(path).table["correct"].tolist() == [False] * 8


def test_a_wrong_label_names_file_line_and_column(tmp_path):
    path = calibration.write_sheet(verdicts([(True, True, True, 3)]).assign(response="two\nlines"), tmp_path / "s.csv", 3)
    fill(path, lambda n, record: record.update(complete="maybe" if n == 2 else "yes"))
    with pytest.raises(DataError, match=r"s\.csv, line 6 \(sheet row 4\), column 'complete': 'maybe' is not yes, no, unsure or empty"):
        calibration.read_sheet(path)


def test_a_repeated_id_a_lost_column_and_another_encoding_are_named(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 2)
    fill(path, lambda n, record: record.update(id="r1"))
    with pytest.raises(DataError, match=r"s\.csv, line 3 \(sheet row 3\), column 'id': 'r1' stands there twice"):
        calibration.read_sheet(path)
    path.write_text("id,language,response\n")
    with pytest.raises(DataError, match=r"s\.csv, line 1: no column question, reference, in_language"):
        calibration.read_sheet(path)
    path.write_bytes("id,fièvre\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"s\.csv is not UTF-8 at byte 5"):
        calibration.read_sheet(path)


def test_a_sheet_with_a_label_is_never_overwritten(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 4, seed=1)
    calibration.write_sheet(table, path, 6, seed=2)
    assert len(cells_of(path)) == 12
    fill(path, lambda n, record: record.update(correct="maybe" if n == 5 else ""))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"s\.csv already holds labels"):
        calibration.write_sheet(table, path, 4)
    assert path.read_bytes() == before


# Corrected rates ----------------------------------------------------------------------------------------------------


def labelled(cells):
    """Labels of (verdict, truth, weight, count)."""
    rows = [cell for *cell, count in cells for _ in range(count)]
    return pd.DataFrame(rows, columns=["verdict", "truth", "weight"])


def share(n_true, n_false, n_undecided=0):
    return pd.Series([True] * n_true + [False] * n_false + [None] * n_undecided, dtype="boolean")


def test_rogan_gladen_by_hand():
    # sensitivity 45 / 50, specificity 40 / 50; (.6 + .8 - 1) / (.9 + .8 - 1)
    labels = labelled([(True, True, 1, 45), (False, True, 1, 5), (False, False, 1, 40), (True, False, 1, 10)])
    found = calibration.corrected_rate(share(600, 400, 77), labels)
    assert found.estimate == pytest.approx(0.4 / 0.7)
    assert (found.n, found.reason) == (100, "")
    assert 0.35 < found.low < found.estimate < found.high < 0.75
    assert found == calibration.corrected_rate(share(600, 400), labels)
    assert found != calibration.corrected_rate(share(600, 400), labels, seed=1)


def test_weights_undo_the_stratified_sample():
    # 700 accepted, 300 rejected, 20 labels of each: 95% and 30% yes
    labels = labelled([(True, True, 35, 19), (True, False, 35, 1), (False, True, 15, 6), (False, False, 15, 14)])
    found = calibration.corrected_rate(share(700, 300), labels)
    assert found.estimate == pytest.approx(0.7 * 0.95 + 0.3 * 0.3)
    flat = calibration.corrected_rate(share(700, 300), labels.assign(weight=1))
    assert abs(flat.estimate - found.estimate) > 0.05


def test_more_labels_narrow_the_interval_and_rates_stay_within_bounds():
    cells = [(True, True, 1, 18), (False, True, 1, 2), (False, False, 1, 17), (True, False, 1, 3)]
    few, many = (calibration.corrected_rate(share(500, 500), labelled([(*c, k * n) for *c, n in cells])) for k in (1, 16))
    assert many.high - many.low < 0.45 * (few.high - few.low)
    top = calibration.corrected_rate(share(95, 5), labelled(cells))
    assert top.estimate == top.high == 1 and 0.5 < top.low < 1
    bottom = calibration.corrected_rate(share(10, 90), labelled(cells))
    assert bottom.estimate == bottom.low == 0 and 0 < bottom.high < 0.5


def test_a_rate_that_the_labels_rule_out_is_nan_and_not_certainty():
    labels = labelled([(True, True, 1, 90), (False, True, 1, 10), (False, False, 1, 85), (True, False, 1, 15)])
    for seen in (share(1000, 0), share(0, 1000)):
        found = calibration.corrected_rate(seen, labels)
        assert math.isnan(found.estimate) and "errs otherwise here" in found.reason


def test_labels_that_may_mean_chance_leave_everything_open():
    labels = labelled([(True, True, 1, 3), (False, True, 1, 2), (False, False, 1, 3), (True, False, 1, 2)])
    assert calibration.corrected_rate(share(50, 50), labels)[:3] == (pytest.approx(0.5), 0, 1)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([(True, True, 1, 5), (True, False, 1, 5)], "none among the rejected"),
        ([(False, True, 1, 5), (False, False, 1, 5)], "no label among the accepted"),
        ([(True, True, 1, 5), (False, True, 1, 5)], "every label says the same"),
        ([(True, False, 1, 5), (False, False, 1, 5)], "every label says the same"),
        ([(True, True, 1, 5), (True, False, 1, 5), (False, True, 1, 5), (False, False, 1, 5)], "no better than chance: sensitivity 0.50"),
        ([], "no label"),
    ],
)
def test_a_rate_that_labels_cannot_tell_is_nan_and_says_why(cells, reason):
    found = calibration.corrected_rate(share(60, 40), labelled(cells))
    assert math.isnan(found.estimate) and math.isnan(found.low) and math.isnan(found.high)
    assert reason in found.reason
    assert calibration.corrected_rate(share(0, 0, 3), labelled(cells)).reason == "no verdict to correct"


@pytest.mark.parametrize("per_verdict", [25, 60])
def test_the_interval_covers_the_truth(per_verdict):
    """Of 300 simulated sheets, drawn half and half from a check that accepts 80%, about 95% must cover the true share."""
    rng = np.random.default_rng(0)
    accepted, precision, missed = 0.8, 0.97, 0.2
    true, hits, widths = accepted * precision + (1 - accepted) * missed, 0, []
    for _ in range(300):
        right, wrong = rng.binomial(per_verdict, precision), rng.binomial(per_verdict, missed)
        cells = [
            (True, True, 8, right),
            (True, False, 8, per_verdict - right),
            (False, True, 2, wrong),
            (False, False, 2, per_verdict - wrong),
        ]
        n = rng.binomial(1000, accepted)
        found = calibration.corrected_rate(share(n, 1000 - n), labelled(cells), draws=1000)
        hits += found.low <= true <= found.high
        widths.append(found.high - found.low)
    assert 0.92 <= hits / 300 <= 0.995
    assert np.mean(widths) < 1.3 / math.sqrt(per_verdict)


def test_labels_of_a_sheet_correct_the_rate_of_its_table(tmp_path):
    cells = [(True, True, True, 160), (True, False, False, 40), (False, True, False, 40), (None, True, True, 10)]
    table = pd.concat([verdicts(cells, language=name) for name in ("French", "Thai")], ignore_index=True)
    path = calibration.write_sheet(table, tmp_path / "s.csv", 40)
    outcome = dict(zip(calibration.ids(table), calibration.outcomes(table), strict=True))
    order = {}

    def label(number, record):
        """Every fifth accepted response and every second of another language is the other way round."""
        key = (record["language"], outcome[record["id"]])
        order[key] = order.get(key, -1) + 1
        wrong = {"accepted": order[key] % 5 == 0, "other language": order[key] % 2 == 0}.get(key[1], False)
        record["in_language"] = "no" if wrong ^ (key[1] == "other language") else "yes"

    fill(path, label)
    labels = calibration.weigh(table, calibration.read_sheet(path).table, "in_language")
    assert labels["weight"].sum() == pytest.approx(480) and len(labels) == 60
    assert labels.groupby("verdict")["weight"].sum().tolist() == pytest.approx([80, 400])
    found = calibration.corrected_rate(table["in_language"], labels)
    assert found.estimate == pytest.approx((2 * 160 * 0.8 + 80 + 80 * 0.5) / 480)
    assert found.low < found.estimate < found.high


def test_a_group_without_labels_is_stood_for_by_the_same_verdict(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 16)
    fill(path, lambda n, record: record.update(in_language="yes" if record["language"] == "French" else ""))
    labels = calibration.weigh(table, calibration.read_sheet(path).table, "in_language")
    assert set(labels["language"]) == {"French"}
    assert labels.groupby("verdict")["weight"].sum().tolist() == pytest.approx([8, 240])


def test_an_unlabelled_sheet_corrects_nothing(table, tmp_path):
    labels = calibration.read_sheet(calibration.write_sheet(table, tmp_path / "s.csv", 4))
    assert labels.n_unlabelled == len(labels.table) == 8
    found = calibration.corrected_rate(table["complete"], calibration.weigh(table, labels.table, "complete"))
    assert found.n == 0 and found.reason.startswith("no label")


def test_labels_of_another_table_are_refused(table, tmp_path):
    path = calibration.write_sheet(table, tmp_path / "s.csv", 4)
    with pytest.raises(DataError, match=r"8 labelled ids, such as 'r\w+', are not in the table"):
        calibration.weigh(table.assign(response="another"), calibration.read_sheet(path).table, "complete")


# The picture --------------------------------------------------------------------------------------------------------


def test_the_bars_of_each_model_add_up():
    parts = [
        verdicts([(True, True, True, 60), (True, False, False, 30), (False, True, False, 10)], "a"),
        verdicts([(True, True, True, 5)], "b"),
    ]
    (ax,) = figures.lc_decomposition(calibration.decompose(pd.concat(parts)).reset_index()).axes
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert {name: round(width[0]) for name, width in widths.items()} == {
        "consistent, as published": 60, "only cut off": 30, "only other language": 10,
    }  # fmt: skip
    assert sum(width[0] for width in widths.values()) == pytest.approx(100)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(100 * 60 / 70)


# The released data --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released_table(release):
    return calibration.judge_offline(calibration.published(release))


def test_the_released_rows_are_all_there(released_table):
    sizes = released_table.groupby("model").size()
    assert {"GPT-5-nano", "Gemini 2.5 Pro", "Claude 3 Haiku"} <= set(sizes.index) and set(sizes) == {1431}
    assert len(set(calibration.ids(released_table))) == len(released_table)


def test_as_many_released_outputs_are_cut_as_reading_them_finds(released_table):
    """Shares counted without this rule: Claude 1%, GPT-5-nano 31%, Gemini Pro 94%; two points apart at most."""
    cut = 100 * (~released_table["complete"]).groupby(released_table["model"]).mean()
    for model, share in {"Claude 3 Haiku": 1, "GPT-5-nano": 31, "Gemini 2.5 Pro": 94}.items():
        assert abs(cut[model] - share) < 2
    undecided = released_table[released_table["complete"].isna()]
    assert set(undecided["language"]) == {"Thai"}


def test_released_outputs_called_cut_are_the_long_ones(released_table):
    """GPT-5-nano stopped at a token limit: an output that the rule calls cut must lie near its language's longest."""
    nano = released_table[released_table["model"].eq("GPT-5-nano") & released_table["complete"].notna()]
    length = nano["response"].str.len() / nano.groupby("language")["response"].transform(lambda texts: texts.str.len().quantile(0.9))
    assert length[~nano["complete"]].quantile(0.05) > 0.8
    assert length[nano["complete"]].median() < 0.7


def test_the_offline_check_agrees_with_the_publication(released_table):
    overall = calibration.agreement(released_table.assign(all="all"), "all").loc["all"]
    assert overall["agreement"] > 84 and overall["kappa"] > 0.69
    assert overall["n_scored"] > 0.93 * overall["n"]
    models = calibration.agreement(released_table, "model")["agreement"]
    assert models["Gemini 2.5 Pro"] > models["GPT-5-nano"] < models["Claude 3 Haiku"]


def test_published_lc_is_mostly_truncation(released_table):
    found = calibration.decompose(released_table)
    assert found["lc"].round(2)[["Claude 3 Haiku", "GPT-5-nano", "Gemini 2.5 Pro"]].tolist() == [93.43, 69.11, 4.33]
    assert found.loc["Gemini 2.5 Pro", "cut_only"] > 80 > found.loc["GPT-5-nano", "cut_only"] > 10 > found.loc["Claude 3 Haiku", "cut_only"]
    assert (found["lc_complete"] >= found["lc"]).all()
    parts = ["lc", "language_only", "cut_only", "both", "neither", "undecided", "blank"]
    assert found[parts].sum(axis=1).tolist() == pytest.approx([100] * len(found))
