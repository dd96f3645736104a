"""Before a stage starts: what the machine has."""

import shutil
import subprocess
from functools import cache


@cache
def gpus() -> list[str]:
    """The GPUs of this machine as 'name, MiB', asked of the driver's own tool: the process that asks never touches CUDA."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
