"""All measurements, each beside its baseline in the same run; recorded with the machine in benchmarks/results.json.

Where no GPU is, what gpu.py recorded there on a machine with one is kept.
"""

import json
import os
import platform
from pathlib import Path

import generation
import gpu
import judge
import language
import sft
import torch

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    recorded = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {"machine": machine}
    for module in (judge, language, generation, sft):
        print(f"\n{module.__doc__.strip().splitlines()[0]}")
        results[module.__name__] = module.measure()
    if torch.cuda.is_available():
        results["gpu"] = gpu.measure()
    elif "gpu" in recorded:
        results["gpu"] = recorded["gpu"]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
