"""Items on their way from a topic to an open question, and what is asked about them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any

from pydantic import BaseModel, Field

from curemed_utils import languages, prompts
from curemed_utils.curation.medlineplus import Topic
from curemed_utils.data import DataError, Row, splits
from curemed_utils.judge.wire import Requests

STAGES = ("compose", "difficulty", "ambiguity", "convert")
OUTCOMES = ("kept", "dropped", "set aside", "never came")
LETTERS = "ABCD"
COMPACT = (
    "Qwen/Qwen2.5-3B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
)
# Of the longest reply; when composing, for each language.
COMPOSE_TOKENS, VOTE_TOKENS, VERDICT_TOKENS, CONVERT_TOKENS = 800, 10, 400, 1500


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Who is asked, and how; the models are the paper's (Section 3.1).

    `questions` per topic and language; `rounds` of requests for what is missing or at fault; `seed`
    shuffles the options. `options` are further fields of requests, and None takes one out:
    {'max_tokens': None, 'max_completion_tokens': 16000} for reasoning models.
    """

    composer: str = "gpt-4o"
    compact: tuple[str, ...] = Field(COMPACT, min_length=1)
    judge: str = "gpt-4o"
    converter: str = "gpt-4o"
    questions: int = Field(1, ge=1)
    rounds: int = Field(3, ge=1)
    seed: int = 0
    options: dict[str, Any] = {}

    def models(self) -> list[str]:
        return list(dict.fromkeys([self.composer, *self.compact, self.judge, self.converter]))


@dataclass
class Item:
    """A question number of a topic in one language.

    It is or ended at `stage`, with `outcome`, one of OUTCOMES. `fault` is what was wrong with the
    last of `tries` replies, `reply`.
    """

    topic: Topic
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
        return languages.get(self.language).code

    @property
    def id(self) -> str:
        return f"{self.topic.id}-{self.number}-{self.code}"

    @property
    def right(self) -> str:
        return self.options[self.key]

    def move_to(self, stage: str) -> None:
        self.stage, self.tries = stage, 0

    def end(self, outcome: str, reason: str) -> None:
        self.outcome, self.reason = outcome, reason

    def give_up(self, reason: str) -> None:
        self.end("set aside" if self.question else "never came", reason)


def plan(topics: list[Topic], language_names: Iterable[str], settings: Settings) -> list[Item]:
    """An item for every topic, question number and language; DataError where there is none."""
    names = [languages.get(name).name for name in language_names]
    if not topics or not names:
        raise DataError("nothing to curate: give one topic and one language or more")
    places = product(topics, range(1, settings.questions + 1), names)
    return [Item(topic, number, name) for topic, number, name in places]


def at(items: list[Item], stage: str) -> list[Item]:
    """The items at `stage`, not ended."""
    return [item for item in items if item.stage == stage and not item.outcome]


def parallel(items: list[Item]) -> Iterator[list[Item]]:
    """The items of each question, in all their languages."""
    for _, group in groupby(items, key=lambda item: (item.topic.id, item.number)):
        yield list(group)


def _request(settings, prompt, shown, model, max_tokens, temperature=0.0, **words):
    fields = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
    if prompt != "vote":
        fields["response_format"] = {"type": "json_object"}
    fields |= settings.options
    request = {name: value for name, value in fields.items() if value is not None}
    system = {"role": "system", "content": prompts.filled(prompts.CURATION[prompt], **words)}
    request["messages"] = [system, {"role": "user", "content": prompts.as_json(shown)}]
    return request


def compose_requests(items: list[Item], settings: Settings) -> Requests:
    """One for each topic and question number that lacks languages, for all of these (Figure 9)."""

    def make(group):
        lacking = at(group, "compose")
        done = [item for item in group if item.stage != "compose"]
        topic = group[0].topic
        shown = {"title": topic.title, "summary": topic.summary}
        shown["languages"] = [item.language for item in lacking]
        if done:
            shown["written"] = {
                "language": done[0].language,
                "question": done[0].question,
                "answer": done[0].right,
            }
        # Without its number a repeat might be answered from the file.
        if tries := max(item.tries for item in lacking):
            shown["try"] = tries + 1
            shown["faults"] = {item.language: item.fault for item in lacking}
        aspect = prompts.ASPECTS[(group[0].number - 1) % len(prompts.ASPECTS)]
        tokens = COMPOSE_TOKENS * len(lacking)
        return _request(settings, "compose", shown, settings.composer, tokens, 0.7, aspect=aspect)

    return Requests(make, [group for group in parallel(items) if at(group, "compose")])


def shuffled(item: Item, model: str, seed: int) -> str:
    """The letters in the order in which `model` is shown the options."""
    return "".join(sorted(LETTERS, key=lambda one: splits.draw(f"{item.id} {model} {one}", seed)))


def vote_requests(items: list[Item], model: str, settings: Settings) -> Requests:
    """One an item, for one compact model, options shuffled."""

    def make(item):
        order = shuffled(item, model, settings.seed)
        texts = [item.options[letter] for letter in order]
        options = dict(zip(LETTERS, texts, strict=True))
        shown = {"question": item.question, "options": options}
        return _request(settings, "vote", shown, model, VOTE_TOKENS)

    return Requests(make, items)


def judge_requests(items: list[Item], settings: Settings) -> Requests:
    """One an item: which options are defensible, which would the judge choose?"""

    def make(item):
        shown = {"question": item.question, "options": item.options}
        return _request(settings, "ambiguity", shown, settings.judge, VERDICT_TOKENS)

    return Requests(make, items)


def consistency_requests(items: list[Item], settings: Settings) -> Requests:
    """One for each question in two languages or more: which answers agree?"""

    def make(group):
        shown = {}
        for item in group:
            shown[item.language] = {"question": item.question, "answer": item.right}
        return _request(settings, "consistency", {"items": shown}, settings.judge, VERDICT_TOKENS)

    return Requests(make, [group for group in parallel(items) if len(group) > 1])


def convert_requests(items: list[Item], settings: Settings) -> Requests:
    """One an item, for its open form; after a failure, with the reply and what is wrong."""

    def make(item):
        shown = {"question": item.question, "options": item.options, "right": item.right}
        asked = (settings.converter, CONVERT_TOKENS, 0.7)
        request = _request(settings, "convert", shown, *asked, language=item.language)
        if item.tries:
            reply, fault = prompts.escaped(item.reply), prompts.escaped(item.fault)
            retry = prompts.filled(prompts.CURATION["retry"], number=str(item.tries), fault=fault)
            request["messages"].append({"role": "assistant", "content": reply})
            request["messages"].append({"role": "user", "content": retry})
        return request

    return Requests(make, items)
