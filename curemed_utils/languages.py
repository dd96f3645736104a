"""The languages, their families (Figure 8) and tiers (Appendix C.1), and the stages of training."""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from curemed_utils import paths

TIERS = ("high", "medium", "low")
STAGES = {"stage1_high": "high", "stage2_medium": "medium", "stage3_low": "low"}
CHECKPOINTS = ("base", "sft", *STAGES)  # in the order of training


class Language(NamedTuple):
    name: str
    code: str  # ISO 639-1
    script: str  # the Unicode script property's name of its own letters
    family: str
    tier: str
    published: bool = True  # in the paper's tables and the released files


_FIELDS = paths.beside(__file__, ".yaml")
ALL = tuple(Language(name, **fields) for name, fields in _FIELDS.items())
BY_NAME = {language.name: language for language in ALL}
NAMES = tuple(BY_NAME)
TIER_OF = {language.name: language.tier for language in ALL}
PUBLISHED = tuple(language.name for language in ALL if language.published)


def get(name: str) -> Language:
    """The language by its English name in exact case; ValueError names the nearest."""
    if name not in BY_NAME:
        code = re.split("[-_]", str(name).lower())[0]
        meant = next((language.name for language in ALL if language.code == code), name)
        raise ValueError(f"unknown language {name!r}{nearest(meant, NAMES)}")
    return BY_NAME[name]


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of an error: "; did you mean 'x'?", else "; known: x, y"."""
    spellings = {spelling.casefold(): spelling for spelling in known}
    for near in difflib.get_close_matches(str(name).casefold(), spellings, n=1):
        return f"; did you mean {spellings[near]!r}?"
    return f"; known: {', '.join(spellings.values())}"


def in_tier(tier: str) -> list[str]:
    """The published languages of one tier."""
    return [language.name for language in ALL if language.tier == tier and language.published]
