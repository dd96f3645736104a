"""Core and each extra alone: into a new environment, then its smallest real job (install/jobs.py).

`python install/extras.py [EXTRA...] [--cold]`; without a name core and all extras, one after the
other. uv installs what uv.lock says, from its cache where that has a package, and with --cold from
an empty one. A job runs with the environment's own Python and an empty home folder. Each
environment is deleted before the next one. The exit code is 1 if one failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CORE = "core"
TOO_LONG = 900  # seconds of a job
LONGEST = 160  # characters of a fault in the table
COLUMNS = ("extra", "packages", "fetched", "MB", "install s", "job s", "result")


class Outcome(NamedTuple):
    """What became of an extra; `fault` is empty where its job passed."""

    extra: str
    packages: int = 0
    fetched: int = 0  # packages that uv's cache did not have
    mb: float = 0.0  # of the environment, each file counted once
    install_s: float = 0.0
    job_s: float = 0.0
    fault: str = ""


def names() -> list[str]:
    """Core, then the extras of pyproject.toml in its order, less `test`, which make setup is."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    return [CORE, *(name for name in extras if name != "test")]


def try_out(extra: str, cache: str = "") -> Outcome:
    """Installs an extra alone into a new environment and runs its job; `cache` is uv's, or ''."""
    with tempfile.TemporaryDirectory(prefix="extra-") as scratch:
        environment = Path(scratch, "venv")
        started = time.monotonic()
        done = sync(extra, environment, cache)
        install_s = time.monotonic() - started
        if done.returncode:
            return Outcome(extra, fault=end_of(done.stderr))
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        packages = len(list(environment.rglob("*.dist-info")))
        sizes = packages, fetched(done.stderr), megabytes(environment)  # without compiled modules
        started = time.monotonic()
        fault = job(extra, python, Path(scratch))
        job_s = time.monotonic() - started
        return Outcome(extra, *sizes, install_s, job_s, fault)


def sync(extra: str, environment: Path, cache: str = "") -> subprocess.CompletedProcess:
    """`uv sync --locked` of core, or of one extra, into `environment`."""
    command = [uv(), "sync", "--locked", "--no-progress", "--python", sys.executable]
    if extra != CORE:
        command += ["--extra", extra]
    variables = dict(os.environ)
    for name in ("UV_FIND_LINKS", "UV_TORCH_BACKEND", "VIRTUAL_ENV"):
        variables.pop(name, None)  # the lock's own files, and this environment
    variables["UV_PROJECT_ENVIRONMENT"] = str(environment)
    if cache:
        variables["UV_CACHE_DIR"] = cache
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def uv() -> str:
    """The uv beside this Python, or the shell's; SystemExit where there is none."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if not program:
        sys.exit("error: uv is missing: run `make setup`, or `pip install uv`")
    return program


def fetched(said: str) -> int:
    """How many packages uv had to fetch or to build, by what it said."""
    prepared = re.search(r"Prepared (\d+) package", said)
    return int(prepared[1]) if prepared else 0


def job(extra: str, python: Path, scratch: Path) -> str:
    """Runs the job of an extra; returns the fault, empty if it passed."""
    home, work = scratch / "home", scratch / "work"
    home.mkdir()
    work.mkdir()
    plain = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
    variables = {name: os.environ[name] for name in plain if name in os.environ}
    variables |= {"HOME": str(home), "USERPROFILE": str(home), "HF_HUB_OFFLINE": "1"}
    variables |= {"CUREMED_RUNS": str(work), "JUPYTER_PLATFORM_DIRS": "1"}
    command = [str(python), "-m", "install.jobs", extra, str(work)]
    options = dict(cwd=ROOT, env=variables, timeout=TOO_LONG, capture_output=True, text=True)
    try:
        done = subprocess.run(command, **options)
    except subprocess.TimeoutExpired:
        return f"its job took more than {TOO_LONG} s"
    print(done.stdout, end="", flush=True)
    return end_of(done.stderr or "no word") if done.returncode else ""


def end_of(said: str) -> str:
    """The last line that holds anything, cut; all of it goes to standard error."""
    print(said, file=sys.stderr)
    return said.strip().splitlines()[-1].strip()[:LONGEST]


def megabytes(folder: Path) -> float:
    """Millions of bytes of a folder's files; a file with two names counts once."""
    seen, total = set(), 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        about = path.stat()
        if (about.st_dev, about.st_ino) not in seen:
            seen.add((about.st_dev, about.st_ino))
            total += about.st_size
    return total / 1e6


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a table of Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for one in outcomes:
        seconds = f"{one.install_s:.0f}", f"{one.job_s:.0f}"
        result = f"failed: {one.fault}" if one.fault else "passed"
        lines.append([one.extra, one.packages, one.fetched, f"{one.mb:.0f}", *seconds, result])
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(names())}")
    parser.add_argument("--cold", action="store_true", help="with an empty cache of uv's for each")
    args = parser.parse_args(argv)
    if unknown := set(args.extras) - set(names()):
        parser.error(f"no extra {', '.join(sorted(unknown))}; known: {', '.join(names())}")
    outcomes = []
    for extra in args.extras or names():
        print(f"{extra} …", flush=True)
        with tempfile.TemporaryDirectory(prefix="cache-") as cache:
            outcomes.append(try_out(extra, cache if args.cold else ""))
    state = "empty at each extra" if args.cold else "as it was; `fetched` says what it had not"
    print(f"\nuv's cache: {state}\n\n{table(outcomes)}")
    return 1 if any(one.fault for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
