"""Every prompt. Figure 7 and Appendices B.3 and B.3.1 say what they ask; the wording is our own."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from curemed_utils import trace
from curemed_utils.data import Row
from curemed_utils.data.yaml12 import read_yaml


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_TEXTS = read_yaml(Path(__file__).with_suffix(".yaml"))
SYSTEM = f"{_TEXTS['system']} {trace.FORM}"


def messages(row: Row) -> list[dict[str, str]]:
    """The turns that pose a question; the same in SFT, GRPO and evaluation."""
    return [
        {"role": "system", "content": SYSTEM.format(language=row.language)},
        {"role": "user", "content": row.question},
    ]


def completion(row: Row, traces: str = "code_switched") -> list[dict[str, str]]:
    """The turn that SFT learns (Section 3.2); `traces` is 'code_switched' or 'monolingual'."""
    reasoning = row.reasoning_monolingual if traces == "monolingual" else row.reasoning
    return [{"role": "assistant", "content": f"{reasoning}\n{row.answer}"}]


def lettered(options: dict[str, str]) -> str:
    """One line an option, as in "B. text"."""
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def with_options(question: str, options: dict[str, str], several: bool = False) -> str:
    """`question` with its options, asking for the right one's letter, or for all."""
    wanted = _TEXTS["several" if several else "one"]
    tag = trace.tags(0)[-2]
    return _TEXTS["options"].format(
        question=question, options=lettered(options), wanted=wanted, tag=tag
    )


def system_fingerprint() -> str:
    """Twelve hex digits that change with SYSTEM."""
    return _digest(SYSTEM)


_JUDGE_TEXTS = read_yaml(Path(__file__).parent / "judge/prompts.yaml")
JUDGE_SEES, _DATA = _JUDGE_TEXTS.pop("sees"), _JUDGE_TEXTS.pop("data")
JUDGE = {task: f"{_DATA} {text}" for task, text in _JUDGE_TEXTS.items()}

# What a chat template may turn into control tokens. The tags of a response stay readable.
_NO_TAG = rf"<(?!{trace.TAG.pattern.removeprefix('<')})"
_CONTROL = re.compile(_NO_TAG + r"|\[(?=/?[A-Za-z_]+\])|[\u2028\u2029\ud800-\udfff]")


def judge_messages(task: str, item: dict) -> list[dict[str, str]]:
    """The turns that put `item` before a judge; its texts can end neither JSON nor a turn."""
    shown = as_json({name: item[name] for name in JUDGE_SEES[task]})
    return [{"role": "system", "content": JUDGE[task]}, {"role": "user", "content": shown}]


def as_json(value: dict[str, Any]) -> str:
    """`value` as JSON text without a control token; parsed, it is `value` again."""
    return escaped(json.dumps(value, ensure_ascii=False))


def escaped(text: str) -> str:
    """JSON text with possible control tokens as \\uXXXX."""
    return _CONTROL.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def judge_fingerprint() -> str:
    return _digest(json.dumps(JUDGE))


CURATION = read_yaml(Path(__file__).parent / "curation/prompts.yaml")
ASPECTS = CURATION.pop("aspects")


def filled(text: str, **values: str) -> str:
    """`text` with each {name} replaced; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], text)


def curation_fingerprint() -> str:
    return _digest(json.dumps([CURATION, ASPECTS], sort_keys=True))
