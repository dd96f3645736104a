import pandas as pd
import pytest

from curemed_utils import audit, data, trace

FRENCH = (
    "Quel traitement proposez-vous à une femme enceinte qui souffre d'un paludisme grave avec une "
    "forte fièvre ?"
)
STEPS = "<thinking><step1>un</step1><step2>deux</step2></thinking>"


def logged(cleaned):
    return list(cleaned.log[["id", "action", "reason"]].itertuples(index=False, name=None))


def test_only_wrong_numbers_are_renumbered(make_row):
    wrong = "<thinking><step1>un</step1> <step2>deux</step1><step4>trois</step3></thinking>"
    lost = [
        wrong.replace("</step3>", ""),
        "<thinking><step1>a<step2>b</step2></step1></thinking>",
        "<thinking>rien</thinking>",
    ]
    rows = [make_row(n, reasoning=trace) for n, trace in enumerate([wrong, STEPS, *lost, ""])]
    cleaned = audit.clean({"sft": rows})
    assert [row.id for row in cleaned.splits["sft"]] == ["r0", "r1", "r5"] and cleaned.splits[
        "sft"
    ][1] == rows[1]
    assert (
        cleaned.splits["sft"][0].reasoning
        == "<thinking><step1>un</step1> <step2>deux</step2><step3>trois</step3></thinking>"
    )
    assert logged(cleaned) == [
        ("r0", "renumbered", "malformed_steps"),
        *((f"r{n}", "dropped", "malformed_steps") for n in (2, 3, 4)),
    ]
    assert rows[0].reasoning == wrong


def test_a_good_copy_survives_a_bad_one(make_row):
    bad = {
        "question": FRENCH,
        "answer": "<answer>She should be treated with artesunate in the hospital.</answer>",
    }
    cleaned = audit.clean(
        {
            "sft": [make_row(0, **bad)],
            "rft": [make_row(1, question=FRENCH), make_row(2, question=FRENCH)],
        }
    )
    assert [row.id for row in cleaned.splits["rft"]] == ["r1"] and cleaned.splits["sft"] == []
    assert logged(cleaned) == [
        ("r0", "dropped", "answer_language"),
        ("r2", "dropped", "duplicates_rft"),
    ]


def test_leaks_go_from_training_and_test_stays(make_row):
    near = make_row(1, question=FRENCH.replace("enceinte", "âgée"))
    splits = {
        "sft": [near, make_row(2)],
        "rft": [make_row(3), make_row(2, id="twice")],
        "test": [make_row(0, question=FRENCH)],
    }
    cleaned = audit.clean(splits, against={"ood": [make_row(3)]})
    assert {name: [row.id for row in rows] for name, rows in cleaned.splits.items()} == {
        "sft": ["r2"],
        "rft": [],
        "test": ["r0"],
    }
    assert logged(cleaned) == [
        ("r1", "dropped", "contaminated"),
        ("r3", "dropped", "contaminated"),
        ("twice", "dropped", "rft_in_sft"),
    ]


def test_dropped_test_rows_are_logged_with_all_that_was_wrong(make_row):
    question = "Which one is it?\nA. the first of them\nB. the second of them\nC. the third of them"
    cleaned = audit.clean({"test": [make_row(0), make_row(1, question=question)]})
    (line,) = cleaned.log.to_dict("records")
    assert (
        line["split"] == "test"
        and line["row"] == 1
        and line["reason"] == "multiple_choice_questions"
    )
    assert "; question_language: reads as en" in line["detail"]
    assert cleaned.counts.loc[("dropped", "multiple_choice_questions")].to_dict() == {
        "sft": 0,
        "rft": 0,
        "test": 1,
        "all": 1,
    }


def test_advice_drops_nothing(make_row):
    rows = [make_row(0, answer="<answer>A</answer>")]
    assert audit.audit_splits({"sft": rows}).counts["short_answers"] == 1
    assert audit.clean({"sft": rows}).splits["sft"] == rows


@pytest.mark.parametrize(
    "language, question, answer",
    [
        ("Japanese", "安静時振戦を認める患者の診断はどれか。", "Parkinson病"),
        ("Japanese", "下肢の脱力が上行する患者の診断はどれか。", "Guillain-Barré症候群"),
        ("Japanese", "胃潰瘍の再発を防ぐ治療はどれか。", "Helicobacter pylori除菌"),
        ("Japanese", "右頰部の腫脹を認める。診断はどれか。", "尋常性痤瘡"),
        ("Korean", "혈당이 높아지는 병은 무엇입니까?", "당뇨병(糖尿病)은 혈당이 높아지는 병이다."),
        ("Thai", "เชื้อใดทำให้เกิดแผลในกระเพาะอาหาร", "Helicobacter pylori"),
        ("Turkish", "Menenjitin en olası etkeni nedir?", "Listeria monocytogenes"),
    ],
)
def test_a_name_in_a_short_answer_drops_no_row(make_row, language, question, answer):
    row = make_row(
        0, language=language, question=question, answer=f"<answer>{answer}</answer>", accepted=[]
    )
    cleaned = audit.clean({"sft": [row]})
    assert cleaned.log.empty and cleaned.splits["sft"] == [row]


def test_the_cleaned_set_is_written_and_read_back(make_row, tmp_path):
    cleaned = audit.clean(
        {"sft": [make_row(0, source="sft"), make_row(0, id="again")], "test": [make_row(1)]}
    )
    folder = cleaned.write(tmp_path / "clean")
    assert data.read_jsonl(folder / "sft.jsonl") == cleaned.splits["sft"]
    assert pd.read_csv(folder / "changes.csv").to_dict("records") == cleaned.log.to_dict("records")


@pytest.mark.heavy
def test_the_cleaned_release_is_clean_and_accounts_for_every_row(released):
    cleaned = audit.clean(released)
    counts = audit.audit_splits(cleaned.splits).counts
    assert {check: counts[check] for check in audit.DEFECTS if counts[check]} == {}
    gone = cleaned.log[cleaned.log.action == "dropped"]
    for split, rows in released.items():
        assert len(cleaned.splits[split]) + (gone.split == split).sum() == len(rows)
    assert cleaned.log.id.is_unique and cleaned.counts["all"].sum() == len(cleaned.log)
    assert all(trace.answer_of(row.answer) for rows in cleaned.splits.values() for row in rows)
