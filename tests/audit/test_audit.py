from itertools import combinations

import pytest

from curemed_utils import audit, data
from curemed_utils.audit import duplicates

# rows of the release with a language defect, read by eye, counted from 0 within their files
LISTED = """
    sft Hausa 305, sft Hausa 349, sft Hausa 69, sft Korean 861, sft Spanish 229, sft Spanish 297,
    sft Swahili 443, rft Korean 47, sft Thai 80, sft Yoruba 732, sft Amharic 823, test Hausa 2,
    test Hausa 15, test Yoruba 54, test Yoruba 92, test Bengali 5, test Bengali 60, test Bengali 99,
    test Korean 6
"""
WRONG_LANGUAGE = ("question_language", "answer_language", "reasoning_script", "translator_talk")
FRENCH = (
    "Quel traitement proposez-vous à une femme enceinte qui souffre d'un paludisme grave avec une "
    "forte fièvre ?"
)
SYMPTOMS = "ผู้ป่วยชายอายุสี่สิบปีมีไข้สูงและปวดศีรษะอย่างรุนแรงมาสามวัน"
THAI = f"{SYMPTOMS} การวินิจฉัยที่เป็นไปได้มากที่สุดคืออะไร"
JAPANESE = (
    "四十歳の男性が三日前から高熱と激しい頭痛を訴えて来院しました。最も可能性の高い診断は何ですか。"
)
AMHARIC = "የአርባ ዓመት ወንድ ለሦስት ቀናት ከፍተኛ ትኩሳትና ከባድ ራስ ምታት እንዳለበት ይናገራል። ምርመራው ምን ሊሆን ይችላል?"
SPANISH = "<answer>El paludismo</answer>"
STEPS = "<thinking><step1>un</step1><step2>deux</step2></thinking>"


def found(against=None, **splits):
    """The checks that found something, with their counts."""
    return {check: n for check, n in audit.audit_splits(splits, against).counts.items() if n}


def test_clean_rows_have_no_findings(make_row):
    assert (
        found(
            sft=[make_row(0, reasoning=STEPS)],
            rft=[make_row(1, reasoning=STEPS)],
            test=[make_row(2)],
        )
        == {}
    )


def test_every_check_has_a_count(make_row):
    assert list(audit.audit_splits({"sft": [make_row(0)]}).counts) == list(audit.CHECKS)


@pytest.mark.parametrize("split", ["sft", "rft"])
def test_a_question_that_occurs_again_is_a_duplicate(make_row, split):
    rows = [
        make_row(0, question="Quel mal ?"),
        make_row(1),
        make_row(2, question=" quel  MAL ?"),
        make_row(3, question="Quel mal ?"),
    ]
    assert found(**{split: rows}) == {f"duplicates_{split}": 2}


def test_the_same_question_in_another_language_is_no_duplicate(make_row):
    assert (
        found(
            sft=[
                make_row(0, question="Malaria ?"),
                make_row(1, question="Malaria ?", language="Spanish", answer=SPANISH),
            ]
        )
        == {}
    )


def test_a_question_with_another_word_is_no_duplicate(make_row):
    assert (
        found(sft=[make_row(0, question="Quel mal aigu ?"), make_row(1, question="Quel mal ?")])
        == {}
    )


def test_an_rft_question_that_sft_holds_is_found(make_row):
    assert found(sft=[make_row(0)], rft=[make_row(0), make_row(1)]) == {"rft_in_sft": 1}


@pytest.mark.parametrize("train", ["sft", "rft"])
def test_a_test_question_that_training_holds_is_found(make_row, train):
    assert found(**{train: [make_row(0)], "test": [make_row(0), make_row(1)]}) == {
        "test_in_train": 1,
        "contaminated": 1,
    }


def test_a_training_question_in_another_language_is_not_leaked(make_row):
    assert (
        found(
            sft=[make_row(0, question="Malaria ?")],
            test=[make_row(1, question="Malaria ?", language="Spanish", answer=SPANISH)],
        )
        == {}
    )


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


@pytest.mark.parametrize(
    "reasoning",
    [
        "",
        STEPS,
        "<thinking>" + "".join(f"<step{n}>x</step{n}>" for n in range(1, 13)) + "</thinking>",
    ],
)
def test_well_formed_or_absent_steps_are_not_found(make_row, reasoning):
    assert found(sft=[make_row(0, reasoning=reasoning)]) == {}


@pytest.mark.parametrize(
    "question",
    [
        "Lequel ?\nA. un\nB. deux\nC. trois",
        "Lequel ?\n (A) un\n (B) deux\n (C) trois\n (D) quatre",
        "A) a\nB) b\nC) c",
    ],
)
def test_listed_options_are_found(make_row, question):
    assert found(rft=[make_row(0, question=question)]) == {"multiple_choice_questions": 1}


@pytest.mark.parametrize(
    "question",
    [
        "Lequel ?\nA. un\nB. deux",
        "Hépatite A, B ou C ?",
        "Le groupe A. Le groupe B. Le groupe C.",
        "Vitamine\nA\nB\nC",
    ],
)
def test_letters_that_are_no_options_are_not_found(make_row, question):
    assert found(rft=[make_row(0, question=question)]) == {}


def test_findings_name_split_language_row_check_detail_and_file(make_row):
    rows = [
        make_row(0, language="Thai", question=THAI, answer="<answer>ไข้มาลาเรีย</answer>"),
        make_row(1),
        make_row(2),
        make_row(1, id="again", source="here"),
    ]
    table = audit.audit_splits({"sft": rows}).rows
    assert table.to_dict("records") == [
        {
            "split": "sft",
            "language": "French",
            "row": 2,
            "check": "duplicates_sft",
            "detail": "as row 0",
            "file": "here",
        },
    ]


@pytest.mark.parametrize(
    "splits", [{}, {"sft": []}, {"sft": [], "rft": [], "test": []}, {"test": None}]
)
def test_absent_and_empty_splits_have_no_findings(splits):
    result = audit.audit_splits(splits)
    assert not any(result.counts.values()) and list(result.rows) == [
        "split",
        "language",
        "row",
        "check",
        "detail",
        "file",
    ]
    cleaned = audit.clean(splits)
    assert (
        cleaned.splits == {name: [] for name in splits}
        and cleaned.log.empty
        and cleaned.counts.empty
    )


def test_a_split_of_another_name_is_refused(make_row):
    with pytest.raises(ValueError, match="unknown split 'train'; splits are sft, rft, test"):
        audit.audit_splits({"train": [make_row(0)]})


# Language and form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, check",
    [
        (
            {"question": "Which treatment do you propose to a woman who has severe malaria?"},
            "question_language",
        ),
        ({"question": "Quel est le traitement du 疟疾 grave ?"}, "question_language"),
        (
            {
                "language": "Korean",
                "question": "四十歳の男性が高熱を訴えています。診断は何ですか。",
                "answer": "<answer>말라리아입니다.</answer>",
            },
            "question_language",
        ),
        (
            {"answer": "<answer>She should be treated with artesunate in the hospital.</answer>"},
            "answer_language",
        ),
        ({"answer": "<answer>Elle reçoit de l'артесунат.</answer>"}, "answer_language"),
        (
            {
                "language": "Japanese",
                "question": JAPANESE,
                "answer": "<answer>La réponse est 12.</answer>",
            },
            "answer_language",
        ),
        (
            {"reasoning": "<thinking><step1>Le 疟疾 est grave.</step1></thinking>"},
            "reasoning_script",
        ),
        ({"answer": "<answer>(B) L'artésunate</answer>"}, "answers_with_option_letter"),
        ({"answer": "<answer>B. L'artésunate</answer>"}, "answers_with_option_letter"),
        ({"answer": "<answer>Oui</answer>"}, "short_answers"),
        ({"question": FRENCH * 20}, "long_questions"),
    ],
)
def test_what_a_row_has_is_found(make_row, fields, check):
    assert found(sft=[make_row(0, **{"question": FRENCH} | fields)]) == {check: 1}


@pytest.mark.parametrize(
    "fields",
    [
        {
            "question": "Quel film ressemble à « The Silence of the Lambs », à « Pulp Fiction » et "
            "à « Dances with Wolves » ?"
        },
        {
            "language": "Thai",
            "question": "เรียงคำตามตัวอักษร: gentle boletus aniline eddy wile",
            "answer": "<answer>aniline, boletus, eddy, gentle, wile</answer>",
        },
        {
            "question": "Est-ce une Listeria monocytogenes ou une Escherichia coli ?",
            "answer": "<answer>Listeria monocytogenes</answer>",
        },
        {
            "reasoning": "<thinking><step1>The patient has a high fever, donc on pense au "
            "[paludisme = malaria].</step1></thinking>"
        },
        {"answer": "<answer>Le blocage de la traduction (translation) des protéines</answer>"},
        {"answer": "<answer>Le 5-fluorouracile, à 400 mg/m² en μg</answer>"},
        {"answer": "<answer>Vitamine B. Puis du repos.</answer>"},
    ],
)
def test_quotes_terms_and_code_switching_are_not_found(make_row, fields):
    assert found(sft=[make_row(0, **{"question": FRENCH} | fields)]) == {}


def test_talk_about_the_translation_is_found(make_row):
    answer = (
        "<answer>Il faut de l'artésunate. Literal translation: artesunate is needed. "
        "Note: terms were kept.</answer>"
    )
    assert "translator_talk" in found(test=[make_row(0, question=FRENCH, answer=answer)])


# Near-duplicates and other sets -------------------------------------------------------------------


@pytest.mark.parametrize(
    "language, question",
    [("French", FRENCH), ("Thai", THAI), ("Japanese", JAPANESE), ("Amharic", AMHARIC)],
)
@pytest.mark.parametrize("split", ["sft", "rft"])
def test_near_duplicates_are_found_with_or_without_spaces(make_row, language, question, split):
    answer = f"<answer>{question[-30:]}</answer>"
    near = question[:-12] + "123" + question[-12:]
    rows = [
        make_row(n, language=language, question=text, answer=answer)
        for n, text in enumerate((question, near, question[::-1]))
    ]
    table = audit.audit_splits({split: rows}).rows
    near = table[table.check == "near_duplicates"]
    assert (
        near.row.tolist() == [1]
        and near.detail.str.match(rf"as {split} {language} 0, Jaccard index 0\.[6-9]").all()
    )


def test_a_near_question_in_rft_or_twice_in_test_is_found(make_row):
    near = make_row(1, question=FRENCH.replace("enceinte", "âgée"))
    assert found(sft=[make_row(0, question=FRENCH)], rft=[near]) == {"near_duplicates": 1}
    assert found(
        test=[make_row(0, question=FRENCH), near, make_row(2, question=FRENCH.upper())]
    ) == {
        "near_duplicates": 1,
        "duplicates_test": 1,
    }


def test_half_the_sequences_shared_are_not_near():
    assert duplicates.jaccard({"a", "b"}, {"a", "b", "c", "d"}) == 0.5
    one, other = "abcdefgh", "abcdefgh" + "ijkl"  # 4 and 8 sequences
    index = duplicates.Index()
    index.add(duplicates.sketch(one), "French", "one")
    assert index.near(duplicates.sketch(other), "French") == []
    assert index.near(duplicates.sketch(other[:-1]), "French") == [("one", 4 / 7)]


def test_a_question_near_a_test_question_contaminates_training(make_row):
    near = make_row(1, question=FRENCH.replace("enceinte", "âgée"))
    table = audit.audit_splits(
        {"sft": [make_row(0), near], "test": [make_row(0, question=FRENCH)]}
    ).rows
    told = table[["split", "row", "check"]].to_records(index=False).tolist()
    assert told == [("sft", 1, "contaminated"), ("test", 0, "test_in_train")]
    assert (
        "as test French 0, Jaccard index 0." in table.detail[0]
        and "as sft French 1, Jaccard index 0." in table.detail[1]
    )


def test_further_sets_are_rows_or_texts_of_any_language(make_row):
    rows = [
        make_row(0, question=FRENCH),
        make_row(1, language="Spanish", question=FRENCH, answer="<answer>12</answer>"),
    ]
    counts = audit.audit_splits(
        {"sft": rows}, {"ood": [make_row(5), make_row(0, question=FRENCH)]}
    ).rows
    assert counts[counts.check == "contaminated"][["language", "detail"]].to_records(
        index=False
    ).tolist() == [("French", "as ood 1")]
    assert found({"ood": [FRENCH + " Et pourquoi ?"]}, sft=rows)["contaminated"] == 2


CASE = {
    "French": "Un garçon de 10 ans : Hb 11,5, calcium 12,8, leucocytes 12.000. Diagnostic ?",
    "Hindi": "१० वर्ष का लड़का: एचबी ११.५, कैल्शियम १२.८, कोशिकाएं १२,०००। निदान क्या है?",
    "Thai": "เด็กชายอายุ 10 ปี ฮีโมโกลบิน 11.5 แคลเซียม 12.8 เม็ดเลือดขาว 12000 วินิจฉัยว่าอะไร",
}


def test_the_same_numbers_in_another_language_are_a_candidate(make_row):
    french, hindi, thai = (
        make_row(n, language=k, question=q) for n, (k, q) in enumerate(CASE.items())
    )
    signatures = {duplicates.numbers(row.question) for row in (french, hindi, thai)}
    assert signatures == {("10", "115", "12000", "128")}
    table = audit.audit_splits({"sft": [french, thai], "test": [hindi]}).rows
    assert table[table.check == "same_numbers"][["split", "language", "detail"]].to_records(
        index=False
    ).tolist() == [
        ("sft", "French", "as test Hindi 0"),
        ("sft", "Thai", "as test Hindi 0"),
    ]
    assert found({"ood": [CASE["Thai"]]}, sft=[french])["same_numbers"] == 1


def test_parallel_items_of_one_split_and_few_numbers_are_no_candidates(make_row):
    rows = [
        make_row(n, language=k, question=q, answer="<answer>1234</answer>")
        for n, (k, q) in enumerate(CASE.items())
    ]
    again = make_row(
        9,
        question="Les nombres sont 10, puis 11,5, puis 12,8, puis 12.000. Que dit-on ?",
    )
    assert "same_numbers" not in found(sft=[again], test=rows[:1])
    assert "same_numbers" not in found(sft=rows) and "same_numbers" not in found(test=rows)
    assert (
        duplicates.numbers("40 ans, 3 jours, 2 fois, 10")
        == duplicates.numbers("1. a 2. b 3. c 4. d 1 2 3 4 5 6")
        == ()
    )


# Real rows ----------------------------------------------------------------------------------------


def test_the_sample_is_clean(sample):
    assert found(sft=sample) == {}


@pytest.fixture(scope="module")
def found_in_release(release):
    return audit.audit(release)


@pytest.mark.heavy
def test_the_released_data(found_in_release):
    counts = found_in_release.counts
    expected = {
        "duplicates_sft": 1759,
        "duplicates_rft": 97,
        "rft_in_sft": 888,
        "test_in_train": 0,
        "malformed_steps": 4442,
        "multiple_choice_questions": 2989,
        "duplicates_test": 0,
        "contaminated": 0,
        "answers_with_option_letter": 682,
        "short_answers": 156,
        "long_questions": 6,
    }
    assert {check: counts[check] for check in expected} == expected


@pytest.mark.heavy
def test_the_listed_language_defects_are_found_and_few_rows_flagged(found_in_release, release):
    table = found_in_release.rows
    wrong = table[table.check.isin(WRONG_LANGUAGE)]
    flagged = set(zip(wrong.split, wrong.language, wrong.row, strict=True))
    listed = {
        (split, language, int(row))
        for split, language, row in (entry.split() for entry in LISTED.split(","))
    }
    assert len(listed) == 19 and listed <= flagged
    assert len(flagged) <= 0.015 * 16_799
    assert all((release / file).is_file() for file in set(table.file))


@pytest.mark.heavy
@pytest.mark.parametrize("language", ["Thai", "French", "Amharic"])
def test_no_near_pair_of_the_release_escapes(released, language):
    texts = sorted(
        {
            data.normalize(row.question)
            for split in released.values()
            for row in split
            if row.language == language
        }
    )
    index, grams = duplicates.Index(), {text: duplicates.grams(text) for text in texts[::4]}
    sketches = {text: duplicates.sketch(text) for text in grams}
    for text, sketch in sketches.items():
        index.add(sketch, language, text)
    near = {
        (text, other)
        for text, sketch in sketches.items()
        for other, _ in index.near(sketch, language)
        if text < other
    }
    assert near == {
        (one, other)
        for one, other in combinations(grams, 2)
        if duplicates.jaccard(grams[one], grams[other]) > 0.5
    }
