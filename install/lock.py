"""Writes uv.lock from pyproject.toml, and from uv.lock what pip and conda read: `make lock`.

A version that is in uv.lock stays where pyproject.toml still allows it;
`python install/lock.py --upgrade` takes the newest of all, `--upgrade-package NAME` of one.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPORTS = {  # file: what it holds, uv's options
    "constraints.txt": ("All that the demo and the tests need", ["--extra", "test"]),
    "constraints-vllm.txt": ("What a GPU node with vLLM needs", ["--extra", "vllm"]),
    "install/core.txt": ("What draws the figures and counts scores", []),
    "install/tools.txt": ("What puts the rest into an environment", ["--only-group", "tools"]),
}
ANYWHERE = "sys_platform == 'darwin' or sys_platform == 'linux' or sys_platform == 'win32'"
WORKBOOK = "curemed-workbook"


class Unexplained(Exception):
    """environment.yml and pyproject.toml name different packages."""


def main(options: list[str]) -> None:
    """Locks, then writes every export; `options` go to `uv lock`."""
    uv("lock", *options)
    for name in EXPORTS:
        (ROOT / name).write_text(export(name), encoding="utf-8")
    environment = ROOT / "environment.yml"
    listed = conda(environment.read_text(encoding="utf-8"), versions())
    environment.write_text(listed, encoding="utf-8")


def export(name: str) -> str:
    """The text of a requirements file of EXPORTS, with the hashes of uv.lock."""
    holds, options = EXPORTS[name]
    plain = ["--locked", "--no-emit-project", "--no-annotate", "--no-header"]
    text = uv("export", "-q", *plain, *options)
    text = text.replace(f" and ({ANYWHERE})", "").replace(f" ; {ANYWHERE}", "")
    return f"# {holds}, by uv.lock: `make lock` writes this file.\n{text}"


def conda(text: str, pinned: dict[str, str]) -> str:
    """environment.yml at the versions of the lock; Unexplained where a package is missing."""
    listed = set(re.findall(r"- ([\w-]+)==", text))
    if listed != direct():
        names = ", ".join(sorted(listed ^ direct()))
        raise Unexplained(f"environment.yml and pyproject.toml differ in {names}: say what for")
    for name in listed:
        text = re.sub(rf"- {name}==\S+", f"- {name}=={pinned[name.replace('_', '-')]}", text)
    return text


def direct() -> set[str]:
    """The packages that pyproject.toml names for constraints.txt, the workbook's extras opened."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for requirement in extras["test"]:
        inner = re.fullmatch(rf"{WORKBOOK}\[(.*)\]", requirement)
        names = inner[1].split(",") if inner else []
        wanted += [requirement, *(one for name in names for one in extras[name])]
    names = {re.match(r"[\w-]+", one)[0] for one in wanted}
    return names - {WORKBOOK}


def versions() -> dict[str, str]:
    """The versions of constraints.txt by name."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


def uv(*arguments: str) -> str:
    """What uv prints; a failure ends the program with uv's own words."""
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
