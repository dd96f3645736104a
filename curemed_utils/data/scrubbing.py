"""Text without secrets: what goes into a file or comes from a server passes here."""

import io
import json
import os
import re
from base64 import b64encode
from functools import lru_cache
from html.entities import codepoint2name
from pathlib import Path
from urllib.parse import quote, unquote

from curemed_utils import paths

RULES = paths.beside(__file__, ".yaml")
LEAST = 8  # characters of a secret: shorter values stand in too many words


class ScrubbedFile(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(scrub(text))


def scrub(text: str) -> str:
    """`hide`, also of the home folder's path."""
    text, home = hide(text), str(Path.home())
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text) if len(home) > 1 else text


def hide(text: str, key: str = "") -> str:
    """`text` without secrets of the environment, `key` and what looks like one, plain or as JSON,
    Python, HTML, a shell, an address or Base64 write it."""
    for name, core, pattern in _secrets(key, tuple(os.environ.items())):
        if core in text:
            text = re.sub(pattern, f"[{name}]", text)
    for shape in RULES["shapes"]:
        text = re.sub(shape, "[hidden]", text)
    return text


@lru_cache(8)
def _secrets(key, environment):
    """(name, a piece that every form has, pattern), the longest first."""
    names = {key.strip(): "key"}
    for name, value in environment:
        lines = []
        if re.search(RULES["names"], name, re.IGNORECASE) and not os.path.exists(value):
            lines = [value, *value.splitlines()]
        for rule in RULES["within"]:
            lines += re.findall(rule, value)
        for secret in lines:
            names |= {secret.strip(): name, unquote(secret): name}
    patterns = []
    for secret in sorted(names, key=len, reverse=True):
        if len(secret) >= LEAST:
            core = max(re.findall("[a-zA-Z0-9]*", secret), key=len)
            patterns.append((names[secret], core, "".join(map(_any_form, secret))))
            for code in _base64(secret.encode(errors="replace")):
                patterns.append((names[secret], code, re.escape(code)))
    return patterns


def _any_form(char):
    """A pattern of a character, however it is escaped, and however often."""
    plain, code = re.escape(char), ord(char)
    escaped = re.escape(json.dumps(char)[1:-1].lstrip("\\")) or plain
    forms = {"plain": plain, "escaped": escaped, "code": code, "url": quote(char, safe="")}
    forms |= {"name": codepoint2name.get(code), "also": RULES["also"].get(char, "")}
    return char if re.match("[a-zA-Z0-9]", char) else RULES["form"].format(**forms)


def _base64(raw):
    """What stands in Base64 for `raw`, wherever it begins."""
    for skip in range(3):
        code = b64encode(bytes(skip) + raw).decode()
        code = code[-(-8 * skip // 6) : 8 * (skip + len(raw)) // 6]  # the letters of `raw` alone
        yield from (code, code.replace("+", "-").replace("/", "_"))
