"""The tags of a response, read and written here alone (Section 3.2).

All functions take time in proportion to the text, whatever tags it repeats or leaves open.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest

import regex

from curemed_utils import paths

FORM = "<thinking><step1>…</step1>…</thinking> <answer>…</answer>"  # as prompts show it
TAG = re.compile(r"</?(?:thinking|answer|step\d+)>")
_STEP_TAG = re.compile(r"<(/?)step(\d+)>")
_STEP_BEGUN = re.compile(r"</?step\d")
_CODE = re.compile(r"(?<!`)`(?![^`\n<]*</step)[^`\n]+`(?!`)")  # no pair across a step's end
_INVISIBLE = regex.compile(r"(?V1)[[\p{Cc}\p{Cf}\p{DI}]--\s]")

_MARKS = paths.beside(__file__, ".yaml")
_ROLE = r"(?:\s*(?:assistant|model)(?=\s*(?:\n|<\|)))?"
_TURN = re.compile(f"(?:{'|'.join(_MARKS.pop('turn'))}){_ROLE}", re.IGNORECASE)
_KINDS = [f"(?P<{kind}>{'|'.join(marks)})" for kind, marks in _MARKS.items()]
_MARK = re.compile("|".join(_KINDS), re.IGNORECASE | re.MULTILINE)


def render(steps: Sequence[str], answer: str) -> str:
    """A response in full form, from plain text."""
    return f"{render_steps(steps)}\n{render_answer(answer)}"


def render_steps(steps: Sequence[str]) -> str:
    """The thinking block, its steps numbered from 1."""
    numbered = [f"<step{n}>{step}</step{n}>" for n, step in enumerate(steps, 1)]
    return f"<thinking>{''.join(numbered)}</thinking>"


def render_answer(answer: str) -> str:
    """The answer block."""
    return f"<answer>{answer}</answer>"


def tags(n_steps: int) -> list[str]:
    """The tags of a response in full form with `n_steps` steps, in order."""
    return [piece for piece, is_tag in pieces(render([""] * n_steps, "")) if is_tag]


def renumbered(reasoning: str) -> str:
    """The reasoning with its step tags numbered from 1 in their order."""
    counts = {"": 0, "/": 0}

    def renumber(tag):
        counts[tag[1]] += 1
        return f"<{tag[1]}step{counts[tag[1]]}>"

    return _STEP_TAG.sub(renumber, reasoning)


def answer_of(text: str) -> str | None:
    """The text of the only answer block outside reasoning, stripped; None for none or several.

    Tags that reasoning or words in back-ticks mention are no blocks. Where reasoning never ends,
    or nothing follows it, the whole text counts.
    """
    text = _CODE.sub(lambda code: "" if TAG.search(code[0]) else code[0], text)
    before, *after = (final_text(text, ours=False) or text).split("</answer>")
    _, opened, answer = before.rpartition("<answer>")
    if not opened or len(after) != 1:
        return None
    return "" if is_blank(answer) else answer.strip()


def blocks(text: str, name: str, cut_off: bool = False) -> list[str]:
    """The texts between `<name>` and the next `</name>`; `cut_off` adds a last one left open."""
    ended = re.findall(rf"<{name}>(.*?)(</{name}>|\Z)", text, re.DOTALL)
    return [block for block, closing in ended if closing or cut_off]


def without_blocks(text: str, name: str) -> str:
    """The text without its `<name>` blocks; one left open reaches to the end."""
    return re.sub(rf"<{name}>.*?(?:</{name}>|\Z)", "", text, flags=re.DOTALL)


def final_text(text: str, ours: bool = True) -> str:
    """The text that a model wrote after its reasoning, up to the end of its turn, stripped.

    A closing mark without its opening one ends reasoning too. Empty where reasoning was opened and
    never closed. Thinking blocks of our own form stay as far as `ours`.
    """
    kept, open_, start = [], "", 0
    for mark in _MARK.finditer(text):
        kind = mark.lastgroup
        if kind == "ours" and not ours:
            kind = "closes" if mark[0].startswith("</") else "opens"
        idle = {"ours": True, "answers": not open_, "titles": open_}
        if idle.get(kind):
            continue
        if not open_:
            kept.append(text[start : mark.start()])
        if kind == "closes" and open_ != "opens":
            kept.clear()
        open_, start = kind if kind in ("opens", "titles") else "", mark.end()
    if open_ == "opens":
        return ""
    turns = _TURN.split("\n".join([*kept, text[start:]]))
    return next(filter(None, map(str.strip, turns)), "")


def pieces(text: str) -> list[tuple[str, bool]]:
    """The text cut at its tags: (piece, whether it is a tag), no piece empty."""
    cut = re.split(f"({TAG.pattern})", text)  # every second piece is a tag
    return [(piece, place % 2 == 1) for place, piece in enumerate(cut) if piece]


def without_tags(text: str) -> str:
    """The text without any tag."""
    return TAG.sub("", text)


def visible(text: str) -> str:
    """The text without invisible characters."""
    return _INVISIBLE.sub("", text)


def is_blank(text: str) -> bool:
    """Whether the text holds nothing but tags, white space and invisible characters."""
    return not visible(without_tags(text)).strip()


def numbered_lines(reasoning: str) -> str:
    """The reasoning without tags: a line a step, `1. …`."""
    lines = _STEP_TAG.sub(lambda tag: "" if tag[1] else f"\n{tag[2]}. ", reasoning)
    return without_tags(lines).strip()


def step_fault(reasoning: str) -> str:
    """What is wrong with step tags; empty where steps 1 to n open and close in turn."""
    numbers = _STEP_TAG.findall(reasoning)
    opened = [number for slash, number in numbers if not slash]
    closed = [number for slash, number in numbers if slash]
    if opened and _STEP_TAG.findall("".join(tags(len(opened)))) == numbers:
        return ""
    wanted = [str(n) for n in range(1, len(opened) + 1)]
    kind = "order" if opened and opened == closed == wanted else "numbers"
    if len(opened) != len(closed):
        kind = "counts"
    return f"{kind}: opened {' '.join(opened) or 'none'}, closed {' '.join(closed) or 'none'}"


def form_fault(text: str) -> str:
    """Why a response is not in full form (Eq. 3); empty where it is."""
    present = TAG.findall(text)
    n_steps = sum(tag.startswith("<step") for tag in present)
    for tag, wanted in zip_longest(present, tags(max(n_steps, 1))):
        if tag != wanted:
            return f"{tag or 'the end'} where {wanted or 'the end'} should stand"
    for tag, before in zip([*present, ""], TAG.split(text), strict=True):
        inside = tag.startswith(("</step", "</answer"))
        if inside and is_blank(before):
            return f"nothing before {tag}"
        if not inside and not is_blank(before):
            return f"text before {tag or 'the end'} that belongs to no block"
        emptied = tag.startswith("</step") and before.lstrip().startswith("</step")
        if emptied or _STEP_BEGUN.search(before):
            return f"a broken step tag before {tag}"
    return ""
