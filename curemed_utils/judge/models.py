"""What is known of models (`models.yaml`), and what `judge_options` may choose."""

import difflib
import warnings
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, JsonValue, PositiveInt, model_validator
from pydantic import PositiveFloat as Positive

from curemed_utils import paths
from curemed_utils.data import yaml12
from curemed_utils.judge import wire

MODELS = Path(__file__).with_name("models.yaml")
SOON = 90  # days
ELSEWHERE = ("model", "messages", "stream", "api_key", "cache", "max_usd", "offline")


class Options(BaseModel, frozen=True, extra="allow", strict=True, allow_inf_nan=False):
    """Limits of `Client` (`key_name`: the variable that holds the key); by any other name, fields
    of each request, which None takes out."""

    __pydantic_extra__: dict[str, JsonValue]
    max_concurrency: PositiveInt | None = None
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    timeout: Positive | None = None
    served: str | None = None
    base_url: Annotated[str, AfterValidator(wire.address)] | None = None
    key_name: str | None = None

    @model_validator(mode="after")
    def _names(self):
        for name in self.model_extra:
            like = difflib.get_close_matches(name, LIMITS, 1, 0.82)
            if like or name in ELSEWHERE:
                raise ValueError(f"{name!r} is no option; like it: {like}")
        return self

    def limits(self) -> dict:
        return self.model_dump(include=LIMITS, exclude_none=True)


LIMITS = set(Options.model_fields)


def find(model: str) -> dict:
    """The row of a model or its family, with its `id`; empty where nothing is known."""
    rows, bare = yaml12.read_yaml(MODELS), model.casefold().rpartition("/")[2]
    for name in (model, *rows):
        if name in rows and (wire.same_model(name, model) or fnmatch(bare, name)):
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
    return find(model).get("request", {}) | Options.model_validate(options).model_extra


def tell(model: str, server: str = "", today: date | None = None) -> str:
    """Warns of a model that is or will SOON be retired, or unknown at OpenAI; returns it."""
    row, words = find(model), ""
    last = date.fromisoformat(row.get("retires", "9999-01-01"))
    left = (last - (today or date.today())).days
    if left <= SOON:
        ends = "will be" if left > 0 else "was"
        words = f"{ends} retired on {last}, as reported; successors: {row['successors']}"
    elif not row and server == wire.OPENAI:
        words = f"is not in {paths.show(MODELS)}"
    if words:
        warnings.warn(f"model {model!r} {words}", stacklevel=2)
    return model
