"""Every number in prose is computed from a table, or stands in numbers.yaml with its source."""

import hashlib
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from curemed_utils import data, languages, paths, rewards
from curemed_utils.judge import adversarial
from curemed_utils.paper import claims

REGISTER = yaml.safe_load(Path(__file__).with_name("numbers.yaml").read_text(encoding="utf-8"))
KINDS = ("computed", "paper", "design", "measured", "vendor", "definition", "arithmetic")
PAGES = [*paths.NOTEBOOKS.glob("*.ipynb"), paths.ROOT / "README.md"]
PAGES += [*paths.ROOT.glob("docs/*.md"), paths.ROOT / "papermill_params/README.md"]
NAMES = sorted(str(page.relative_to(paths.ROOT)) for page in PAGES)
NOT_PROSE = (
    r"```.*?```",
    r"`[^`]*`",
    r"<[^>]+>",
    r"\]\([^)]*\)",  # where a link leads
    r"(?m)^#+ (\d+ · )?",
    r"(?m)^\s*\d+\. ",
    r"(?i)arxiv:[\d.]+",
    r"\b\d{4}-\d\d-\d\d\b",
    r"\b(19[5-9]|20[0-3])\d\b(?![,.]?\d)",  # a year
    r"\b[Nn]otebooks? \d\d(?:(?:, | and | to )\d\d)*|(?<![\d.,])0\d\b(?!\.)",
    r"\b(Tables?|Figures?|Sections?|Equations?|Eq\.|Appendix|Appendices|Stages?|stages?)"
    r" [A-E]?[\d.]*\d(?:(?:, | and | to )[A-E]?[\d.]*\d)*",
)
NUMBER = re.compile(r"(?<![\w.,])(?<!\w-)\d[\w.,]*(?<![.,])")


def cells_of(name: str, kind: str) -> str:
    cells = json.loads((paths.ROOT / name).read_bytes())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)


def text_of(name: str) -> str:
    """A page, or the prose of a notebook."""
    if name.endswith(".ipynb"):
        return cells_of(name, "markdown")
    return (paths.ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Single spaces; no code, links, headings' numbers, references; of formulas the decimals."""
    for formula in re.findall(r"\$\$.*?\$\$|\$[^$\n]*\$", text, re.S):
        text = text.replace(formula, f" {' '.join(re.findall(r'[0-9]+[.][0-9]+', formula))} ")
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.S)
    return re.sub(r"\s+", " ", text)


def numbers(text: str) -> list[re.Match]:
    found = NUMBER.finditer(text)
    return [number for number in found if re.fullmatch(r"\d[\d,]*(\.\d+)?", number.group())]


def namespace() -> dict:
    """What expressions may name: sealed tables, the demo's parameters, and the list `values`."""
    names = dict(pd=pd, math=math, languages=languages, rewards=rewards)
    names |= dict(responses=adversarial.responses, recompute=claims.recompute)
    for file in paths.SOURCE_DATA.glob("*.csv"):
        names[re.sub(r"^((table|figure)\d\d)_.*", r"\1", file.stem)] = pd.read_csv(file)
    for profile in ("demo", "qwen2.5-7b", "small"):
        file = paths.ROOT / f"papermill_params/{profile}.yaml"
        names[re.sub(r"\W", "_", profile)] = yaml.safe_load(file.read_bytes())
    names["sample"] = data.read_folder(paths.SAMPLE, "sample")
    for name, expression in REGISTER["values"].items():
        names[name] = eval(expression, names)
    return names


def snippets(name: str, names: dict) -> list[str]:
    """The pieces of prose that a text has to hold, with their numbers as they should be."""
    pieces = []
    for source, entries in REGISTER["texts"].get(name, {}).items():
        for entry in entries:
            if isinstance(entry, str):
                pieces.append(filled(entry, names) if source == "computed" else entry)
            elif "each" in entry:
                rows = eval(entry["each"], names).reset_index()
                pieces += [filled(entry["says"], names | dict(row)) for _, row in rows.iterrows()]
            else:
                pieces.append(pinned(entry, text_of(name)))
    return [prose(piece).strip() for piece in pieces]


def filled(says: str, names: dict) -> str:
    return eval(f'f"""{says}"""', names)


def pinned(entry: dict, text: str) -> str:
    """The Markdown table that begins so, if its digest is the registered one; else nothing."""
    start = text.index(entry["table"])
    table = text[start:].partition("\n\n")[0]
    digest = hashlib.sha256(table.encode()).hexdigest()[:10]
    return table if digest == entry["digest"] else f"{entry['table']} has digest {digest}"


def faults(text: str, pieces: list[str]) -> list[str]:
    """Pieces that do not stand in the prose, and numbers of it that stand in no piece."""
    lacking = [f"not in the text: {piece}" for piece in pieces if piece not in text]
    spans = []
    for piece in set(pieces):
        spans += [match.span() for match in re.finditer(re.escape(piece), text)]
    for number in numbers(text):
        start, end = number.span()
        if not any(first <= start and end <= last for first, last in spans):
            lacking.append(f"not registered: {text[max(0, start - 50) : end + 30]}")
    return lacking


@pytest.fixture(scope="module")
def names() -> dict:
    return namespace()


@pytest.mark.parametrize("name", NAMES)
def test_every_number_in_prose_is_computed_or_has_a_source(name, names):
    assert not faults(prose(text_of(name)), snippets(name, names))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_number_is_found(name, names):
    text, pieces = prose(text_of(name)), snippets(name, names)
    for number in numbers(text):
        start, end = number.span()
        other = str(int(number.group()[-1]) + 1)[-1]
        changed = text[: end - 1] + other + text[end:]
        assert faults(changed, pieces), f"{text[max(0, start - 50) : end + 30]} could be {other}"


def test_a_source_is_a_kind_of_source_or_a_file_that_has_the_number():
    for name, lists in REGISTER["texts"].items():
        for source, entries in lists.items():
            if source == "example":
                text = cells_of(name, "code")
                text += "".join(re.findall("```.*?```", text_of(name), re.S))
            elif source.startswith(KINDS):
                continue
            else:
                text = (paths.ROOT / source).read_text(encoding="utf-8")
            text = text.replace(",", "").replace("_", "")
            for number in numbers(prose(" ".join(entries))):
                bare = re.escape(number.group().replace(",", ""))
                assert re.search(rf"(?<![\d.]){bare}(?!\d)", text), (name, source, bare)
