"""MedlinePlus' bulk file: read rightly, broken in every way, and whose texts may be used."""

import subprocess
import sys
import time
from html import escape

import pytest

from curemed_utils.curation import medlineplus
from curemed_utils.curation.medlineplus import licence, read_topics
from curemed_utils.data import DataError

ROOT = """<?xml version="1.0" encoding="UTF-8"?>
<health-topics total="{}" date-generated="03/04/2026 02:30:37">
{}
</health-topics>
"""


def topic(number=1, summary="<p>A short summary.</p>", inner="", **fields):
    given = {
        "title": f"Topic {number}",
        "url": f"https://medlineplus.gov/topic{number}.html",
        "id": number,
        "language": "English",
    }
    given |= {"date-created": "01/07/2003"} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items() if value is not None)
    text = f"<full-summary>{escape(summary)}</full-summary>"
    return f"<health-topic {attributes}>\n{inner}\n{text}\n</health-topic>"


@pytest.fixture
def read(tmp_path):
    """A function that reads topics written to a file; it returns them and what was wrong."""

    def go(*topics, text=None):
        path, faults = tmp_path / "mplus_topics_2026-03-05.xml", []
        text = ROOT.format(len(topics), "\n".join(topics)) if text is None else text
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(read_topics(path, faults)), faults

    return go


# Our own topics ----------------------------------------------------------------------------------


def test_our_own_topics_are_those_of_the_sample_and_without_fault(sample):
    faults = []
    topics = list(read_topics(medlineplus.SAMPLE_TOPICS, faults))
    assert faults == []
    assert sorted(t.key for t in topics) == sorted({row.topic for row in sample})
    assert {(t.licence, t.attribution) for t in topics} == {
        ("Apache-2.0", "CURE-Med workbook sample")
    }
    assert all(t.summary and t.groups and t.mesh and t.date and t.snapshot for t in topics)


# What is read ------------------------------------------------------------------------------------


def test_all_fields_of_a_topic_are_read(read):
    inner = """<also-called>HbA1C</also-called><also-called>Glyco&amp;hemoglobin</also-called>
    <group url="https://medlineplus.gov/diabetes.html" id="4">Diabetes</group>
    <language-mapped-topic url="https://medlineplus.gov/spanish/a1c.html" id="6309"
        language="Spanish">Prueba</language-mapped-topic>
    <mesh-heading><descriptor id="D006442">Glycated Hemoglobin</descriptor></mesh-heading>
    <primary-institute url="https://www.niddk.nih.gov">NIDDK</primary-institute>
    <related-topic url="https://medlineplus.gov/diabetes.html" id="9">Diabetes</related-topic>
    <site title="Elsewhere"><standard-description>Not ours</standard-description></site>"""
    (only,), faults = read(
        topic(
            6308, inner=inner, title="A1C", date_created="12/22/2015", meta_desc="About the test."
        )
    )
    assert faults == []
    assert only.model_dump() == {
        "id": "6308",
        "title": "A1C",
        "date": "2015-12-22",
        "snapshot": "2026-03-04",
        "groups": ["Diabetes"],
        "mesh": ["Glycated Hemoglobin"],
        "summary": "A short summary.",
        "url": "https://medlineplus.gov/topic6308.html",
        "attribution": "Source: MedlinePlus, National Library of Medicine",
        "licence": "public domain",
    }
    assert only.key == "6308"


def test_a_spanish_topic_is_passed_over(read):
    spanish = topic(2, "<p>Corazón</p>", language="Spanish")
    topics, faults = read(topic(1), spanish)
    assert ([t.id for t in topics], faults) == (["1"], [])


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        ("<p>One\n two.</p><p>Three.</p>", "One two.\nThree."),
        (
            "<p>Signs:</p><ul><li>fever</li><li><p>a <b>dry</b> cough</p></li></ul><p>Rest.</p>",
            "Signs:\n- fever\n- a dry cough\nRest.",
        ),
        (
            "<p>See <a href='/x.html'>asthma</a> &amp; caf\u00e9&nbsp;3&lt;4.</p>",
            "See asthma & café 3<4.",
        ),
        ("<h3>Causes</h3>Line<br/>next<script>alert(1)</script>", "Causes\nLine\nnext"),
        ("No markup &amp; none needed", "No markup & none needed"),
    ],
)
def test_summaries_become_clean_text(read, summary, text):
    assert read(topic(1, summary))[0][0].summary == text


def test_summary_markup_that_is_not_escaped_is_read_too(read):
    raw = topic(1).replace(escape("<p>A short summary.</p>"), "<p>One.</p><p>Two.</p>")
    assert read(raw)[0][0].summary == "One.\nTwo."


def test_other_encodings_and_a_byte_order_mark_are_read(read):
    text = ROOT.format(1, topic(1, "<p>Café</p>"))
    assert read(text=text.replace("UTF-8", "ISO-8859-1").encode("latin-1"))[0][0].summary == "Café"
    assert read(text=b"\xef\xbb\xbf" + text.encode()) == read(text=text)


def test_a_topic_inside_a_comment_is_none(read):
    topics, faults = read(text=ROOT.format(1, f"<!-- {topic(1)} -->{topic(2)}"))
    assert ([t.id for t in topics], faults) == (["2"], [])


# What is wrong with a file -----------------------------------------------------------------------


def without(text):
    return lambda topic: topic.replace(text, "")


def with_summary(text):
    return lambda topic: topic.replace("A short summary.", text)


BROKEN = {
    "its id came before, on line 27": lambda topic: topic.replace(' id="7"', ' id="6"'),
    "has no id": without(' id="7"'),
    "its summary is empty": with_summary(" "),
    "language 'Klingon' is neither": lambda topic: topic.replace("English", "Klingon"),
    "none of the pages in the": lambda topic: topic.replace(
        "/topic7.html", "/ency/article/000141.htm"
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_one_broken_topic_among_twenty_costs_no_other_one(read, fault):
    written = [topic(n) for n in range(20)]
    written[7] = BROKEN[fault](written[7])
    topics, faults = read(*written)
    assert [t.id for t in topics] == [str(n) for n in range(20) if n != 7]
    assert "mplus_topics_2026-03-05.xml, line 31, topic 'Topic 7'" in faults[0]
    assert fault in faults[0] and "this topic is left out" in faults[0]
    assert len(faults) == 1


MALFORMED = {
    "xmlParseEntityRef: no name, line 33, column ": with_summary("A & short"),
    "no element found": with_summary("A &nbsp; short"),
    "invalid Char value 2, line 33, ": with_summary("A \x02 short"),
    "tag mismatch: full-summary line 33": without("</full-summary>"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_markup_ends_the_file_and_says_where(read, fault):
    written = [topic(n) for n in range(20)]
    written[7] = MALFORMED[fault](written[7])
    topics, faults = read(*written)
    assert [t.id for t in topics] == [str(n) for n in range(7)]
    assert "not well-formed" in faults[0] and fault in faults[0]


def test_a_file_cut_off_in_the_middle_keeps_what_was_read(read):
    text = ROOT.format(20, "\n".join(topic(n) for n in range(20)))
    topics, faults = read(text=text[: text.index("Topic 12") + 60])
    assert [t.id for t in topics] == [str(n) for n in range(12)]
    assert "not well-formed" in faults[0]


def test_a_file_cut_off_between_two_topics_is_noticed(read):
    text = ROOT.format(20, "\n".join(topic(n) for n in range(20)))
    topics, faults = read(text=text[: text.index("<health-topic ", text.index("Topic 12"))])
    assert len(topics) == 13
    assert "not well-formed" in faults[0]


@pytest.mark.parametrize("text", ["", "<html><body>Service unavailable</body></html>", "{}"])
def test_a_file_without_topics_is_refused(read, text):
    with pytest.raises(DataError, match=r"mplus_topics_2026-03-05\.xml: holds no <health-topic>"):
        read(text=text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.xml is not a file"):
        list(read_topics(tmp_path / "nowhere.xml", []))


def with_document_type(text, entities):
    return text.replace("<health-topics", f"<!DOCTYPE health-topics [{entities}]>\n<health-topics")


def test_entities_of_a_document_type_are_not_read(read):
    secret = '<!ENTITY file SYSTEM "file:///etc/hostname"><!ENTITY a "ha">'
    text = ROOT.format(3, "\n".join([topic(1), topic(2, inner="&file;"), topic(3, inner="&a;")]))
    topics, faults = read(text=with_document_type(text, secret))
    assert [t.id for t in topics] == ["1"]
    assert "holds the entity &file;" in faults[0] and "holds the entity &a;" in faults[1]


def test_a_bomb_of_entities_is_defused_at_once(read):
    entities = '<!ENTITY a0 "ha">'
    for n in range(1, 12):
        entities += f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">'
    text = ROOT.format(2, topic(1) + "\n" + topic(2, title="&a11;"))
    started = time.perf_counter()
    _, faults = read(text=with_document_type(text, entities))
    assert time.perf_counter() - started < 1 and "amplification" in faults[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_2000_topics(tmp_path):
    """Peak memory of a process that reads, as lxml's own memory is not Python's."""
    words = f"<standard-description>{'words ' * 2000}</standard-description>"
    site = f'<site title="T" url="https://example.org">{words}</site>'
    path = tmp_path / "topics.xml"
    path.write_text(ROOT.format(2000, "\n".join(topic(n, inner=site) for n in range(2000))))
    code = (
        "import sys\n"
        "from curemed_utils.curation.medlineplus import read_topics\n"
        "def peak():\n"
        "    return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "assert sum(1 for _ in read_topics(sys.argv[1], [])) == 2000\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert path.stat().st_size > 24e6
    assert int(done.stdout) < 12_000, done.stderr or f"{done.stdout} KiB"


# Licences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://medlineplus.gov/asthma.html",
        "https://medlineplus.gov/spanish/asthma.html",
        "https://medlineplus.gov/lab-tests/troponin-test/",
        "https://medlineplus.gov/genetics/condition/noonan-syndrome/",
    ],
)
def test_summaries_tests_and_genetics_pages_are_in_the_public_domain(url):
    assert licence(url) == "public domain"


@pytest.mark.parametrize(
    "url",
    [
        "https://medlineplus.gov/ency/article/000141.htm",
        "https://medlineplus.gov/spanish/ency/article/000141.htm",
        "https://medlineplus.gov/druginfo/meds/a682159.html",
        "https://medlineplus.gov/images/asthma.html",
        "https://www.mayoclinic.org/asthma.html",
        "https://medlineplus.gov.example.org/asthma.html",
        "https://www.nlm.nih.gov/asthma.html",
        "https://medlineplus.gov/news/fullstory_1.txt",
    ],
)
def test_all_other_texts_are_refused(url):
    with pytest.raises(DataError, match="none of the pages in the public domain"):
        licence(url)


@pytest.mark.parametrize(
    "credit",
    [
        "<p>NIH: National Eye Institute</p>",
        '<p class="NLMattribution">NIH: National Eye Institute</p>',
    ],
)
def test_a_federal_credit_goes_into_the_attribution(read, credit):
    (only,), faults = read(topic(1, f"<p>Eyes.</p>{credit}"))
    assert (only.summary, faults) == ("Eyes.", [])
    assert (
        only.attribution
        == "Source: MedlinePlus, National Library of Medicine (NIH: National Eye Institute)"
    )


@pytest.mark.parametrize(
    "notice",
    [
        "© 2020 A.D.A.M., Inc.",
        "(c) 2019 Some Society",
        "All rights reserved.",
        "Reprinted with permission.",
    ],
)
def test_passages_under_a_copyright_notice_are_dropped_and_named(read, notice):
    (only,), faults = read(
        topic(
            1,
            "<p>Ours.</p><p>NIH: National Eye Institute</p>"
            f"<p>Theirs.</p><p>{notice}</p><p>Ours again.</p>",
        )
    )
    assert only.summary == "Ours.\nOurs again."
    assert "topic 'Topic 1' (id 1): 2 line(s) of the summary are credited to others" in faults[0]


def test_a_summary_credited_to_others_as_a_whole_leaves_no_topic(read):
    topics, faults = read(
        topic(1, '<p>Theirs.</p><p class="attribution">American Society of Something</p>'), topic(2)
    )
    assert [t.id for t in topics] == ["2"]
    assert "nothing of its summary is in the public domain" in faults[0]


def test_a_list_item_c_is_no_copyright_notice(read):
    assert read(topic(1, "<p>Choose (a) rest, (b) tea or (c) sleep.</p>"))[0][0].summary.endswith(
        "(c) sleep."
    )
