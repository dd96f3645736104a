"""Responses to look at in a notebook: filters, English and the language in two colours, verdicts, and a mark where one is wrong."""

import html
import re
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from curemed_utils import data, evaluation, languages, notebook
from curemed_utils.evaluation import labels
from curemed_utils.paper import code_switching

ALL = "all"
VERDICTS = ("correct", "in_language", "complete", "judged_correct", "judged_language")
COLUMNS = ("model", "language", "row", "question", "reference", "response", "outcome", "disagree", *VERDICTS)
_TAG = re.compile(r"(</?(?:thinking|answer|step\d+)>)")
_LOOKS = {"english": "", "target": "color:#0072B2;font-style:italic"}


def of_run(verdicts: pd.DataFrame, rows: list[data.Row]) -> pd.DataFrame:
    """The responses of `evaluation.evaluate`, with the rows that were asked, in the columns COLUMNS.

    `outcome` is `evaluation.outcomes`; `disagree`: the judge and the offline checks say different things of accuracy or language.
    """
    items = evaluation.judge_items(verdicts, {row.id: row for row in rows})
    shown = verdicts.assign(row=verdicts["id"], outcome=evaluation.outcomes(verdicts), **pd.DataFrame(items)[["question", "reference"]])
    listed = shown["id"].map({row.id: bool(row.accepted) for row in rows})
    return _columns(shown, shown["correct"].where(listed))


def of_release(judged: pd.DataFrame) -> pd.DataFrame:
    """The authors' released outputs, as `calibration.judge_offline` gives them, in the columns COLUMNS; their judge is GPT-4o."""
    shown = judged.assign(outcome=labels.offline_outcomes(judged), judged_language=judged["published"])
    return _columns(shown, None)


def _columns(shown: pd.DataFrame, exact: pd.Series | None) -> pd.DataFrame:
    shown = shown.reset_index(drop=True).reindex(columns=list(dict.fromkeys([*shown, *VERDICTS])))
    shown = shown.astype(dict.fromkeys(VERDICTS, "boolean"))
    differs = (shown["in_language"] & shown["complete"]) != shown["judged_language"]
    if exact is not None:
        differs = differs.fillna(False) | (exact.reset_index(drop=True) != shown["judged_correct"]).fillna(False)
    return shown.assign(disagree=differs.fillna(False).astype(bool))[list(COLUMNS)]


def select(table: pd.DataFrame, language: str = ALL, model: str = ALL, outcome: str = ALL, disagree: bool = False) -> pd.DataFrame:
    """The responses that pass all filters."""
    for column, wanted in (("language", language), ("model", model), ("outcome", outcome)):
        table = table if wanted == ALL else table[table[column].eq(wanted)]
    return table[table["disagree"]] if disagree else table


def page(entry: pd.Series) -> str:
    """One response as HTML: question, reference and response side by side, the language in blue italics, and what was said of it.

    Switches are those of `code_switching.spans`, an aid to the eye.
    """
    known = f"{entry['question']} {entry['reference']}"
    response = "" if pd.isna(entry["response"]) else entry["response"]
    boxes = {
        "question": html.escape(entry["question"]),
        "reference": html.escape(entry["reference"]),
        "response": _coloured(response, entry, known),
    }
    said = {True: "yes", False: "no"}
    verdicts = "".join(f"<td style='padding:0 1em'>{name.replace('_', ' ')}: <b>{said.get(entry[name], '–')}</b></td>" for name in VERDICTS)
    columns = "".join(
        f"<td style='vertical-align:top;width:{width}%;padding:4px 10px;text-align:left'><b>{name}</b><br>{text}</td>"
        for (name, text), width in zip(boxes.items(), (27, 18, 55), strict=True)
    )
    head = f"{html.escape(str(entry['model']))} · {entry['language']} · {html.escape(str(entry['row']))} · {entry['outcome']}"
    return f"<div>{head}<table style='width:100%'><tr>{columns}</tr></table><table><tr>{verdicts}</tr></table></div>"


def _coloured(response: str, entry: pd.Series, known: str) -> str:
    parts = []
    for piece in _TAG.split(response):
        if _TAG.fullmatch(piece):
            parts.append(f"<span style='color:#888'>{html.escape(piece)}</span>")
        else:
            spans = code_switching.spans(piece, entry["language"], known) if entry["language"] in languages.NAMES else [(piece, "english")]
            parts += [f"<span style='{_LOOKS[role]}'>{html.escape(text)}</span> " for text, role in spans]
    return "".join(parts)


def explore(table: pd.DataFrame, sheet: str | Path) -> notebook.Interactive:
    """A widget over `of_run`'s or `of_release`'s table. What is marked goes to the labelling sheet `sheet` (`labels.mark`)."""
    filters = {
        name: widgets.Dropdown(options=[ALL, *sorted(table[name].dropna().unique())], description=name, layout={"width": "230px"})
        for name in ("language", "model", "outcome")
    }
    filters["disagree"] = widgets.Checkbox(description="judge and offline check disagree", indent=False, layout={"width": "260px"})
    place = widgets.IntSlider(description="response", min=1, max=max(len(table), 1), layout={"width": "70%"}, continuous_update=False)
    shown, said = widgets.HTML(), widgets.HTML()
    label = widgets.Dropdown(options=labels.LABELS, description="the truth:", layout={"width": "230px"})
    truth = widgets.ToggleButtons(options=["yes", "no", "unsure"], style={"button_width": "75px"})
    who = widgets.Text(placeholder="your name or initials", layout={"width": "180px"})
    button = widgets.Button(description="Mark", tooltip="put this label on the labelling sheet")

    def chosen() -> pd.DataFrame:
        return select(table, **{name: widget.value for name, widget in filters.items()})

    def show(_=None) -> None:
        found = chosen()
        place.max = max(len(found), 1)
        said.value = f"{len(found):,} of {len(table):,} responses"
        shown.value = page(found.iloc[place.value - 1]) if len(found) else "no response passes these filters"

    def mark(_) -> None:
        found = chosen()
        if not who.value.strip() or not len(found):
            said.value = "write your name first" if len(found) else "nothing to mark"
            return
        labels.mark(sheet, found.iloc[[place.value - 1]], label.value, truth.value, who.value.strip())
        said.value = f"{label.value}: {truth.value}, on {html.escape(Path(sheet).name)}"

    for widget in (*filters.values(), place):
        widget.observe(show, names="value")
    button.on_click(mark)
    show()
    filtered, marks = widgets.HBox(list(filters.values())), widgets.HBox([label, truth, who, button])
    return notebook.Interactive([filtered, place, shown, marks, said], shown.value)
