"""README's commands and the tests on every Python, from nothing: `make pythons`.

Each Python gets a clone of this commit in an empty folder and an empty home. What passed, and the
seconds it took, go to install/pythons.json with the lock that they are true of; --if-changed does
nothing where that is still the lock.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "install" / "pythons.json"
PYTHONS = ("3.11", "3.12", "3.13")
TARGETS = ("figures", "demo", "test")
DIRECTORIES = ("HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", default=PYTHONS, help="such as 3.12 (default: all)")
    parser.add_argument("--if-changed", action="store_true", help="only for another lock")
    args = parser.parse_args()
    record = {"lock": lock(), "seconds": {}}
    if RECORD.exists():
        before = json.loads(RECORD.read_bytes())
        if before["lock"] == record["lock"]:
            record = before
    wanted = args.versions
    if args.if_changed:
        wanted = [version for version in wanted if version not in record["seconds"]]
    for version in wanted:
        record["seconds"].pop(version, None)
        if seconds := run(version):
            record["seconds"][version] = seconds
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0 if record["seconds"].keys() >= set(wanted) else 1


def lock() -> str:
    """What the lock holds, as one number."""
    return hashlib.sha256((ROOT / "uv.lock").read_bytes()).hexdigest()


def run(version: str) -> dict[str, int]:
    """The seconds of each target on this Python; empty if it is missing or one failed."""
    python = interpreter(version)
    if not python:
        print(f"error: no Python {version} here; install it, or name others", file=sys.stderr)
        return {}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "curemed-workbook")
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        homes = {name: str(Path(folder, name.lower())) for name in DIRECTORIES}
        for target in TARGETS:
            started = time.monotonic()
            command = ["make", f"PYTHON={python}", target]
            done = subprocess.run(command, cwd=clone, env=os.environ | homes)
            seconds[target] = round(time.monotonic() - started)
            print(f"Python {version}: make {target}: {seconds[target]} s", flush=True)
            if done.returncode:
                print(f"error: make {target} failed on Python {version}", file=sys.stderr)
                return {}
    return seconds


def interpreter(version: str) -> str:
    """The path of a Python of this version, of the search path or of pyenv; empty if none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*os.get_exec_path(), *pyenv.glob(f"versions/{version}.*/bin")]
    for folder in folders:
        python = Path(folder, f"python{version}")
        command = [str(python), "-m", "venv", "--help"]
        if python.exists() and subprocess.run(command, capture_output=True).returncode == 0:
            return str(python)
    return ""


if __name__ == "__main__":
    sys.exit(main())
