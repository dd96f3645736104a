"""The offline language check: texts a second beside a plain py3langid classification of the same
texts, on one core, in one run; and how often it errs.

`python benchmarks/language.py` writes the error rates to benchmarks/data/language_errors.csv.
"""

import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curemed_utils import data, language_id, languages, paths, trace

ROUNDS = 5
DATA = Path(__file__).with_name("data")
ERRORS = DATA / "language_errors.csv"
NOT_LATIN = tuple(language.name for language in languages.ALL if language.script != "Latin")
BY_LANGUAGE = {  # groups of DATA: what they are, and whether they are in the language
    "short": ("short answers", True),
    "latin": ("with Latin names", True),
    "plain": ("without diacritics", True),
    "with an English word": ("with an English word", True),
    "english with a word": ("English with a word of it", False),
    "romanised": ("romanised", False),
}
OF_NONE = {
    "names": ("names alone", None),
    "english": ("short English", False),
    "international": ("international words", None),
}


class Case(NamedTuple):
    """A text, the language it is checked for, and whether it is in it (None: nobody can say).

    `part` is 'seen', 'held out', 'fresh' or 'unseen' for texts of DATA, else 'references'.
    """

    kind: str
    language: str
    text: str
    right: bool | None
    part: str = "references"


def measure() -> dict:
    """Texts a second of both, over the 1,431 released references where CUREMED_RELEASE is set, else
    over the sample's answers.
    """
    rows, of = references()
    texts = [(row.answer, row.language) for row in rows]
    plain = LanguageIdentifier.from_model_file(MODEL_FILE)
    plain.set_languages([language.code for language in languages.ALL] + ["en"])
    calls = {
        "py3langid": lambda text, name: plain.classify(text),
        "check_language": language_id.check_language,
    }
    best = dict.fromkeys(calls, 0.0)
    for _ in range(
        ROUNDS + 1
    ):  # in turns, so that other load hits both; models load in the first round
        for name, call in calls.items():
            started = time.perf_counter()
            for text in texts:
                call(*text)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - started))
    for name, rate in best.items():
        print(f"{name:15s} {rate:6,.0f} texts/s over {len(texts):,} {of}")
    ratio = best["check_language"] / best["py3langid"]
    return {
        "texts": len(texts),
        "texts_per_second": {name: round(rate) for name, rate in best.items()},
        "ratio": round(ratio, 2),
    }


def references() -> tuple[list[data.Row], str]:
    """Test rows of the release or rows of the sample, answers without tags, and their name."""
    if os.environ.get("CUREMED_RELEASE"):
        rows, of = data.read_release()["test"], "released references"
    else:
        rows, of = data.read_folder(paths.SAMPLE, "sample"), "sample answers"
    answers = [trace.answer_of(row.answer) or row.answer for row in rows]
    pairs = zip(rows, answers, strict=True)
    return [row.model_copy(update={"answer": answer}) for row, answer in pairs], of


def cases() -> Iterator[Case]:
    """All that is measured: references, pairs and mixtures made of them, and the texts of DATA."""
    texts = yaml.safe_load((DATA / "language_texts.yaml").read_text(encoding="utf-8"))
    yield from _of_references(texts)
    yield from _of_texts(texts)
    for part in ("fresh", "unseen"):
        for case in _of_texts(texts[part]):
            yield case._replace(part=part)


def _of_texts(texts: dict) -> Iterator[Case]:
    for group, (kind, right) in BY_LANGUAGE.items():
        for name, line in texts.get(group, {}).items():
            yield from _cases(kind, [name], line, right)
    for group, (kind, right) in OF_NONE.items():
        yield from _cases(kind, languages.NAMES, texts.get(group), right)
    for kin, other in texts["other"].items():
        yield from _cases(kin, other["as"], other["texts"], False)


def _cases(kind: str, names: list[str], line: str | None, right: bool | None) -> Iterator[Case]:
    for name in names if line else ():
        for place, text in enumerate(line.split("; ")):
            yield Case(kind, name, text, right, ("seen", "held out")[place % 2])


def _of_references(texts: dict) -> Iterator[Case]:
    rng = random.Random(0)
    added = {kind: line.split("; ") for kind, line in texts["added"].items()}
    terms = [term for line in texts["terms"].values() for term in line.split("; ")]
    english = [" ".join(parts) for parts in itertools.product(*texts["sentence_parts"])]
    added["a long English sentence"] = english
    for row in references()[0]:
        name, text = row.language, row.answer
        yield Case("references", name, text, True)
        yield Case("references, 40 characters", name, text[:40], True)
        other = rng.choice([other for other in languages.NAMES if other != name])
        yield Case("references of another language", other, text, False)
        yield Case("the same, 60 characters", other, text[:60], False)
        yield Case(
            "with a term in parentheses", name, _with(text, f"({rng.choice(terms)})", rng), True
        )
        for kind, sentences in added.items():
            yield Case(f"with {kind}", name, _with(text, rng.choice(sentences), rng), False)


def _with(text: str, addition: str, rng: random.Random) -> str:
    words = text.split()
    words.insert(rng.randint(1, len(words)), addition)
    return " ".join(words)


def errors() -> pd.DataFrame:
    """Counts by kind, part and language: texts, false_true, false_false, undecided.

    True is false for a text that is not in the language, or of which nobody can say; False is
    false for a text that is in it, and for names.
    """
    lines = []
    for case in cases():
        verdict = language_id.check_language(case.text, case.language).verdict
        names = case.kind == "names alone"
        line = {
            "kind": case.kind,
            "part": case.part,
            "language": case.language,
            "texts": 1,
            "false_true": int(verdict is True and not case.right),
            "false_false": int(verdict is False and (bool(case.right) or names)),
            "undecided": int(verdict is None),
        }
        lines.append(line)
    by = ["kind", "part", "language"]
    return pd.DataFrame(lines).groupby(by, sort=False).sum().reset_index()


def error_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Percent of the texts of each kind, all languages and parts together."""
    counts = table.groupby("kind", sort=False).sum(numeric_only=True)
    rates = 100 * counts.drop(columns="texts").div(counts["texts"], axis=0)
    return pd.concat([counts["texts"], rates.round(1)], axis=1)


def main() -> None:
    table = errors()
    table.to_csv(ERRORS, index=False)
    counts = table.drop(columns="language").groupby(["kind", "part"], sort=False).sum()
    print(counts.to_string())
    measure()


if __name__ == "__main__":
    main()
