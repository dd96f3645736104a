"""All measurements, each beside its baseline in the same run; recorded with the machine in
benchmarks/results.json.

Where no GPU is, what gpu.py recorded there on a machine with one is kept.
"""

import importlib
import json
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    recorded = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {"machine": machine}
    for name in (
        "judge",
        "language",
        "short_answers",
        "audit",
        "intervals",
        "generation",
        "sft",
        "busy",
    ):
        module = importlib.import_module(
            name
        )  # not above: the processes that judge.py starts and kills begin by importing this file
        print(f"\n{module.__doc__.strip().splitlines()[0]}")
        results[name] = module.measure()
    if importlib.import_module("curemed_utils.training.devices").gpus():
        results["gpu"] = importlib.import_module("gpu").measure()
    elif "gpu" in recorded:
        results["gpu"] = recorded["gpu"]
    for name in ("pretrained", "memory", "setup"):  # theirs need a model, or the package index
        if name in recorded:
            results[name] = recorded[name]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
