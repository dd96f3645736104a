"""What of the lock has no built file for a platform, so that a compiler has to be there: the table
of docs/install.md, found by resolving. Needs the package index."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curemed_utils import paths

UV = str(Path(sys.executable).with_name("uv"))
MACOS = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # torch asks for it
UNBUILT = {  # platform, as uv names it: packages
    "x86_64-unknown-linux-gnu": {"deepspeed"},
    "aarch64-unknown-linux-gnu": {"deepspeed", "pycld2"},
    "x86_64-pc-windows-msvc": set(),
    "aarch64-apple-darwin": set(),
}


def without_a_wheel(listed, platform, python, folder):
    """The packages of a list of versions that have no wheel for a platform."""
    file, unbuilt = folder / "listed.txt", set()
    command = [UV, "pip", "compile", "-q", "--no-deps", "--only-binary", ":all:", "--no-config"]
    command += ["--python-platform", platform, "--python-version", python, str(file)]
    while True:
        file.write_text("\n".join(listed))
        done = subprocess.run(command, capture_output=True, text=True, env=MACOS)
        if done.returncode == 0:
            return unbuilt
        name = re.search(r"Because ([\w-]+)", done.stderr)
        assert name, done.stderr
        unbuilt.add(name[1])
        listed = [line for line in listed if not line.startswith(f"{name[1]}==")]


@pytest.mark.heavy
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", UNBUILT)
def test_what_has_to_be_compiled(platform, python, tmp_path):
    text = (paths.ROOT / "constraints.txt").read_text(encoding="utf-8")
    listed = [line.rstrip(" \\") for line in text.splitlines() if re.match(r"\w", line)]
    assert without_a_wheel(listed, platform, python, tmp_path) == UNBUILT[platform]
