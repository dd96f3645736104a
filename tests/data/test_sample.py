import unicodedata

import pytest
import regex

from curemed_utils import data, languages, paths, rewards
from curemed_utils.data import matching
from curemed_utils.language_id import check_language

SCRIPTS = {"Japanese": r"[\p{Han}\p{Hiragana}\p{Katakana}ー々]"}
FOREIGN_SCRIPTS = [name for name in languages.NAMES if languages.get(name).script != "Latin"]


def offenders(rows, holds) -> list[str]:
    """Ids of the rows for which `holds` is false."""
    return [row.id for row in rows if not holds(row)]


def own_letter(row) -> str:
    script = languages.get(row.language).script
    return SCRIPTS.get(script, rf"\p{{{script}}}")


def holds_name(text: str, form: str) -> bool:
    """Whether `form` stands in `text`, and not inside a longer word where words are Latin."""
    name = regex.escape(data.normalize(form))
    return bool(regex.search(rf"(?<!\p{{Latin}}){name}(?!\p{{Latin}})", data.normalize(text)))


def steps_of(trace: str) -> list[str]:
    return regex.findall(r"<step\d+>(.*?)</step\d+>", trace, regex.DOTALL)


def test_a_file_a_language_with_15_topics_each(sample):
    assert sorted(path.stem for path in paths.SAMPLE.glob("*.jsonl")) == sorted(languages.NAMES)
    topics = {
        name: [row.topic for row in sample if row.language == name] for name in languages.NAMES
    }
    assert all(len(found) == len(set(found)) == 15 for found in topics.values())


def test_topics_are_the_same_in_every_language(sample):
    topics = {
        frozenset(row.topic for row in sample if row.language == name) for name in languages.NAMES
    }
    assert len(topics) == 1


def test_ids_are_unique(sample):
    assert len({row.id for row in sample}) == len(sample) == 15 * len(languages.NAMES)


def test_questions_are_unique(sample):
    assert len({data.normalize(row.question) for row in sample}) == len(sample)


def test_there_are_four_distinct_options(sample):
    assert (
        offenders(
            sample,
            lambda r: (
                list(r.options) == list("ABCD")
                and len(set(map(data.normalize, r.options.values()))) == 4
            ),
        )
        == []
    )


def test_the_key_is_one_of_the_options(sample):
    assert offenders(sample, lambda r: r.key in r.options) == []


def test_the_right_option_alone_is_accepted(sample):
    def accepts(row, letter):
        return matching.is_accepted(row.options[letter], row.accepted, row.answer)

    assert offenders(sample, lambda r: [k for k in r.options if accepts(r, k)] == [r.key]) == []


@pytest.mark.parametrize("name", languages.NAMES)
def test_keys_are_spread_over_the_letters_in_each_language(sample, name):
    keys = [row.key for row in sample if row.language == name]
    assert all(3 <= keys.count(letter) <= 5 for letter in "ABCD"), keys


def test_keys_are_spread_over_the_letters_in_each_topic(sample):
    for topic in {row.topic for row in sample}:
        keys = [row.key for row in sample if row.topic == topic]
        assert max(keys.count(letter) for letter in "ABCD") <= 5, (topic, keys)


def test_reasoning_and_answer_have_the_strict_format(sample):
    assert (
        offenders(sample, lambda r: rewards.format_reward(f"{r.reasoning}\n{r.answer}") == 1.0)
        == []
    )


def test_there_are_two_or_more_steps(sample):
    assert offenders(sample, lambda r: len(steps_of(r.reasoning)) >= 2) == []


def test_every_step_has_latin_letters(sample):
    assert (
        offenders(
            sample,
            lambda r: all(regex.search(r"\p{Latin}{3}", step) for step in steps_of(r.reasoning)),
        )
        == []
    )


def test_every_step_has_letters_of_the_languages_own_script(sample):
    foreign = [row for row in sample if row.language in FOREIGN_SCRIPTS]
    assert (
        offenders(
            foreign,
            lambda r: all(regex.search(own_letter(r), step) for step in steps_of(r.reasoning)),
        )
        == []
    )


def test_every_row_has_a_monolingual_trace_of_its_own(sample):
    assert (
        offenders(
            sample, lambda r: r.reasoning_monolingual and r.reasoning_monolingual != r.reasoning
        )
        == []
    )


def test_monolingual_reasoning_and_answer_have_the_strict_format(sample):
    assert (
        offenders(
            sample, lambda r: rewards.format_reward(f"{r.reasoning_monolingual}\n{r.answer}") == 1.0
        )
        == []
    )


def test_both_traces_have_the_same_number_of_steps(sample):
    assert (
        offenders(
            sample, lambda r: len(steps_of(r.reasoning_monolingual)) == len(steps_of(r.reasoning))
        )
        == []
    )


def test_the_language_check_accepts_the_monolingual_trace_and_refuses_no_step(sample):
    def holds(row):
        steps = steps_of(row.reasoning_monolingual)
        verdicts = [check_language(step, row.language).verdict for step in steps]
        return (
            check_language(" ".join(steps), row.language).verdict is True and False not in verdicts
        )

    assert offenders(sample, holds) == []


def test_a_monolingual_trace_in_another_script_has_no_latin_word(sample):
    foreign = [row for row in sample if row.language in FOREIGN_SCRIPTS]
    assert (
        offenders(
            foreign,
            lambda r: (
                not any(regex.search(r"\p{Latin}{3}", s) for s in steps_of(r.reasoning_monolingual))
            ),
        )
        == []
    )


def test_every_row_lists_accepted_forms_and_none_twice(sample):
    assert (
        offenders(
            sample,
            lambda r: r.accepted and len(set(r.accepted)) == len(r.accepted),
        )
        == []
    )


def test_no_accepted_form_stands_in_the_question(sample):
    def given_away(row):
        forms = "|".join(regex.escape(data.normalize(form)) for form in row.accepted)
        whole = rf"(?<!\p{{Latin}})(?:{forms})(?!\p{{Latin}})"
        return bool(regex.search(whole, data.normalize(row.question)))

    assert offenders(sample, lambda row: not given_away(row)) == []


@pytest.mark.parametrize("field", ["question", "answer", "options", "reasoning_monolingual"])
def test_letters_are_of_the_own_script_or_latin(sample, field):
    def holds(row):
        value = getattr(row, field)
        text = " ".join(value.values()) if isinstance(value, dict) else value
        return all(
            regex.fullmatch(rf"{own_letter(row)}|\p{{Latin}}", letter)
            for letter in regex.findall(r"\p{L}", text)
        )

    assert offenders(sample, holds) == []


@pytest.mark.parametrize("field", ["question", "answer"])
def test_the_language_check_accepts_it(sample, field):
    assert (
        offenders(sample, lambda r: check_language(getattr(r, field), r.language).verdict is True)
        == []
    )


def test_all_text_is_in_nfc(sample):
    assert offenders(sample, lambda r: unicodedata.is_normalized("NFC", r.model_dump_json())) == []
