"""The GPUs that torch sees, asked in a process of its own: a notebook's kernel touches no CUDA."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from glob import glob
from pathlib import Path

from curemed_utils import paths

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
NO_GPU = {"ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu", CUDA: "-1", HIP: "-1"}
PARTS = paths.beside(__file__, ".yaml")
WAIT = 120  # seconds for an answer


def gpus() -> list[tuple[str, float]]:
    """Name and GiB of those that training may use: none where it is told to use the CPU.

    RuntimeError for GPUs that torch can't use, or where it doesn't answer.
    """
    return _answer(_environment())[0] if possible() else []


def possible() -> bool:
    """Whether there may be GPUs that nobody hid; torch is not asked."""
    chosen = _chosen("")
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in PARTS["accelerate_yes"]:
        return False
    if chosen and all(map(_hides, chosen.values())):
        return False
    programs = [shutil.which(name) for _, name, _ in PARTS["programs"]]
    return any(programs) or any(map(glob, PARTS["hints"]))


def first() -> dict[str, str]:
    """The variables by which a process sees one of several GPUs, in the form that the user took."""
    build = _answer(_environment())[1]
    chosen = _chosen(build)
    name = next(iter(chosen), CUDA if build == "CUDA" else HIP)
    one = chosen.get(name, "0").partition(",")[0].strip()
    both = name == CUDA and ROCR in chosen  # else torch counts ROCR's
    return {name: one, HIP: one} if both else {name: one}


def _chosen(build):
    """The variables that are set and count, the last to count first."""
    names = (CUDA,) if build == "CUDA" else (HIP, CUDA, ROCR)
    chosen = {name: os.environ[name] for name in names if name in os.environ}
    if build == "ROCm" and HIP in chosen:
        chosen.pop(CUDA, None)
    return chosen


def _hides(devices):
    one = devices.partition(",")[0].strip().lower()
    return one in PARTS["hidden"] or one.startswith("-")


def _environment():
    """What may change torch's answer."""
    ends = ("_VISIBLE_DEVICES", "PATH", "_ORDER", "GFX_VERSION")
    return tuple(pair for pair in os.environ.items() if pair[0].endswith(ends))


@cache
def _answer(_):
    """The GPUs that torch sees, and its build: CUDA, ROCm or CPU."""
    try:
        done = _run(sys.executable, "-c", PARTS["question"])
    except subprocess.TimeoutExpired:
        raise RuntimeError(PARTS["late"].format(WAIT)) from None
    if done.returncode:
        words = done.stderr.strip() or f"exit code {done.returncode}"
        raise RuntimeError(PARTS["failed"].format(words.splitlines()[-1]))
    gpus, build, version, words = json.loads(done.stdout.splitlines()[-1])
    chosen = _chosen(build)
    if any(map(_hides, chosen.values())):
        return [], build
    needed, seen = ("", "") if gpus else _evidence()
    if seen:
        cure = PARTS["same_build" if build == needed else "other_build"].format(needed)
        under = "".join(f" by {name}={devices!r}" for name, devices in chosen.items())
        how = {"version": version, "build": build, "under": under, "words": words}
        raise RuntimeError(PARTS["unused"].format(seen=seen, cure=cure, **how))
    return gpus, build


def _evidence():
    """The build of torch that this machine's GPUs need, and what shows them."""
    for build, name, option in PARTS["programs"]:
        if listed := _listed(name, option):
            return build, f"{name} shows {listed}"
    memory = [int(Path(file).read_text()) for file in glob(PARTS["memory"])]
    for pattern, build in PARTS["files"].items():
        small = build == "ROCm" and memory and max(memory) < PARTS["least"]
        if glob(pattern) and not small:
            return build, f"there is {glob(pattern)[0]}"
    return "", ""


def _listed(name, option):
    try:
        done = _run(shutil.which(name) or "", option)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    text = done.stdout + done.stderr
    if done.returncode or re.search(PARTS["nothing"], text):
        return ""
    return next((line.strip() for line in text.splitlines() if "GPU" in line), "a GPU")


def _run(*line):
    return subprocess.run(line, capture_output=True, text=True, timeout=WAIT)
