"""Chat templates: made to take a system turn, and tried on turns before anything starts."""

FIXED = {
    "enable_thinking": "{% set enable_thinking = false %}",
    "strftime_now": "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}",  # as Llama's own
}
JOINED = (
    "{% if messages[0]['role'] == 'system' %}{% set messages = [{'role': 'user', 'content': "
    "messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}{% endif %}"
)
ROLES = ("system", "user", "assistant")
PROBE = [{"role": role, "content": f"Words of the {role}."} for role in ROLES]


def settle(tokenizer) -> None:
    """Makes the chat template take a system turn, and render alike on every day.

    Where it loses or refuses a system turn, its text goes before the user's. Thinking is off and
    the date is fixed where the template asks for them. A trained model keeps all this.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        return
    for name, line in FIXED.items():
        if name in template and line not in template:
            template = line + template
    for tokenizer.chat_template in (template, JOINED + template, template):
        if _takes_turns(tokenizer):
            return


def _takes_turns(tokenizer) -> bool:
    try:
        return bool(render(tokenizer, PROBE[:2]) and render(tokenizer, PROBE))
    except ValueError:
        return False


def render(tokenizer, turns: list[dict[str, str]]) -> str:
    """The text of turns; after a user's it asks for an answer.

    ValueError where the chat template raises or leaves a turn out.
    """
    asks = turns[-1]["role"] == "user"
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    except Exception as error:  # a template may raise anything
        raise ValueError(f"its chat template fails: {error}") from None
    for turn in turns:
        if turn["content"].strip() not in text:
            raise ValueError(f"its chat template leaves out the turn of the {turn['role']}")
    return text


def check(tokenizer, prompt: list[dict[str, str]], completion: list[dict[str, str]]) -> None:
    """ValueError where a completion isn't right behind the prompt of generation, or has no end."""
    start, text = render(tokenizer, prompt), render(tokenizer, prompt + completion)
    between, answer, end = text.removeprefix(start).partition(completion[0]["content"].strip())
    if not text.startswith(start) or between.strip() or not answer:
        place = f"its chat template ends a prompt in {start[-30:]!r}, where a completion doesn't"
        raise ValueError(f"{place} follow, as in models that think first: choose one that doesn't")
    if not end.strip():
        raise ValueError("its chat template marks no end of an answer, so none would be learnt")
