"""Puts the locked packages into a virtual environment; every file is checked by its hash.

`python install/packages.py VENV [FILE] [--with uv|pip] [--torch cpu|cuda]`. FILE is an export of
uv.lock: constraints.txt, which has all that the demo and the tests need (the default),
install/core.txt, which draws figures and counts scores, or constraints-vllm.txt.

uv installs where it can be had, else pip. On Linux without a GPU torch comes as its CPU build
where that can be had, a tenth of the CUDA build's size; TORCH or --torch decides otherwise.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "install" / "tools.txt"
CPU = ROOT / "install" / "torch-cpu.txt"
CUDA = ("torch==", "triton==", "nvidia-", "cuda-")  # torch's CUDA build and what it brings along
PYTHONS = ((3, 11), (3, 12), (3, 13))
VERSION = "import sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"
CHECKED = ["--require-hashes", "--no-build-isolation"]


class CantInstall(Exception):
    """What is missing on this machine, and what to do."""


def install(folder: Path, file: Path, installer: str = "uv", torch: str = "") -> None:
    """Installs an export of the lock, and the workbook itself, into `folder`.

    The environment is made where there is none, or one of another Python. CantInstall: this
    Python won't do, or a package could not be had or has another hash than the lock says.
    """
    python = environment(folder)
    with tempfile.TemporaryDirectory() as scratch:
        put = tools(python, installer, scratch)
        listed = file
        if wants_cpu(file, torch):
            if cpu_torch(put):
                listed = without(CUDA, file, scratch, CPU.read_text(encoding="utf-8"))
        elif torch_version(python).endswith("+cpu"):
            must([str(python), "-m", "pip", "uninstall", "-qy", "torch"])
        must([*put, *CHECKED, "-r", str(listed)])
    must([*put, "--no-build-isolation", "--no-deps", "-e", str(ROOT)])


def environment(folder: Path) -> Path:
    """The Python of the virtual environment, which is made where it is missing."""
    if sys.version_info[:2] not in PYTHONS:
        raise CantInstall(f"Python 3.11, 3.12 or 3.13 is needed; this is {sys.version.split()[0]}")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not python.exists() or answer(python, VERSION) != version:
        try:
            venv.create(folder, clear=True, with_pip=True, symlinks=os.name != "nt")
        except subprocess.CalledProcessError:
            raise CantInstall(f"venv has no pip: install python{version}-venv first") from None
    return python


def torch_version(python: Path) -> str:
    """The version of the torch that is installed; empty where there is none."""
    return answer(python, "from importlib.metadata import version; print(version('torch'))")


def answer(python: Path, code: str) -> str:
    """What a line of code prints under another Python; empty if it fails."""
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


def tools(python: Path, installer: str, scratch: str) -> list[str]:
    """Installs setuptools and, if it can be had, uv; returns the command line that installs."""
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if installer == "uv" and runs([*pip, *CHECKED, "-r", str(TOOLS)]):
        if "PIP_FIND_LINKS" in os.environ:
            os.environ.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
        return [str(python.with_name("uv")), "pip", "install", "-q", "--python", str(python)]
    print("pip installs, which takes several times as long as uv", flush=True)
    must([*pip, *CHECKED, "-r", str(without(("uv==",), TOOLS, scratch))])
    return pip


def wants_cpu(file: Path, torch: str) -> bool:
    """Whether torch is in `file` and should come as its CPU build."""
    if "\ntorch==" not in file.read_text(encoding="utf-8"):
        return False
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False  # the only build there is for CPUs
    if torch:
        return torch == "cpu"
    devices = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
    return not shutil.which("nvidia-smi") and not any(map(os.path.exists, devices))


def cpu_torch(put: list[str]) -> bool:
    """Installs torch's CPU build; False where it can't be had."""
    if "UV_FIND_LINKS" not in os.environ:
        os.environ["UV_TORCH_BACKEND"] = "cpu"  # uv knows where it is published
    command = [*put, "--no-deps", *CHECKED, "-r", str(CPU)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    which = "its CPU build" if done.returncode == 0 else "its CUDA build, the other can't be had"
    print(f"no GPU here: torch comes as {which} (TORCH=cpu|cuda decides)", flush=True)
    if done.returncode:
        os.environ.pop("UV_TORCH_BACKEND", "")
    return done.returncode == 0


def without(names: tuple[str, ...], file: Path, scratch: str, beside: str = "") -> Path:
    """A copy of a requirements file less the packages that start so, with others beside."""
    blocks = re.split(r"\n(?=\S)", file.read_text(encoding="utf-8"))
    kept = [block for block in blocks if not block.startswith(names)]
    copy = Path(scratch, file.name)
    copy.write_text("\n".join([*kept, beside]), encoding="utf-8")
    return copy


def runs(command: list[str]) -> bool:
    """Whether a command succeeds; what it prints is shown."""
    return subprocess.run(command, cwd=ROOT).returncode == 0


def must(command: list[str]) -> None:
    """Runs a command that has to succeed."""
    if not runs(command):
        raise CantInstall("the packages could not be installed; the reason stands above")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path, help="folder of the virtual environment")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "constraints.txt")
    parser.add_argument("--with", dest="installer", choices=["uv", "pip"], default="uv")
    torch = os.environ.get("TORCH", "")
    parser.add_argument("--torch", choices=["", "cpu", "cuda"], default=torch)
    args = parser.parse_args()
    try:
        install(args.venv.absolute(), args.file.absolute(), args.installer, args.torch)
    except CantInstall as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
