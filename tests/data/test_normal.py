"""When two short answers are the same."""

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curemed_utils.data import normal


def same(one: str, other: str) -> bool:
    return bool(normal.forms_of(one) & normal.forms_of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("l′hépatite", "l'hépatite"),
        ("ꞌyan rani", "'yan rani"),
        ("38 ºC", "38 °C"),
        ("38 ˚C", "38 °C"),
        ("½", "1/2"),
        ("1½ mg", "1 1/2 mg"),
        ("ma\u200blaria", "malaria"),
        ("\ufeffmalaria\u200e", "malaria"),
        ("\u202bmalaria\u202c", "malaria"),
        ("mala\u00adria", "malaria"),
        ("มา\u200bลาเรีย", "มาลาเรีย"),
        ("র\u200d্যাশ", "র্যাশ"),
        ("l’hépatite", "l'hépatite"),
        ("ʼyan rani", "'yan rani"),
        ("“fièvre”", "fièvre"),
        ("syndrome «main-pied»", 'syndrome "main-pied"'),
        ("「喘息」", "喘息"),
        ("post‑opératoire", "post-opératoire"),
        ("SITMA", "sıtma"),
        ("İSHAL", "ishal"),
        ("ASTIM KRİZİ", "astım krizi"),
        ("hiv", "HIV"),
        ("STRASSE", "straße"),
        ("５％", "5%"),
        ("5 %", "5%"),
        ("38\u202f°C", "38°C"),
        ("> 90 %", ">90%"),
        ("−2,5", "-2,5"),
        ("– 2.5", "-2.5"),
        ("(Rh −).", "Rh-"),
        ("CD4⁺", "CD4+"),
        ("Ca²⁺", "Ca2+"),
        ("10⁵", "10^5"),
        ("५०० mg", "500 mg"),
        ("৫%", "5%"),
        ("**malaria**", "malaria"),
        ("`malaria`", "malaria"),
        ("- malaria", "malaria"),
        ("• malaria", "malaria"),
        ("malaria …", "malaria"),
        ("ወባ፡በሽታ።", "ወባ በሽታ"),
        ("क्षय रोग।", "क्षय रोग"),
    ],
)
def test_what_does_not_count_in_an_answer(one, other):
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1½", "11/2"),
        ("2.5", "-2.5"),
        ("-2", "+2"),
        ("2", "±2"),
        ("5", "5%"),
        ("5‰", "5%"),
        ("38", "38°"),
        ("Rh", "Rh-"),
        ("Rh", "Rh+"),
        ("HER2-", "HER2+"),
        ("+ve", "−ve"),
        ("<5", ">5"),
        ("5", "<5"),
        ("≥5", ">5"),
        ("2,5", "2.5"),
        ("25", "2.5"),
        (".5", "5"),
        ("10⁵", "105"),
        ("sitma", "sıtma"),
        ("ma laria", "malaria"),
    ],
)
def test_what_counts_in_an_answer(one, other):
    assert not same(one, other)


@pytest.mark.parametrize("blank", ["", " ", "\u200b", "…", "—", "-", "。", "«»", "%", "\u3164"])
def test_without_a_letter_or_number_there_is_nothing_to_compare(blank):
    assert not normal.forms_of(blank)


INVISIBLE = st.sampled_from("\u200b\u200c\u200d\u200e\u2060\ufeff\u00ad\u061c\u202a\ufff9")


@given(st.text(), INVISIBLE, st.integers(0, 20))
@example("\u1ffd", "\u200b", 0)
@example("I\u0307\u0323", "\u200b", 1)
def test_writing_alone_makes_no_difference(text, invisible, place):
    for level in (normal.normalize, normal.forms_of):
        assert level(unicodedata.normalize("NFD", text)) == level(text)
        assert level(unicodedata.normalize("NFC", text)) == level(text)
        assert level(f" {text}\n") == level(text)
        assert level(text[:place] + invisible + text[place:]) == level(text)
    assert normal.normalize(normal.normalize(text)) == normal.normalize(text)
    for form in normal.forms_of(text):
        assert form in normal.forms_of(form)


@pytest.mark.parametrize("fragment", ["- ", "«", "`", ". ", "%", "١", "I", "\u0307", "⁻", "2²"])
def test_long_texts_take_no_time(fragment):
    began = time.perf_counter()
    normal.forms_of(fragment * 20_000)
    assert time.perf_counter() - began < 2
