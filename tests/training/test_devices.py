"""What torch sees decides: fake torches and programs, asked in processes as a true one is."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import make
import pytest

from curemed_utils import data, paths, training
from curemed_utils.training import checkpoints, devices, launch, memory, process

# A torch that applies the variables as the true one's CUDA and HIP do: by number, by name or a
# beginning of it, up to the first that isn't there.
TORCH = """
    import os, sys, types, warnings

    BUILD, HERE, WORDS = {build!r}, {here!r}, {words!r}
    __version__ = "2.13.0+" + (BUILD or "cpu")
    version = types.SimpleNamespace(
        cuda="13.0" if BUILD.startswith("cu") else None, hip="7.1" if "rocm" in BUILD else None
    )

    def _named(variable, devices):
        text, chosen = os.environ.get(variable), []
        if text is None:
            return devices
        for one in map(str.strip, text.split(",")):
            for place, device in enumerate(devices):
                if one == str(place) or one and device[2].startswith(one):
                    chosen.append(device)
                    break
            else:
                break
        return chosen if len(set(chosen)) == len(chosen) else []

    def _devices():
        if WORDS:
            warnings.warn(WORDS)
            return []
        devices = [tuple(device) for device in HERE]
        if version.cuda:
            return _named("CUDA_VISIBLE_DEVICES", devices)
        if not version.hip:
            return []
        devices = _named("ROCR_VISIBLE_DEVICES", devices)
        hip = "HIP_VISIBLE_DEVICES"
        return _named(hip if hip in os.environ else "CUDA_VISIBLE_DEVICES", devices)

    class cuda:
        is_available = lambda: bool(_devices())
        device_count = lambda: len(_devices())

        def get_device_properties(number):
            name, memory, _ = _devices()[number]
            return types.SimpleNamespace(name=name, total_memory=memory)

    log = os.environ.get("ASKED")
    if log:
        with open(log, "a") as file:
            file.write("asked\\n")
    print("a greeting of the cluster")
"""
GIB = 2**30
SLICES = []
for number, size in enumerate((40, 20)):
    name = f"NVIDIA A100-SXM4-80GB MIG {size // 10}g.{size}gb"
    SLICES.append([name, size * GIB, f"MIG-{number}aaa-bbbb"])
A100 = []
for number in range(4):
    A100.append(["NVIDIA A100-SXM4-80GB", 80 * GIB, f"GPU-{number}aaa-bbbb"])
MI300X = [["AMD Instinct MI300X", 192 * GIB, f"GPU-{number}ccc"] for number in range(8)]
NVIDIA_SMI = "echo 'GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-0aaa)'"
ROCM_SMI = "echo '=== ROCm System Management Interface ==='; echo 'GPU[0] : Card Series: MI300X'"
VARIABLES = (devices.CUDA, devices.HIP, devices.ROCR, "ACCELERATE_USE_CPU")


def program(folder: Path, name: str, script: str) -> None:
    """A shell script of this name in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A function that makes this machine seem another: torch's build and devices, programs, files.

    Where it has files of GPUs they are the given ones only; variables are those given.
    """
    original = devices.PARTS
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))

    def make_node(build="", here=(), words="", programs=None, files=(), source=None, **variables):
        torch = tmp_path / "fake" / "torch"
        torch.mkdir(parents=True, exist_ok=True)
        text = TORCH.format(build=build, here=list(here), words=words)
        (torch / "__init__.py").write_text(textwrap.dedent(source or text))
        for name, script in (programs or {}).items():
            program(tmp_path / "bin", name, script)
        roots = []
        for name in files:
            file = tmp_path / "machine" / name.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        for pattern in original["hints"]:
            roots.append(f"{tmp_path}/machine{pattern}")
        moved = {}
        for pattern, needed in original["files"].items():
            moved[f"{tmp_path}/machine{pattern}"] = needed
        parts = {"hints": roots, "files": moved, "memory": f"{tmp_path}/machine/vram*"}
        monkeypatch.setattr(devices, "PARTS", original | parts)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        monkeypatch.setenv("PYTHONPATH", f"{torch.parent}:{paths.ROOT}")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make_node


@pytest.fixture
def stage(tiny_base, tmp_path):
    """A function that launches a stage whose process would be the fake torch's."""

    def start(**config):
        rows = data.write_jsonl([make.row(n) for n in range(4)], tmp_path / "rows.jsonl")
        config = {"start": tiny_base, "train_file": rows, "batch_size": 2} | config
        return training.stage("sft", tmp_path / "run", "sft", **config)

    return start


def seen_by(environment) -> list[str]:
    """The names of the devices that a process in this environment sees."""
    ask = "import torch, json; print(json.dumps([device[2] for device in torch._devices()]))"
    line = [sys.executable, "-c", ask]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# Every form of the variables --------------------------------------------------------------------


CUDA_FORMS = [
    (None, 4, "0", "GPU-0"),
    ("3", 1, "3", "GPU-3"),
    ("3,1", 2, "3", "GPU-3"),
    (" 2 , 0", 2, "2", "GPU-2"),
    ("1,-1,2", 1, "1", "GPU-1"),
    ("GPU-2aaa-bbbb,GPU-0aaa-bbbb", 2, "GPU-2aaa-bbbb", "GPU-2"),
    ("GPU-1", 1, "GPU-1", "GPU-1"),
]


@pytest.mark.parametrize(("visible", "n", "one", "device"), CUDA_FORMS)
def test_one_process_gets_the_first_visible_gpu_as_the_user_named_it(node, visible, n, one, device):
    variables = {} if visible is None else {devices.CUDA: visible}
    node("cu130", A100, files=["dev/nvidia0"], **variables)
    assert len(devices.gpus()) == n
    environment = launch._environment("none")
    assert environment[devices.CUDA] == one and "ACCELERATE_USE_CPU" not in environment
    (name,) = seen_by(environment)
    assert name.startswith(device)
    several = launch._environment("zero3")
    assert several.get(devices.CUDA) == visible and len(seen_by(several)) == n


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        (None, [40, 20]),
        ("MIG-1aaa-bbbb", [20]),
        ("MIG-1aaa-bbbb,MIG-0aaa-bbbb", [20, 40]),
    ],
)
def test_a_slice_has_its_own_memory_not_its_parents(node, tmp_path, visible, gib):
    whole = {"nvidia-smi": "echo 'NVIDIA A100-SXM4-80GB, 81920'"}
    variables = {devices.CUDA: visible} if visible else {}
    node("cu130", SLICES, programs=whole, **variables)
    assert [memory for _, memory in devices.gpus()] == gib
    assert all("MIG" in name for name, _ in devices.gpus())
    assert memory.machine(tmp_path / "run" / "sft").gpu == min(gib)
    (name,) = seen_by(launch._environment("none"))
    assert name == (visible or "MIG-0aaa-bbbb").partition(",")[0]
    with pytest.raises(ValueError, match=r"processes is 3, but torch sees \d GPU"):
        launch.check_gpus(3, "ddp")


@pytest.mark.parametrize(
    ("variables", "n", "changed", "device"),
    [
        ({}, 8, {devices.HIP: "0"}, 0),
        ({devices.HIP: "5,2"}, 2, {devices.HIP: "5"}, 5),
        ({devices.CUDA: "6,7"}, 2, {devices.CUDA: "6"}, 6),
        ({devices.ROCR: "4,5"}, 2, {devices.ROCR: "4"}, 4),
        ({devices.ROCR: "GPU-3ccc,GPU-1ccc"}, 2, {devices.ROCR: "GPU-3ccc"}, 3),
        ({devices.ROCR: "4,5", devices.HIP: "1"}, 1, {devices.HIP: "1"}, 5),
        ({devices.ROCR: "4,5", devices.CUDA: "1,0"}, 2, {devices.CUDA: "1"}, 5),
        ({devices.HIP: "2,3", devices.CUDA: ""}, 2, {devices.HIP: "2"}, 2),
    ],
)
def test_amd_gpus_by_each_variable(node, variables, n, changed, device):
    node("rocm7.1", MI300X, files=["dev/kfd"], **variables)
    assert devices.gpus() == [["AMD Instinct MI300X", 192.0]] * n
    environment = launch._environment("none")
    assert "ACCELERATE_USE_CPU" not in environment
    assert {name: environment[name] for name in changed} == changed
    for name in variables.keys() - changed.keys():
        assert environment[name] == variables[name]
    assert seen_by(environment) == [f"GPU-{device}ccc"]
    launch.check_gpus(n, "zero3")


# GPUs hidden on purpose, and none ----------------------------------------------------------------


HIDING = [{devices.CUDA: value} for value in ("", "-1", "NoDevFiles", " ")]
HIDING += [{devices.HIP: "-1"}, {devices.ROCR: ""}, {"ACCELERATE_USE_CPU": "true"}]
HIDING += [{devices.CUDA: "", devices.HIP: ""}, {"ACCELERATE_USE_CPU": "1"}]


@pytest.mark.parametrize("build", ["", "cu130", "rocm7.1"])
@pytest.mark.parametrize("variables", HIDING)
def test_who_hides_the_gpus_trains_on_the_cpu_and_torch_is_not_asked(
    node, tmp_path, build, variables
):
    here = {"cu130": A100, "rocm7.1": MI300X}.get(build, ())
    both = {"nvidia-smi": NVIDIA_SMI, "rocm-smi": ROCM_SMI}
    node(build, here, programs=both, files=["dev/kfd", "dev/nvidia0"], **variables)
    assert devices.gpus() == [] and not devices.possible()
    assert not (tmp_path / "asked").exists()
    launch.check_gpus(2, "ddp")
    environment = launch._environment("none")
    assert environment["ACCELERATE_USE_CPU"] == "true" and seen_by(environment) == []


@pytest.mark.parametrize(
    ("build", "here", "variables"),
    [
        ("rocm7.1", MI300X, {devices.ROCR: "0,1", devices.CUDA: ""}),
        ("rocm7.1", MI300X, {devices.ROCR: "0,1", devices.HIP: "-1"}),
        ("cu130", A100, {devices.ROCR: "0,1", devices.CUDA: "-1"}),
        ("", (), {devices.ROCR: "0,1", devices.HIP: ""}),
    ],
)
def test_one_variable_that_hides_is_enough_beside_a_clusters_own(node, build, here, variables):
    node(build, here, programs={"rocm-smi": ROCM_SMI}, **variables)
    assert devices.gpus() == []
    assert seen_by(launch._environment("none")) == []


def test_a_variable_of_another_maker_hides_nothing(node):
    node("cu130", A100, files=["dev/nvidia0"], CUDA_VISIBLE_DEVICES="1,2", HIP_VISIBLE_DEVICES="")
    assert len(devices.gpus()) == 2
    assert launch._environment("none")[devices.CUDA] == "1"


def test_where_no_gpu_can_be_torch_is_not_asked(node, tmp_path):
    node("cu130", A100)
    assert not devices.possible() and devices.gpus() == []
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("file", ["dev/dxg", "dev/nvidiactl", "dev/nvmap"])
def test_where_one_may_be_torch_decides(node, file):
    node("", files=[file])
    assert devices.possible() and devices.gpus() == []
    node("cu130", A100, files=[file])
    devices._answer.cache_clear()
    assert len(devices.gpus()) == 4


def test_torch_is_asked_once_for_each_choice_of_devices(node, tmp_path, monkeypatch):
    node("cu130", A100, files=["dev/nvidia0"])
    for visible in ("0,1", "0,1", "2", "0,1"):
        monkeypatch.setenv(devices.CUDA, visible)
        launch.check_gpus(1, "none")
        launch._environment("none")
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


# GPUs that torch can't use ----------------------------------------------------------------------


OLD = "The NVIDIA driver on your system is too old (found version 11040)"
UNUSED = [
    ("", dict(programs={"nvidia-smi": NVIDIA_SMI}), "nvidia-smi shows GPU 0: NVIDIA A100", "CUDA"),
    ("", dict(programs={"nvidia-smi": "echo 'NVIDIA A100, 81920'"}), "nvidia-smi shows", "CUDA"),
    ("", dict(files=["dev/nvidia0"]), "there is .*/dev/nvidia0", "CUDA"),
    ("", dict(files=["dev/kfd"]), "there is .*/dev/kfd", "ROCm"),
    ("", dict(programs={"rocm-smi": ROCM_SMI}), r"rocm-smi shows GPU\[0\] : Card", "ROCm"),
    ("", dict(programs={"amd-smi": "echo 'GPU: 0'"}), "amd-smi shows GPU: 0", "ROCm"),
    ("cu130", dict(files=["dev/kfd"]), "there is .*/dev/kfd", "ROCm"),
    ("cu130", dict(programs={"rocm-smi": "exit 0"}), "rocm-smi shows a GPU", "ROCm"),
    ("rocm7.1", dict(programs={"nvidia-smi": NVIDIA_SMI}), "nvidia-smi shows", "CUDA"),
]


@pytest.mark.parametrize(("build", "machine", "seen", "needed"), UNUSED)
def test_gpus_that_this_torch_can_not_use_are_an_error(node, build, machine, seen, needed):
    node(build, **machine)
    built = {"": "CPU", "cu130": "CUDA", "rocm7.1": "ROCm"}[build]
    what = rf"{seen}.*torch 2\.13\.0\+\w+.*, built for {built}, sees no GPU"
    cure = rf"install torch's {needed} build.*docs/gpu\.md.*export ACCELERATE_USE_CPU=true"
    with pytest.raises(RuntimeError, match=f"{what}: {cure}"):
        devices.gpus()


def test_a_driver_that_is_too_old_is_told_in_torchs_words(node):
    node("cu130", A100, words=OLD, programs={"nvidia-smi": NVIDIA_SMI})
    with pytest.raises(RuntimeError, match=r"sees no GPU \(The NVIDIA driver .* 11040\)\): check"):
        devices.gpus()


@pytest.mark.parametrize("visible", ["7", "9,0", "GPU-zzz", "0,0"])
def test_devices_that_are_not_there_are_named(node, visible):
    node("cu130", A100, programs={"nvidia-smi": NVIDIA_SMI}, CUDA_VISIBLE_DEVICES=visible)
    with pytest.raises(RuntimeError, match=f"no GPU by CUDA_VISIBLE_DEVICES='{visible}': check"):
        devices.gpus()


def test_nothing_is_loaded_or_written_before_the_error(node, stage, tmp_path):
    node("", programs={"rocm-smi": ROCM_SMI})
    with pytest.raises(RuntimeError, match="install torch's ROCm build"):
        stage()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "program",
    [
        "echo 'NVIDIA-SMI has failed because it could not communicate with the driver'; exit 9",
        "echo 'No devices were found'",
        "echo 'ERROR:root:Driver not initialized (amdgpu not found in modules)' >&2; exit 0",
    ],
)
def test_a_program_that_lists_nothing_shows_no_gpu(node, program):
    node("", programs={"nvidia-smi": program, "rocm-smi": program})
    assert devices.possible() and devices.gpus() == []


@pytest.mark.parametrize(("gib", "counts"), [(0.5, False), (2, False), (24, True)])
def test_a_processors_own_graphics_are_no_gpu_to_train_on(node, tmp_path, gib, counts):
    node("", files=["dev/kfd"])
    (tmp_path / "machine" / "vram0").write_text(f"{int(gib * GIB)}\n")
    if not counts:
        assert devices.gpus() == []
        return
    with pytest.raises(RuntimeError, match="install torch's ROCm build"):
        devices.gpus()


# No answer --------------------------------------------------------------------------------------


def test_a_torch_that_can_not_be_imported_is_told(node):
    node(source="raise ImportError('libcudart.so.13: cannot open it')", files=["dev/nvidia0"])
    with pytest.raises(RuntimeError, match=r"can't say .*: ImportError: libcudart\.so\.13: can"):
        devices.gpus()


def test_a_torch_that_dies_is_told(node):
    node(source="import os; os._exit(70)", files=["dev/nvidia0"])
    with pytest.raises(RuntimeError, match="can't say which GPUs it sees: exit code 70"):
        devices.gpus()


@pytest.mark.heavy
def test_a_torch_that_takes_too_long_is_told(node, monkeypatch):
    monkeypatch.setattr(devices, "WAIT", 1)
    node(source="import time; time.sleep(60)", files=["dev/nvidia0"])
    with pytest.raises(RuntimeError, match="torch did not say within 1 s which GPUs it sees"):
        devices.gpus()


# This machine's own torch ------------------------------------------------------------------------


@pytest.mark.heavy
def test_the_question_fits_the_true_torch():
    import torch

    line = [sys.executable, "-c", devices.PARTS["question"]]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    gpus, build, version, _ = json.loads(done.stdout.splitlines()[-1])
    assert version == torch.__version__ and len(gpus) == torch.cuda.device_count()
    assert (build == "CPU") == (not torch.version.cuda and not torch.version.hip)


@pytest.mark.heavy
def test_a_stage_trains_on_the_cpu_beside_a_gpu_if_told_to(stage, tmp_path, monkeypatch, capsys):
    program(tmp_path / "bin", "nvidia-smi", NVIDIA_SMI)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    output = stage(max_steps=1)
    assert checkpoints.info(output)["steps"] == 1
    assert "torch sees no GPU: the CPU trains" in capsys.readouterr().out
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    assert stage(max_steps=1) == output, "what is done needs no GPU"
    with pytest.raises(RuntimeError, match="nvidia-smi shows GPU 0"):
        stage(max_steps=2)


def test_a_process_started_by_hand_does_not_train_on_the_cpu_by_itself(
    node, tiny_base, tmp_path, monkeypatch
):
    rows = data.write_jsonl([make.row(n) for n in range(4)], tmp_path / "rows.jsonl")
    output = paths.checkpoint(tmp_path / "run", "sft")
    places = {"start": tiny_base, "train_file": rows, "output": output, "batch_size": 2}
    file = tmp_path / "sft.json"
    file.write_text(json.dumps(places, default=str))
    monkeypatch.delenv(launch.LAUNCHER, raising=False)
    node("", programs={"rocm-smi": ROCM_SMI})
    with pytest.raises(RuntimeError, match="install torch's ROCm build"):
        process.main(["sft", str(file)])
    assert not output.with_name("sft.partial").exists()


def test_what_torch_sees_is_told_before_a_stage_starts(node, stage, monkeypatch, capsys):
    node("cu130", SLICES, files=["dev/nvidia0"], CUDA_VISIBLE_DEVICES="MIG-1aaa-bbbb")
    line = [sys.executable, "-c", "raise SystemExit('started')"]
    monkeypatch.setattr(launch, "command", lambda *_: line)
    with pytest.raises(RuntimeError, match="started"):
        stage()
    shown = capsys.readouterr().out
    assert "torch sees NVIDIA A100-SXM4-80GB MIG 2g.20gb, 20.0 GiB\n" in shown
    assert "estimate of memory of a GPU: " in shown and "20.0 available" in shown
