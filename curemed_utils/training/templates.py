"""Chat templates: made to take a system turn, and tried on turns before anything starts."""

import re

from curemed_utils import paths

PARTS = paths.beside(__file__, ".yaml")
ROLES = ("system", "user", "assistant")
PROBE = [{"role": role, "content": f"Words of the {role}."} for role in ROLES]


def named(name: str) -> str:
    """The template `plain` of `templates.yaml`, the text of a file; none of ''."""
    if name in ("", "plain"):
        return PARTS.get(name, "")
    file = paths.resolve(name)
    if not file.is_file():
        raise FileNotFoundError(f"chat_template {name!r} is neither 'plain' nor a file")
    return file.read_text(encoding="utf-8")


def settle(tokenizer, name: str = "") -> bool:
    """Gives our turns one rendering, by its own or the named template; returns if that is new.

    A system turn that it refuses joins the user's. Thinking is off, the date fixed. An empty
    thought before the answer joins the prompt, where an opened one is closed. What ends an answer
    becomes `eos_token`.
    """
    before = tokenizer.chat_template, tokenizer.eos_token
    template = named(name) or before[0]
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        return False
    for read, line in PARTS["fixed"].items():
        if read in template and line not in template:
            template = line + template
    for tokenizer.chat_template in (template, PARTS["joined"] + template, template):
        try:
            between, tail = around(tokenizer)
        except ValueError:
            continue
        if between.strip():
            line = "{% if add_generation_prompt %}{{ " + repr(between) + " }}{% endif %}"
            tokenizer.chat_template = tokenizer.chat_template.removesuffix("\n") + line
        tokens = map(str, tokenizer.added_tokens_decoder.values())
        ends = filter(tail.strip().startswith, tokens)
        tokenizer.eos_token = max(ends, key=len, default=tokenizer.eos_token)
        break
    return before != (tokenizer.chat_template, tokenizer.eos_token)


def around(tokenizer) -> tuple[str, str]:
    """What stands between a prompt of generation and its answer, and behind the answer."""
    start = render(tokenizer, PROBE[:2])
    head, _, tail = render(tokenizer, PROBE).rpartition(PROBE[-1]["content"])
    if head.startswith(start):
        return head.removeprefix(start), tail
    opened = re.search(PARTS["opened"], start)
    return opened.expand(PARTS["closed"]) if opened else "", tail


def render(tokenizer, turns: list[dict[str, str]]) -> str:
    """The text of turns; after a user's it asks for an answer.

    ValueError where the chat template raises or leaves a turn out.
    """
    asks, its = turns[-1]["role"] == "user", f"{paths.show(tokenizer.name_or_path)}: its"
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    except Exception as error:  # a template may raise anything
        raise ValueError(f"{its} chat template fails: {error}") from None
    for turn in turns:
        if turn["content"].strip() not in text:
            raise ValueError(f"{its} chat template leaves out the turn of the {turn['role']}")
    return text
