"""How requests fare: whether a server or a model is asked on, and which models answer."""

import asyncio
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from curemed_utils.judge import models, wire

FAILURES = 3  # requests that fail with no answer in between: the others will fail too
FEW, MANY = 8, 32  # faulty requests in a row


class Refused(RuntimeError):
    """The server takes no such requests. The message says what to fix."""


class NoAnswer(Exception):
    """Its argument is the item's reply."""


@dataclass
class Call:
    parse: Callable[[str], Any]
    server: str | None  # None: a replay
    answered_at: float = 0.0
    failures: int = 0
    down: str = ""  # why nobody is asked any more

    def fail(self, error: str) -> None:
        self.failures += 1
        if self.failures >= FAILURES:
            self.down = f"the server had stopped answering: {error}"

    def stop(self, tally: "Tally", remedy: str, error: str) -> str:
        """The words of a Refused."""
        self.down = remedy
        return f"{self.server} refused model {tally.model!r}: {remedy}. It said: {error}"


@dataclass
class Tally:
    """Of one client; what its file holds of others says nothing.

    A model that refuses FEW requests in a row takes none, or MANY where it has answered before;
    those that are about their texts (filtered, too long) don't count.
    """

    model: str
    accepted: str = ""  # another name of it
    faulty: int = 0  # refused in a row, and not for their text
    flying: int = 0
    error: str = ""  # of the last one refused
    other: str = ""  # a model that answered, but was not asked
    served: Counter = field(default_factory=Counter)  # answers by the model that the server named

    def refuse(self, error: str, about_text: str) -> None:
        self.error = error
        self.faulty += not about_text

    def takes_nothing(self) -> bool:
        return self.faulty >= (MANY if self.served else FEW)

    def answer(self, served: str) -> None:
        """Warns of a model that is neither asked nor accepted, or of a second one."""
        self.faulty = 0
        self.served[served] += 1
        if self.served[served] > 1 or served in ("", "None", self.accepted):
            return
        if not wire.same_model(self.model, served):
            self.other = served
        if self.other or len(self.served) > 1:
            names = ", ".join(map(repr, self.served))
            warnings.warn(f"asked for model {self.model!r}, got answers of {names}", stacklevel=2)

    async def check(self, call: Call) -> None:
        """Refused where a model answers that was not asked, once all in flight are here; a replay
        goes on."""
        if self.other and call.server:
            call.down = f"asked for model {self.model!r}, {self.other!r} answered"
            same = f"if that is the same model, set judge_options {{served: {self.other}}}"
            while self.flying:
                await asyncio.sleep(0.05)
            raise Refused(f"{call.down}: no more is sent; {same}")


class Tallies(dict[str, Tally]):
    """By the model asked; of a new one `models.tell` warns, unless `server` is None."""

    def __init__(self, server: str | None, accepted: str):
        self.server, self.accepted = server, accepted

    def __missing__(self, model: str) -> Tally:
        if self.server:
            models.tell(model, self.server)
        return self.setdefault(model, Tally(model, self.accepted))


def progress_bar(progress: str, items: Iterable) -> tqdm:
    """A count called `progress` (empty: none)."""
    line = "{desc}: {n}/{total_fmt} in {elapsed}"
    return tqdm(items, progress, disable=not progress, file=sys.stdout, bar_format=line)
