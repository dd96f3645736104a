"""A widget: the reward of a response that one types."""

import html

import ipywidgets as widgets

from curemed_utils import data, language_id, notebook, rewards, trace

_WIDE = {"layout": {"width": "95%"}, "style": {"description_width": "120px"}}


def hacks(row: data.Row, translations: list[data.Row]) -> dict[str, str]:
    """Responses to `row` that try to be paid for nothing; `translations` have its topic."""
    right = rewards.answer_of(row.answer)
    translated = [rewards.answer_of(other.answer) for other in translations]
    opened, closed = trace.tags(0)[:2]
    thinking = trace.render_steps([row.question])
    everything = " / ".join([right, *translated])
    return {
        "honest": f"{row.reasoning}\n{row.answer}",
        "empty steps": f"{trace.render_steps(['', ''])}\n{row.answer}",
        "no reasoning": row.answer,
        "repeated tags": f"{opened}{thinking * 2}{closed}\n{trace.render_answer(row.answer)}",
        "two answers": f"{row.reasoning}\n{row.answer}\n{translations[0].answer}",
        "the answer in every language": trace.render([row.question], everything),
        "the question echoed": trace.render([row.question], row.question),
    }


def reward(row: data.Row, translations: list[data.Row]) -> notebook.Interactive:
    """Type a response to `row` and see what Equation 4 pays, and what it pays for `hacks`."""
    texts = hacks(row, translations)
    example = widgets.Dropdown(options=list(texts), description="example", **_WIDE)
    response = widgets.Textarea(texts["honest"], description="response", rows=6, **_WIDE)
    sliders = {name: _slider(f"{name} weight", w) for name, w in rewards.WEIGHTS.items()}
    view = widgets.HTML()

    def show(_=None):
        weights = {name: slider.value for name, slider in sliders.items()}
        view.value = _parts(response.value, row, weights) + _attempts(texts, row, weights)

    def put(change):
        response.value = texts[change["new"]]

    example.observe(put, names="value")
    for widget in (response, *sliders.values()):
        widget.observe(show, names="value")
    show()
    accepted = html.escape(", ".join(row.accepted))
    asked = f"<b>{row.language}:</b> {html.escape(row.question)} <i>accepted: {accepted}</i>"
    typed = f"<pre style='white-space:pre-wrap'>{html.escape(response.value)}</pre>"
    children = [widgets.HTML(asked), example, response, *sliders.values(), view]
    return notebook.Interactive(children, asked + typed + view.value)


def _parts(text, row, weights):
    scores, answer = rewards.score(text, row), rewards.answer_of(text)
    read = "no single answer block" if answer is None else f"the answer read is “{answer[:80]}”"
    words = {1.0: "in the language", 0.0: "not in the language", None: "undecided"}
    check = language_id.check_language(answer or "", row.language).reason
    why = "an accepted answer" if scores["accuracy"] else check
    reasons = {
        "accuracy": read,
        "language": f"{words[scores['language']]}; {why}".strip("; "),
        "format": f"Equation 3; {trace.form_fault(text) or 'in full form'}",
    }
    lines = [_line("part", "weight", "score", "pays", "why")]
    for name, score in scores.items():
        shown, paid = "–", "unknown"
        if score is not None:
            shown, paid = f"{score:.0f}", f"{weights[name] * score:.2f}"
        lines.append(_line(name, f"{weights[name]:.2f}", shown, paid, html.escape(reasons[name])))
    total = rewards.composite(scores, weights)
    scores["format"] = rewards.format_reward(text, strict=False)
    told = f"with the loose format of Appendix B.3.2: {rewards.composite(scores, weights):.2f}"
    lines.append(_line("<b>reward</b>", "", "", f"<b>{total:.2f}</b>", told))
    return f"<table>{''.join(lines)}</table>"


def _attempts(texts, row, weights):
    totals = {}
    for name, text in texts.items():
        totals[name] = rewards.composite(rewards.score(text, row), weights)
    lines = []
    for name in sorted(totals, key=totals.get, reverse=True):
        pays = name != "honest" and totals[name] >= totals["honest"]
        remark = "<b>pays as much as honesty</b>" if pays else ""
        lines.append(_line(name, f"{totals[name]:.2f}", remark))
    return f"<p>Attempts to be paid without work:</p><table>{''.join(lines)}</table>"


def _slider(name, value):
    return widgets.FloatSlider(value, min=0, max=1.0, step=0.05, description=name, **_WIDE)


def _line(*cells):
    return f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
