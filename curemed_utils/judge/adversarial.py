"""Responses that try a judge, in 13 languages, and what it paid for them."""

import pandas as pd

from curemed_utils import data, paths, trace

SET = paths.beside(__file__, ".yaml")


def responses() -> pd.DataFrame:
    """A response of each `kind` in each language, what it is `worth`, and its row's fields."""
    lines = []
    for row in data.read_folder(paths.SAMPLE, "sample"):
        if row.topic == SET["topic"]:
            lines += _responses_to(row)
    return pd.DataFrame(lines)


def _responses_to(row):
    name, steps, lines = row.accepted[0], row.reasoning, []
    item = dict(row) | {"reference": trace.answer_of(row.answer)}
    texts = SET["any language"] | SET["texts"][row.language] | item
    texts |= {
        "short form": row.accepted[-1],
        "named 50 times": f"{name} " * 50,
        "first step": trace.render_steps(trace.blocks(steps, "step1")),
        "false trace": steps.replace(name, texts["another disease"]),
    }
    for kind, (worth, first, answer) in SET["kinds"].items():
        block = trace.render_answer(texts[answer]) if answer else ""
        line = {"kind": kind, "worth": worth, "response": texts[first] + block}
        lines.append(item | line)
    return lines


def told(tried: pd.DataFrame, scorer: str) -> str:
    """What `scorer`, a column of 0-1 or None beside `responses`, paid that is worth nothing.

    In order is a pair whose right answer earned more than one worth less.
    """
    known = tried.assign(paid=tried[scorer].astype(float)).dropna(subset="paid")
    pairs = known.merge(known, on="language")
    pairs = pairs.query("worth_x == 'all' and worth_y in ('part', 'nothing')")
    in_order, unknown = (pairs["paid_x"] > pairs["paid_y"]).mean(), len(tried) - len(known)
    order = f"{in_order:.1%}" if len(pairs) else "unknown how many"
    text = f"{scorer}: {order} of pairs in order, {unknown} of {len(tried)} unknown"
    wrongly = known.query("worth == 'nothing' and paid > 0")
    for kind, lot in wrongly.groupby("kind", sort=False):
        where = ", ".join(lot["language"]) if len(lot) < 13 else "every language"
        text += f"\npaid {kind!r} {lot['paid'].mean():.2f}: {where}"
    return text
