"""What models reply to curation's requests, and how it is read."""

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import from_json

from curemed_utils import data, paths, trace

_LETTER = re.compile(paths.beside(__file__, ".yaml")["letter"], re.IGNORECASE | re.VERBOSE)
Letter = Literal["A", "B", "C", "D"]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(partial(unicodedata.normalize, "NFC")),
]


class Composed(BaseModel):
    """A multiple-choice question, as the composer must reply once a language."""

    question: Text
    options: dict[Letter, Text]
    key: Letter

    @field_validator("options")
    @classmethod
    def _four(cls, options):
        if len({data.normalize(option) for option in options.values()}) != 4:
            raise ValueError("must be four different ones, A to D")
        return dict(sorted(options.items()))


class Judgement(BaseModel):
    reason: str = ""

    @property
    def why(self) -> str:
        return f" ({self.reason})" if self.reason else ""


class Judged(Judgement):
    """A verdict on one item; no answer means that none of the options will do."""

    defensible: list[Letter]
    answer: Letter | Literal[""]


class Alike(Judgement):
    """Languages in groups whose keyed answers mean the same."""

    groups: list[list[str]]

    @field_validator("groups")
    @classmethod
    def _once(cls, groups):
        names = list(chain(*groups))
        if len(set(names)) < len(names):
            raise ValueError("put a language into more than one group")
        return groups


class Converted(BaseModel):
    """An open question, as the converter must reply; steps have no tags."""

    question: Text
    steps: list[str] = Field(min_length=2)
    answer: Text
    accepted: list[Text] = Field(min_length=1)


def read_as(kind: type[BaseModel]) -> Callable[[str], Any]:
    """A parser for `Client.ask`: replies that hold one JSON object of this kind."""
    return lambda reply: validated(kind, object_in(reply))


def validated(kind: type[BaseModel], value: Any) -> Any:
    """`value` as a `kind`; ValueError says in one line what is wrong with it."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            place = ".".join(map(str, fault["loc"]))
            faults.append(f"{place} {fault['msg'].removeprefix('Value error, ')}")
        raise ValueError("; ".join(faults)) from None


def object_in(reply: str) -> dict:
    """The one JSON object in `reply`, whatever stands around it; else ValueError."""
    try:
        return from_json(reply[reply.find("{") : reply.rfind("}") + 1])
    except ValueError as error:
        raise ValueError(f"expected one JSON object, got {reply[:60]!r} ({error})") from None


def entries_in(reply: str) -> dict:
    """`object_in`; of a reply that breaks off, all entries but the last."""
    try:
        return object_in(reply)
    except ValueError:
        start = reply.find("{")
        entries = from_json(reply[start:], allow_partial=True) if start >= 0 else {}
        if len(entries) < 2:
            raise
        entries.popitem()
        return entries


def letter_in(reply: str) -> str:
    """The letter A to D that `reply` opens with, after any reasoning; else ValueError."""
    text = unicodedata.normalize("NFKC", trace.final_text(reply))
    letter = _LETTER.match(text)
    if not letter:
        raise ValueError(f"expected one letter, got {reply[:60]!r}")
    return letter[1].upper()
