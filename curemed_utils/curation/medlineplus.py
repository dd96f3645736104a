"""Health topics of MedlinePlus (Section 3.1) from its bulk file, medlineplus.gov/xml.html."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import lxml.html
from lxml import etree
from pydantic import BaseModel

from curemed_utils import paths
from curemed_utils.data import DataError

SAMPLE_TOPICS = paths.SAMPLE / "topics.xml"  # our own; addresses start with sample:
LICENCES = paths.beside(__file__, "licences.yaml")

_PUBLIC = re.compile("|".join(LICENCES["public_pages"]))
_NOTICE = re.compile("|".join(LICENCES["notices"]), re.IGNORECASE)
_FEDERAL = re.compile(rf"({'|'.join(map(re.escape, LICENCES['federal_bodies']))})(?!\w)")
_PLAIN_CREDITS = tuple(LICENCES["plain_credits"])

_BLOCKS = (*lxml.html.defs.block_tags, "br")
_LINE, _ITEM, _CREDIT = "\ue000\ue001\ue002"  # marks before lines, which no text has


class Topic(BaseModel, frozen=True):
    """One health topic in English; `summary` has one paragraph or list item a line.

    `date` is when MedlinePlus first had it, `snapshot` the day of the file: ISO dates, or empty.
    """

    id: str
    title: str
    date: str
    snapshot: str
    groups: list[str]
    mesh: list[str]
    summary: str
    url: str
    attribution: str
    licence: str

    @property
    def key(self) -> str:
        """What rows carry in `topic`."""
        return self.id.removeprefix("sample-")


def licence(url: str) -> str:
    """'public domain', or our own topics' licence; DataError for texts that aren't free."""
    parts = urlsplit(url)
    if parts.scheme == "sample":
        return "Apache-2.0"
    host = (parts.hostname or "").removeprefix("www.")
    if host != "medlineplus.gov" or not _PUBLIC.fullmatch(parts.path):
        raise DataError(f"{url!r} is none of the pages in the public domain")
    return "public domain"


def read_topics(path: str | Path, faults: list[str]) -> Iterator[Topic]:
    """The English topics of a bulk file, as a stream.

    A topic that can't be used is left out alone, and `faults` gets a line with its place and why;
    at markup that is not well-formed the file ends. DataError for a file that is not there or
    holds no topic.
    """
    file = paths.show(path)
    wanted = "wanted is mplus_topics_YYYY-MM-DD.xml, unpacked, of medlineplus.gov/xml.html"
    if not Path(path).is_file():
        raise DataError(f"{file} is not a file; {wanted}")
    n_topics, line_of = 0, {}
    for element in _elements(path, faults):
        n_topics += 1
        id, line = element.get("id"), element.sourceline
        where = f"{file}, line {line}, topic {element.get('title', '')!r} (id {id})"
        try:
            if element.get("language") == "Spanish":
                continue
            if id in line_of:
                raise DataError(f"its id came before, on line {line_of[id]}")
            root = element.getroottree().getroot()
            topic, dropped = _topic(element, _date(root.get("date-generated", "")))
        except DataError as error:
            faults.append(f"{where}: {error}; this topic is left out")
            continue
        line_of[id] = line
        if dropped:
            faults.append(f"{where}: {dropped} line(s) of the summary are credited to others")
        yield topic
    if not n_topics:
        raise DataError(f"{file}: holds no <health-topic>; {wanted}")


def _elements(path, faults):
    options = dict(tag="health-topic", resolve_entities=False, remove_comments=True)
    try:
        for _, element in etree.iterparse(str(path), **options):
            yield element
            element.clear()
    except etree.XMLSyntaxError as error:
        faults.append(f"{paths.show(path)}: is not well-formed XML and ends there: {error.msg}")


def _topic(element, snapshot):
    for name in ("id", "title", "url"):
        if not element.get(name, "").strip():
            raise DataError(f"has no {name}")
    if element.get("language") != "English":
        raise DataError(f"language {element.get('language')!r} is neither English nor Spanish")
    for entity in element.iter(etree.Entity):
        raise DataError(f"holds the entity {entity.text}, which is not read")
    url, lines = element.get("url"), []
    free = licence(url)
    for summary in element.findall("full-summary"):
        lines += _lines(summary)
    if not lines:
        raise DataError("its summary is empty")
    free_lines, credit, dropped = _free_lines(lines)
    if not free_lines:
        raise DataError("nothing of its summary is in the public domain")
    source = LICENCES["sources"][free]
    topic = Topic(
        id=element.get("id"),
        title=" ".join(element.get("title").split()),
        date=_date(element.get("date-created", "")),
        snapshot=snapshot,
        groups=_texts(element, "group"),
        mesh=_texts(element, "mesh-heading/descriptor"),
        summary="\n".join(free_lines),
        url=url,
        attribution=f"{source} ({credit})" if credit else source,
        licence=free,
    )
    return topic, dropped


def _date(text):
    try:
        return datetime.strptime(text[:10], "%m/%d/%Y").date().isoformat()
    except ValueError:
        return ""


def _texts(element, name):
    texts = [" ".join((child.text or "").split()) for child in element.findall(name)]
    return [text for text in texts if text]


def _lines(summary):
    """Paragraphs and items of HTML, escaped or not; '- ' before items, a mark before credits."""
    children = [etree.tostring(child, encoding="unicode") for child in summary]
    markup = "".join([summary.text or "", *children])

    body = lxml.html.fragment_fromstring(markup, create_parent=True)
    etree.strip_elements(body, "script", "style", with_tail=False)
    for tag in body.iterdescendants(*_BLOCKS):
        mark = _ITEM if tag.tag == "li" else ""
        if "attribution" in tag.get("class", "").lower():
            mark = _CREDIT
        tag.text = _LINE + mark + (tag.text or "")
        tag.tail = _LINE + (tag.tail or "")
    text = re.sub(rf"{_ITEM}[\s{_LINE}]*", "- ", body.text_content())
    text = re.sub(rf"{_CREDIT}[\s{_LINE}]*", _CREDIT, text)
    lines = [" ".join(line.split()) for line in text.split(_LINE)]
    return [line for line in lines if line.strip(_CREDIT + "- ")]


def _free_lines(lines):
    """The lines in the public domain, the federal bodies credited, how many lines are others'.

    A credit or notice speaks for the lines since the one before.
    """
    free, credits, passage, dropped = [], [], [], 0
    for line in lines:
        text = line.removeprefix(_CREDIT).strip()
        plain = text.startswith(_PLAIN_CREDITS) and len(text) < 180 and "." not in text[20:]
        notice = _NOTICE.search(text)
        if not (notice or plain or line.startswith(_CREDIT)):
            passage.append(text)
            continue
        if _FEDERAL.match(text) and not notice:
            free += passage
            credits.append(text)
        else:
            dropped += len(passage) + 1
        passage = []
    return free + passage, "; ".join(dict.fromkeys(credits)), dropped
