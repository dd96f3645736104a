import http.server
import threading
import time
import tracemalloc
from html import escape
from urllib.parse import parse_qs, urlsplit

import pytest

from curemed_utils.curation import medlineplus
from curemed_utils.curation.medlineplus import licence, read_topics
from curemed_utils.data import DataError
from curemed_utils.judge import client

ROOT = '<?xml version="1.0" encoding="UTF-8"?>\n<health-topics total="{}" date-generated="03/04/2026 02:30:37">\n{}\n</health-topics>\n'


def topic(number=1, summary="<p>A short summary.</p>", inner="", **fields):
    given = {"title": f"Topic {number}", "url": f"https://medlineplus.gov/topic{number}.html", "id": number, "language": "English"}
    given |= {"date-created": "01/07/2003"} | {name.replace("_", "-"): value for name, value in fields.items()}
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items() if value is not None)
    return f"<health-topic {attributes}>\n{inner}\n<full-summary>{escape(summary)}</full-summary>\n</health-topic>"


@pytest.fixture
def read(tmp_path):
    """A function that reads topics written to a file; it returns them and what was wrong."""

    def go(*topics, text=None, language="English", name="mplus_topics_2026-03-05.xml"):
        path, faults = tmp_path / name, []
        text = ROOT.format(len(topics), "\n".join(topics)) if text is None else text
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(read_topics(path, language, faults)), faults

    return go


# Our own topics -----------------------------------------------------------------------------------------------------


def test_our_own_topics_are_those_of_the_sample_and_without_fault(sample):
    faults = []
    english = list(read_topics(medlineplus.SAMPLE_TOPICS, faults=faults))
    spanish = list(read_topics(medlineplus.SAMPLE_TOPICS, "Spanish", faults))
    assert faults == []
    assert sorted(t.key for t in english) == sorted({row.topic for row in sample})
    assert [(t.key, t.mapped) for t in spanish] == [("malaria", "sample-malaria"), ("asthma", "sample-asthma")]
    assert {t.mapped for t in english} == {"", "sample-malaria-es", "sample-asthma-es"}
    assert {(t.licence, t.attribution) for t in english + spanish} == {("Apache-2.0", "CURE-Med workbook sample")}
    assert all(t.summary and t.groups and t.mesh and t.related and t.also_called and t.date and t.snapshot for t in english)


# What is read -------------------------------------------------------------------------------------------------------


def test_all_fields_of_a_topic_are_read(read):
    inner = """<also-called>HbA1C</also-called><also-called>Glyco&amp;hemoglobin</also-called>
    <group url="https://medlineplus.gov/diabetes.html" id="4">Diabetes</group>
    <language-mapped-topic url="https://medlineplus.gov/spanish/a1c.html" id="6309" language="Spanish">Prueba</language-mapped-topic>
    <mesh-heading><descriptor id="D006442">Glycated Hemoglobin</descriptor><qualifier id="Q1">analysis</qualifier></mesh-heading>
    <other-language vernacular-name="Deutsch" url="https://example.org/x">German</other-language>
    <primary-institute url="https://www.niddk.nih.gov">NIDDK</primary-institute>
    <related-topic url="https://medlineplus.gov/diabetes.html" id="9">Diabetes</related-topic><see-reference>Sugar test</see-reference>
    <site title="Elsewhere" url="https://example.org/"><standard-description>The publisher's own text</standard-description></site>"""
    (found,), faults = read(topic(6308, inner=inner, title="A1C", date_created="12/22/2015", meta_desc="About the test."))
    assert faults == []
    assert found.model_dump() == {
        "id": "6308",
        "title": "A1C",
        "language": "English",
        "date": "2015-12-22",
        "snapshot": "2026-03-04",
        "groups": ["Diabetes"],
        "mesh": ["Glycated Hemoglobin"],
        "related": ["Diabetes"],
        "also_called": ["HbA1C", "Glyco&hemoglobin"],
        "summary": "A short summary.",
        "url": "https://medlineplus.gov/topic6308.html",
        "attribution": "Source: MedlinePlus, National Library of Medicine",
        "licence": "public domain",
        "mapped": "6309",
    }
    assert found.key == "6308"


def test_a_spanish_topic_is_read_on_request_alone_and_has_its_english_key(read):
    inner = '<language-mapped-topic url="https://medlineplus.gov/topic1.html" id="1" language="English">x</language-mapped-topic>'
    spanish = topic(2, "<p>Corazón</p>", inner, language="Spanish", url="https://medlineplus.gov/spanish/topic2.html")
    assert [t.id for t in read(topic(1), spanish)[0]] == ["1"]
    (found,), faults = read(topic(1), spanish, language="Spanish")
    assert (found.id, found.key, found.summary, faults) == ("2", "1", "Corazón", [])


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        ("<p>One\n two.</p><p>Three.</p>", "One two.\nThree."),
        (
            "<p>Signs:</p><ul><li>fever</li><li><p>a <b>dry</b> cough</p></li></ul><p>Rest.</p>",
            "Signs:\n- fever\n- a dry cough\nRest.",
        ),
        ("<p>See <a href='https://medlineplus.gov/x.html'>asthma</a> &amp; caf\u00e9&nbsp;3&lt;4.</p>", "See asthma & café 3<4."),
        ("<h3>Causes</h3>Line<br/>next<script>alert(1)</script>", "Causes\nLine\nnext"),
        ("No markup &amp; none needed", "No markup & none needed"),
    ],
)
def test_summaries_become_clean_text(read, summary, text):
    assert read(topic(1, summary))[0][0].summary == text


def test_summary_markup_that_is_not_escaped_is_read_too(read):
    raw = topic(1).replace(escape("<p>A short summary.</p>"), "<p>One.</p><p>Two.</p>")
    assert read(raw)[0][0].summary == "One.\nTwo."


def test_the_snapshot_comes_from_the_root_else_from_the_files_name(read):
    bare = ROOT.format(1, topic()).replace(' date-generated="03/04/2026 02:30:37"', "")
    assert read(text=bare)[0][0].snapshot == "2026-03-05"
    assert read(text=bare, name="topics.xml")[0][0].snapshot == ""


def test_other_encodings_and_a_byte_order_mark_are_read(read):
    text = ROOT.format(1, topic(1, "<p>Café</p>"))
    assert read(text=text.replace("UTF-8", "ISO-8859-1").encode("latin-1"))[0][0].summary == "Café"
    assert read(text=b"\xef\xbb\xbf" + text.encode()) == read(text=text)


def test_a_topic_inside_a_comment_is_none(read):
    found, faults = read(text=ROOT.format(1, f"<!-- {topic(1)} -->{topic(2)}"))
    assert ([t.id for t in found], faults) == (["2"], [])


def test_pieces_are_cut_alike_wherever_a_block_ends(read, monkeypatch):
    topics = [topic(n, f"<p>Summary {n} of some length.</p>") for n in range(5)]
    text = ROOT.format(5, f"<!-- a comment -->{topics[0]}{topics[1]}<!-- {topic(9)} -->\n" + "\n".join(topics[2:]))
    whole = read(text=text)
    assert [t.id for t in whole[0]] == list("01234")
    for size in (1, 7, 64):
        monkeypatch.setattr(medlineplus, "_BLOCK", size)
        assert read(text=text) == whole


# What is wrong with a file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda t: t.replace("A short", "A & short"), "is not well-formed XML: not well-formed (invalid token) (line "),
        (lambda t: t.replace("A short", "A &nbsp; short"), "undefined entity (line "),
        (lambda t: t.replace("</full-summary>", ""), "mismatched tag"),
        (lambda t: t.replace("</health-topic>", ""), "no end tag"),
        (lambda t: t.replace("A short", "A \x02 short"), "invalid token"),
        (lambda t: t.replace(' id="7"', ' id="6"'), "its id came before, on line 27"),
        (lambda t: t.replace(' id="7"', ""), "has no id"),
        (lambda t: t.replace("A short summary.", " "), "its summary is empty"),
        (lambda t: t.replace("<full-summary>", "<summary>").replace("</full-summary>", "</summary>"), "its summary is empty"),
        (lambda t: t.replace("English", "Klingon"), "language 'Klingon' is neither English nor Spanish"),
        (lambda t: t.replace("/topic7.html", "/ency/article/000141.htm"), "A.D.A.M."),
    ],
)
def test_one_broken_topic_among_twenty_costs_no_other_one(read, broken, said):
    topics = [topic(n) for n in range(20)]
    topics[7] = broken(topics[7])
    found, faults = read(*topics)
    assert [t.id for t in found] == [str(n) for n in range(20) if n != 7]
    (fault,) = [fault for fault in faults if "unknown element" not in fault]
    assert "mplus_topics_2026-03-05.xml, line 31, topic 'Topic 7'" in fault and said in fault and "all others are kept" in fault


def test_the_line_of_a_fault_inside_a_topic_is_the_files(read):
    _, faults = read(topic(0), topic(1).replace("A short", "A & short"))
    assert "line 7, topic" in faults[0] and "(line 9, column " in faults[0]


def test_a_file_cut_off_in_the_middle_keeps_what_was_read(read):
    text = ROOT.format(20, "\n".join(topic(n) for n in range(20)))
    found, faults = read(text=text[: text.index("Topic 12") + 60])
    assert [t.id for t in found] == [str(n) for n in range(12)]
    assert "topic 'Topic 12'" in faults[0] and "no end tag" in faults[0]
    assert "ends before its end tag" in faults[1] and "announces 20 topics and holds 13" in faults[2]


def test_a_file_cut_off_between_two_topics_is_noticed(read):
    text = ROOT.format(20, "\n".join(topic(n) for n in range(20)))
    found, faults = read(text=text[: text.index("<health-topic ", text.index("Topic 12"))])
    assert len(found) == 13
    assert len(faults) == 2 and "announces 20 topics and holds 13" in faults[1]


def test_unknown_fields_and_elements_are_named_once_and_cost_nothing(read):
    found, faults = read(*(topic(n, inner="<podcast>x</podcast>", rating="5") for n in range(3)))
    assert len(found) == 3
    assert len(faults) == 2 and "line 3, topic 'Topic 0' (id 0): unknown field 'rating'" in faults[0] and "'podcast'" in faults[1]


def test_a_bad_date_is_named_and_left_empty(read):
    (found,), faults = read(topic(1, date_created="31/31/2003"))
    assert found.date == "" and "'31/31/2003' is no date" in faults[0]


def test_without_a_list_faults_are_warnings(tmp_path):
    path = tmp_path / "topics.xml"
    path.write_text(ROOT.format(2, topic(1) + topic(2, " ")))
    with pytest.warns(UserWarning, match="topic 'Topic 2'.*summary is empty"):
        assert [t.id for t in read_topics(path)] == ["1"]


@pytest.mark.parametrize("text", ["", "<html><body>Service unavailable</body></html>", "{}"])
def test_a_file_without_topics_is_refused(read, text):
    with pytest.raises(DataError, match=r"mplus_topics_2026-03-05\.xml: holds no <health-topic>"):
        read(text=text)


def test_a_missing_file_a_zip_and_a_language_without_topics_are_refused_at_once(tmp_path):
    import zipfile

    with pytest.raises(DataError, match=r"nowhere\.xml is not a file"):
        read_topics(tmp_path / "nowhere.xml")
    with zipfile.ZipFile(tmp_path / "topics.zip", "w") as file:
        file.writestr("topics.xml", "x")
    with pytest.raises(DataError, match="unpack it"):
        read_topics(tmp_path / "topics.zip")
    with pytest.raises(ValueError, match="English and Spanish alone, not in 'Hausa'"):
        read_topics(medlineplus.SAMPLE_TOPICS, "Hausa")


def test_entities_of_a_document_type_never_expand(read):
    entities = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    bomb = topic(2).replace("A short", "&a11;")
    secret = topic(3).replace("A short", "&file;")
    text = ROOT.format(3, topic(1) + bomb + secret).replace(
        "<health-topics", f'<!DOCTYPE health-topics [{entities}<!ENTITY file SYSTEM "file:///etc/hostname">]>\n<health-topics'
    )
    started = time.perf_counter()
    found, faults = read(text=text)
    assert [t.id for t in found] == ["1"] and time.perf_counter() - started < 1
    assert ["undefined entity" in fault for fault in faults] == [True, True]


def test_memory_stays_flat_over_2000_topics(tmp_path):
    site = f'<site title="T" url="https://example.org"><standard-description>{"words " * 1000}</standard-description></site>'

    def peak(number):
        path = tmp_path / f"{number}.xml"
        path.write_text(ROOT.format(number, "\n".join(topic(n, inner=site * 2) for n in range(number))))
        tracemalloc.start()
        count = sum(1 for _ in read_topics(path, faults=[]))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == number
        return most, path.stat().st_size

    peak(5)  # what a first use loads
    (small, _), (large, size) = peak(200), peak(2000)
    assert size > 24e6
    assert large < small + 1e6 and large < 2e6


# Licences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://medlineplus.gov/asthma.html",
        "https://medlineplus.gov/spanish/asthma.html",
        "http://www.nlm.nih.gov/medlineplus/asthma.html",
        "https://medlineplus.gov/lab-tests/troponin-test/",
        "https://medlineplus.gov/genetics/condition/noonan-syndrome/",
    ],
)
def test_summaries_tests_and_genetics_pages_are_in_the_public_domain(url):
    assert licence(url) == "public domain"


@pytest.mark.parametrize(
    ("url", "owner"),
    [
        ("https://medlineplus.gov/ency/article/000141.htm", "A.D.A.M."),
        ("https://medlineplus.gov/spanish/ency/article/000141.htm", "A.D.A.M."),
        ("https://medlineplus.gov/druginfo/meds/a682159.html", "ASHP"),
        ("https://medlineplus.gov/druginfo/natural/955.html", "Natural Medicines"),
        ("https://medlineplus.gov/images/asthma.html", "image"),
        ("https://www.mayoclinic.org/asthma.html", "outside MedlinePlus"),
        ("https://medlineplus.gov.example.org/asthma.html", "outside MedlinePlus"),
        ("https://www.nlm.nih.gov/asthma.html", "outside MedlinePlus"),
        ("https://medlineplus.gov/news/fullstory_1.txt", "none of the pages known"),
    ],
)
def test_all_other_texts_are_refused_with_whose_they_are(url, owner):
    with pytest.raises(DataError, match=owner):
        licence(url)


@pytest.mark.parametrize("credit", ["<p>NIH: National Eye Institute</p>", '<p class="NLMattribution">NIH: National Eye Institute</p>'])
def test_a_federal_credit_goes_into_the_attribution(read, credit):
    (found,), faults = read(topic(1, f"<p>Eyes.</p>{credit}"))
    assert (found.summary, faults) == ("Eyes.", [])
    assert found.attribution == "Source: MedlinePlus, National Library of Medicine (NIH: National Eye Institute)"


@pytest.mark.parametrize(
    "notice",
    ["© 2020 A.D.A.M., Inc.", "(c) 2019 Some Society", "All rights reserved.", "Reprinted with permission."],
)
def test_passages_under_a_copyright_notice_are_dropped_and_named(read, notice):
    (found,), faults = read(topic(1, f"<p>Ours.</p><p>NIH: National Eye Institute</p><p>Theirs.</p><p>{notice}</p><p>Ours again.</p>"))
    assert found.summary == "Ours.\nOurs again."
    assert "topic 'Topic 1' (id 1): 2 line(s) of the summary are credited to others and left out" in faults[0]


def test_a_summary_credited_to_others_as_a_whole_leaves_no_topic(read):
    found, faults = read(topic(1, '<p>Theirs.</p><p class="attribution">American Society of Something</p>'), topic(2))
    assert [t.id for t in found] == ["2"] and "nothing of its summary is in the public domain" in faults[1]


def test_a_list_item_c_is_no_copyright_notice(read):
    assert read(topic(1, "<p>Choose (a) rest, (b) tea or (c) sleep.</p>"))[0][0].summary.endswith("(c) sleep.")


# The web service ----------------------------------------------------------------------------------------------------


def answer(*topics, spelling=""):
    documents = "".join(
        f'<document rank="{n}" url="https://medlineplus.gov/x.html"><content name="healthTopic">{t}</content></document>'
        for n, t in enumerate(topics)
    )
    return f'<?xml version="1.0"?>\n<nlmSearchResult>{spelling}<count>{len(topics)}</count><list>{documents}</list></nlmSearchResult>'


@pytest.fixture
def service(monkeypatch):
    """A web service on this machine that gives the answers of a list in turn, the last one for ever; it keeps what was asked."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(medlineplus, "_pace", lambda requests_per_minute: None)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(parse_qs(urlsplit(self.path).query))
            body = self.server.answers[0] if len(self.server.answers) == 1 else self.server.answers.pop(0)
            status, headers, text = body if isinstance(body, tuple) else (200, {}, body)
            if status == 0:
                return  # the connection closes without an answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/ws/query"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_service_is_asked_for_whole_topics_and_gives_them_in_rank_order(service):
    marked = topic(5, '<p>A <span class="qt0">short</span> one.</p>', title=escape('<span class="qt0">Topic</span> 5'))
    service.answers = [answer(marked, topic(3), topic(4))]
    found = medlineplus.search("asthma", max_topics=2, url=service.url)
    assert [(t.id, t.title) for t in found] == [("5", "Topic 5"), ("3", "Topic 3")]
    assert found[0].summary == "A short one." and found[0].snapshot == time.strftime("%Y-%m-%d")
    assert service.asked == [{"db": ["healthTopics"], "term": ["asthma"], "rettype": ["topic"], "retmax": ["2"]}]


def test_spanish_topics_are_in_a_database_of_their_own(service):
    service.answers = [answer(topic(5, language="Spanish"))]
    assert len(medlineplus.search("asma", "Spanish", url=service.url)) == 1
    assert service.asked[0]["db"] == ["healthTopicsSpanish"]


@pytest.mark.parametrize(
    "trouble", [(429, {"Retry-After": "0.01"}, "slow down"), (503, {}, ""), (0, {}, ""), answer(topic(1))[:300], "<html>maintenance</html>"]
)
def test_trouble_that_passes_is_tried_again(service, trouble):
    service.answers = [trouble, trouble, answer(topic(1))]
    assert [t.id for t in medlineplus.search("asthma", url=service.url)] == ["1"]
    assert len(service.asked) == 3


def test_trouble_that_stays_ends_with_a_clear_error(service):
    service.answers = [(503, {}, "")]
    with pytest.raises(DataError, match=r"no answer to 'asthma' in 5 tries \(HTTP 503\).*read_topics"):
        medlineplus.search("asthma", url=service.url)
    assert len(service.asked) == medlineplus.TRIES


def test_a_refusal_is_not_repeated(service):
    service.answers = [(400, {}, "")]
    with pytest.raises(DataError, match=r"refuses 'asthma' \(HTTP 400\)"):
        medlineplus.search("asthma", url=service.url)
    assert len(service.asked) == 1


def test_nothing_found_is_said_with_the_better_spelling(service):
    service.answers, faults = [answer(spelling="<spellingCorrection>asthma</spellingCorrection>")], []
    assert medlineplus.search("astma", url=service.url, faults=faults) == []
    assert "no topic found; did you mean 'asthma'?" in faults[0]


def test_answers_are_kept_for_a_day_with_their_own_date(service, tmp_path):
    import os

    service.answers = [answer(topic(1)), answer(topic(2))]
    first = medlineplus.search("asthma", url=service.url, cache=tmp_path)
    assert medlineplus.search("asthma", url=service.url, cache=tmp_path) == first and len(service.asked) == 1
    (kept,) = tmp_path.iterdir()
    old = time.time() - 25 * 3600
    os.utime(kept, (old, old))
    assert [t.id for t in medlineplus.search("asthma", url=service.url, cache=tmp_path)] == ["2"]


def test_no_more_requests_a_minute_are_sent_than_told(monkeypatch):
    now, slept = [100.0], []
    monkeypatch.setattr(medlineplus, "_next_request", 0.0)
    monkeypatch.setattr(medlineplus.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(medlineplus.time, "sleep", lambda seconds: (slept.append(seconds), now.__setitem__(0, now[0] + seconds)))
    for _ in range(61):
        medlineplus._pace(60)
    assert now[0] - 100 == pytest.approx(60)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"term": " "}, "term must not be blank"),
        ({"max_topics": 0}, "max_topics must be 1 or more"),
        ({"requests_per_minute": 86}, "in 0-85"),
        ({"requests_per_minute": 0}, "in 0-85"),
        ({"language": "Thai"}, "not in 'Thai'"),
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong, said):
    with pytest.raises(ValueError, match=said):
        medlineplus.search(**({"term": "asthma", "url": "http://127.0.0.1:9"} | wrong))
