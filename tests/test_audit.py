import pytest

from curemed_utils import audit

STEPS = "<thinking><step1>un</step1><step2>deux</step2></thinking>"


def counts(sft=(), rft=(), test=()):
    return audit.audit_splits({"sft": list(sft), "rft": list(rft), "test": list(test)}).counts


def found(**splits):
    """The checks that found something, with their counts."""
    return {check: n for check, n in counts(**splits).items() if n}


def test_clean_rows_have_no_findings(make_row):
    assert found(sft=[make_row(0, reasoning=STEPS)], rft=[make_row(1, reasoning=STEPS)], test=[make_row(2)]) == {}


def test_every_check_has_a_count(make_row):
    assert set(counts(sft=[make_row(0)])) == set(audit.CHECKS)


@pytest.mark.parametrize("split", ["sft", "rft"])
def test_a_question_that_occurs_again_is_a_duplicate(make_row, split):
    rows = [make_row(0, question="Quel mal ?"), make_row(1), make_row(2, question=" quel  MAL ?"), make_row(3, question="Quel mal ?")]
    assert found(**{split: rows}) == {f"duplicates_{split}": 2}


def test_the_same_question_in_another_language_is_no_duplicate(make_row):
    assert found(sft=[make_row(0, question="Malaria ?"), make_row(1, question="Malaria ?", language="Spanish")]) == {}


def test_a_question_with_another_word_is_no_duplicate(make_row):
    assert found(sft=[make_row(0, question="Quel mal aigu ?"), make_row(1, question="Quel mal ?")]) == {}


def test_an_rft_question_that_sft_holds_is_found(make_row):
    assert found(sft=[make_row(0)], rft=[make_row(0), make_row(1)]) == {"rft_in_sft": 1}


@pytest.mark.parametrize("train", ["sft", "rft"])
def test_a_test_question_that_training_holds_is_found(make_row, train):
    assert found(**{train: [make_row(0)], "test": [make_row(0), make_row(1)]}) == {"test_in_train": 1}


def test_a_training_question_in_another_language_is_not_leaked(make_row):
    assert found(sft=[make_row(0, question="Malaria ?")], test=[make_row(1, question="Malaria ?", language="Spanish")]) == {}


@pytest.mark.parametrize(
    "reasoning",
    [
        "<thinking>sans étapes</thinking>",
        "<thinking><step1>un</thinking>",
        "<thinking><step1>un</step1><step3>trois</step3></thinking>",
        "<thinking><step2>deux</step2><step1>un</step1></thinking>",
        "<thinking><step1>un</step1><step2>deux</step1></thinking>",
        "<thinking><step2>deux</step2></thinking>",
    ],
)
def test_malformed_steps_are_found(make_row, reasoning):
    assert found(sft=[make_row(0, reasoning=reasoning)]) == {"malformed_steps": 1}


@pytest.mark.parametrize("reasoning", ["", STEPS, "<thinking>" + "".join(f"<step{n}>x</step{n}>" for n in range(1, 13)) + "</thinking>"])
def test_well_formed_or_absent_steps_are_not_found(make_row, reasoning):
    assert found(sft=[make_row(0, reasoning=reasoning)]) == {}


@pytest.mark.parametrize(
    "question", ["Lequel ?\nA. un\nB. deux\nC. trois", "Lequel ?\n (A) un\n (B) deux\n (C) trois\n (D) quatre", "A) a\nB) b\nC) c"]
)
def test_listed_options_are_found(make_row, question):
    assert found(rft=[make_row(0, question=question)]) == {"multiple_choice_questions": 1}


@pytest.mark.parametrize(
    "question", ["Lequel ?\nA. un\nB. deux", "Hépatite A, B ou C ?", "Le groupe A. Le groupe B. Le groupe C.", "Vitamine\nA\nB\nC"]
)
def test_letters_that_are_no_options_are_not_found(make_row, question):
    assert found(rft=[make_row(0, question=question)]) == {}


def test_findings_name_split_language_row_check_and_detail(make_row):
    rows = [make_row(0, language="Thai"), make_row(1), make_row(2), make_row(1, id="again")]
    table = audit.audit_splits({"sft": rows, "rft": [], "test": []}).rows
    assert table.to_dict("records") == [
        {"split": "sft", "language": "French", "row": 2, "check": "duplicates_sft", "detail": "as row 0"},
    ]


def test_the_sample_is_clean(sample):
    assert found(sft=sample) == {}


def test_the_released_data(release):
    assert audit.audit(release).counts == {
        "duplicates_sft": 1759,
        "duplicates_rft": 97,
        "rft_in_sft": 888,
        "test_in_train": 0,
        "malformed_steps": 4442,
        "multiple_choice_questions": 2989,
    }
