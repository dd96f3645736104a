"""Two widgets to play with: the composite reward of a response that one types, and the batches of a curriculum."""

import html
import itertools
import math

import ipywidgets as widgets

from curemed_utils import audit, data, language_id, languages, notebook, rewards
from curemed_utils.paper import style
from curemed_utils.training import curricula

BATCHES, PROMPTS = 12, 8  # shown of a curriculum
_WIDE = {"layout": {"width": "95%"}, "style": {"description_width": "120px"}}
_CELL = "style='padding:2px 10px;text-align:left;vertical-align:middle'"


def reward(row: data.Row, translations: list[data.Row]) -> notebook.Interactive:
    """Type a response to `row` and see what each part of Equation 4 pays, with the strict and the loose format, under any weights,
    and how the attempts of `rewards.hacks` fare beside the honest response. `translations` are the same topic in other languages."""
    texts = rewards.hacks(row, translations)
    example = widgets.Dropdown(options=list(texts), description="example", **_WIDE)
    response = widgets.Textarea(value=texts["honest"], description="response", rows=6, **_WIDE)
    weights = {
        name: widgets.FloatSlider(value=weight, min=0, max=1, step=0.05, description=f"{name} weight", **_WIDE)
        for name, weight in rewards.WEIGHTS.items()
    }
    view = widgets.HTML()

    def show(_=None) -> None:
        chosen = {name: slider.value for name, slider in weights.items()}
        view.value = _parts(response.value, row, chosen) + _hacks(texts, row, chosen)

    def put(change) -> None:
        response.value = texts[change["new"]]

    example.observe(put, names="value")
    for widget in (response, *weights.values()):
        widget.observe(show, names="value")
    show()
    question = widgets.HTML(f"<b>{row.language}:</b> {html.escape(row.question)} <i>accepted: {html.escape(', '.join(row.accepted))}</i>")
    still = f"{question.value}<pre style='white-space:pre-wrap'>{html.escape(response.value)}</pre>{view.value}"
    return notebook.Interactive([question, example, response, *weights.values(), view], still)


def _parts(text: str, row: data.Row, weights: dict[str, float]) -> str:
    scores, answer = rewards.score(text, row), rewards.answer_of(text)
    reads = {1.0: f"the answer reads as {row.language}", 0.0: "not the language: ", None: "undecided: "}[scores["language"]]
    why = {
        "accuracy": "no single answer block" if answer is None else f"the answer read is “{answer[:80]}”",
        "language": reads if scores["language"] else reads + language_id.check_language(answer or "", row.language).reason,
        "format": f"Equation 3; steps {audit.step_fault(text) or 'numbered in order'}",
    }
    loose = rewards.format_reward(text, strict=False)
    lines = [_line("part", "weight", "score", "pays", "why")]
    for name, score in scores.items():
        paid = "unknown" if score is None else f"{weights[name] * score:.3f}"
        lines.append(_line(name, f"{weights[name]:.2f}", "–" if score is None else f"{score:.0f}", paid, why[name]))
    total, otherwise = rewards.composite(scores, weights), rewards.composite(scores | {"format": loose}, weights)
    lines.append(
        _line("<b>reward</b>", "", "", f"<b>{total:.3f}</b>", f"with the loose format of Appendix B.3.2: {otherwise:.3f}", raw=True)
    )
    return f"<table>{''.join(lines)}</table>"


def _hacks(texts: dict[str, str], row: data.Row, weights: dict[str, float]) -> str:
    earned = {name: rewards.composite(rewards.score(text, row), weights) for name, text in texts.items()}
    most, full = earned["honest"], max(sum(weights.values()), 1e-9)
    lines = []
    for name, value in sorted(earned.items(), key=lambda item: -item[1]):
        color = style.BLUE if name == "honest" else style.RED if value >= most else style.GREY
        bar = f"<div style='background:{color};height:10px;width:{180 * value / full:.0f}px'></div>"
        remark = "pays as much as honesty" if name != "honest" and value >= most else ""
        lines.append(_line(html.escape(name), f"{value:.3f}", bar, remark, raw=True))
    told = "The same rules and weights for the honest response and for attempts to be paid without work:"
    return f"<p>{told}</p><table>{''.join(lines)}</table>"


def curriculum(rft: list[data.Row], earned: list[float], seed: int = 0) -> notebook.Interactive:
    """Move alpha, retention and patience and see what a stage would draw, batch by batch, and when it would end.

    `rft` are a run's rows for reinforcement learning, `earned` the mean reward of each step of some stage.
    """
    stage = widgets.Dropdown(options=list(languages.STAGES), value="stage3_low", description="stage", **_WIDE)
    alpha = widgets.FloatSlider(value=0.85, min=0, max=0.95, step=0.05, description="alpha", **_WIDE)
    retention = widgets.FloatSlider(value=0.85, min=0, max=1, step=0.05, description="retention", **_WIDE)
    patience = widgets.IntSlider(value=3, min=0, max=max(len(earned) // 2, 1), description="patience", **_WIDE)
    view = widgets.HTML()

    def show(_=None) -> None:
        kept = curricula.pool(rft, stage.value, "retain", retention.value, seed)
        mixed = curricula.mixture(curricula.pool(rft, stage.value, "mixture"), alpha.value, seed)
        view.value = (
            _batches(f"retain: {len(kept)} rows, {retention.value:.0%} of each earlier language", curricula.passes(kept, seed))
            + _batches(f"mixture: {alpha.value:.0%} of every batch from the stages before", mixed)
            + _plateau(earned, patience.value)
        )

    for widget in (stage, alpha, retention, patience):
        widget.observe(show, names="value")
    show()
    return notebook.Interactive([stage, alpha, retention, patience, view], view.value)


def _batches(title: str, prompts) -> str:
    """The first batches as columns of squares in the tiers' colours, and each tier's share of them."""
    tiers = [languages.get(row.language).tier for row in itertools.islice(prompts, BATCHES * PROMPTS)]
    square = "display:inline-block;width:16px;height:16px;margin:1px;text-align:center;font:11px sans-serif;color:black;background:"
    columns = [tiers[n : n + PROMPTS] for n in range(0, len(tiers), PROMPTS)]
    drawn = "".join(
        "<td style='padding:0 4px'>"
        + "<br>".join(f"<span style='{square}{style.TIER_COLORS[t]}'>{t[0].upper()}</span>" for t in one)
        + "</td>"
        for one in columns
    )
    shares = ", ".join(f"{tier} {tiers.count(tier) / len(tiers):.0%}" for tier in languages.TIERS)
    return f"<p><b>{title}</b><br>{BATCHES} batches of {PROMPTS} prompts: {shares}</p><table><tr>{drawn}</tr></table>"


def _plateau(earned: list[float], patience: int) -> str:
    """The rewards as a line, and where `plateau` would have ended the stage."""
    end = next((n for n in range(1, len(earned) + 1) if curricula.plateaued(earned[:n], patience)), None)
    told = f"ends the stage after step {end} of {len(earned)}" if end else f"lets the stage run all {len(earned)} steps"
    width, height = 420, 90
    places = [(width * n / max(len(earned), 1), height * (1 - value)) for n, value in enumerate(earned, 1) if not math.isnan(value)]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    mark = (
        f"<line x1='{width * end / len(earned):.0f}' x2='{width * end / len(earned):.0f}' y1='0' y2='{height}' stroke='{style.RED}'/>"
        if end
        else ""
    )
    drawn = f"<polyline points='{line}' fill='none' stroke='{style.BLUE}' stroke-width='1.5'/>"
    box = f"<rect width='{width}' height='{height}' fill='none' stroke='{style.GREY}'/>"
    alt = f"Mean reward by step, 0 to 1; the rule {told}"
    picture = f"<svg width='{width}' height='{height}' role='img' aria-label='{alt}'>{box}{drawn}{mark}</svg>"
    return f"<p><b>plateau: a patience of {patience} {told}</b><br>Mean reward by step (0 to 1), as this run earned it:</p>{picture}"


def _line(*cells: str, raw: bool = False) -> str:
    return "<tr>" + "".join(f"<td {_CELL}>{cell if raw else html.escape(cell)}</td>" for cell in cells) + "</tr>"
