"""Health topics of MedlinePlus (Section 3.1), from its bulk file or its web service, and what of them may be used.

Both speak of a topic in the same `<health-topic>` element (medlineplus.gov/xml.html, medlineplus.gov/about/developers/webservices), so
one reader serves both. Topics exist in English and Spanish. Each element is cut out of the stream and parsed on its own: memory stays
flat, a broken topic costs no other one, and no document type is ever read, so no entity can expand.
"""

import html
import io
import re
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx2
from bs4 import BeautifulSoup
from pydantic import BaseModel, ConfigDict

from curemed_utils import paths
from curemed_utils.data import DataError
from curemed_utils.judge import client
from curemed_utils.judge.cache import key_of

SAMPLE_TOPICS = paths.SAMPLE / "topics.xml"  # written by us in the same form; its `url` starts with sample:
SERVICE = "https://wsearch.nlm.nih.gov/ws/query"
DATABASES = {"English": "healthTopics", "Spanish": "healthTopicsSpanish"}
MOST_PER_MINUTE = 85  # requests that the NLM allows an IP address
FRESH_HOURS = 24  # the NLM asks to keep answers for 12 to 24 hours; the service changes once a day
TRIES = 5

PUBLIC = re.compile(r"(/medlineplus)?(/spanish)?/(genetics/.+|lab-tests/.+|pruebas-de-laboratorio/.+|[\w-]+\.html)")
COPYRIGHTED = {  # parts of MedlinePlus whose text others license to it (medlineplus.gov/about/using/usingcontent)
    "/ency/": "the A.D.A.M. Medical Encyclopedia",
    "/druginfo/": "drug and supplement texts of ASHP (AHFS) and Natural Medicines",
    "/images/": "an image, most of which are licensed from others",
}
_NOTICE = re.compile(
    r"©|\(c\)\s*(?:copyright|\d{4})|\bcopyright|all rights reserved|derechos reservados|(?:used|reprinted) (?:with|by) permission"
    r"|A\.D\.A\.M\.|American Society of Health-System Pharmacists",
    re.IGNORECASE,
)
_FEDERAL = re.compile(  # names that credits of works of the United States begin with
    r"NIH\b|National (?:Institutes?|Cancer Institute|Eye Institute|Library of Medicine|Heart|Human Genome|Center for)\b|U\.?S\.? "
    r"|Centers for (?:Disease Control|Medicare)|Food and Drug Admin|Agency for (?:Healthcare|Toxic)|Environmental Protection Agency"
    r"|Department of (?:Health|Agriculture|Veterans|Energy|Labor|Homeland|Justice|Education|Defense|Transportation)|Substance Abuse and"
    r"|Office (?:on Women|of (?:Disease|Minority|Dietary|Population|the Surgeon))|Federal (?:Trade|Emergency|Aviation)|Consumer Product"
    r"|Administration for (?:Children|Community)|Health Resources and|Institutos? Nacional|Centros para el Control"
    r"|Administración de (?:Alimentos|Servicios)|Departamento de Salud y Servicios|Agencia para la Investigación|Oficina para la Salud"
)
_CREDIT_ALONE = re.compile(r"(?:NIH: |Centers for Disease Control|Centros para el Control|Food and Drug Admin)[^.]{0,150}")

_ATTRIBUTES = {"id", "title", "url", "language", "date-created", "meta-desc"}
_ELEMENTS = {
    *("also-called", "full-summary", "group", "language-mapped-topic", "mesh-heading", "other-language", "primary-institute"),
    *("related-topic", "see-reference", "site"),
}
_BLOCKS = ["p", "div", "br", "ul", "ol", "li", "tr", "dt", "dd", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"]
_LINE, _ITEM, _CREDIT = "\x01", "\x02", "\x03"  # control characters, which XML forbids in a text

_START = re.compile(rb"<!--|<health-topic(?=[\s>/])")
_END = re.compile(rb"</health-topic\s*>|(?=<health-topic[\s>/]|</health-topics\s*>|</content\s*>|</nlmSearchResult\s*>)")
_TOPIC = re.compile(rb"<health-topic(?=[\s>/])")
_CLOSED = re.compile(rb"</(?:health-topics|nlmSearchResult)\s*>")
_BLOCK, _LARGEST = 1 << 16, 1 << 22  # bytes read at a time, and bytes of a topic after which its end is no longer waited for

_pace_lock, _next_request = threading.Lock(), 0.0


class Topic(BaseModel):
    """One health topic.

    `date` is when MedlinePlus first had it, `snapshot` the day of the file or of the service's answer: ISO dates, or empty
    where the source gives none. `summary` is text, one paragraph or list item a line. `mapped` is the id of the same topic in
    the other language.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    language: str
    date: str
    snapshot: str
    groups: list[str]
    mesh: list[str]
    related: list[str]
    also_called: list[str]
    summary: str
    url: str
    attribution: str
    licence: str
    mapped: str = ""

    @property
    def key(self) -> str:
        """What rows carry in `topic`: one name for both languages, the English id; of our own topics without `sample-`."""
        return (self.mapped if self.language == "Spanish" and self.mapped else self.id).removeprefix("sample-")


def licence(url: str) -> str:
    """The licence of the text at a topic's address: 'public domain', or the repository's for our own topics.

    Only what medlineplus.gov/about/using/usingcontent lists as free is passed: summaries of health topics, medical tests and
    genetics pages. Raises DataError that says whose all other text is.
    """
    parts = urlsplit(url)
    if parts.scheme == "sample":
        return "Apache-2.0"
    host, path = (parts.hostname or "").removeprefix("www."), parts.path
    if host not in ("medlineplus.gov", "nlm.nih.gov") or (host == "nlm.nih.gov" and not path.startswith("/medlineplus/")):
        raise DataError(f"{url!r} lies outside MedlinePlus: its text is its publisher's")
    for part, owner in COPYRIGHTED.items():
        if part in path:
            raise DataError(f"{url!r} is copyrighted: {owner}")
    if not PUBLIC.fullmatch(path):
        raise DataError(f"{url!r} is none of the pages known to be in the public domain (health topics, medical tests, genetics)")
    return "public domain"


def read_topics(path: str | Path, language: str = "English", faults: list[str] | None = None) -> Iterator[Topic]:
    """The topics of a bulk file (`mplus_topics_YYYY-MM-DD.xml`) in one language, as a stream.

    What can't be used is left out alone and named by file, line and topic in `faults`, or in a warning where no list is given:
    a topic that is not well-formed, has no id, title, summary or known language, comes twice or isn't in the public domain.
    Unknown fields and elements are named once each and cost nothing. Raises DataError for a file that can't be read or holds no topic.
    """
    path = Path(path)
    _checked(language)
    if not path.is_file():
        raise DataError(f"{paths.show(path)} is not a file; medlineplus.gov/xml.html links to the current mplus_topics_YYYY-MM-DD.xml")
    if zipfile.is_zipfile(path):
        raise DataError(f"{paths.show(path)} is a zip file: unpack it and give the .xml in it")
    dated = re.search(r"\d{4}-\d\d-\d\d", path.name)
    return _of_file(path, _Reader(paths.show(path), language, dated[0] if dated else "", faults))


def _of_file(path: Path, reader: "_Reader") -> Iterator[Topic]:
    with path.open("rb") as file:
        yield from reader.read(file)


def _checked(language: str) -> None:
    if language not in DATABASES:
        raise ValueError(f"MedlinePlus has topics in English and Spanish alone, not in {language!r}: compose the others from them")


# Reading ------------------------------------------------------------------------------------------------------------


def _pieces(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """The stream in pieces, each with its first line's number and whether it is a topic: a topic starts at its tag, and ends at
    its end tag or where something begins that can't be inside one."""
    buffer, line, inside, ended = b"", 1, False, False
    while not ended:
        block = file.read(_BLOCK)
        ended = not block
        buffer += block
        position = 0
        while True:
            found = _END.search(buffer, position + 1) if inside else _START.search(buffer, position)
            if found and found[0] == b"<!--":
                end = buffer.find(b"-->", found.end())
                if end < 0 and not ended and len(buffer) < _LARGEST:
                    break
                position = end if end >= 0 else found.end()  # a comment that never ends hides no topic
                continue
            if not found and not ended and len(buffer) < _LARGEST:
                break
            cut = len(buffer) if not found else found.end() if inside else found.start()
            if cut:
                yield line, buffer[:cut], inside
            line += buffer.count(b"\n", 0, cut)
            buffer, position = buffer[cut:], 0
            inside = bool(found) and (not inside or bool(_TOPIC.match(buffer)))
            if not found:
                break


class _Reader:
    """Turns pieces into topics and names what is wrong with them; `name` is the file's, for messages."""

    def __init__(self, name: str, language: str, snapshot: str, faults: list[str] | None):
        self.name, self.language, self.snapshot, self.faults = name, language, snapshot, faults
        self.seen: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.suggestion = ""

    def read(self, file: BinaryIO) -> Iterator[Topic]:
        number, total, closed, encoding, line = 0, None, False, "utf-8", 1
        for line, piece, is_topic in _pieces(file):
            if not is_topic:
                closed = bool(_CLOSED.search(piece))
                encoding, total = self._head(piece, encoding, total)
                continue
            number += 1
            try:
                topic = self._topic(_parse(piece, encoding, line), line)
            except DataError as error:
                self.say(line, _called(piece), f"{error}; this topic is left out, all others are kept")
                continue
            if topic:
                yield topic
        if not number and not closed:
            raise DataError(f"{self.name}: holds no <health-topic>; wanted is mplus_topics_YYYY-MM-DD.xml of medlineplus.gov/xml.html")
        if not closed:
            self.say(line, "", "the file ends before its end tag: download it again; what was read is kept")
        if total is not None and total != number:
            self.say(line, "", f"the file announces {total:,} topics and holds {number:,}")

    def _head(self, piece: bytes, encoding: str, total: int | None) -> tuple[str, int | None]:
        """What stands outside topics: the XML declaration's encoding, the root's number of topics and date, a better spelling."""
        if declared := re.match(rb"""\s*(?:\xef\xbb\xbf)?<\?xml[^>]*encoding=["']([\w.-]+)""", piece):
            encoding = declared[1].decode()
        if root := re.search(rb"<health-topics\s[^>]*>", piece):
            given = dict(re.findall(r"""([\w-]+)\s*=\s*["']([^"']*)""", root[0].decode("utf-8", "replace")))
            self.snapshot = _date(given.get("date-generated", "")) or self.snapshot
            total = int(given["total"]) if given.get("total", "").isdigit() else total
        if spelling := re.search(rb"<spellingCorrection>(.*?)</", piece):
            self.suggestion = spelling[1].decode("utf-8", "replace")
        return encoding, total

    def _topic(self, element: ElementTree.Element, line: int) -> Topic | None:
        """The topic of an element; None if it is in the other language. Raises DataError if it can't be used."""
        given = {name: value.strip() for name, value in element.attrib.items()}
        spoken, called = given.get("language", ""), f"topic {given.get('title', '')!r} (id {given.get('id', '?')})"
        if spoken not in DATABASES:
            raise DataError(f"language {spoken!r} is neither English nor Spanish")
        if spoken != self.language:
            return None
        for kind, names in (("field", given.keys() - _ATTRIBUTES), ("element", {child.tag for child in element} - _ELEMENTS)):
            for name in sorted(names - self.unknown):
                self.unknown.add(name)
                self.say(line, called, f"unknown {kind} {name!r} is passed over, here and further on")
        if missing := [name for name in ("id", "title", "url") if not given.get(name)]:
            raise DataError(f"has no {' and no '.join(missing)}")
        if given["id"] in self.seen:
            raise DataError(f"its id came before, on line {self.seen[given['id']]}")
        free = licence(given["url"])
        lines, credit, dropped = _own_words(_lines(_inner(element.find("full-summary"))))
        if dropped:
            self.say(line, called, f"{dropped} line(s) of the summary are credited to others and left out")
        if not lines:
            raise DataError("nothing of its summary is in the public domain" if dropped else "its summary is empty")
        if given.get("date-created") and not _date(given["date-created"]):
            self.say(line, called, f"date-created {given['date-created']!r} is no date and left empty")
        self.seen[given["id"]] = line
        source = "CURE-Med workbook sample" if free == "Apache-2.0" else "Source: MedlinePlus, National Library of Medicine"
        mapped = [other.get("id", "") for other in element.findall("language-mapped-topic")]
        return Topic(
            id=given["id"],
            title=_plain(given["title"]),
            language=spoken,
            date=_date(given.get("date-created", "")),
            snapshot=self.snapshot,
            groups=_texts(element, "group"),
            mesh=_texts(element, "mesh-heading/descriptor"),
            related=_texts(element, "related-topic"),
            also_called=_texts(element, "also-called"),
            summary="\n".join(lines),
            url=given["url"],
            attribution=f"{source} ({credit})" if credit else source,
            licence=free,
            mapped=mapped[0] if mapped else "",
        )

    def say(self, line: int, topic: str, what: str) -> None:
        message = f"{self.name}, line {line}{', ' + topic if topic else ''}: {what}"
        if self.faults is None:
            warnings.warn(message, stacklevel=4)
        else:
            self.faults.append(message)


def _parse(piece: bytes, encoding: str, line: int) -> ElementTree.Element:
    if not re.search(rb"(?:</health-topic\s*|/)>$", piece.rstrip()[-100:]):
        raise DataError("the topic has no end tag: the file is cut off or damaged here")
    try:
        return ElementTree.fromstring(piece, ElementTree.XMLParser(encoding=encoding))
    except ElementTree.ParseError as error:
        what, row = str(error).split(":")[0], line + error.position[0] - 1
        raise DataError(f"is not well-formed XML: {what} (line {row}, column {error.position[1] + 1})") from None
    except (LookupError, ValueError) as error:
        raise DataError(f"encoding {encoding!r} can't be read ({error}): save the file as UTF-8") from None


def _called(piece: bytes) -> str:
    """A topic's title and id as far as its start tag tells."""
    start = piece[:2000].decode("utf-8", "replace")
    title, number = (re.search(rf"""\s{name}\s*=\s*["']([^"'<]*)""", start) for name in ("title", "id"))
    return f"topic {html.unescape(title[1]) if title else ''!r} (id {number[1] if number else '?'})"


def _date(text: str) -> str:
    """An ISO date out of MedlinePlus' mm/dd/yyyy, time of day or not; empty for anything else."""
    for form in ("%m/%d/%Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(text.split()[0] if text.split() else "", form).date().isoformat()
        except ValueError:
            continue
    return ""


def _texts(element: ElementTree.Element, name: str) -> list[str]:
    return [text for found in element.findall(name) if (text := _plain(found.text or ""))]


def _inner(element: ElementTree.Element | None) -> str:
    """An element's HTML, escaped as the NLM writes it or not."""
    if element is None:
        return ""
    return (element.text or "") + "".join(ElementTree.tostring(child, encoding="unicode") for child in element)


def _plain(text: str) -> str:
    """Text on one line; the web service marks the words searched for with tags."""
    return " ".join(line.lstrip(_CREDIT) for line in _lines(text))


def _lines(markup: str) -> list[str]:
    """The lines of HTML: a paragraph or list item each, '- ' before items, a control character before marked credits."""
    if "<" not in markup:
        text = html.unescape(markup)
    else:
        soup = BeautifulSoup(markup, "html.parser")
        for tag in soup(["script", "style"]):
            tag.decompose()
        for tag in soup(_BLOCKS):
            classes = " ".join(tag.get("class", []))
            mark = _ITEM if tag.name == "li" else _CREDIT if "attribution" in classes.lower() else ""
            tag.insert_before(_LINE + mark)
            tag.insert_after(_LINE)
        text = soup.get_text()
        soup.decompose()  # its cycles would stay until the garbage collector comes
    text = re.sub(rf"{_ITEM}[\s{_LINE}]*", "- ", text)
    text = re.sub(rf"{_CREDIT}[\s{_LINE}]*", _CREDIT, text)
    lines = (_CREDIT * line.lstrip().startswith(_CREDIT) + " ".join(line.strip(_CREDIT + " ").split()) for line in text.split(_LINE))
    return [line for line in lines if line.strip(_CREDIT + "- ")]


def _own_words(lines: list[str]) -> tuple[list[str], str, int]:
    """The lines in the public domain, the federal bodies that they are credited to, and how many lines are others'.

    A credit or copyright notice speaks for the lines since the one before: they go with it unless it names a federal body.
    """
    kept, credits, passage, dropped = [], [], [], 0
    for line in lines:
        text = line.strip(_CREDIT)
        if _NOTICE.search(text):
            dropped, passage = dropped + len(passage) + 1, []
        elif line.startswith(_CREDIT) or _CREDIT_ALONE.fullmatch(text):
            if _FEDERAL.match(text):
                kept, credits = kept + passage, [*credits, text]
            else:
                dropped += len(passage) + 1
            passage = []
        else:
            passage.append(text)
    return kept + passage, "; ".join(dict.fromkeys(credits)), dropped


# The web service ----------------------------------------------------------------------------------------------------


def search(
    term: str,
    language: str = "English",
    max_topics: int = 10,
    cache: str | Path | None = None,
    faults: list[str] | None = None,
    requests_per_minute: float = 60,
    url: str = SERVICE,
) -> list[Topic]:
    """The topics that MedlinePlus' web service finds for `term`, best first, at most `max_topics`.

    At most `requests_per_minute` are sent by this process (the NLM allows an IP address 85), again after 429, 5xx, a lost
    connection or an answer cut short. `cache` is a folder that keeps answers for a day, as the NLM asks. `faults` is as in
    `read_topics`, and tells a better spelling if nothing is found. Raises DataError if the service refuses or doesn't answer.
    """
    _checked(language)
    if not term.strip():
        raise ValueError("term must not be blank")
    if max_topics < 1:
        raise ValueError(f"max_topics must be 1 or more, not {max_topics}")
    if not 0 < requests_per_minute <= MOST_PER_MINUTE:
        raise ValueError(f"requests_per_minute must lie in 0-{MOST_PER_MINUTE}, the NLM's limit, not {requests_per_minute}")
    query = {"db": DATABASES[language], "term": term.strip(), "rettype": "topic", "retmax": str(max_topics)}
    kept = Path(cache).expanduser() / f"{key_of(query | {'url': url})}.xml" if cache else None
    if kept and kept.exists() and time.time() - kept.stat().st_mtime < FRESH_HOURS * 3600:
        answer, day = kept.read_bytes(), datetime.fromtimestamp(kept.stat().st_mtime)
    else:
        answer, day = _ask(url, query, requests_per_minute), datetime.now()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f"{kept.name}.{threading.get_ident()}.part")
            part.write_bytes(answer)
            part.replace(kept)
    reader = _Reader(f"{url}?term={query['term']}", language, day.date().isoformat(), faults)
    topics = list(reader.read(io.BytesIO(answer)))
    if not topics:
        reader.say(1, "", f"no topic found{f'; did you mean {reader.suggestion!r}?' if reader.suggestion else ''}")
    return topics[:max_topics]


def _ask(url: str, query: dict[str, str], requests_per_minute: float) -> bytes:
    error, wait = "", 0.0
    for attempt in range(TRIES):
        time.sleep(wait)
        _pace(requests_per_minute)
        wait = client.FIRST_WAIT * 2**attempt
        try:
            reply = httpx2.get(url, params=query, timeout=30, follow_redirects=True, headers={"User-Agent": "curemed-workbook"})
        except httpx2.RequestError as problem:
            error = f"{type(problem).__name__}: {problem}"
            continue
        if reply.status_code == 200 and _CLOSED.search(reply.content):
            return reply.content
        error = f"HTTP {reply.status_code}" if reply.status_code != 200 else "the answer is no whole search result"
        if reply.status_code not in (200, 408, 429) and reply.status_code < 500:
            raise DataError(f"MedlinePlus' web service {url} refuses {query['term']!r} ({error}): check term and address")
        wait = min(client.LONGEST_WAIT, client._retry_after(reply.headers) or wait)
    raise DataError(
        f"MedlinePlus' web service {url} gave no answer to {query['term']!r} in {TRIES} tries ({error}); "
        "try later, or read the bulk file with read_topics"
    )


def _pace(requests_per_minute: float) -> None:
    """Waits until this process may send its next request."""
    global _next_request
    with _pace_lock:
        start = max(time.monotonic(), _next_request)
        _next_request = start + 60 / requests_per_minute
    time.sleep(max(0.0, start - time.monotonic()))
