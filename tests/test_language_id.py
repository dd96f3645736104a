import pytest

from curemed_utils import languages
from curemed_utils.language_id import check_language

SENTENCES = {
    "Amharic": "ታካሚው በየቀኑ መድኃኒቱን ከምግብ በኋላ መውሰድ አለበት።",
    "Bengali": "রোগীকে প্রতিদিন খাবারের পরে এই ওষুধটি খেতে হবে।",
    "French": "Le patient doit prendre ce médicament chaque jour après le repas.",
    "Hausa": "Mara lafiya ya kamata ya sha wannan magani kowace rana bayan cin abinci.",
    "Hindi": "रोगी को यह दवा हर दिन भोजन के बाद लेनी चाहिए।",
    "Japanese": "患者はこの薬を毎日食後に服用しなければなりません。",
    "Korean": "환자는 이 약을 매일 식사 후에 복용해야 합니다.",
    "Spanish": "El paciente debe tomar este medicamento todos los días después de comer.",
    "Swahili": "Mgonjwa anapaswa kumeza dawa hii kila siku baada ya kula chakula.",
    "Thai": "ผู้ป่วยต้องรับประทานยานี้ทุกวันหลังอาหาร",
    "Turkish": "Hasta bu ilacı her gün yemekten sonra almalıdır.",
    "Vietnamese": "Bệnh nhân phải uống thuốc này mỗi ngày sau bữa ăn.",
    "Yoruba": "Aláìsàn náà gbọ́dọ̀ máa lo oògùn yìí lójoojúmọ́ lẹ́yìn oúnjẹ.",
}
ENGLISH = "The patient must take this medicine every day after a meal."
every_language = pytest.mark.parametrize("name", languages.NAMES)


def verdict(text, name):
    return check_language(text, name).verdict


@every_language
def test_a_sentence_is_accepted_by_its_own_language_alone(name):
    assert [other for other in languages.NAMES if verdict(SENTENCES[name], other) is not False] == [name]
    assert verdict(SENTENCES[name], name) is True


@every_language
def test_english_is_rejected(name):
    assert verdict(ENGLISH, name) is False


@every_language
def test_an_appended_english_sentence_is_rejected(name):
    assert verdict(f"{SENTENCES[name]} {ENGLISH}", name) is False


@every_language
def test_an_appended_chinese_clause_is_rejected(name):
    assert verdict(f"{SENTENCES[name]} 因此应当立即去医院治疗。", name) is False


@every_language
def test_an_appended_russian_word_is_rejected(name):
    assert verdict(f"{SENTENCES[name]} лекарство", name) is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Amharic", "ታካሚው በየቀኑ paracetamol 500 mg ከምግብ በኋላ መውሰድ አለበት።"),
        ("Bengali", "রোগীকে প্রতিদিন খাবারের পরে paracetamol 500 mg খেতে হবে।"),
        ("French", "Le patient doit prendre un beta-blocker chaque jour après le repas, puis refaire un check-up."),
        ("Hindi", "रोगी को हर दिन भोजन के बाद paracetamol 500 mg लेनी चाहिए।"),
        ("Japanese", "患者はparacetamol 500 mgを毎日食後に服用し、MRI検査を受けなければなりません。"),
        ("Korean", "환자는 paracetamol 500 mg을 매일 식사 후에 복용해야 합니다."),
        ("Swahili", "Mgonjwa anapaswa kumeza paracetamol 500 mg kila siku baada ya kula chakula."),
        ("Thai", "ผู้ป่วยต้องรับประทาน paracetamol 500 mg ทุกวันหลังอาหาร"),
        ("Yoruba", "Aláìsàn náà gbọ́dọ̀ máa lo paracetamol 500 mg lójoojúmọ́ lẹ́yìn oúnjẹ."),
    ],
)
def test_an_english_term_inside_a_sentence_is_tolerated(name, text):
    assert verdict(text, name) is True


@every_language
def test_digits_alone_are_undecided(name):
    assert verdict("38,5 / 120-80", name) is None


@every_language
@pytest.mark.parametrize("text", ["", " \n", "<answer></answer>"])
def test_nothing_is_rejected(name, text):
    assert verdict(text, name) is False


def test_chinese_is_not_japanese():
    assert verdict("患者必须每天饭后服用这种药物，并定期到医院复查。", "Japanese") is False


@pytest.mark.parametrize(
    ("kin", "name", "text"),
    [
        ("Portuguese", "Spanish", "O doente deve tomar este medicamento todos os dias depois das refeições, com um copo de água."),
        ("Italian", "Spanish", "Il paziente deve prendere questo medicinale ogni giorno dopo il pasto con un bicchiere d'acqua."),
        ("Marathi", "Hindi", "रुग्णाने हे औषध दररोज जेवणानंतर घेतले पाहिजे आणि नियमितपणे डॉक्टरांकडे जावे."),
        ("Azerbaijani", "Turkish", "Xəstə bu dərmanı hər gün yeməkdən sonra bir stəkan su ilə qəbul etməlidir."),
        ("Zulu", "Swahili", "Isiguli kufanele siphuze lo muthi nsuku zonke ngemuva kokudla nengilazi yamanzi."),
        ("Igbo", "Yoruba", "Onye ọrịa kwesịrị ịṅụ ọgwụ a kwa ụbọchị mgbe o risịrị nri na iko mmiri."),
    ],
)
def test_a_language_outside_the_13_is_not_taken_for_its_kin(kin, name, text):
    assert verdict(text, name) is False, f"{kin} passed as {name}"


def test_tags_and_markup_do_not_count_as_foreign_text():
    assert verdict(f"<answer>**{SENTENCES['Thai']}** https://example.org/some/page</answer>", "Thai") is True


def test_a_verdict_comes_with_a_reason():
    assert check_language("лекарство", "French").reason == "letter of another script: л"


def test_an_unknown_language_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'Swahili'"):
        check_language("dawa", "Swahilli")


def test_99_percent_of_the_released_references_are_accepted(released):
    rows = released["test"]
    accepted = sum(verdict(row.answer, row.language) is True for row in rows)
    assert len(rows) == 1431
    assert accepted >= 0.99 * len(rows)
