"""One process against two on a CPU, by DDP and by DeepSpeed ZeRO-3: the same losses and weights.

Every run is the real command, with the accelerate configs of papermill_params/; what a CPU needs
beside is in one_rank.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from curemed_utils import data, paths, prompts
from curemed_utils.training import checkpoints, process, stages, trainers

pytestmark = pytest.mark.heavy
CONFIGS = paths.ROOT / "papermill_params" / "accelerate"
RANK = str(paths.ROOT / "tests/one_rank.py")

# Nine rows fill no whole number of batches of four, and groups of four rollouts lie across two
# processes of six.
SIZES = {
    "sft": {"batch_size": 4, "micro_batch": 1, "epochs": 2},
    "grpo": {"batch_size": 12, "micro_batch": 2, "num_generations": 4, "steps": 4, "beta": 0.1},
}
RUNS = [(kind, how) for kind in SIZES for how in ("ddp", "zero3")]


@pytest.fixture(scope="module")
def trained(sample, tiny_base, tmp_path_factory):
    """A function (kind, how) -> settings of that run, which has ended; each runs once."""
    folder, done = tmp_path_factory.mktemp("processes"), {}
    rows = sample[::7][:9]
    rows[1::2] = [row.model_copy(update={"accepted": []}) for row in rows[1::2]]
    train_file = data.write_jsonl(rows, folder / "rows.jsonl")

    def run(kind: str, how: str) -> stages.Stage:
        if (kind, how) in done:
            return done[kind, how]
        config = {
            "start": str(tiny_base),
            "train_file": str(train_file),
            "output": str(folder / f"{kind}-{how}"),
        }
        config |= {"world_size": 1 if how == "one" else 2}
        config |= {
            "learning_rate": 1e-3,
            "warmup": 0.0,
            "save_steps": 0 if how == "one" else 2,
        } | SIZES[kind]
        file = folder / f"{kind}-{how}.json"
        file.write_text(json.dumps(config))
        program = (
            ["-m", "curemed_utils.training"]
            if (kind, how) in (("sft", "one"), ("sft", "ddp"))
            else [RANK]
        )
        if how != "one":
            options = [
                "--config_file",
                str(CONFIGS / f"{how}.yaml"),
                "--num_processes",
                "2",
                "--main_process_port",
                "0",
            ]
            program = ["-m", "accelerate.commands.launch", *options, *program]
        command = [sys.executable, *program, kind, str(file)]
        here = {
            "CUDA_VISIBLE_DEVICES": "",
            "DS_ACCELERATOR": "cpu",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(paths.ROOT),
        }
        ended = subprocess.run(
            command, env=os.environ | here, text=True, capture_output=True, timeout=400
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
        done[kind, how] = stages.settings(kind, config)
        return done[kind, how]

    return run


def logged(stage: stages.Stage, name: str) -> list[float]:
    records = [
        json.loads(line) for line in (Path(stage.output) / "log.jsonl").read_text().splitlines()
    ]
    return [record[name] for record in records if name in record]


def furthest(one: Path, other: Path) -> float:
    """The largest difference between two checkpoints' weights, which must have the same names."""
    one, other = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    assert set(one) == set(other)
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize(("kind", "how"), RUNS)
def test_two_processes_log_the_losses_of_one(trained, kind, how):
    one, two = trained(kind, "one"), trained(kind, how)
    losses = logged(one, "loss")
    assert len(losses) == {"sft": 6, "grpo": 4}[kind] and max(losses) - min(losses) > 1e-2
    assert logged(two, "loss") == pytest.approx(losses, abs=1e-4)
    assert logged(two, "grad_norm") == pytest.approx(logged(one, "grad_norm"), rel=1e-3)


@pytest.mark.parametrize("how", ["ddp", "zero3"])
def test_groups_that_lie_across_processes_get_the_rewards_of_one(trained, how):
    one, two = trained("grpo", "one"), trained("grpo", how)
    assert max(logged(one, "frac_reward_zero_std")) == 0
    assert max(logged(one, "rewards/filled_in/mean")) > 0.05
    for name in (
        "reward",
        "reward_std",
        "rewards/accuracy/mean",
        "rewards/language/mean",
        "rewards/format/mean",
        "rewards/filled_in/mean",
    ):
        assert logged(two, name) == pytest.approx(logged(one, name), abs=1e-5), name


@pytest.mark.parametrize(("kind", "how"), RUNS)
def test_two_processes_save_the_whole_model_of_one(trained, tiny_base, kind, how):
    one, two = trained(kind, "one"), trained(kind, how)
    assert furthest(one.output, tiny_base) > 1e-3
    assert furthest(one.output, two.output) < 1e-4


@pytest.mark.parametrize(("kind", "how"), RUNS)
def test_the_saved_model_loads_and_generates(trained, kind, how):
    stage = trained(kind, how)
    model, info = AutoModelForCausalLM.from_pretrained(stage.output, output_loading_info=True)
    assert not any(info.values())
    tokenizer = checkpoints.load_tokenizer(stage.output)
    asked = prompts.messages(data.read_jsonl(stage.train_file)[0])
    given = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        made = model.generate(**given, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert made.shape[1] == given["input_ids"].shape[1] + 4


@pytest.mark.parametrize(("kind", "how"), RUNS)
def test_a_stage_made_by_two_processes_is_done_for_one(trained, kind, how):
    stage = trained(kind, how)
    assert stages.is_done(stage)
    assert checkpoints.info(stage.output)["rows"] == 9
    assert not [
        path.name
        for path in Path(stage.output).parent.glob(f"{kind}-{how}.*")
        if path.suffix != ".json"
    ]
    assert not [
        path.name
        for path in Path(stage.output).iterdir()
        if path.is_dir() or path.suffix in (".bin", ".pt", ".pth")
    ]


@pytest.mark.parametrize(
    ("rows", "batch_size", "fills"), [(8, 4, 0), (9, 4, 3), (3, 8, 5), (5, 64, 59)]
)
def test_the_last_batch_of_an_epoch_is_filled_with_rows_as_often_as_each_other(
    rows, batch_size, fills
):
    filled = trainers._fill(list(range(rows)), batch_size, seed=0)
    times = [filled.count(row) for row in range(rows)]
    assert len(filled) == fills and max(times) - min(times) <= 1
    assert filled == trainers._fill(list(range(rows)), batch_size, seed=0)


def test_a_stage_whose_weights_were_not_gathered_is_not_done(
    sample, tiny_base, tmp_path, monkeypatch
):
    train_file = data.write_jsonl(sample[:2], tmp_path / "rows.jsonl")
    monkeypatch.setattr("trl.SFTTrainer.save_model", lambda *_, **__: None)
    sizes = {"batch_size": 2, "micro_batch": 2, "max_steps": 1}
    places = {"start": tiny_base, "train_file": train_file, "output": tmp_path / "sft"}
    stage = stages.settings("sft", places | sizes)
    with pytest.raises(RuntimeError, match="holds no weights after saving; with ZeRO-3"):
        process.train("sft", stage)
    assert not stages.is_done(stage)


# The configs -------------------------------------------------------------------------------------

STARTS = {
    "ddp": {"multi_gpu": True, "use_deepspeed": False, "use_fsdp": False},
    "zero2": {"use_deepspeed": True, "zero_stage": 2, "offload_optimizer_device": "none"},
    "zero3": {
        "use_deepspeed": True,
        "zero_stage": 3,
        "offload_param_device": "none",
        "zero3_save_16bit_model": True,
    },
    "zero3_offload": {
        "use_deepspeed": True,
        "zero_stage": 3,
        "offload_param_device": "cpu",
        "zero3_save_16bit_model": True,
    },
    "fsdp2": {
        "use_fsdp": True,
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": True,
        "fsdp_state_dict_type": "FULL_STATE_DICT",
    },
}


def test_every_config_is_known():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(STARTS)


@pytest.mark.parametrize("name", STARTS)
def test_accelerate_takes_the_config_and_starts_what_its_name_says(name):
    file = str(CONFIGS / f"{name}.yaml")
    given = ["--config_file", file, "--num_processes", "4"]
    given += ["--num_machines", "2", "--machine_rank", "1", "script.py"]
    parser = launch.launch_command_parser()
    options = set(vars(parser.parse_args(given)))
    config = load_config_from_file(file)
    # a misspelt one would be passed over in silence
    assert set(config.deepspeed_config) | set(config.fsdp_config) <= options
    args, _, _ = launch._validate_launch_command(parser.parse_args(given))
    assert {option: getattr(args, option) for option in STARTS[name]} == STARTS[name]
    assert (args.num_processes, args.num_machines, args.machine_rank) == (4, 2, 1)
    assert args.mixed_precision == "no"
