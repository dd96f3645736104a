"""Two widgets: the reward of a response that one types, and a curriculum's batches."""

import html
import itertools
import math

import ipywidgets as widgets

from curemed_utils import data, language_id, languages, notebook, rewards, trace
from curemed_utils.paper import style
from curemed_utils.training import curricula

BATCHES, PROMPTS = 12, 8  # shown of a curriculum
BARS = "▁▂▃▄▅▆▇█"  # a mean reward of 0 to one of 1
_WIDE = {"layout": {"width": "95%"}, "style": {"description_width": "120px"}}
_CELL = "style='padding:2px 10px;text-align:left;vertical-align:middle'"


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

    def show(_=None) -> None:
        weights = {name: slider.value for name, slider in sliders.items()}
        view.value = _parts(response.value, row, weights) + _attempts(texts, row, weights)

    def put(change) -> None:
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


def _parts(text: str, row: data.Row, weights: dict[str, float]) -> str:
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
            shown, paid = f"{score:.0f}", f"{weights[name] * score:.3f}"
        lines.append(_line(name, f"{weights[name]:.2f}", shown, paid, html.escape(reasons[name])))
    total = rewards.composite(scores, weights)
    scores["format"] = rewards.format_reward(text, strict=False)
    told = f"with the loose format of Appendix B.3.2: {rewards.composite(scores, weights):.3f}"
    lines.append(_line("<b>reward</b>", "", "", f"<b>{total:.3f}</b>", told))
    return f"<table>{''.join(lines)}</table>"


def _attempts(texts: dict[str, str], row: data.Row, weights: dict[str, float]) -> str:
    totals = {}
    for name, text in texts.items():
        totals[name] = rewards.composite(rewards.score(text, row), weights)
    full = max(sum(weights.values()), 1e-9)
    lines = []
    for name in sorted(totals, key=totals.get, reverse=True):
        color, remark = style.GREY, ""
        if name != "honest" and totals[name] >= totals["honest"]:
            color, remark = style.RED, "pays as much as honesty"
        width = f"{180 * totals[name] / full:.0f}px"
        bar = f"<div style='background:{color};height:10px;width:{width}'></div>"
        lines.append(_line(name, f"{totals[name]:.3f}", bar, remark))
    return f"<p>Attempts to be paid without work:</p><table>{''.join(lines)}</table>"


def curriculum(rft: list[data.Row], earned: list[float], seed: int = 0) -> notebook.Interactive:
    """Move alpha, retention and patience: what a stage would draw, and when it would end.

    `rft`: rows for GRPO; `earned`: the mean reward of each step of some stage.
    """
    stages = list(languages.STAGES)
    stage = widgets.Dropdown(options=stages, value="stage3_low", description="stage", **_WIDE)
    alpha = _slider("alpha", 0.85, max=0.95)
    retention = _slider("retention", 0.85)
    longest = max(len(earned) // 2, 1)
    patience = widgets.IntSlider(3, min=0, max=longest, description="patience", **_WIDE)
    view = widgets.HTML()

    def show(_=None) -> None:
        kept = curricula.pool(rft, stage.value, "retain", retention.value, seed)
        whole = curricula.pool(rft, stage.value, "mixture")
        share = f"retain: {len(kept)} rows, {retention.value:.0%} of each earlier language"
        old = f"mixture: {alpha.value:.0%} of every batch from the stages before"
        drawn = _batches(share, curricula.passes(kept, seed))
        drawn += _batches(old, curricula.mixture(whole, alpha.value, seed))
        view.value = drawn + _plateau(earned, patience.value)

    controls = [stage, alpha, retention, patience]
    for widget in controls:
        widget.observe(show, names="value")
    show()
    return notebook.Interactive([*controls, view], view.value)


def _batches(title: str, prompts) -> str:
    rows = itertools.islice(prompts, BATCHES * PROMPTS)
    tiers = [languages.get(row.language).tier for row in rows]
    drawn = ""
    for place, tier in enumerate(tiers):
        gap = "" if place % PROMPTS else " "
        color = style.TIER_COLORS[tier]
        drawn += f"{gap}<span style='background:{color}'>{tier[0].upper()}</span>"
    shares = [f"{tier} {tiers.count(tier) / len(tiers):.0%}" for tier in languages.TIERS]
    told = f"{BATCHES} batches of {PROMPTS} prompts: {', '.join(shares)}"
    return f"<p><b>{title}</b><br>{told}<br><code>{drawn}</code></p>"


def _plateau(earned: list[float], patience: int) -> str:
    bars = ["·" if math.isnan(value) else BARS[round(7 * value)] for value in earned]
    told = f"lets the stage run all {len(earned)} steps"
    for step in range(1, len(earned) + 1):
        if curricula.plateaued(earned[:step], patience):
            told = f"ends the stage after step {step} of {len(earned)}"
            bars.insert(step, f"<b style='color:{style.RED}'>|</b>")
            break
    return (
        f"<p><b>plateau: a patience of {patience} {told}</b><br>"
        "Mean reward by step (0 to 1), as this run earned it:<br>"
        f"<span style='font-size:20px'>{''.join(bars)}</span></p>"
    )


def _slider(name: str, value: float, max: float = 1.0) -> widgets.FloatSlider:
    return widgets.FloatSlider(value, min=0, max=max, step=0.05, description=name, **_WIDE)


def _line(*cells: str) -> str:
    return "<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in cells) + "</tr>"
