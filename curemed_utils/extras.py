"""What is missing of the packages that only an extra brings."""

import re
from importlib import metadata, util


def fault(*names: str) -> str:
    """What can't be imported of extras, or packages, and how it is installed; '' for nothing."""
    lacking = {}
    for workbook in metadata.distributions(name="curemed-workbook"):
        for line in workbook.requires or []:
            brought = re.match(r"(\w+) ?[<>=].*extra == .(\w+)", line)
            if brought and {*brought.groups()} & {*names} and not util.find_spec(brought[1]):
                lacking[brought[1]] = brought[2]
    if not lacking:
        return ""
    *_, extra = lacking.values()
    by_uv = f"uv sync --locked --inexact --extra {extra}"
    file = "constraints-vllm.txt" if extra == "vllm" else "constraints.txt"
    by_pip = f"pip install --require-hashes -r {file}"
    ways = f"`{by_uv}`, `{by_pip}`, or all but vllm by `make setup`"
    return f"extra {extra} is not installed ({', '.join(lacking)}): {ways}"


def need(*names: str) -> None:
    """Raises ModuleNotFoundError if there is a `fault`."""
    if lacking := fault(*names):
        raise ModuleNotFoundError(lacking)
