"""The offline checks laid beside the published GPT-4o verdicts on language consistency."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import regex

from curemed_utils import language_id, trace
from curemed_utils.evaluation import rates
from curemed_utils.evaluation.release import read_released, released_files
from curemed_utils.language_id import Check

_COLUMNS = {"Question": "question", "Response": "reference", "Test Response": "response"}
_END_MARK = regex.compile(r"""(?:[\p{SB=ST}\p{SB=AT}።፨…]|፡፡)[\p{Pe}\p{Pf}"'*_`~|\s]*$""")
_BARE_ITEM = regex.compile(r"(?:^|\n)\s*(?:[-*•–]|\d{1,2}[.)])\s*$")
_THAI_OPEN = "[เแโใไ]|ซึ่ง|และ|หรือ|โดย|เพื่อ|เพราะ|ได้แก่|เช่น"  # vowels that wait, conjunctions
_DANGLING = regex.compile(rf"(?:[\p{{Ps}}\p{{Pi}}\p{{Pd}},:;/]|{_THAI_OPEN})[*_\s]*$")


def released_outputs(root: str | Path | None = None) -> pd.DataFrame:
    """Every released output with its published verdict on language consistency (Tables 8-10).

    Columns: model, language, row (from 0, in the CSV), question, reference, response, published
    (boolean, NA where blank). Faults are those of `evaluation.score_release`.
    """
    parts = []
    for path, model, metric, language in released_files(root):
        if metric == "lc":
            rows = read_released(path, metric, tuple(_COLUMNS))
            parts.append(rows.assign(model=model, language=language, row=range(len(rows))))
    if not parts:
        raise FileNotFoundError("the release has no BaseModel_language_evaluation folder")
    names = _COLUMNS | {"verdict": "published"}
    table = pd.concat(parts, ignore_index=True).rename(columns=names)
    return table[["model", "language", "row", *names.values()]]


def judge_offline(outputs: pd.DataFrame) -> pd.DataFrame:
    """`outputs` with our verdicts: in_language and complete (boolean, NA undecided), and why.

    `in_language` and `reason` are `language_id.check_language` of the answer, or of the whole
    response where it has no answer block; `complete` and `cut` are `completeness`.
    """
    checks, ends = [], []
    for text, language in zip(outputs["response"], outputs["language"], strict=True):
        checks.append(language_id.check_language(trace.answer_of(text) or text, language))
        ends.append(completeness(text, language))
    judged = outputs.assign(
        in_language=[check.verdict for check in checks],
        reason=[check.reason for check in checks],
        complete=[end.verdict for end in ends],
        cut=[end.reason for end in ends],
    )
    return judged.astype({"in_language": "boolean", "complete": "boolean"})


def completeness(text: str, language: str) -> Check:
    """Whether a response came to its end, estimated from its text alone; no reason where it did.

    Tagged text is complete if its one answer block is closed. Other text must end with a sentence
    mark, which brackets, quotes and markdown may follow, and not with an empty list item. Thai
    marks no sentence ends: without a mark it is undecided, or cut where it dangles.
    A list item without a full stop counts as cut, a cut behind an abbreviation as complete.
    """
    text = text.strip()
    if not text:
        return Check(False, "empty")
    if any(trace.blocks(text, name, cut_off=True) for name in ("thinking", "answer")):
        closed = trace.answer_of(text) is not None
        return Check(closed, "" if closed else "no closed answer")
    if _BARE_ITEM.search(text):
        return Check(False, "an empty list item at the end")
    if _END_MARK.search(text):
        return Check(True, "")
    letters = regex.findall(r"\p{L}", text)
    if language != "Thai" or not letters or not regex.match(r"\p{Thai}", letters[-1]):
        return Check(False, "no sentence mark at the end")
    unclosed = text.count("(") > text.count(")") or text.count("**") % 2
    if unclosed or _DANGLING.search(text):
        return Check(False, "dangling end")
    return Check(None, "Thai without an end mark")


def compare(judged: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """How far `in_language & complete` agrees with the published verdict, per group of `by`.

    agreement (percent) and kappa are over the n_scored rows that both decided; false_accept and
    false_reject take the published verdict for the truth; agreement_complete is of `in_language`
    over the n_complete complete rows among them. Undecided and blank rows are counted.
    """
    return _per_group(judged, by, _agreement)


def _agreement(group: pd.DataFrame) -> dict:
    ours = group["in_language"] & group["complete"]
    theirs = group["published"]
    scored = ours.notna() & theirs.notna()
    a, b = ours[scored].astype(bool), theirs[scored].astype(bool)
    whole = group[group["complete"].fillna(False) & scored]
    equal = whole["in_language"] == whole["published"]
    return {
        "n": len(group),
        "n_scored": len(a),
        "agreement": 100 * (a == b).mean(),
        "kappa": rates.kappa(a, b),
        "false_accept": int((a & ~b).sum()),
        "false_reject": int((~a & b).sum()),
        "agreement_complete": 100 * _mean(equal),
        "n_complete": len(equal),
        "n_undecided": int(ours.isna().sum()),
        "n_blank": int(theirs.isna().sum()),
    }


def decompose(judged: pd.DataFrame) -> pd.DataFrame:
    """Published LC of each model and what its failures are, in percent of all n rows.

    The first seven columns add up to 100. neither: our checks find nothing; undecided: one of
    them is open. lc_complete is published LC over the n_complete complete responses, blanks in
    the denominator as published.
    """
    return _per_group(judged, "model", _failures)


def _failures(group: pd.DataFrame) -> dict:
    passed, language, complete = group["published"], group["in_language"], group["complete"]
    failed = passed.eq(False).fillna(False)
    parts = {
        "lc": passed,
        "language_only": failed & ~language & complete,
        "cut_only": failed & language & ~complete,
        "both": failed & ~language & ~complete,
        "neither": failed & language & complete,
        "undecided": failed & (language.isna() | complete.isna()),
        "blank": passed.isna(),
    }
    shares = {name: 100 * float(part.fillna(False).mean()) for name, part in parts.items()}
    whole = passed[complete.fillna(False)].fillna(False)
    shares["lc_complete"] = 100 * _mean(whole)
    return shares | {"n_complete": len(whole), "n": len(group)}


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else math.nan


def _per_group(table: pd.DataFrame, by: str | list[str], measure: Callable) -> pd.DataFrame:
    groups = table.groupby(by, sort=False)
    return pd.DataFrame([measure(group) for _, group in groups], index=groups.size().index)
