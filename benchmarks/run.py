"""All measurements, each beside its baseline in the same run; recorded with the machine in benchmarks/results.json."""

import json
import os
import platform
from pathlib import Path

import generation
import judge
import language


def main() -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results = {"machine": machine}
    for module in (judge, language, generation):
        print(f"\n{module.__doc__.strip().splitlines()[0]}")
        results[module.__name__] = module.measure()
    Path(__file__).with_name("results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
