"""Setting up: uv against pip on the same lock, and core against everything.

`python benchmarks/setup.py [--rounds N]` needs the package index and minutes, so `make bench`
leaves it out. Each round installs by uv and by pip in turn, each into a new environment: first
with empty caches, then once more with what these hold; the time of getting uv counts. What it
measured is "setup" in benchmarks/results.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from install.extras import megabytes  # noqa: E402

RESULTS = HERE / "results.json"
FILES = {"core": "install/core.txt", "everything": "constraints.txt"}
INSTALLERS = ("uv", "pip")


def install(file: str, installer: str, caches: Path) -> tuple[float, float]:
    """Seconds and MB of an export of the lock in a new environment; CalledProcessError if it fails.

    torch comes as its CPU build where that can be had.
    """
    variables = os.environ | {
        "UV_CACHE_DIR": str(caches / "uv"),
        "PIP_CACHE_DIR": str(caches / "pip"),
    }
    with tempfile.TemporaryDirectory(prefix="setup-", dir=caches) as folder:
        environment = Path(folder, "venv")
        command = [sys.executable, "install/packages.py", str(environment), file]
        command += ["--with", installer, "--torch", "cpu"]
        started = time.monotonic()
        subprocess.run(command, cwd=HERE.parent, env=variables, check=True)
        return time.monotonic() - started, megabytes(environment)


def measure(rounds: int = 1, files: dict[str, str] = FILES) -> dict:
    """Median seconds by what is installed, cache and installer; ratios; MB."""
    seconds, sizes = {}, {}
    for what in list(files) * rounds:
        with tempfile.TemporaryDirectory(prefix="caches-") as caches:
            for cache, installer in product(("cold", "warm"), INSTALLERS):
                took, mb = install(files[what], installer, Path(caches))
                print(f"{what}, {cache}, {installer}: {took:.0f} s, {mb:.0f} MB", flush=True)
                seconds.setdefault((what, cache, installer), []).append(took)
                sizes[f"{what}, {installer}"] = round(mb)  # pip compiles modules, uv does not
    result = {"rounds": rounds, "Python": platform.python_version(), "MB": sizes}
    for (what, cache, installer), took in seconds.items():
        result[f"{what}, {cache}, {installer}: s"] = round(statistics.median(took), 1)
    for what in files:
        for cache in ("cold", "warm"):
            pairs = zip(*(seconds[what, cache, one] for one in INSTALLERS), strict=True)
            ratios = [pip / uv for uv, pip in pairs]
            result[f"{what}, {cache}: pip to uv"] = round(statistics.median(ratios), 2)
    return result


def main() -> None:
    """Measures, and puts the result beside the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    measured = measure(args.rounds)
    results = json.loads(RESULTS.read_text())
    results["setup"] = measured
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
