"""What is known of models (`models.yaml`), and what `judge_options` may choose."""

import difflib
import json
import re
import warnings
from datetime import date
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    PositiveInt,
    model_serializer,
    model_validator,
)
from pydantic import PositiveFloat as Positive

from curemed_utils import languages, paths
from curemed_utils.data import yaml12
from curemed_utils.judge import wire

MODELS = Path(__file__).with_name("models.yaml")
SOON = 90  # days
ELSEWHERE = ("model", "messages", "stream", "base_url", "cache", "max_usd", "offline")
SECRETS = re.compile(wire.SERVERS["secrets"])
PLAIN = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Limits(BaseModel, hide_input_in_errors=True):
    """Of a `Client`; `served` is another name of the model."""

    model_config = PLAIN
    max_concurrency: PositiveInt = 64
    requests_per_minute: Positive = inf
    tokens_per_minute: Positive = inf
    timeout: Positive = 60.0
    served: str = ""


LIMITS = set(Limits.model_fields)


class Options(Limits, extra="allow"):
    """Limits and, by any other name, fields of each request, which None takes out."""

    __pydantic_extra__: dict[str, JsonValue]
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    temperature: int | float | None = None

    @model_validator(mode="after")
    def _names(self):
        for name in self.model_extra:
            like = difflib.get_close_matches(name.casefold(), LIMITS, 1, 0.82)
            if like or name in ELSEWHERE:
                raise ValueError(f"{name!r} is no option{languages.nearest(name, LIMITS)}")
        if secret := SECRETS.search(json.dumps(self.model_extra)):
            raise ValueError(f"{secret[1]!r} is no option: a key belongs in OPENAI_API_KEY")
        return self

    @model_serializer
    def chosen(self) -> dict:
        return self.fields() | self.limits()

    def limits(self) -> dict:
        return {name: value for name, value in self if name in self.model_fields_set & LIMITS}

    def fields(self) -> dict:
        return {name: value for name, value in self if name in self.model_fields_set - LIMITS}


def find(model: str) -> dict:
    """The row of a model or its family, with its `id`; empty where nothing is known."""
    rows, stem = yaml12.read_yaml(MODELS), wire.parts_of(model)[0]
    for name in (model, *rows):
        if name in rows and (wire.same_model(name, model) or fnmatchcase(stem, name)):
            return rows[name] | {"id": name}
    return {}


def price_of(model: str) -> tuple[float, float] | None:
    """USD per million prompt and completion tokens of the exact id; None if not listed."""
    row = find(model)
    if row.get("id") != model or "price" not in row:
        return None
    try:
        prompt, completion = map(float, row["price"])
    except (TypeError, ValueError):
        raise ValueError(f"{paths.show(MODELS)}: price of {model!r} needs two numbers") from None
    return prompt, completion


def request_of(model: str, options: Options | dict) -> dict:
    """Fields of a request by the model's family and, before these, by `options`."""
    return find(model).get("request", {}) | Options.model_validate(options).fields()


def tell(model: str, server: str = "", today: date | None = None) -> str:
    """Warns of a model that is or will SOON be retired, or unknown at OpenAI; returns it."""
    row, words = find(model), ""
    last = date.fromisoformat(row.get("retires", "9999-01-01"))
    left = (last - (today or date.today())).days
    if left <= SOON:
        ends = "will be" if left > 0 else "was"
        words = f"{ends} retired on {last}, as reported; successors: {row.get('successors')}"
    elif not row and server == wire.OPENAI:
        words = f"is not in {paths.show(MODELS)}"
    if words:
        warnings.warn(f"model {model!r} {words}", stacklevel=1)  # from one line: shown once
    return model
