"""Items on their way from a health topic to an open question: what a model is asked at each stage, and how its replies are read."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator
from pydantic_core import from_json

from curemed_utils import data, prompts
from curemed_utils import languages as known_languages
from curemed_utils.data import DataError, Row, splits

if TYPE_CHECKING:
    from curemed_utils.curation.medlineplus import Topic

STAGES = ("compose", "difficulty", "ambiguity", "convert")
OUTCOMES = ("kept", "dropped", "set aside", "never came")
LETTERS = "ABCD"


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Who is asked, and how. The defaults are the paper's models (Section 3.1).

    `questions` per topic and language; `rounds`: requests for what is missing or failed its checks; `seed` shuffles the options
    for the compact models. The caps are tokens a reply, `compose_tokens` for each language in it. `prompts`: a YAML file in
    place of `prompts.CURATION`. `options` are further fields of every request; None takes a field out, for servers that don't
    know it: {'response_format': None}, or {'max_tokens': None, 'max_completion_tokens': 16000} for reasoning models.
    """

    composer: str = "gpt-4o"
    compact: tuple[str, ...] = Field(
        ("Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"), min_length=1
    )
    judge: str = "gpt-4o"
    converter: str = "gpt-4o"
    questions: int = Field(1, ge=1)
    rounds: int = Field(3, ge=1)
    seed: int = 0
    compose_tokens: int = Field(800, ge=1)
    vote_tokens: int = Field(10, ge=1)
    verdict_tokens: int = Field(400, ge=1)
    convert_tokens: int = Field(1500, ge=1)
    prompts: str = ""
    options: dict[str, Any] = {}

    def models(self) -> list[str]:
        return list(dict.fromkeys([self.composer, *self.compact, self.judge, self.converter]))


DEFAULT = Settings()


@dataclass
class Item:
    """A question number of a topic in one language. `stage` is where it is or ended, `outcome` one of OUTCOMES once it has ended,
    `reason` why; `fault` is what was wrong with the last of `tries` replies, `reply`."""

    topic: "Topic"
    number: int
    language: str
    stage: str = "compose"
    outcome: str = ""
    reason: str = ""
    question: str = ""
    options: dict[str, str] = field(default_factory=dict)
    key: str = ""
    votes: list[dict] = field(default_factory=list)
    fault: str = ""
    reply: str = ""
    tries: int = 0
    row: Row | None = None

    @property
    def code(self) -> str:
        return known_languages.get(self.language).code

    @property
    def id(self) -> str:
        return f"{self.topic.id}-{self.number}-{self.code}"

    def end(self, outcome: str, reason: str) -> None:
        self.outcome, self.reason = outcome, reason

    def vote(self, stage: str, model: str, vote: str, agrees: bool | None, reason: str, order: str = LETTERS) -> None:
        """Notes what a model says; `agrees` with the key: True, False, or None where it said nothing usable."""
        self.votes.append({"stage": stage, "model": model, "order": order, "vote": vote, "agrees": agrees, "reason": reason})


def plan(topics: Iterable["Topic"], languages: Iterable[str], settings: Settings = DEFAULT) -> list[Item]:
    """An item for every topic, question number and language. Raises ValueError for an unknown language, DataError for topics that
    can't be used: none at all, an id twice, no summary."""
    topics, names = list(topics), [known_languages.get(name).name for name in dict.fromkeys(languages)]
    faults = [f"topic id {id!r} occurs twice" for id, n in Counter(topic.id for topic in topics).items() if n > 1]
    faults += [f"topic {topic.id!r} has no summary to compose from: leave it out" for topic in topics if not topic.summary.strip()]
    if faults or not topics or not names:
        raise DataError("\n".join(faults[:10]) or "nothing to curate: give one topic and one language or more")
    return [Item(topic, n + 1, name) for topic in topics for n in range(settings.questions) for name in names]


def at(items: list[Item], stage: str) -> list[Item]:
    """The items that are at `stage`, not ended."""
    return [item for item in items if item.stage == stage and not item.outcome]


def parallel(items: list[Item]) -> Iterator[list[Item]]:
    """The items of each topic and question number, in all their languages."""
    return (list(group) for _, group in itertools.groupby(items, key=lambda item: (item.topic.id, item.number)))


# Requests -----------------------------------------------------------------------------------------------------------


class Requests:
    """Requests made one at a time, so that hundreds of thousands never lie in memory together; `over` is what each is about."""

    def __init__(self, make: Callable[[Any], dict], over: list):
        self.make, self.over = make, over

    def __len__(self) -> int:
        return len(self.over)

    def __iter__(self) -> Iterator[dict]:
        return map(self.make, self.over)


def _request(settings: Settings, model: str, system: str, shown: dict, max_tokens: int, temperature=0.0, as_json=True) -> dict:
    fields = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
    fields |= {"response_format": {"type": "json_object"}} if as_json else {}
    fields = {name: value for name, value in (fields | settings.options).items() if value is not None}
    return fields | {"messages": [{"role": "system", "content": system}, {"role": "user", "content": prompts.as_json(shown)}]}


def compose_requests(items: list[Item], settings: Settings = DEFAULT) -> Requests:
    """One request for each topic and question number that still lacks languages, for all of these together (Figure 9)."""
    text = prompts.curation(settings.prompts)["compose"]

    def make(group: list[Item]) -> dict:
        lacking, done = at(group, "compose"), [item for item in group if item.stage != "compose"]
        shown = {"title": group[0].topic.title, "summary": group[0].topic.summary, "languages": [item.language for item in lacking]}
        if done:
            shown["written"] = {"language": done[0].language, "question": done[0].question, "answer": done[0].options[done[0].key]}
        # Without its number, a repeat that failed in the same way would be answered from the file.
        if tries := max(item.tries for item in lacking):
            shown |= {"try": tries + 1, "faults": {item.language: item.fault for item in lacking}}
        system = prompts.filled(text, aspect=prompts.ASPECTS[(group[0].number - 1) % len(prompts.ASPECTS)])
        return _request(settings, settings.composer, system, shown, settings.compose_tokens * len(lacking), 0.7)

    return Requests(make, [group for group in parallel(items) if at(group, "compose")])


def shuffled(item: Item, model: str, seed: int) -> str:
    """The letters in the order in which `model` is shown the options: for one seed the same on every machine."""
    return "".join(sorted(LETTERS, key=lambda letter: splits.draw(f"{item.id} {model} {letter}", seed)))


def vote_requests(items: list[Item], model: str, settings: Settings = DEFAULT) -> Requests:
    """One request an item for the answer of one compact model, options shuffled."""
    text = prompts.curation(settings.prompts)["vote"]

    def make(item: Item) -> dict:
        options = {shown: item.options[letter] for shown, letter in zip(LETTERS, shuffled(item, model, settings.seed), strict=True)}
        return _request(settings, model, text, {"question": item.question, "options": options}, settings.vote_tokens, as_json=False)

    return Requests(make, items)


def judge_requests(items: list[Item], settings: Settings = DEFAULT) -> Requests:
    """One request an item: which options are defensible, and which one the judge would choose. The key is not shown."""
    text = prompts.curation(settings.prompts)["ambiguity"]

    def make(item: Item) -> dict:
        return _request(settings, settings.judge, text, {"question": item.question, "options": item.options}, settings.verdict_tokens)

    return Requests(make, items)


def consistency_requests(items: list[Item], settings: Settings = DEFAULT) -> Requests:
    """One request for each topic and question number in two languages or more: which of the keyed answers mean the same."""
    text = prompts.curation(settings.prompts)["consistency"]

    def make(group: list[Item]) -> dict:
        shown = {item.language: {"question": item.question, "answer": item.options[item.key]} for item in group}
        return _request(settings, settings.judge, text, {"items": shown}, settings.verdict_tokens)

    return Requests(make, [group for group in parallel(items) if len(group) > 1])


def convert_requests(items: list[Item], settings: Settings = DEFAULT) -> Requests:
    """One request an item for its open form; after a reply that failed, with that reply and its failure named."""
    texts = prompts.curation(settings.prompts)

    def make(item: Item) -> dict:
        shown = {"question": item.question, "options": item.options, "right": item.options[item.key]}
        system = prompts.filled(texts["convert"], language=item.language)
        request = _request(settings, settings.converter, system, shown, settings.convert_tokens, 0.7)
        if item.tries:
            retry = prompts.filled(texts["retry"], number=str(item.tries), fault=prompts.escaped(item.fault))
            request["messages"] += [
                {"role": "assistant", "content": prompts.escaped(item.reply)},
                {"role": "user", "content": retry},
            ]
        return request

    return Requests(make, items)


# Replies ------------------------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    if not (text := unicodedata.normalize("NFC", text).strip()):
        raise ValueError("must not be blank")
    return text


Text = Annotated[str, AfterValidator(_clean)]
Letter = Literal["A", "B", "C", "D"]


class Composed(BaseModel):
    """A multiple-choice question as the composer must reply with it, once a language."""

    question: Text
    options: dict[Letter, Text]
    key: Letter

    @field_validator("options")
    @classmethod
    def _four(cls, options: dict[str, str]) -> dict[str, str]:
        if len(set(map(data.normalize, options.values()))) != len(LETTERS):
            raise ValueError("must be four different ones, A to D")
        return dict(sorted(options.items()))


class Judged(BaseModel):
    """A verdict on one item; no answer means that none of the options will do."""

    defensible: list[Letter]
    answer: Literal["A", "B", "C", "D", ""]
    reason: str = ""


class Alike(BaseModel):
    """Languages in groups whose keyed answers mean the same."""

    groups: list[list[str]]
    reason: str = ""

    @field_validator("groups")
    @classmethod
    def _once(cls, groups: list[list[str]]) -> list[list[str]]:
        if twice := [name for name, n in Counter(itertools.chain(*groups)).items() if n > 1]:
            raise ValueError(f"{', '.join(twice)} in more than one group")
        return groups


class Converted(BaseModel):
    """An open question as the converter must reply with it. The step tags are added afterwards: models misnumber them."""

    question: Text
    steps: list[str] = Field(min_length=2)
    answer: Text
    accepted: list[Text] = Field(min_length=1)


def read_as(kind: type[BaseModel]) -> Callable[[str], Any]:
    """A parser for `llm.Client.ask`: replies that hold one JSON object of this kind."""
    return lambda reply: validated(kind, parse_object(reply))


def validated(kind: type[BaseModel], value: Any) -> Any:
    """`value` as a `kind`; ValueError says in one line what is wrong with it."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, e['loc']))} {e['msg'].removeprefix('Value error, ')}".strip() for e in error.errors()]
        raise ValueError("; ".join(said)) from None


def parse_object(reply: str) -> dict:
    """The one JSON object in `reply`, whatever stands around it; else ValueError."""
    try:
        value = from_json(reply[reply.find("{") : reply.rfind("}") + 1])
    except ValueError as error:
        raise ValueError(f"expected one JSON object, got {reply[:60]!r} ({error})") from None
    return value


def parse_cut(reply: str) -> dict:
    """`parse_object`; of a reply that breaks off, or is broken from some point on, the entries before the last that can be seen."""
    try:
        return parse_object(reply)
    except ValueError:
        start = reply.find("{")
        value = from_json(reply[start:], allow_partial=True) if start >= 0 else {}
        if len(value) < 2:
            raise
        value.popitem()
        return value


def parse_letter(reply: str) -> str:
    """The letter A to D that `reply` opens with, alone or before a stop, after 'Answer:' or not; else ValueError."""
    text = unicodedata.normalize("NFKC", reply)
    found = re.match(r"\W*(?:(?:the )?(?:correct |right )?answer(?: is)?\W+)?([A-D])(?=\s*$|\s*\n|[^\w\s])(?!\W*[A-D]\b)", text, re.I)
    if not found:
        raise ValueError(f"expected one letter, got {reply[:60]!r}")
    return found.group(1).upper()
