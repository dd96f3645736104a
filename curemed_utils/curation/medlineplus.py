"""Health topics of MedlinePlus (Section 3.1) from its bulk file, and what of them may be used.

The file is described at medlineplus.gov/xml.html: one `<health-topic>` element a topic, in English
or Spanish. It is read as a stream, so that memory stays flat.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import lxml.html
from lxml import etree
from pydantic import BaseModel, ConfigDict

from curemed_utils import paths
from curemed_utils.data import DataError

SAMPLE_TOPICS = paths.SAMPLE / "topics.xml"  # written by us; their addresses start with sample:
LANGUAGES = ("English", "Spanish")

# What is free and what is not: medlineplus.gov/about/using/usingcontent
PUBLIC_PAGES = (
    r"[\w-]+\.html",
    r"genetics/.+",
    r"lab-tests/.+",
    r"pruebas-de-laboratorio/.+",
)
NOTICES = (  # of somebody's rights in a text
    r"©",
    r"\(c\)\s*(?:copyright|\d{4})",
    r"\bcopyright",
    r"all rights reserved",
    r"derechos reservados",
    r"(?:used|reprinted) (?:with|by) permission",
    r"A\.D\.A\.M\.",
    r"American Society of Health-System Pharmacists",
)
FEDERAL = [
    re.escape(line)
    for line in Path(__file__).with_name("federal_bodies.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
CREDITS_ALONE = (  # beginnings of credits that no markup tells from the text
    "NIH: ",
    "Centers for Disease Control",
    "Centros para el Control",
    "Food and Drug Admin",
)

_PUBLIC = re.compile(rf"(/spanish)?/({'|'.join(PUBLIC_PAGES)})")
_NOTICE = re.compile("|".join(NOTICES), re.IGNORECASE)
_FEDERAL = re.compile(rf"({'|'.join(FEDERAL)})(?!\w)")
_BLOCKS = ("p", "div", "br", "ul", "ol", "li", "tr", "dt", "dd", "blockquote")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LINE, _ITEM, _CREDIT = "\ue000\ue001\ue002"  # marks between lines; private, so no text has them


class Topic(BaseModel):
    """One health topic.

    `date` is when MedlinePlus first had it and `snapshot` the day of the file: ISO dates, or empty
    where the file gives none. `summary` is text, one paragraph or list item a line. `mapped` is the
    id of the same topic in the other language.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    language: str
    date: str
    snapshot: str
    groups: list[str]
    mesh: list[str]
    summary: str
    url: str
    attribution: str
    licence: str
    mapped: str = ""

    @property
    def key(self) -> str:
        """What rows carry in `topic`: the English id in both languages, without `sample-`."""
        id = self.mapped if self.language == "Spanish" and self.mapped else self.id
        return id.removeprefix("sample-")


def licence(url: str) -> str:
    """The licence of a topic's text: 'public domain', or the repository's for our own topics.

    Free are summaries of health topics, medical tests and genetics pages; DataError for all else.
    """
    parts = urlsplit(url)
    if parts.scheme == "sample":
        return "Apache-2.0"
    host = (parts.hostname or "").removeprefix("www.")
    if host != "medlineplus.gov" or not _PUBLIC.fullmatch(parts.path):
        others = "others' text, such as A.D.A.M.'s encyclopedia, is licensed to MedlinePlus alone"
        raise DataError(f"{url!r} is none of the pages in the public domain: {others}")
    return "public domain"


def read_topics(
    path: str | Path, language: str = "English", faults: list[str] | None = None
) -> Iterator[Topic]:
    """The topics of a bulk file (`mplus_topics_YYYY-MM-DD.xml`) in one language, as a stream.

    What can't be used is left out alone and named by file, line and topic in `faults`, or in a
    warning where no list is given: a topic that is not well-formed, has no id, title, summary or
    language, comes twice or isn't in the public domain. Raises DataError for a file that can't be
    read or holds no topic.
    """
    path = Path(path)
    if language not in LANGUAGES:
        raise ValueError(
            f"MedlinePlus has topics in English and Spanish alone, not in {language!r}"
        )
    if not path.is_file():
        where = "medlineplus.gov/xml.html links to the current mplus_topics_YYYY-MM-DD.xml"
        raise DataError(f"{paths.show(path)} is not a file; {where}")
    return _topics(path, language, faults)


def _topics(path: Path, language: str, faults: list[str] | None) -> Iterator[Topic]:
    def say(where: str, what: str) -> None:
        message = f"{paths.show(path)}, {where}: {what}"
        if faults is None:
            warnings.warn(message, stacklevel=3)
        else:
            faults.append(message)

    safe = dict(resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True)
    topic_ends = dict(events=("start", "end"), tag="health-topic", recover=True)
    context = etree.iterparse(str(path), **topic_ends, **safe)
    n_topics, lines_by_id, root = 0, {}, {}
    for element, limit in _elements(context):
        n_topics += 1
        root = root or dict(element.getroottree().getroot().attrib)
        title, id, line = element.get("title", ""), element.get("id", "?"), element.sourceline
        where = f"line {line}, topic {title!r} (id {id})"
        try:
            _check_markup(element, limit, context.error_log)
            if element.get("language") not in LANGUAGES:
                spoken = element.get("language")
                raise DataError(f"language {spoken!r} is neither English nor Spanish")
            if element.get("language") != language:
                continue
            if id in lines_by_id:
                raise DataError(f"its id came before, on line {lines_by_id[id]}")
            topic, dropped = _topic(element, _date(root.get("date-generated", "")))
        except DataError as error:
            say(where, f"{error}; this topic is left out")
            continue
        lines_by_id[id] = line
        if dropped:
            say(where, f"{dropped} line(s) of the summary are credited to others and left out")
        yield topic
    if not n_topics:
        wanted = "wanted is mplus_topics_YYYY-MM-DD.xml of medlineplus.gov/xml.html"
        raise DataError(f"{paths.show(path)}: holds no <health-topic>; {wanted}")
    if root.get("total", str(n_topics)) != str(n_topics):
        announced = f"the file announces {root['total']} topics, and {n_topics} were read"
        say("line 2", f"{announced}: download it again if it is cut off")


def _elements(context: etree.iterparse) -> Iterator[tuple[etree._Element, int]]:
    """Each topic's element with a line before which it ends; emptied as soon as it was used.

    Beyond line 65,535 libxml2 counts an element's lines from its first text on.
    """
    ended = None
    try:
        for event, element in context:
            if ended is not None:
                yield ended, element.sourceline if event == "start" else sys.maxsize
                ended.clear()
            ended = element if event == "end" else None
    except etree.XMLSyntaxError:  # nothing in the file can be read
        return
    if ended is not None:
        yield ended, sys.maxsize


def _check_markup(element: etree._Element, limit: int, errors: etree._ListErrorLog) -> None:
    """Raises DataError if the parser had to mend the element, or left out an entity."""
    for error in errors:
        opened = re.search(r"mismatch: [\w-]+ line (\d+) and", error.message)
        line = int(opened[1]) if opened else error.line
        if element.sourceline <= line < limit and "Premature end" not in error.message:
            where = f"line {error.line}, column {error.column}"
            raise DataError(f"is not well-formed XML: {error.message} ({where})")
    for entity in element.iter(etree.Entity):
        raise DataError(f"holds the entity {entity.text}, which is not read")


def _topic(element: etree._Element, snapshot: str) -> tuple[Topic, int]:
    """The topic of an element, and how many lines of its summary are others'."""
    if missing := [name for name in ("id", "title", "url") if not element.get(name, "").strip()]:
        raise DataError(f"has no {' and no '.join(missing)}")
    free = licence(element.get("url"))
    summary, credit, dropped = _free_lines(_lines(_markup(element.find("full-summary"))))
    if not summary:
        nothing_free = "nothing of its summary is in the public domain"
        raise DataError(nothing_free if dropped else "its summary is empty")
    source = "Source: MedlinePlus, National Library of Medicine"
    if free == "Apache-2.0":
        source = "CURE-Med workbook sample"
    mapped = element.find("language-mapped-topic")
    topic = Topic(
        id=element.get("id"),
        title=" ".join(element.get("title").split()),
        language=element.get("language"),
        date=_date(element.get("date-created", "")),
        snapshot=snapshot,
        groups=_texts(element, "group"),
        mesh=_texts(element, "mesh-heading/descriptor"),
        summary="\n".join(summary),
        url=element.get("url"),
        attribution=f"{source} ({credit})" if credit else source,
        licence=free,
        mapped="" if mapped is None else mapped.get("id", ""),
    )
    return topic, dropped


def _date(text: str) -> str:
    """An ISO date out of MedlinePlus' mm/dd/yyyy, time of day or not; empty for anything else."""
    try:
        return datetime.strptime(text[:10], "%m/%d/%Y").date().isoformat()
    except ValueError:
        return ""


def _texts(element: etree._Element, name: str) -> list[str]:
    texts = [" ".join((child.text or "").split()) for child in element.findall(name)]
    return [text for text in texts if text]


def _markup(element: etree._Element | None) -> str:
    """An element's HTML, escaped as the NLM writes it or not."""
    if element is None:
        return ""
    children = (etree.tostring(child, encoding="unicode") for child in element)
    return (element.text or "") + "".join(children)


def _lines(markup: str) -> list[str]:
    """The lines of HTML: paragraphs and list items, '- ' before items, a mark before credits."""
    if not markup.strip():
        return []
    body = lxml.html.fragment_fromstring(markup, create_parent=True)
    etree.strip_elements(body, "script", "style", with_tail=False)
    for tag in body.iterdescendants(*_BLOCKS, *_HEADINGS):
        mark = _ITEM if tag.tag == "li" else ""
        if "attribution" in tag.get("class", "").lower():
            mark = _CREDIT
        tag.text = _LINE + mark + (tag.text or "")
        tag.tail = _LINE + (tag.tail or "")
    text = re.sub(rf"{_ITEM}[\s{_LINE}]*", "- ", body.text_content())
    text = re.sub(rf"{_CREDIT}[\s{_LINE}]*", _CREDIT, text)
    lines = [" ".join(line.split()) for line in text.split(_LINE)]
    return [line for line in lines if line.strip(_CREDIT + "- ")]


def _free_lines(lines: list[str]) -> tuple[list[str], str, int]:
    """The lines in the public domain, the federal bodies credited, how many lines are others'.

    A credit or copyright notice speaks for the lines since the one before: they go with it unless
    it names a federal body.
    """
    free, credits, passage, dropped = [], [], [], 0
    for line in lines:
        text = line.removeprefix(_CREDIT).strip()
        alone = text.startswith(CREDITS_ALONE) and len(text) < 180 and "." not in text[20:]
        if _NOTICE.search(text):
            dropped += len(passage) + 1
            passage = []
        elif not (line.startswith(_CREDIT) or alone):
            passage.append(text)
        else:
            if _FEDERAL.match(text):
                free += passage
                credits.append(text)
            else:
                dropped += len(passage) + 1
            passage = []
    return free + passage, "; ".join(dict.fromkeys(credits)), dropped
