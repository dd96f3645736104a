"""Which short answers are a row's accepted names, and which must never pass."""

import time
from itertools import permutations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curemed_utils import languages, paths, rewards, trace
from curemed_utils.data import matching, normal

FRENCH = ["paludisme", "malaria"]
WRONG = sorted((paths.ROOT / "tests/data/wrong_answers").glob("*.yaml"))
KINDS = 24


def is_right(answer: str, accepted: list[str], reference: str = "autre") -> bool:
    return matching.is_accepted(answer, accepted, reference)


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("le paludisme", FRENCH),
        ("Paludisme (malaria)", FRENCH),
        ("malaria / paludisme", FRENCH),
        ("paludisme, ou malaria", FRENCH),
        ("C'est le paludisme.", FRENCH),
        ("Diagnostic : le paludisme", FRENCH),
        ("Réponse : paludisme (malaria)", FRENCH),
        ("**Paludisme** (malaria)", FRENCH),
        ("il s’agit d’une malaria", FRENCH),
        ("(paludisme)", FRENCH),
        ("l’asthme", ["asthme"]),
        ("maladie de Lyme", ["Lyme"]),
        ("DIABETE DE TYPE II", ["diabète de type 2"]),
        ("oedème", ["œdème"]),
        ("reflux gastro œsophagien", ["reflux gastro-œsophagien"]),
        ("El diagnóstico es neumonía", ["neumonía"]),
        ("neumonia", ["neumonía"]),
        ("Tanı: astımdır", ["astım"]),
        ("ASTIM HASTALIĞI", ["astım"]),
        ("astim", ["astım"]),
        ("bệnh lao", ["lao phổi", "lao"]),
        ("Chẩn đoán: Viêm phổi", ["viêm phổi"]),
        ("hoá", ["hóa", "viêm phổi"]),
        ("ciwon asma", ["asma"]),
        ("cutar suga", ["ciwon suga"]),
        ("la rabia", ["rabia"]),
        ("rabia", ["la rabia"]),
        ("zazzabin cizon sauro", ["zazzaɓin cizon sauro"]),
        ("ciwon suga nau’i na biyu", ["ciwon suga nau'i na biyu"]),
        ("ugonjwa wa pumu", ["pumu"]),
        ("arun asima", ["ásímà"]),
        ("Ó ní àrùn ásímà", ["ásímà"]),
        ("የአስም በሽታ", ["አስም"]),
        ("አስም ነው።", ["አስም"]),
        ("አይነት 2 የስኳር በሽታ", ["ዓይነት 2 የስኳር በሽታ"]),
        ("ህይወት አድን ንጥረ ነገር", ["ሕይወት አድን ንጥረ ነገር"]),
        ("दमा रोग", ["दमा"]),
        ("रेबीज", ["रेबीज़"]),
        ("टी.बी.", ["टीबी"]),
        ("टाइप-2 मधुमेह", ["टाइप 2 मधुमेह"]),
        ("इंफार्क्शन", ["इन्फार्क्शन"]),
        ("হাম রোগ", ["হাম"]),
        ("診断名：気管支喘息です。", ["気管支喘息"]),
        ("ビタミン C", ["ビタミンC"]),
        ("천식입니다.", ["천식"]),
        ("비타민C", ["비타민 C"]),
        ("급성 충수염(맹장염)", ["급성 충수염", "맹장염"]),
        ("โรคหอบหืด", ["โรคหืด", "หอบหืด"]),
        ("โรคหืดหรือหอบหืด", ["โรคหืด", "หอบหืด"]),
        ("เบาหวานชนิดที่2", ["เบาหวานชนิดที่ 2"]),
    ],
)
def test_what_stands_around_a_name_and_how_it_is_spelt_makes_no_difference(answer, accepted):
    assert is_right(answer, accepted)


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("paludisme ou dengue", FRENCH),
        ("paludisme (dengue)", FRENCH),
        ("dengue (paludisme)", FRENCH),
        ("pas le paludisme", FRENCH),
        ("paludisme, dengue", FRENCH),
        ("maladie", ["maladie de Lyme"]),
        ("ไส้ติ่ง", ["โรคไส้ติ่ง"]),
        ("cerebrovascular", ["enfermedad cerebrovascular"]),
        ("la maladie", FRENCH),
        ("C'est", FRENCH),
        ("ano", ["año"]),
        ("kızılcık", ["kızıl"]),
        ("astım değildir", ["astım"]),
        ("viem phoi", ["viêm phổi"]),
        ("lão", ["lao", "lao phổi"]),
        ("không bị viêm phổi", ["viêm phổi"]),
        ("hana pumu", ["pumu"]),
        ("kì í ṣe ásímà", ["ásímà"]),
        ("ba asma ba ce", ["asma"]),
        ("አስም አይደለም", ["አስም"]),
        ("दमा नहीं है", ["दमा"]),
        ("হাম নয়", ["হাম"]),
        ("喘息ではない", ["喘息"]),
        ("ヒル", ["ビル"]),
        ("천식이 아닙니다", ["천식"]),
        ("โรค", ["โรคหืด"]),
        ("ไม่เป็นโรคหืด", ["โรคหืด"]),
        ("เสือ", ["เสื่อ"]),
    ],
)
def test_any_other_word_or_mark_makes_it_wrong(answer, accepted):
    assert not is_right(answer, accepted)


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("A", ["A, C", "A,C"]),
        ("C", ["A, C", "A,C"]),
        ("15", ["1.5"]),
        ("1,5", ["1.5"]),
        ("1.5", ["1,5"]),
        ("1", ["1,5"]),
        ("2", ["1/2"]),
        ("1/2", ["1", "2"]),
        ("BE 2", ["BE -2"]),
        ("Rh", ["Rh-"]),
        ("EBV CMV+", ["EBV- CMV+"]),
        ("53", ["5'3"]),
        ("HER2+", ["HER2-"]),
        ("5", ["5%"]),
        ("type 1", ["type 2"]),
        ("insuline", ["insuline, glucose"]),
    ],
)
def test_numbers_signs_and_lists_of_options_stay_whole(answer, accepted):
    assert not is_right(answer, accepted)
    assert all(is_right(form, accepted) for form in accepted)


@pytest.mark.parametrize("entry", ["ST (élévation), aigu", "un ou deux", "A / B", "a: b", "α, β"])
def test_a_form_that_holds_a_separator_matches_whole(entry):
    assert is_right(entry, [entry]) and is_right(entry.upper(), [entry])


def test_a_second_name_stands_beside_an_accepted_one_only():
    accepted = ["asthme (asthma)", "asthme bronchique"]
    for answer in ("asthme", "asthme (asthma)", "asthme bronchique / asthma", "asthma ou asthme"):
        assert is_right(answer, accepted), answer
    for answer in ("asthma", "(asthma)", "asthma bronchique", "asthme cardiaque"):
        assert not is_right(answer, accepted), answer


def test_a_detail_of_the_case_may_stand_at_either_end_of_a_name():
    accepted = ["asthme (de l'enfant)", "asthme bronchique (aigu)", "asthme (asthma)"]
    for answer in ("asthme de l'enfant", "asthme aigu de l'enfant", "Asthme (aigu), de l’enfant"):
        assert is_right(answer, accepted), answer
    for answer in ("de l'enfant", "asthme de l'adulte", "pas d'asthme aigu", "aigu (de l'enfant)"):
        assert not is_right(answer, accepted), answer
    assert is_right("小児の肺炎", ["肺炎 (小児の)"]) and not is_right(
        "小児の肺癌", ["肺炎 (小児の)"]
    )


def test_a_detail_that_begins_a_name_is_not_cut_from_it():
    accepted = ["diabète de type 2 (diabète)", "diabète de type 2 (de l'adulte)"]
    assert is_right("diabète de type 2 de l'adulte", accepted)
    assert is_right("diabète : diabète de type 2", accepted)
    assert not is_right("diabète de l'adulte", accepted)
    assert not is_right("diabète de type 12 de l'adulte", accepted)


def test_a_word_may_tie_a_detail_to_a_name():
    accepted = ["दमा (बच्चों)", "दमा (दौड़ने)"]
    for answer in ("बच्चों में दौड़ने से होने वाला दमा", "दमा, दौड़ने से"):
        assert is_right(answer, accepted), answer
    for answer in ("बच्चों में", "में", "दौड़ने से होने वाला", "बच्चों में सर्दी से दमा"):
        assert not is_right(answer, accepted), answer


def test_many_details_take_no_time():
    began = time.perf_counter()
    assert not is_right("a b " * 70, ["c (a)", "c (b)", "c (a b)"])
    assert is_right("a b " * 35 + "c" + " b a" * 35, ["c (a)", "c (b)", "c (a b)"])
    assert time.perf_counter() - began < 2


def test_a_detail_may_hold_an_or_word_of_another_language_and_a_longer_one_may_end_as_it_does():
    accepted = ["diabète de type 2 (lié au surpoids)", "diabète de type 2 (surpoids)"]
    assert is_right("diabète de type 2 lié au surpoids", accepted)
    assert not is_right("diabète de type 1 lié au surpoids", accepted)
    accepted = ["sarampión (manchas de Koplik)", "sarampión (con manchas de Koplik)"]
    assert is_right("Sarampión con manchas de Koplik", [*accepted, "sarampión (sarampion)"])


def test_a_type_may_stand_in_brackets():
    accepted = ["diabète de type 2", "diabète type 2"]
    assert is_right("diabète (type 2)", accepted) and not is_right("diabète (type 1)", accepted)


def test_only_vietnamese_rows_are_read_as_vietnamese(sample):
    for row in sample:
        names = matching._names(tuple(row.accepted), trace.answer_of(row.answer))
        assert names.is_vietnamese == (row.language == "Vietnamese"), row.id


@pytest.mark.parametrize("language", languages.NAMES)
def test_no_name_of_a_topic_is_right_for_another(sample, language):
    rows = [row for row in sample if row.language == language]
    for row, other in permutations(rows, 2):
        names = {form.split(" (")[0] for form in other.accepted}
        for form in (*names, trace.answer_of(other.answer)):
            right = is_right(form, row.accepted, trace.answer_of(row.answer))
            assert not right, (row.id, other.id, form)


def test_no_wrong_option_is_right(sample):
    for row in sample:
        for letter, option in row.options.items():
            right = is_right(option, row.accepted, trace.answer_of(row.answer))
            assert not right or letter == row.key, (row.id, option)


def test_a_reference_is_right_without_its_marks(sample):
    for row in sample:
        sentence = trace.answer_of(row.answer)
        folded = matching._fold(normal.normalize(sentence), row.language == "Vietnamese")
        assert is_right(folded, row.accepted, sentence), row.id


@given(st.text(alphabet="aé ()/,-.:ou1'", max_size=30))
def test_what_forms_hold_equal_is_right(text):
    if normal.forms_of(text):
        assert is_right(f" {text}\n", [text])


@pytest.mark.parametrize("fragment", ["le ", "(", "a/", "maladie ", "ou ", ": ", "'", "a ou "])
def test_long_answers_take_no_time(fragment):
    began = time.perf_counter()
    for n in (50, 299 // len(fragment), 20_000):
        assert not is_right(fragment * n, FRENCH)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_no_wrong_answer_passes(sample, file):
    kinds = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert len(kinds) == KINDS
    rows = {row.topic: row for row in sample if row.language == file.stem}
    for kind, wrong in kinds.items():
        row, answer = rows[wrong["topic"]], wrong["answer"]
        text = f"{row.reasoning}\n{trace.render_answer(answer)}"
        assert rewards.accuracy_reward(text, row.accepted, row.answer) == 0.0, (kind, answer)
        assert rewards.score(text, row)["accuracy"] == 0.0
        assert normal.forms_of(answer), kind
