"""Every message that docs/troubleshooting.md quotes is a message of the code."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from curemed_utils import paths, run
from curemed_utils.training import alarms

PAGE = (paths.ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
GROUPS = ["Install", "Data", "Training", "Judge", "Notebooks", "Figures", "Book"]
SHORTEST = 8  # letters of a piece to look for
ELSEWHERE = {  # whose messages are not in a package of .venv, or in one that is too large to read
    "DeepSpeed",
    "Python",
    "a server",
    "a server's template",
    "an editor",
    "the shell",
    "the system",
    "torch",
    "uv",
    "vLLM",
}


def table(group):
    """The rows of a group's table as cells."""
    text = PAGE.split(f"\n## {group}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def quoted():
    """(message, whose) of each that stands in a first column; '' is ours."""
    pairs = []
    for group in GROUPS:
        for seen, *_ in table(group):
            pairs += re.findall(r"`([^`]+)`(?: \(([^)]+)\))?", seen)
    return pairs


QUOTED = quoted()


def strings(file):
    """The texts of a file, what is filled in left out."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        return [value for value in constants if isinstance(value, str)]
    if file.suffix == ".yaml":
        return leaves(yaml.safe_load(text))
    return [text]


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [str(value)]


def sources():
    files = [paths.ROOT / "Makefile", *paths.ROOT.glob("docs/*.py")]
    for folder in ("curemed_utils", "install"):
        files += (paths.ROOT / folder).rglob("*.py")
        files += (paths.ROOT / folder).rglob("*.yaml")
    return files


@pytest.fixture(scope="module")
def ours():
    """All texts of each file, joined."""
    return {file: "\n".join(strings(file)) for file in sources()}


def pieces(message):
    return [piece.strip() for piece in message.split("…") if len(piece.strip()) > 1]


def places(message, ours):
    """The files that hold all pieces of a message."""
    return [file for file, text in ours.items() if all(one in text for one in pieces(message))]


OURS = [message for message, whose in QUOTED if not whose]


@pytest.mark.parametrize("message", OURS)
def test_a_message_of_ours_stands_in_the_code(message, ours):
    assert max(map(len, pieces(message))) >= SHORTEST, "too short to be found on the page"
    assert places(message, ours), f"no file says: {message}"


def test_a_message_that_nobody_says_would_be_noticed(ours):
    assert not places("the judge gave no verdict for … of … papers", ours)
    assert not places("was killed by signal …, an alarm", ours)


@pytest.mark.parametrize(("message", "whose"), [pair for pair in QUOTED if pair[1]])
def test_a_message_of_others_says_whose_it_is(message, whose):
    if whose in ELSEWHERE:
        return
    package = importlib.util.find_spec(whose)
    if package is None:
        pytest.skip(f"{whose} is not installed")
    files = Path(package.origin).parent.rglob("*.py")
    assert any(message in file.read_text(encoding="utf-8", errors="ignore") for file in files)


@pytest.mark.parametrize("group", GROUPS)
def test_each_row_says_what_it_means_and_what_to_do(group):
    rows = table(group)
    assert len(rows) >= 4
    assert all(len(row) == 3 and all(row) for row in rows)


def test_what_to_set_are_parameters():
    known = {name for parameters in run.known_parameters().values() for name in parameters}
    named = set(re.findall(r"(?<![\w'])-p (\w+)", PAGE))
    assert named and named <= known


def test_every_alarm_is_there():
    assert [name for name in alarms.LIMITS if not re.search(rf"\*{name} (over|below)", PAGE)] == []


def test_all_of_what_users_of_peers_met_is_there():
    wanted = ["MIG", "AMD", "T4", "aarch64", "Windows", "DeepSpeed", "rollouts cut", "HTTP 429"]
    wanted += ["system turn", "No space left", "that can be fetched", "make: command not found"]
    wanted += ["already in use", "No such kernel named", "vLLM", "is needed"]
    assert [word for word in wanted if word not in PAGE] == []
