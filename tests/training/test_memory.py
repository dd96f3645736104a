"""The estimate of memory and disk: by hand, against DeepSpeed and accelerate, and on its page."""

import itertools
import json
import math
import re
import shutil

import pytest
import torch
from accelerate.utils import calculate_maximum_sizes
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from curemed_utils import paths, run
from curemed_utils.training import devices, memory, stages

# hidden size, layers, heads, key-value heads, intermediate size, vocabulary, tied embeddings;
# parameters in billions, of the model cards
QWEN = {
    "0.5b": (896, 24, 14, 2, 4864, 151936, True, 0.494),
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True, 1.54),
    "3b": (2048, 36, 16, 2, 11008, 151936, True, 3.09),
    "7b": (3584, 28, 28, 4, 18944, 152064, False, 7.62),
    "14b": (5120, 48, 40, 8, 13824, 152064, False, 14.8),
    "32b": (5120, 64, 40, 8, 27648, 152064, False, 32.8),
}
FIELDS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
FIELDS += ("intermediate_size", "vocab_size", "tie_word_embeddings")
BIG = memory.Machine(gpu=1e6, main=1e6, disk=1e6)
PARAMETERS = 7.6156e9  # of the 7B


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of the Qwen2.5 sizes: a config.json of the true shape, weights of no content."""
    root = tmp_path_factory.mktemp("models")
    for size, shape in QWEN.items():
        config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "bfloat16"}
        config |= dict(zip(FIELDS, shape, strict=False))
        (root / size).mkdir()
        (root / size / "config.json").write_text(json.dumps(config))
        empty_weights(root / size / "model.safetensors", qwen_weights(*shape[:-1]))
    return root


def qwen_weights(h, layers, heads, kv_heads, inner, vocabulary, tied) -> dict[str, list[int]]:
    """The weights of a Qwen2.5 by name: their sizes."""
    kv = h // heads * kv_heads
    layer = {"self_attn.q_proj": [h, h], "self_attn.o_proj": [h, h]}
    layer |= {"self_attn.k_proj": [kv, h], "self_attn.v_proj": [kv, h]}
    layer |= {"mlp.gate_proj": [inner, h], "mlp.up_proj": [inner, h], "mlp.down_proj": [h, inner]}
    layer |= {"q_bias": [h], "k_bias": [kv], "v_bias": [kv], "norm_1": [h], "norm_2": [h]}
    weights = {"model.embed_tokens.weight": [vocabulary, h], "model.norm.weight": [h]}
    if not tied:
        weights["lm_head.weight"] = [vocabulary, h]
    for number in range(layers):
        weights |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    return weights


def empty_weights(file, weights):
    """A file of such weights, all of it a hole but for its head."""
    head, end = {}, 0
    for name, size in weights.items():
        start, end = end, end + 2 * math.prod(size)
        head[name] = {"dtype": "BF16", "shape": size, "data_offsets": [start, end]}
    raw = json.dumps(head).encode()
    with file.open("wb") as opened:
        opened.write(len(raw).to_bytes(8, "little") + raw)
        opened.truncate(8 + len(raw) + end)


@pytest.fixture
def make_stage(models, tmp_path):
    """A function that makes a stage of a Qwen2.5; keyword arguments replace the paper's."""

    def make(kind, size="7b", **config):
        output = paths.checkpoint(tmp_path, kind)
        places = {"start": models / size, "train_file": tmp_path / "rows.jsonl", "output": output}
        return stages.settings(kind, places | config)

    return make


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """This machine's own GPUs, where it has any, don't count."""
    monkeypatch.setattr(devices, "gpus", list)


def sizes(stage, processes=8, strategy="zero3", nodes=1, machine=BIG):
    """GiB by item."""
    table = memory.estimate(stage, processes, nodes, strategy, machine)
    return dict(zip(table["item"], table["needed"], strict=True))


# The model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", QWEN)
def test_parameters_are_those_of_the_model_card(models, size):
    assert memory.shape(models / size).total / 1e9 == pytest.approx(QWEN[size][-1], rel=0.005)


@pytest.mark.heavy
@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt_neox"])
def test_sizes_are_those_of_accelerate_and_peft(architecture, tmp_path):
    widths = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 3}
    widths |= {"vocab_size": 50, "num_attention_heads": 4}
    config = AutoConfig.for_model(architecture, **widths)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    shape = memory.shape(tmp_path)
    assert shape.total == model.num_parameters()
    assert shape.largest == calculate_maximum_sizes(model)[1][0] // 4
    lora = LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM")
    assert shape.adapters == get_peft_model(model, lora).get_nb_trainable_parameters()[0]


@pytest.mark.heavy
@pytest.mark.parametrize(("processes", "nodes"), [(8, 1), (4, 2)])
def test_the_states_are_deepspeeds_estimates(make_stage, models, processes, nodes):
    stage2 = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2")
    stage3 = pytest.importorskip("deepspeed.runtime.zero.stage3")
    size, stage = memory.shape(models / "14b"), make_stage("sft", "14b")

    def agree(strategy, cpu, gpu):
        ours = sizes(stage, processes, strategy, nodes)
        assert ours["model states"] * memory.GIB == pytest.approx(gpu, abs=2)
        assert ours[memory.MAIN] * memory.GIB == pytest.approx(cpu, abs=2)

    zero2 = stage2.estimate_zero2_model_states_mem_needs
    agree("zero2", *zero2(size.total, processes, nodes, cpu_offload=False))
    zero3 = stage3.estimate_zero3_model_states_mem_needs
    for strategy, offload in (("zero3", False), ("zero3_offload", True)):
        how = {"cpu_offload": offload, "cpu_offload_params": offload}
        cpu, gpu, _ = zero3(size.total, size.largest, processes, nodes, **how)
        agree(strategy, cpu, gpu)


@pytest.mark.parametrize(("strategy", "each"), [("none", 18), ("ddp", 22), ("fsdp2", 16 / 4)])
def test_states_without_deepspeed_take_so_many_bytes_a_parameter(
    make_stage, models, strategy, each
):
    size, processes = memory.shape(models / "7b"), 1 if strategy == "none" else 4
    states = sizes(make_stage("sft"), processes, strategy)["model states"]
    gathered = 8 * size.largest if strategy == "fsdp2" else 0
    assert states * memory.GIB == pytest.approx(each * size.total + gathered)


# Each part ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2"])
def test_more_tokens_need_more(make_stage, strategy):
    processes = 1 if strategy == "none" else 4
    for name, values in (("micro_batch", (1, 2, 8)), ("max_length", (512, 4096, 16384))):
        chosen = [make_stage("sft", **{name: value}) for value in values]
        needed = [sizes(stage, processes, strategy)[memory.GPU] for stage in chosen]
        assert all(one < other for one, other in itertools.pairwise(needed)), name


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp2"])
def test_more_gpus_need_less_of_each(make_stage, strategy):
    stage = make_stage("sft")
    eight, two = sizes(stage, 8, strategy), sizes(stage, 2, strategy)
    assert eight[memory.GPU] < two[memory.GPU] < sizes(stage, 2, "ddp")[memory.GPU]


@pytest.mark.parametrize("strategy", ["none", "ddp", "zero2", "zero3", "zero3_offload", "fsdp2"])
def test_lora_shrinks_memory_and_checkpoints(make_stage, strategy):
    full = sizes(make_stage("sft", save_steps=50), 1, strategy)
    lora = sizes(make_stage("sft", save_steps=50, lora_rank=16), 1, strategy)
    assert lora[memory.GPU] < full[memory.GPU] or strategy == "zero3_offload"
    assert lora[memory.DISK] < 0.3 * full[memory.DISK]


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_lora_of_7b_fits_24_gib(make_stage, models, kind):
    stage, machine = make_stage(kind, lora_rank=16), BIG._replace(gpu=24)
    needed = sizes(stage, 1, "none", machine=machine)
    size = memory.shape(models / "7b")
    frozen, trained = 2 * size.total, 18 * 16 * size.adapters
    assert needed["model states"] * memory.GIB == pytest.approx(frozen + trained)
    assert needed[memory.GPU] < 24
    on_cpu = sizes(stage, 1, "none", machine=BIG._replace(gpu=0))
    assert on_cpu["model states"] * memory.GIB == pytest.approx(2 * frozen + trained * 16 / 18)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_qlora_of_7b_fits_a_t4(make_stage, models, kind):
    stage = make_stage(kind, lora_rank=16, load_in_4bit=True)
    needed = sizes(stage, 1, "none", machine=BIG._replace(gpu=15))
    assert needed[memory.GPU] < 15
    adapters = 18 * 16 * memory.shape(models / "7b").adapters
    frozen = needed["model states"] * memory.GIB - adapters
    linear = 28 * (2 * 3584 * (3584 + 512) + 3 * 3584 * 18944)
    exact = 0.52 * linear + 2 * (PARAMETERS - linear)  # NF4 with its constants; the rest halves
    assert exact < frozen < 1.15 * exact


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_small_file_fits_a_t4(make_stage, kind):
    profile = run.read_profile("small")
    assert profile["model_id"] == "Qwen/Qwen2.5-0.5B-Instruct"
    stage = make_stage(kind, "0.5b", **stages.from_parameters(kind, profile))
    assert sizes(stage, 1, "none", machine=BIG._replace(gpu=15))[memory.GPU] < 15


def test_each_kept_checkpoint_takes_disk(make_stage):
    two = sizes(make_stage("sft", save_steps=50, keep_checkpoints=2), 1)
    four = sizes(make_stage("sft", save_steps=50, keep_checkpoints=4), 1)
    saves = 2 * 16 * PARAMETERS / memory.GIB
    assert four[memory.DISK] - two[memory.DISK] == pytest.approx(saves, rel=1e-3)


def test_a_kl_term_needs_the_reference_model_unless_adapters_can_be_taken_off(make_stage):
    plain, kl = make_stage("grpo"), make_stage("grpo", beta=0.04)
    lora = make_stage("grpo", beta=0.04, lora_rank=16)
    needed = [sizes(stage, 8, "zero2")["reference model"] for stage in (plain, kl, lora)]
    assert needed == [0, pytest.approx(2 * PARAMETERS / memory.GIB, rel=1e-3), 0]


def test_rollouts_by_transformers_gather_the_model_under_zero3(make_stage):
    stage = make_stage("grpo")
    zero2, zero3 = (sizes(stage, 8, name)["rollouts"] for name in ("zero2", "zero3"))
    assert zero3 - zero2 == pytest.approx(2 * PARAMETERS / memory.GIB, rel=1e-3)
    # completions x tokens x (k, v) x bytes x layers x heads x width
    keys_and_values = 2 * 2048 * 2 * 2 * 28 * 4 * 128
    assert zero2 == pytest.approx((keys_and_values + 2 * 16 * 152064) / memory.GIB)


def test_vllm_takes_its_share_and_a_server_nothing(make_stage):
    inside = make_stage("grpo", engine="vllm")
    assert sizes(inside, machine=BIG._replace(gpu=80))["rollouts"] == pytest.approx(24)
    server = make_stage("grpo", engine="vllm_server", vllm_server_url="http://localhost:8000")
    assert sizes(server)["rollouts"] == 0


# The machine -------------------------------------------------------------------------------------


def test_the_smallest_gpu_counts(tmp_path, monkeypatch):
    gpus = [("NVIDIA A100-SXM4-80GB", 80.0), ("NVIDIA A100-PCIE-40GB", 40.0)]
    monkeypatch.setattr(devices, "gpus", lambda: gpus)
    assert memory.machine(tmp_path / "sft").gpu == 40


def test_without_a_gpu_only_memory_and_disk_count(make_stage):
    machine = memory.Machine(gpu=0, main=200, disk=100)
    table = memory.estimate(make_stage("sft", "1.5b"), 1, 1, "none", machine)
    assert table.dropna()["item"].tolist() == [memory.MAIN, memory.DISK]
    assert table.set_index("item")["needed"][memory.MAIN] > 16 * 1.54e9 / memory.GIB


def test_the_demo_fits_a_laptop(tiny_base, make_stage):
    demo = run.read_profile("demo")
    for kind in ("sft", "grpo"):
        stage = make_stage(kind, **stages.from_parameters(kind, demo))
        stage = stage.model_copy(update={"start": tiny_base})
        assert sizes(stage, 1, "none", machine=BIG._replace(gpu=0))[memory.MAIN] < 2


def test_the_limit_of_a_slurm_job_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")  # MiB, as Slurm gives it
    assert memory.machine(tmp_path / "sft").main == pytest.approx(100 / 1024)


def test_an_interrupted_stage_does_not_stand_in_its_own_way(tmp_path, monkeypatch):
    left = tmp_path / "checkpoints" / "sft.partial" / "checkpoint-50" / "model.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(2**20))
    usage = shutil._ntuple_diskusage(0, 0, 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert memory.machine(paths.checkpoint(tmp_path, "sft")).disk == pytest.approx(1 + 1 / 1024)


# The parameter files and their page --------------------------------------------------------------


def stage_of(kind, size, make_stage):
    profile = run.read_profile(f"qwen2.5-{size}")
    chosen = stages.from_parameters(kind, profile) | {"world_size": profile["processes"]}
    return make_stage(kind, size, **chosen), profile


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("size", list(QWEN)[1:])
def test_a_parameter_file_fits_the_machine_it_names(make_stage, size, kind):
    text = (paths.PROFILES / f"qwen2.5-{size}.yaml").read_text()
    stage, profile = stage_of(kind, size, make_stage)
    machine = r"of (\d) A100 80 GB, (\d+) GiB of main memory, (\d+) GiB of free disk"
    n_gpus, cpu, disk = map(int, re.search(machine, text).groups())
    assert profile["processes"] == n_gpus
    assert profile["model_id"].lower() == f"qwen/qwen2.5-{size}-instruct"
    machine = memory.Machine(80, cpu, disk)
    table = memory.estimate(stage, n_gpus, 1, profile["strategy"], machine)
    assert not (table["needed"] > table["available"]).any()
    assert table.set_index("item")["needed"][memory.DISK] > disk / 2


@pytest.mark.parametrize("size", list(QWEN)[1:])
def test_a_parameter_file_is_the_papers(make_stage, size):
    (sft, profile), (grpo, _) = (stage_of(kind, size, make_stage) for kind in ("sft", "grpo"))
    run.check_parameters(profile, run.known_parameters())
    assert list(profile) == list(run.read_profile("demo"))
    assert (sft.learning_rate, sft.scheduler, sft.warmup) == (1e-5, "cosine", 0.1)
    assert (sft.epochs, sft.max_steps, sft.batch_size, sft.max_length) == (3, 0, 32, 4096)
    assert (grpo.learning_rate, grpo.scheduler, grpo.warmup) == (1e-6, "cosine", 0.1)
    assert (grpo.weight_decay, grpo.temperature, grpo.steps) == (0.1, 1, 500)
    assert (grpo.batch_size, grpo.num_generations) == (16, 16)
    assert (grpo.max_prompt_length, grpo.max_completion_length) == (1024, 1024)


def page_row(name):
    """The numbers of the first row of that name in the page beside the parameter files."""
    page = (paths.PROFILES / "README.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [float(cell.replace(",", "")) for cell in line.split("|")[2:-1]]


def test_the_pages_needs_are_the_estimates(make_stage):
    columns = []
    for size in list(QWEN)[1:]:
        needed = {}
        for kind in ("sft", "grpo"):
            stage, profile = stage_of(kind, size, make_stage)
            machine = BIG._replace(gpu=80)
            needed[kind] = sizes(stage, profile["processes"], profile["strategy"], 1, machine)
        both = [max(needed[kind][item] for kind in needed) for item in (memory.MAIN, memory.DISK)]
        columns.append([needed["sft"][memory.GPU], needed["grpo"][memory.GPU], *both])
    names = ["memory per GPU, SFT", "memory per GPU, GRPO", memory.MAIN, memory.DISK]
    for name, values in zip(names, zip(*columns, strict=True), strict=True):
        assert page_row(name) == pytest.approx(values, rel=5e-3, abs=0.05), name


# Beside a real model on a CPU -------------------------------------------------------------------


def gemma(folder):
    """A folder like that of Gemma 3 270M, without its content."""
    config = {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256}
    config |= {"vocab_size": 262144, "tie_word_embeddings": True}
    layer = {"q": [1024, 640], "k": [256, 640], "v": [256, 640], "o": [640, 1024]}
    layer |= {"gate": [2048, 640], "up": [2048, 640], "down": [640, 2048]}
    layer |= {"norm_q": [256], "norm_k": [256]}
    layer |= {f"norm_{number}": [640] for number in range(4)}
    weights = {"model.embed_tokens.weight": [262144, 640], "model.norm.weight": [640]}
    for number in range(18):
        weights |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    (folder / "config.json").write_text(json.dumps(config))
    empty_weights(folder / "model.safetensors", weights)
    return folder


def test_the_estimate_is_what_a_real_model_took_on_a_cpu(tmp_path):
    """The peaks of processes that benchmarks/memory.py recorded."""
    results = json.loads((paths.ROOT / "benchmarks/results.json").read_text("utf-8"))["memory"]
    model = gemma(tmp_path)
    assert memory.shape(model).total == results["parameters"]
    assert len(results["stages"]) >= 6
    for name, measured in results["stages"].items():
        output = paths.checkpoint(tmp_path, "x")
        places = {"start": model, "train_file": "rows.jsonl", "output": output}
        stage = stages.settings(measured["kind"], places | measured["settings"])
        needed = sizes(stage, 1, "none", machine=BIG._replace(gpu=0))[memory.MAIN]
        estimated = needed * memory.GIB / 1e9
        assert estimated == pytest.approx(measured["estimated_GB"], abs=0.01), name
        assert estimated == pytest.approx(measured["process_GB"], rel=0.25), name
    counted = results["stages"]["SFT, 2 rows"]
    weights = 4 * results["parameters"] / 1e9  # read in place, so not in torch's allocator
    estimated = counted["estimated_GB"] - weights
    assert estimated == pytest.approx(counted["allocator_GB"], rel=0.25)


# Beside one GPU ----------------------------------------------------------------------------------

MEASURED = {
    "packed": ("sft", {"batch_size": 4, "micro_batch": 2, "max_length": 4096, "packing": True}),
    "grpo_transformers": ("grpo", {"micro_batch": 4, "max_completion_length": 512}),
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_one_gpu_took_is_at_most_the_estimate_and_not_far_below(make_stage, name):
    """The peaks that benchmarks/gpu.py recorded, of a shape like the 1.5B's."""
    results = json.loads((paths.ROOT / "benchmarks/results.json").read_text("utf-8"))
    kind, settings = MEASURED[name]
    needed = sizes(make_stage(kind, "1.5b", **settings), 1, "none")
    estimated = needed["memory of a GPU"] - needed["kept free"]
    assert 0.75 < results["gpu"][name]["peak_GB"] * 1e9 / memory.GIB / estimated < 1
