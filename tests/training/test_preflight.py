import itertools
import json
import re
import shutil
import time
from dataclasses import fields, replace

import pytest

from curemed_utils import data, paths, run
from curemed_utils.training import memory, stages

# hidden size, layers, heads, key-value heads, intermediate size, vocabulary, tied; parameters in billions, of the model cards
QWEN = {
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True, 1.54),
    "3b": (2048, 36, 16, 2, 11008, 151936, True, 3.09),
    "7b": (3584, 28, 28, 4, 18944, 152064, False, 7.62),
    "14b": (5120, 48, 40, 8, 13824, 152064, False, 14.8),
    "32b": (5120, 64, 40, 8, 27648, 152064, False, 32.8),
}
BIG = {"gpu_gib": 1e6, "cpu_gib": 1e6, "disk_gib": 1e6}
NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size")


@pytest.fixture(scope="module")
def models(tiny_base, tmp_path_factory):
    """Folders of the Qwen2.5 sizes: a config.json of the true shape, a tokenizer, no weights."""
    root = tmp_path_factory.mktemp("models")
    for size, shape in QWEN.items():
        ignored = shutil.ignore_patterns("*.safetensors")
        folder = shutil.copytree(tiny_base, root / size, ignore=ignored)
        config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": shape[6], "dtype": "bfloat16"}
        (folder / "config.json").write_text(json.dumps(config | dict(zip(NAMES, shape, strict=False))))
    return root


@pytest.fixture
def make_stage(models, make_row, tmp_path):
    """A function that makes the settings of a stage of a Qwen2.5 of that size; keyword arguments replace the paper's."""
    train_file = data.write_jsonl([make_row()], tmp_path / "rows.jsonl")

    def make(kind, size="7b", **config):
        places = {"start": str(models / size), "train_file": str(train_file), "output": str(tmp_path / "checkpoints" / kind)}
        return stages.settings(kind, places | config)

    return make


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """This machine's own GPUs, where it has any, don't count."""
    monkeypatch.setattr(memory, "gpus", list)


def needed(table, item):
    return table.set_index("item").needed[next(name for name in table.item if name.startswith(item))]


def gpu_memory(kind, stage, processes=8, strategy="zero3", **machine):
    return needed(memory.check(kind, stage, processes, 1, strategy, **BIG | machine), "GPU memory")


# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", QWEN)
def test_parameters_are_those_of_the_model_card(models, size):
    assert memory.shape(models / size).total / 1e9 == pytest.approx(QWEN[size][-1], rel=0.005)


@pytest.mark.parametrize("size", ["1.5b", "7b"])
def test_counting_by_hand_agrees_with_accelerate(models, size):
    by_hand, measured = memory.shape(models / size), memory.measured_shape(models / size)
    assert (by_hand.total, by_hand.largest, by_hand.adapters) == (measured.total, measured.largest, measured.adapters)


def test_another_architecture_is_measured(models, tmp_path):
    config = json.loads((models / "1.5b" / "config.json").read_text()) | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    biases = 28 * (1536 + 2 * 256)
    assert memory.shape(tmp_path).total == memory.shape(models / "1.5b").total - biases


def test_the_states_are_deepspeeds_estimates(make_stage, models):
    zero2 = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2").estimate_zero2_model_states_mem_needs
    zero3 = pytest.importorskip("deepspeed.runtime.zero.stage3").estimate_zero3_model_states_mem_needs
    size = memory.shape(models / "14b")
    for processes, nodes in ((8, 1), (4, 2)):
        cpu, gpu = zero2(size.total, processes, nodes, cpu_offload=False)
        estimates = {"zero2": (gpu, cpu)}
        for name, offload in (("zero3", False), ("zero3_offload", True)):
            cpu, gpu, _ = zero3(size.total, size.largest, processes, nodes, cpu_offload=offload, cpu_offload_params=offload)
            estimates[name] = (gpu, cpu)
        for strategy, (gpu, cpu) in estimates.items():
            table = memory.check("sft", make_stage("sft", "14b"), processes, nodes, strategy, **BIG)
            assert needed(table, "model states") * 2**30 == pytest.approx(gpu, abs=2)
            assert needed(table, "main memory") * 2**30 == pytest.approx(cpu, abs=2)


@pytest.mark.parametrize(("strategy", "each"), [("none", 18), ("ddp", 22), ("fsdp2", 16 / 4)])
def test_states_without_deepspeed_take_so_many_bytes_a_parameter(make_stage, models, strategy, each):
    size, processes = memory.shape(models / "7b"), 1 if strategy == "none" else 4
    states = needed(memory.check("sft", make_stage("sft"), processes, 1, strategy, **BIG), "model states")
    assert states * 2**30 == pytest.approx(each * size.total + (8 * size.largest if strategy == "fsdp2" else 0))


# What fits ----------------------------------------------------------------------------------------------------------


def stage_of(profile, kind, make_stage, size):
    """A stage by a parameter file, whose names are those of the stage, some with a prefix."""
    given = {name.removeprefix(f"{kind}_"): value for name, value in profile.items()} | profile.get(f"{kind}_options", {})
    if kind == "grpo":
        given["temperature"] = profile["rollout_temperature"]
    known = {field.name for field in fields(stages.KINDS[kind])}
    return make_stage(kind, size, world_size=profile["processes"], **{k: v for k, v in given.items() if k in known})


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("size", QWEN)
def test_a_parameter_file_fits_the_machine_it_names(make_stage, size, kind):
    path = paths.PROFILES / f"qwen2.5-{size}.yaml"
    profile = run.read_profile(str(path))
    gpus, cpu, disk = map(
        int, re.search(r"of (\d) A100 80 GB, (\d+) GiB of main memory, (\d+) GiB of free disk", path.read_text()).groups()
    )
    assert profile["processes"] == gpus
    assert profile["model_id"].lower() == f"qwen/qwen2.5-{size}-instruct"
    stage = stage_of(profile, kind, make_stage, size)
    memory.check(kind, stage, gpus, 1, profile["strategy"], gpu_gib=80, cpu_gib=cpu, disk_gib=disk)
    with pytest.raises(memory.DoesNotFit, match="disk"):
        memory.check(kind, stage, gpus, 1, profile["strategy"], gpu_gib=80, cpu_gib=cpu, disk_gib=disk / 2)


@pytest.mark.parametrize("size", QWEN)
def test_a_parameter_file_is_the_papers(make_stage, size):
    profile = run.read_profile(f"qwen2.5-{size}")
    run.check_parameters(profile, run.known_parameters())
    demo = list(run.read_profile("demo"))
    assert list(profile) == demo
    sft, grpo = (stage_of(profile, kind, make_stage, size) for kind in ("sft", "grpo"))
    assert (sft.learning_rate, sft.scheduler, sft.warmup, sft.epochs, sft.max_steps, sft.batch_size, sft.max_length) == (
        *(1e-5, "cosine", 0.1),
        *(3, 0, 32, 4096),
    )
    assert (grpo.learning_rate, grpo.scheduler, grpo.warmup, grpo.weight_decay) == (1e-6, "cosine", 0.1, 0.1)
    assert (grpo.batch_size, grpo.num_generations, grpo.steps, grpo.temperature) == (16, 16, 500, 1)
    assert (grpo.max_prompt_length, grpo.max_completion_length) == (1024, 1024)


def test_32b_by_ddp_is_refused_at_once_with_what_would_fit(make_stage):
    stage, machine = make_stage("sft", "32b", save_steps=50), {"gpu_gib": 80, "cpu_gib": 1500, "disk_gib": 4000}
    started = time.monotonic()
    with pytest.raises(
        memory.DoesNotFit, match=r"32\.76B .* strategy ddp, processes 8.* GiB needed, 80\.0 there.*What would fit: strategy"
    ) as refused:
        memory.check("sft", stage, 8, 1, "ddp", **machine)
    assert time.monotonic() - started < 2
    fits = refused.value.fits
    assert {"strategy": "zero3_offload"} in fits and any("nodes" in change for change in fits) and len(fits) >= 3
    for change in fits:
        plan = {"processes": 8, "nodes": 1, "strategy": "ddp"}
        plan |= {name: value for name, value in change.items() if name in plan}
        changed = replace(stage, **{name: value for name, value in change.items() if name not in plan})
        memory.check("sft", changed, **plan, **machine)


def test_a_smaller_micro_batch_is_proposed_where_it_is_enough(make_stage):
    with pytest.raises(memory.DoesNotFit) as refused:
        memory.check("sft", make_stage("sft", "7b", micro_batch=8), 4, 1, "zero3", gpu_gib=60, cpu_gib=500, disk_gib=500)
    micro = next(change["micro_batch"] for change in refused.value.fits if list(change) == ["micro_batch"])
    stage = make_stage("sft", "7b", micro_batch=micro)
    memory.check("sft", stage, 4, 1, "zero3", gpu_gib=60, cpu_gib=500, disk_gib=500)


def test_no_proposal_breaks_the_batch(make_stage):
    with pytest.raises(memory.DoesNotFit) as refused:
        memory.check("sft", make_stage("sft", "7b", batch_size=4), 4, 1, "ddp", gpu_gib=40, cpu_gib=5000, disk_gib=5000)
    assert refused.value.fits
    assert not any("nodes" in change or "processes" in change for change in refused.value.fits)


def test_what_fits_nowhere_says_so(make_stage):
    with pytest.raises(memory.DoesNotFit, match="What would fit: nothing among"):
        memory.check("sft", make_stage("sft", "32b"), 1, 1, "none", gpu_gib=4, cpu_gib=4000, disk_gib=4000)


# Each part ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2"])
def test_more_tokens_need_more(make_stage, strategy):
    processes = 1 if strategy == "none" else 4
    for name, values in (("micro_batch", (1, 2, 8)), ("max_length", (512, 4096, 16384))):
        sizes = [gpu_memory("sft", make_stage("sft", **{name: value}), processes, strategy) for value in values]
        assert all(one < other for one, other in itertools.pairwise(sizes)), name


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp2"])
def test_more_gpus_need_less_of_each(make_stage, strategy):
    stage = make_stage("sft")
    assert gpu_memory("sft", stage, 8, strategy) < gpu_memory("sft", stage, 2, strategy) < gpu_memory("sft", stage, 2, "ddp")


@pytest.mark.parametrize("strategy", ["none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2"])
def test_lora_shrinks_memory_and_checkpoints(make_stage, strategy):
    full, lora = (memory.check("sft", make_stage("sft", lora_rank=r, save_steps=50), 1, 1, strategy, **BIG) for r in (0, 16))
    assert needed(lora, "GPU memory") < needed(full, "GPU memory") or strategy == "zero3_offload"
    assert needed(lora, "disk") < 0.3 * needed(full, "disk")


def test_offloading_needs_main_memory(make_stage):
    stage = make_stage("sft", "14b")
    memory.check("sft", stage, 2, 1, "zero3_offload", gpu_gib=80, cpu_gib=400, disk_gib=100)
    with pytest.raises(memory.DoesNotFit, match=r"main memory of a node: 371\.\d GiB needed, 300\.0 there"):
        memory.check("sft", stage, 2, 1, "zero3_offload", gpu_gib=80, cpu_gib=300, disk_gib=100)


def test_too_little_disk_is_refused(make_stage):
    machine = {"gpu_gib": 80, "cpu_gib": 500, "disk_gib": 100}
    memory.check("sft", make_stage("sft"), 8, 1, "zero3", **machine)
    with pytest.raises(memory.DoesNotFit, match=r"save_steps 50.*disk for checkpoints: 354\.\d GiB needed, 100\.0 there") as refused:
        memory.check("sft", make_stage("sft", save_steps=50), 8, 1, "zero3", **machine)
    assert {"lora_rank": 16} in refused.value.fits and {"save_steps": 0} in refused.value.fits


def test_each_kept_checkpoint_takes_disk(make_stage):
    two, four = (memory.check("sft", make_stage("sft", save_steps=50, keep_checkpoints=n), 1, **BIG) for n in (2, 4))
    assert needed(four, "disk") - needed(two, "disk") == pytest.approx(2 * 16 * 7.6156 / 2**30 * 1e9, rel=1e-3)


def test_an_interrupted_stage_does_not_stand_in_its_own_way(tmp_path, monkeypatch):
    left = tmp_path / "checkpoints" / "sft.partial" / "checkpoint-50" / "model.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(2**20))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 2**30))
    assert memory._free_disk(tmp_path / "checkpoints" / "sft") == pytest.approx(1 + 1 / 1024)


def test_a_kl_term_needs_the_reference_model_unless_adapters_can_be_taken_off(make_stage):
    plain, kl, lora = (
        memory.check("grpo", make_stage("grpo", **config), 8, 1, "zero2", **BIG)
        for config in ({}, {"beta": 0.04}, {"beta": 0.04, "lora_rank": 16})
    )
    assert [needed(table, "reference") for table in (plain, lora)] == [0, 0]
    assert needed(kl, "GPU memory") - needed(plain, "GPU memory") == pytest.approx(2 * 7.6156e9 / 2**30, rel=1e-3)


def test_rollouts_by_transformers_gather_the_model_under_zero3(make_stage):
    zero2, zero3 = (memory.check("grpo", make_stage("grpo"), 8, 1, strategy, **BIG) for strategy in ("zero2", "zero3"))
    assert needed(zero3, "rollouts") - needed(zero2, "rollouts") == pytest.approx(2 * 7.6156e9 / 2**30, rel=1e-3)
    keys_and_values = 2 * 2048 * 2 * 2 * 28 * 4 * 128  # completions x tokens x (k, v) x bytes x layers x heads x width
    assert needed(zero2, "rollouts") == pytest.approx((keys_and_values + 2 * 16 * 152064) / 2**30)


def test_vllm_takes_its_share_and_must_hold_the_model_in_it(make_stage):
    stage, machine = make_stage("grpo", "14b", engine="vllm"), {"gpu_gib": 80, "cpu_gib": 900, "disk_gib": 900}
    with pytest.raises(memory.DoesNotFit, match=r"vllm_memory's share.* 30\.\d GiB needed, 24\.0 there") as refused:
        memory.check("grpo", stage, 8, 1, "zero3", **machine)
    assert {"vllm_memory": 0.4} in refused.value.fits and {"vllm_tensor_parallel": 2} in refused.value.fits
    table = memory.check("grpo", replace(stage, vllm_tensor_parallel=2), 8, 1, "zero3", **machine)
    assert needed(table, "rollouts") == pytest.approx(24)
    server = make_stage("grpo", "14b", engine="vllm_server", vllm_server_url="http://localhost:8000")
    assert needed(memory.check("grpo", server, 8, 1, "zero3", **machine), "rollouts") == 0


# The machine --------------------------------------------------------------------------------------------------------


def test_the_smallest_gpu_counts(make_stage, monkeypatch):
    monkeypatch.setattr(memory, "gpus", lambda: ["NVIDIA A100-SXM4-80GB, 81920", "NVIDIA A100-PCIE-40GB, 40960"])
    table = memory.check("sft", make_stage("sft", "1.5b"), 2, 1, "zero3", cpu_gib=100, disk_gib=100)
    assert table.set_index("item").there[next(name for name in table.item if name.startswith("GPU memory"))] == 40


def test_without_a_gpu_only_memory_and_disk_count(make_stage):
    stage = make_stage("sft", "1.5b")
    table = memory.check("sft", stage, cpu_gib=200, disk_gib=100)
    assert not any(name.startswith("GPU memory") for name in table.item)
    assert needed(table, "main memory") > 16 * 1.54e9 / 2**30
    with pytest.raises(memory.DoesNotFit, match="main memory"):
        memory.check("sft", stage, cpu_gib=10, disk_gib=100)


def test_the_demo_fits_a_laptop(tiny_base, make_stage):
    demo = run.read_profile("demo")
    for kind in ("sft", "grpo"):
        stage = replace(stage_of(demo, kind, make_stage, "1.5b"), start=str(tiny_base))
        table = memory.check(kind, stage, cpu_gib=4, disk_gib=1)
        assert needed(table, "main memory") < 2


def test_the_limit_of_a_slurm_job_counts(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")  # MiB, as Slurm gives it
    assert memory._main_memory() == pytest.approx(100 / 1024)


# Time ---------------------------------------------------------------------------------------------------------------


def test_the_step_time_is_a_guess_for_known_gpus_only(make_stage):
    sft = make_stage("sft")
    assert memory.step_seconds("sft", sft, 8) is None
    assert memory.step_seconds("sft", sft, 8, gpu_name="GeForce GTX 970") is None
    a100, h100 = (memory.step_seconds("sft", sft, 8, gpu_name=name) for name in ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"))
    assert a100 == pytest.approx(8 * 7.6156e9 * 32 * 4096 / (0.4 * 312e12 * 8), rel=1e-3)
    assert h100 < a100 and memory.step_seconds("sft", sft, 8, 2, gpu_name="A100") == pytest.approx(a100 / 2)


def test_rollouts_take_their_time(make_stage):
    plain, vllm, parallel = (
        memory.step_seconds("grpo", make_stage("grpo", "1.5b", **config), 8, gpu_name="A100")
        for config in ({}, {"engine": "vllm"}, {"engine": "vllm", "vllm_tensor_parallel": 4})
    )
    assert plain > 28 > vllm > parallel > 0  # 1,024 tokens, 28 layers, 1 ms a layer
