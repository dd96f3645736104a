"""Responses to look at in a notebook with their verdicts."""

import html

import ipywidgets as widgets
import pandas as pd

from curemed_utils import data, evaluation, languages, notebook, trace
from curemed_utils.evaluation import labels
from curemed_utils.paper import code_switching

ALL = "all"
VERDICTS = ("correct", "in_language", "complete", "judged_correct", "judged_language")
TEXTS = ("model", "language", "row", "question", "reference", "response", "outcome")
COLUMNS = (*TEXTS, *VERDICTS, "disagree")
LOOKS = {"english": "", "target": "color:#0072B2;font-style:italic", "tag": "color:#888"}
_CELL = "style='vertical-align:top;padding:4px 10px;text-align:left'"


def of_run(verdicts: pd.DataFrame, rows: list[data.Row]) -> pd.DataFrame:
    """The responses of `evaluation.evaluate` in COLUMNS; `rows` are those asked.

    `disagree`: the judge and the offline checks differ on accuracy or language.
    """
    by_id = {row.id: row for row in rows}
    items = evaluation.judge_items(verdicts, by_id)
    table = verdicts.assign(row=verdicts["id"], outcome=evaluation.outcomes(verdicts))
    for name in ("question", "reference"):
        table[name] = [item[name] for item in items]
    listed = [bool(by_id[name].accepted) for name in verdicts["id"]]
    return _columns(table, exact=table["correct"].where(listed))


def of_release(judged: pd.DataFrame) -> pd.DataFrame:
    """The table of `calibration.judge_offline` in COLUMNS; GPT-4o is the judge."""
    outcome = labels.offline_outcomes(judged)
    return _columns(judged.assign(outcome=outcome, judged_language=judged["published"]))


def _columns(table, exact=None):
    """`exact`: accuracy by exact match, unknown where a row lists no accepted answers."""
    table = table.reindex(columns=[*TEXTS, *VERDICTS]).reset_index(drop=True)
    table = table.astype(dict.fromkeys(VERDICTS, "boolean"))
    differs = (table["in_language"] & table["complete"]) != table["judged_language"]
    if exact is not None:
        differs |= exact.astype("boolean").array != table["judged_correct"]
    return table.assign(disagree=differs.fillna(False).astype(bool))


def select(table: pd.DataFrame, disagree: bool = False, **wanted: str) -> pd.DataFrame:
    """The responses that pass all filters: a column's value, or ALL."""
    for column, value in wanted.items():
        if value != ALL:
            table = table[table[column].eq(value)]
    return table[table["disagree"]] if disagree else table


def page(entry: pd.Series) -> str:
    """One response as HTML with its verdicts; the language is in blue italics."""
    head = " · ".join(str(entry[name]) for name in ("model", "language", "row", "outcome"))
    boxes, verdicts = "", ""
    for name in ("question", "reference", "response"):
        text = _coloured(entry) if name == "response" else html.escape(entry[name])
        boxes += f"<td {_CELL}><b>{name}</b><br>{text}</td>"
    for name in VERDICTS:
        told = {True: "yes", False: "no"}.get(entry[name], "–")
        verdicts += f"<td {_CELL}>{name.replace('_', ' ')}: <b>{told}</b></td>"
    tables = f"<table style='width:100%'><tr>{boxes}</tr></table><table><tr>{verdicts}</tr></table>"
    return f"<div>{html.escape(head)}{tables}</div>"


def _coloured(entry):
    if pd.isna(entry["response"]):
        return ""
    drawn = ""
    for piece, is_tag in trace.pieces(entry["response"]):
        spans = [(piece, "tag" if is_tag else "english")]
        if not is_tag and entry["language"] in languages.NAMES:
            target = f"{entry['question']} {entry['reference']}"
            spans = code_switching.spans(piece, entry["language"], target)
        for text, role in spans:
            drawn += f"<span style='{LOOKS[role]}'>{html.escape(text)}</span> "
    return drawn


def explore(table: pd.DataFrame) -> notebook.Interactive:
    """A widget over the table of `of_run` or `of_release`."""
    disagree = widgets.Checkbox(description="judge and offline check disagree", indent=False)
    filters = {"disagree": disagree}
    for name in ("language", "model", "outcome"):
        options = [ALL, *sorted(table[name].unique())]
        filters[name] = widgets.Dropdown(options=options, description=name)
    place = widgets.IntSlider(1, min=1, description="response", continuous_update=False)
    view, status = widgets.HTML(), widgets.HTML()

    def show(_=None):
        responses = select(table, **{name: widget.value for name, widget in filters.items()})
        place.max = max(len(responses), 1)
        status.value = f"{len(responses):,} of {len(table):,} responses"
        view.value = "no response passes these filters"
        if len(responses):
            view.value = page(responses.iloc[place.value - 1])

    for widget in (*filters.values(), place):
        widget.observe(show, names="value")
    show()
    children = [widgets.HBox(list(filters.values())), place, view, status]
    return notebook.Interactive(children, view.value)
