"""A real Slurm of two nodes on this machine, with everything it writes in one folder and beside any
Slurm that already runs.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from curemed_utils import paths

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=5
MinJobAge=3600
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=test Nodes=n[1-2] Default=YES State=UP
"""


def missing() -> str:
    """Why this machine can't start one; empty where it can."""
    if os.geteuid():
        return "a Slurm for tests needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Slurm:
    """Runs Slurm's commands against this Slurm."""

    def __init__(self, folder: Path):
        self.folder = folder
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "SRUN"))
        }
        self.env = clean | {"SLURM_CONF": str(folder / "slurm.conf"), "PYTHON": sys.executable}

    def __call__(self, *command, **env) -> str:
        """The output of `command`; raises AssertionError with what it said where it failed."""
        words = [str(part) for part in command]
        done = subprocess.run(
            words, env=self.env | env, cwd=paths.ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says, by name."""
        return dict(
            part.split("=", 1)
            for part in self("scontrol", "show", "job", number, "--oneliner").split()
            if "=" in part
        )

    def logs(self) -> str:
        """The end of each daemon's log, for a failure's message."""
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

    def wait_for(self, what, seconds: float, said: str):
        """`what()` as soon as it is true; raises AssertionError with `said` and the logs after so
        many seconds.
        """
        until = time.monotonic() + seconds
        while not (value := what()):
            assert time.monotonic() < until, (
                f"waited {seconds:.0f} s for {said}\n{self('squeue', '--long')}\n{self.logs()}"
            )
            time.sleep(0.2)
        return value


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _processes(mark: str) -> list[int]:
    """Processes which were started with `mark` in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


@contextlib.contextmanager
def running():
    """Starts munged, slurmctld and a slurmd for each of the nodes n1 and n2; ends them and all
    their jobs at the end.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    slurm = Slurm(folder)
    (folder / "state").mkdir()
    (folder / "munge.key-file").touch(mode=0o600)
    (folder / "munge.key-file").write_bytes(os.urandom(128))
    (folder / "slurm.conf").write_text(
        CONF.format(host=socket.gethostname().split(".")[0], folder=folder, ports=_free_ports(3))
    )
    munge = [
        f"--{option}={folder}/munge.{option}"
        for option in ("socket", "key-file", "pid-file", "seed-file", "log-file")
    ]
    commands = {
        "munged": ["munged", "--foreground", "--force", *munge],
        "slurmctld": ["slurmctld", "-D"],
        "slurmd-n1": ["slurmd", "-D", "-N", "n1"],
        "slurmd-n2": ["slurmd", "-D", "-N", "n2"],
    }
    daemons = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("ab") as log:
                daemons.append(
                    subprocess.Popen(
                        command, env=slurm.env, stdout=log, stderr=log, start_new_session=True
                    )
                )
            if name == "munged":
                slurm.wait_for((folder / "munge.socket").exists, 20, "munged")
        slurm.wait_for(lambda: _idle(slurm) == 2, 60, "two idle nodes")
        yield slurm
    finally:
        _end(slurm, daemons)
        shutil.rmtree(folder, ignore_errors=True)


def _idle(slurm: Slurm) -> int:
    try:
        return slurm("sinfo", "--noheader", "--Node", "--format=%T").split().count("idle")
    except AssertionError:  # slurmctld doesn't answer yet
        return 0


def _end(slurm: Slurm, daemons: list[subprocess.Popen]) -> None:
    mark = f"SLURM_CONF={slurm.env['SLURM_CONF']}"
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        slurm("scancel", "--user=root")
        slurm.wait_for(lambda: not slurm("squeue", "--noheader"), 20, "the end of all jobs")
    for daemon in reversed(daemons):
        daemon.terminate()
    for daemon in daemons:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=10)
    for process in _processes(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for daemon in daemons:
        daemon.wait(timeout=10)
