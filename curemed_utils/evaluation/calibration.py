"""The offline checks beside the published GPT-4o verdicts on language consistency."""

from pathlib import Path

import pandas as pd
import regex

from curemed_utils import data, paths, trace
from curemed_utils.evaluation import rates
from curemed_utils.evaluation.release import METRICS, read_released, released_files
from curemed_utils.language_id import Check, check_language

_COLUMNS = {"Question": "question", "Response": "reference", "Test Response": "response"}
_ENDS = {name: regex.compile(of) for name, of in paths.beside(__file__, ".yaml").items()}


def released_outputs(root: str | Path | None = None, task: str = "language") -> pd.DataFrame:
    """Every released output with its published verdict on a judge's `task` (Tables 8-10).

    Columns: model, language, row (of the CSV, from 0), question, reference, response, published
    (boolean, NA where blank).
    """
    parts = []
    for path, model, metric, language in released_files(root):
        if metric == METRICS[task]:
            rows = read_released(path, metric, tuple(_COLUMNS))
            parts.append(rows.assign(model=model, language=language, row=rows.index))
    if not parts:
        raise FileNotFoundError(f"the release has no BaseModel_{task}_evaluation folder")
    names = _COLUMNS | {"verdict": "published"}
    table = pd.concat(parts, ignore_index=True).rename(columns=names)
    return table[["model", "language", "row", *names.values()]]


def judge_offline(outputs: pd.DataFrame) -> pd.DataFrame:
    """`outputs` with our verdicts: in_language and complete (boolean, NA undecided), and why.

    The language is that of the answer block, else of the whole response.
    """
    checks, ends = [], []
    for text, language in zip(outputs["response"], outputs["language"], strict=True):
        checks.append(check_language(trace.answer_of(text) or text, language))
        ends.append(completeness(text, language))
    checks = pd.DataFrame(checks, outputs.index, ["in_language", "reason"])
    ends = pd.DataFrame(ends, outputs.index, ["complete", "cut"])
    judged = pd.concat([outputs, checks, ends], axis=1)
    return judged.astype({"in_language": "boolean", "complete": "boolean"})


def completeness(text: str, language: str) -> Check:
    """Whether a response came to its end, estimated from its text alone.

    Tagged text must have one closed answer, other text end with a sentence mark. Thai has none:
    undecided, or cut where it dangles.
    """
    text = text.strip()
    if not text:
        return Check(False, "empty")
    if any(trace.blocks(text, name, cut_off=True) for name in ("thinking", "answer")):
        closed = trace.answer_of(text) is not None
        return Check(closed, "" if closed else "no closed answer")
    if _ENDS["bare_item"].search(text):
        return Check(False, "an empty list item at the end")
    if _ENDS["mark"].search(text):
        return Check(True, "")
    if language != "Thai" or not _ENDS["thai"].search(text):
        return Check(False, "no sentence mark at the end")
    unclosed = text.count("(") > text.count(")") or text.count("**") % 2
    if unclosed or _ENDS["dangling"].search(text):
        return Check(False, "dangling end")
    return Check(None, "Thai without an end mark")


def compare(judged: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """`rates.agreements` of `in_language & complete` with the published verdict."""
    if judged.empty:
        raise data.DataError("no outputs to compare")
    return rates.agreements(judged.assign(verdict=judged["in_language"] & judged["complete"]), by)


def decompose(judged: pd.DataFrame) -> pd.DataFrame:
    """Published LC of each model and what its failures are: seven shares, in percent of n rows.

    Our checks see nothing wrong in `neither`. lc_complete is over the n_complete responses.
    """
    passed, language, complete = judged["published"], judged["in_language"], judged["complete"]
    failed = passed.eq(False)
    parts = {
        "lc": passed,
        "language_only": failed & ~language & complete,
        "cut_only": failed & language & ~complete,
        "both": failed & ~language & ~complete,
        "neither": failed & language & complete,
        "undecided": failed & (language.isna() | complete.isna()),
        "blank": passed.isna(),
    }
    table = pd.DataFrame(parts).fillna(False).astype(float)
    table["lc_complete"] = table["lc"].where(complete.fillna(False))
    groups = table.groupby(judged["model"], sort=False)
    shares = 100 * groups.mean()
    return shares.assign(n_complete=groups["lc_complete"].count(), n=groups.size())
