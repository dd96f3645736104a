"""Every prompt of the workbook, once. The paper publishes its prompts' contracts; the wording here is our own."""

import hashlib

from curemed_utils.data import Row

SYSTEM = (
    "Solve the medical question in numbered steps, then give one short answer in {language}: "
    "<thinking><step1>…</step1>…</thinking> <answer>…</answer>"
)


def messages(row: Row) -> list[dict[str, str]]:
    """The chat turns that pose `row`'s question; the same in SFT, GRPO and evaluation."""
    return [
        {"role": "system", "content": SYSTEM.format(language=row.language)},
        {"role": "user", "content": row.question},
    ]


def completion(row: Row) -> list[dict[str, str]]:
    """The turn that SFT learns (Section 3.2): reasoning steps, then the answer."""
    return [{"role": "assistant", "content": f"{row.reasoning}\n{row.answer}"}]


def fingerprint() -> str:
    """Twelve hex digits that change whenever the prompt's wording does."""
    return hashlib.sha256(SYSTEM.encode()).hexdigest()[:12]
