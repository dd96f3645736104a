"""The commands that README and the guides tell a reader to type."""

import re
from pathlib import Path

import yaml

from curemed_utils import paths

PAGES = [paths.ROOT / "README.md", *sorted(paths.ROOT.glob("docs/*.md"))]
PAGES += [*sorted(paths.PROFILES.rglob("README.md")), paths.SAMPLE / "README.md"]
PAGES += [paths.ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"```(?:bash|sh|shell|console)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"[^\n]*<<'END'\n.*?\nEND\b[^\n]*|[^\n]+", re.DOTALL)
REGISTER = yaml.safe_load(Path(__file__).with_name("commands.yaml").read_text(encoding="utf-8"))


def written() -> list[str]:
    """Those of all pages in order, each once."""
    commands = []
    for page in PAGES:
        commands += commands_of(page.read_text(encoding="utf-8"))
    return list(dict.fromkeys(commands))


def commands_of(text: str) -> list[str]:
    """Each command of the blocks, on one line but for what it reads; of running text make's."""
    commands = []
    for block in BLOCK.findall(text):
        block = re.sub(r"\\\n\s*", "", block)
        for command in COMMAND.findall(block):
            command = re.sub(r"(^|\s+)#\s.*", "", command).strip()
            commands += [command] if command else []
    return commands + re.findall(r"`(make [a-z]+)`", text)


def kinds_of(command: str) -> list[str]:
    """What the register says of a command: 'passes', 'may fail', or why it isn't tried."""
    kinds = []
    for kind, patterns in REGISTER.items():
        if any(re.fullmatch(pattern, command, re.DOTALL) for pattern in patterns):
            kinds.append(kind)
    return kinds
