"""Calibration: offline verdicts against the published ones and against native speakers' labels, and rates corrected by labels."""

import csv
import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import regex

from curemed_utils import data, language_id, paths, rewards
from curemed_utils.evaluation.verdicts import read_released, released_files
from curemed_utils.ratings import sheets

LABELS = ("in_language", "complete", "correct")
ALLOWED = {"yes": True, "no": False, "unsure": None, "": None}
CHOSEN = "chosen by hand"  # begins the note of a label that somebody picked out: no random draw, so no ground for a rate
SHEET = ("id", "language", "question", "reference", "response", *LABELS, "labeller", "note")

_MARK = regex.compile(r"""(?:[\p{SB=ST}\p{SB=AT}።፨…]|፡፡)[\p{Pe}\p{Pf}"'*_`~|\s]*$""")
_BARE_ITEM = regex.compile(r"(?:^|\n)\s*(?:[-*•–]|\d{1,2}[.)])\s*$")
_DANGLING = regex.compile(r"(?:[\p{Ps}\p{Pi}\p{Pd},:;/]|[เแโใไ]|ซึ่ง|และ|หรือ|โดย|เพื่อ|เพราะ|ได้แก่|เช่น)[*_\s]*$")


# Offline and published verdicts, side by side -----------------------------------------------------------------------


def published(root: str | Path | None = None) -> pd.DataFrame:
    """Every released output with its published GPT-4o verdict on language consistency (Tables 8-10).

    Columns: model, language, row (from 0, in the CSV), question, reference, response, published (boolean, NA where blank).
    Faults are those of `evaluation.score_release`.
    """
    names = {"Question": "question", "Response": "reference", "Test Response": "response", "verdict": "published"}
    parts = []
    for path, model, metric, language in released_files(root):
        if metric == "lc":
            rows = read_released(path, metric, ("Question", "Response", "Test Response")).rename(columns=names)
            parts.append(rows.assign(model=model, language=language, row=range(len(rows))))
    if not parts:
        raise FileNotFoundError("the release has no BaseModel_language_evaluation folder: nothing to calibrate against")
    return pd.concat(parts, ignore_index=True)[["model", "language", "row", *names.values()]]


def judge_offline(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the offline verdicts: in_language, reason, complete, cut.

    `in_language` (boolean, NA undecided) and `reason` are `language_id.check_language` of the answer, or of the whole
    response where it has no answer block. `complete` (boolean, NA undecided) and `cut` are `completeness`.
    """
    texts = [rewards.answer_of(text) or text for text in table["response"]]
    checks = [language_id.check_language(text, name) for text, name in zip(texts, table["language"], strict=True)]
    ends = [completeness(text, name) for text, name in zip(table["response"], table["language"], strict=True)]
    columns = {"in_language": [c.verdict for c in checks], "reason": [c.reason for c in checks]}
    columns |= {"complete": [e.verdict for e in ends], "cut": [e.reason for e in ends]}
    return table.assign(**columns).astype({"in_language": "boolean", "complete": "boolean"})


def completeness(text: str, language: str) -> language_id.Check:
    """Whether a response came to its end, estimated from its text alone; `reason` is empty where it did.

    For outputs that carry neither a finish reason nor tags. Tagged text is complete if its one answer block is closed.
    Otherwise the last character, behind closing brackets, quotes and markdown, must end a sentence, and must not be the number of
    an empty list item. Thai marks no sentence ends: without a mark it is undecided, unless it dangles: an open bracket,
    a comma, a conjunction, a vowel that waits for its consonant. An estimate, with known faults: a list item or a signature
    without a full stop counts as cut, a cut right behind a full stop or an abbreviation counts as complete.
    """
    text = text.strip()
    if not text:
        return language_id.Check(False, "empty")
    if regex.search(r"<(?:thinking|answer)>", text):
        closed = rewards.answer_of(text) is not None
        return language_id.Check(closed, "" if closed else "no closed answer")
    if _BARE_ITEM.search(text):
        return language_id.Check(False, "an empty list item at the end")
    if _MARK.search(text):
        return language_id.Check(True, "")
    letters = regex.findall(r"\p{L}", text)
    if language == "Thai" and letters and regex.match(r"\p{Thai}", letters[-1]):
        dangles = _DANGLING.search(text) or text.count("(") > text.count(")") or text.count("**") % 2
        return language_id.Check(False, "dangling end") if dangles else language_id.Check(None, "Thai without an end mark")
    return language_id.Check(False, "no sentence mark at the end")


def agreement(table: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """How far `in_language & complete` agrees with the published verdict, for each group of `by`.

    agreement (percent) and kappa over the n_scored of n rows that both decided; false_accept and false_reject count
    disagreements, the published verdict taken as the truth; agreement_complete is of `in_language` over the n_complete
    complete and decided responses. Rows that the check leaves undecided or the publication blank are counted, never scored.
    """
    return _per_group(table, by, _compare)


def _compare(group: pd.DataFrame) -> dict:
    ours, theirs = group["in_language"] & group["complete"], group["published"]
    scored = ours.notna() & theirs.notna()
    a, b = ours[scored].astype(bool), theirs[scored].astype(bool)
    whole = group["complete"].fillna(False) & scored
    equal = (group["in_language"] == theirs)[whole]
    return {
        "n": len(group), "n_scored": len(a), "agreement": 100 * (a == b).mean(), "kappa": kappa(a, b),
        "false_accept": int((a & ~b).sum()), "false_reject": int((~a & b).sum()),
        "agreement_complete": 100 * float(equal.mean()) if len(equal) else math.nan, "n_complete": len(equal),
        "n_undecided": int(ours.isna().sum()), "n_blank": int(theirs.isna().sum()),
    }  # fmt: skip


def _per_group(table: pd.DataFrame, by: str | list[str], measure: Callable[[pd.DataFrame], dict]) -> pd.DataFrame:
    groups = table.groupby(by, sort=False)
    return pd.DataFrame([measure(group) for _, group in groups], index=groups.size().index)


def kappa(a: pd.Series, b: pd.Series) -> float:
    """Cohen's kappa of two raters' booleans: agreement beyond chance, 1 at best; NaN where chance alone agrees always."""
    from statsmodels.stats.inter_rater import cohens_kappa

    if len({*a, *b}) < 2:
        return math.nan
    counts = pd.crosstab(a.to_numpy(dtype=bool), b.to_numpy(dtype=bool)).reindex(index=[True, False], columns=[True, False], fill_value=0)
    return float(cohens_kappa(counts.to_numpy(), return_results=False))


def decompose(table: pd.DataFrame) -> pd.DataFrame:
    """Published LC of each model and what its failures are, in percent of all n rows; the first seven columns add up to 100.

    lc (published as consistent), language_only, cut_only, both, neither (failed, though the offline check finds nothing),
    undecided (failed, and one of our two verdicts is open), blank. Then lc_complete: published LC over the n_complete complete
    responses alone, blanks in the denominator as published; and n_complete, n.
    """
    return _per_group(table, "model", _split)


def _split(group: pd.DataFrame) -> dict:
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
    whole = passed[complete.fillna(False)].fillna(False)
    shares = {name: 100 * float(part.fillna(False).mean()) for name, part in parts.items()}
    return shares | {"lc_complete": 100 * float(whole.mean()) if len(whole) else math.nan, "n_complete": len(whole), "n": len(group)}


def disagreements(table: pd.DataFrame, n: int, seed: int = 0) -> pd.DataFrame:
    """Up to `n` responses on which the offline check and the publication differ, as many from each language as there are to have."""
    ours = table["in_language"] & table["complete"]
    differ = table[(ours != table["published"]).fillna(False)]
    columns = ["model", "language", "row", "published", "in_language", "reason", "complete", "cut", "response"]
    return _balanced(differ, "language", n, seed).sort_values(["language", "model", "row"], ignore_index=True)[columns]


def _balanced(table: pd.DataFrame, by: str, n: int, seed: int) -> pd.DataFrame:
    """`n` random rows, taken from the groups of `by` in turn until a group runs out."""
    mixed = table.sample(frac=1, random_state=seed)
    return mixed.iloc[np.argsort(mixed.groupby(by).cumcount(), kind="stable")[:n]]


# Labels by native speakers ------------------------------------------------------------------------------------------


class Labels(NamedTuple):
    """A filled sheet: `table` has id, language, labeller, note and the boolean labels, NA where there is none or it is unsure."""

    table: pd.DataFrame
    n_unlabelled: int  # rows with every label empty
    n_unsure: int  # labels that say unsure


def write_sheet(table: pd.DataFrame, path: str | Path, per_language: int, seed: int = 0) -> Path:
    """Writes a CSV for native speakers: `per_language` responses of each language, in equal parts from each offline outcome.

    The labeller sees neither model nor verdict. UTF-8 with a byte order mark, so that Excel reads it; a cell that would
    start a formula gets a leading apostrophe. FileExistsError where the sheet at `path` already holds labels.
    """
    path = Path(path)
    if path.exists() and any(record[name].strip() for _, record in _records(path) for name in LABELS):
        raise FileExistsError(f"{paths.show(path)} already holds labels; move it away, or choose another name")
    table = table.assign(id=ids(table), outcome=outcomes(table), **dict.fromkeys([*LABELS, "labeller", "note"], ""))
    parts = [_balanced(group, "outcome", per_language, seed).sort_values("id") for _, group in table.groupby("language")]
    _write_records(pd.concat(parts), path)
    return path


def mark(path: str | Path, entry: pd.DataFrame, label: str, value: str, labeller: str) -> Path:
    """Puts one label ('yes', 'no' or 'unsure') for the one response of `entry` on the sheet at `path`, which is made if it isn't there.

    `entry` has model, language, row, question, reference and response. A response that the sheet drew gets its label filled in, with
    a note that the labeller had seen the verdicts; another is added as chosen by hand, and counts in no corrected rate (`weigh`).
    """
    if label not in LABELS or value not in ALLOWED:
        raise ValueError(f"label {label!r} must be one of {', '.join(LABELS)} and value {value!r} one of yes, no, unsure")
    path, key = Path(path), ids(entry)[0]
    records = [record for _, record in _records(path)] if path.exists() else []
    mine = next((record for record in records if record["id"] == key), None)
    if mine is None:
        texts = entry.iloc[0][["language", "question", "reference", "response"]].fillna("").to_dict()
        mine = dict.fromkeys(SHEET, "") | texts | {"id": key, "note": CHOSEN}
        records.append(mine)
    mine |= {label: value, "labeller": labeller, "note": mine["note"] or "labelled in view of the verdicts"}
    _write_records(pd.DataFrame(records, columns=list(SHEET)), path)
    return path


def _write_records(table: pd.DataFrame, path: Path) -> None:
    sheet = table[list(SHEET)].map(lambda text: sheets.escaped(str(text)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    sheet.to_csv(part, index=False, encoding="utf-8-sig")
    part.replace(path)


def ids(table: pd.DataFrame) -> list[str]:
    """An id for each response that stays the same as long as model, language, row and text do, and gives none of them away."""
    keys = zip(*(table[name].astype(str) for name in ("model", "language", "row", "response")), strict=True)
    return ["r" + hashlib.sha256("\0".join(key).encode()).hexdigest()[:12] for key in keys]


def outcomes(table: pd.DataFrame) -> list[str]:
    """What the offline check says of each response: 'accepted', 'cut off', 'other language' or 'undecided'."""
    language, complete = table["in_language"], table["complete"]
    cases = [case.fillna(False) for case in (~language, language & complete, language & ~complete)]
    return np.select(cases, ["other language", "accepted", "cut off"], "undecided").tolist()


def read_sheet(path: str | Path) -> Labels:
    """The labels of a filled sheet, saved with commas or, as some spreadsheets do, with semicolons.

    DataError names file, line, sheet row and column of a label that is not yes, no, unsure or empty, or of a repeated id.
    """
    path, rows, said = Path(path), {}, []
    for number, (line, record) in enumerate(_records(path), 2):
        where = f"{paths.show(path)}, line {line} (sheet row {number}), column"
        if record["id"] in rows:
            raise data.DataError(f"{where} 'id': {record['id']!r} stands there twice")
        said.append({name: record[name].strip().lower() for name in LABELS})
        for name, value in said[-1].items():
            if value not in ALLOWED:
                raise data.DataError(f"{where} {name!r}: {record[name]!r} is not yes, no, unsure or empty")
        rows[record["id"]] = record | {name: ALLOWED[value] for name, value in said[-1].items()}
    table = pd.DataFrame(rows.values(), columns=["id", "language", *LABELS, "labeller", "note"])
    unsure = sum(list(values.values()).count("unsure") for values in said)
    return Labels(table.astype(dict.fromkeys(LABELS, "boolean")), sum(not any(values.values()) for values in said), unsure)


def _records(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Each record of a sheet, and the line of the file on which it starts."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise data.DataError(f"{paths.show(path)} is not UTF-8 at byte {error.start}: save it as 'CSV UTF-8'") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;", key=head.count), restval="")
    if missing := [name for name in SHEET if name not in (reader.fieldnames or [])]:
        raise data.DataError(f"{paths.show(path)}, line 1: no column {', '.join(missing)}")
    found, line = [], reader.line_num + 1
    for record in reader:
        found.append((line, record))
        line = reader.line_num + 1
    return found


# Corrected rates ----------------------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """A corrected share with its 95% interval, 0-1, from `n` labels; NaN where it can't be had, and `reason` says why."""

    estimate: float
    low: float
    high: float
    n: int
    reason: str = ""


def weigh(table: pd.DataFrame, labels: pd.DataFrame, name: str) -> pd.DataFrame:
    """The labels `name` ('in_language' or 'complete') of rows of `table`: id, language, verdict, truth, weight.

    `table` is what the sheet was drawn from. The sheet takes equal parts of unequal groups, so each label stands for `weight`
    rows: those of its language and offline outcome, shared among the labels there. A group without labels is stood for by
    the others with the same verdict. Rows that the check leaves undecided have no verdict and are left out, and so are labels that
    were chosen by hand (`mark`).
    """
    if "note" in labels:
        labels = labels[~labels["note"].fillna("").str.startswith(CHOSEN)]
    rows = table.assign(id=ids(table), outcome=outcomes(table), verdict=table[name])
    if strange := set(labels["id"]) - set(rows["id"]):
        raise data.DataError(
            f"{len(strange)} labelled ids, such as {min(strange)!r}, are not in the table: was the sheet drawn from another?"
        )
    rows = rows.dropna(subset="verdict").merge(labels[["id", name]].rename(columns={name: "truth"}), "left", "id")
    groups = rows.groupby(["language", "outcome", "verdict"])["truth"]
    rows["weight"] = groups.transform("size") / groups.transform("count")
    sizes = rows["verdict"].value_counts().astype(float)
    rows = rows.dropna(subset="truth")[["id", "language", "verdict", "truth", "weight"]].astype({"verdict": bool, "truth": bool})
    rows["weight"] *= rows["verdict"].map(sizes) / rows.groupby("verdict")["weight"].transform("sum")
    return rows.reset_index(drop=True)


def corrected_rate(observed: pd.Series, labels: pd.DataFrame, seed: int = 0, draws: int = 4000) -> Rate:
    """The true share behind the check's verdicts `observed` (boolean, NA left out), by Rogan & Gladen (1978).

    (apparent + specificity - 1) / (sensitivity + specificity - 1), clipped to 0-1. `labels` has verdict, truth and weight as
    `weigh` makes them; sensitivity and specificity are weighted shares. The interval carries the uncertainty of all three, by
    a Bayesian bootstrap (Rubin 1981) with a fixed seed: labels are reweighted within each verdict, with half a label of each
    truth added there, so that no error seen is not taken for no error possible. Over the rows that the labels were drawn
    from, the estimate is the labels' own weighted share; for other rows it assumes that the check errs there as often.
    """
    seen, truth, weight = observed.dropna().astype(bool), labels["truth"].to_numpy(bool), labels["weight"].to_numpy(float)
    sides = [labels["verdict"].to_numpy(bool), ~labels["verdict"].to_numpy(bool)]
    unknown = Rate(math.nan, math.nan, math.nan, len(labels))
    if not len(seen):
        return unknown._replace(reason="no verdict to correct")
    if not (sides[0].any() and sides[1].any()):
        return unknown._replace(reason="no label among the accepted or none among the rejected")
    if truth.all() or not truth.any():
        return unknown._replace(reason="every label says the same: sensitivity or specificity is unknown")
    accepted = weight[sides[0]].sum() / weight.sum()
    se, sp = _rates(accepted, *(np.average(truth[side], weights=weight[side]) for side in sides))
    if se + sp <= 1:
        return unknown._replace(reason=f"the check is no better than chance: sensitivity {se:.2f}, specificity {sp:.2f}")
    rng = np.random.default_rng(seed)
    drawn = _rates(accepted, *(_reweighted(truth[side], weight[side], draws, rng) for side in sides))
    apparent = rng.beta(seen.sum() + 0.5, (~seen).sum() + 0.5, draws)
    better = drawn[0] + drawn[1] > 1
    rates = _rogan_gladen(apparent, *drawn)[better]
    if better.mean() < 0.95:
        low, high = 0, 1
    elif ((rates >= 0) & (rates <= 1)).mean() < 0.05:
        return unknown._replace(
            reason=f"{seen.mean():.2f} accepted is beyond sensitivity {se:.2f}, specificity {sp:.2f}: it errs otherwise here"
        )
    else:
        low, high = np.quantile(rates, [0.025, 0.975])
    found = np.clip([_rogan_gladen(seen.mean(), se, sp), low, high], 0, 1)
    return Rate(*map(float, found), len(labels))


def _rates(accepted, yes_accepted, yes_rejected):
    """Sensitivity and specificity, from the share accepted and the shares of yes among the accepted and the rejected."""
    hit, miss = accepted * yes_accepted, (1 - accepted) * yes_rejected
    false_alarm, right_no = accepted - hit, 1 - accepted - miss
    return hit / (hit + miss), right_no / (right_no + false_alarm)


def _rogan_gladen(apparent, sensitivity, specificity):
    return (apparent + specificity - 1) / (sensitivity + specificity - 1)


def _reweighted(truth: np.ndarray, weight: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """`draws` weighted shares of True, each label's weight times a random exponential."""
    mass = rng.exponential(size=(draws, len(truth))) @ np.column_stack([weight * truth, weight * ~truth])
    mass += weight.mean() * rng.gamma(0.5, size=(draws, 2))
    return mass[:, 0] / mass.sum(axis=1)
