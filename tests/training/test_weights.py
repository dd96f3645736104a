"""A model's content, and folders that can't be loaded: refused with what to do, before loading."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import make
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from curemed_utils import evaluation, paths
from curemed_utils.training import checkpoints, stages, weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000000000\n"


@pytest.fixture
def model(tiny_base, tmp_path):
    """A foreign model that a test may change."""
    return shutil.copytree(tiny_base, tmp_path / "model")


def flip(file: Path, place: int = -5) -> None:
    """Another byte in a file of the same size and time."""
    before = file.stat()
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def shards(model: Path) -> dict:
    """Makes two shards of the model's weights; returns their index."""
    tensors = load_file(model / "model.safetensors")
    names = sorted(tensors)
    index = {"metadata": {}, "weight_map": {}}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, model / file, {"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def pickled(model: Path, name: str = "pytorch_model.bin") -> Path:
    """Puts .bin weights in place of the safetensors."""
    torch.save(load_file(model / "model.safetensors"), model / name)
    (model / "model.safetensors").unlink()
    return model


# Content -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 5000, -5])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_a_flipped_byte_anywhere_is_another_model(model, name, place):
    size = (model / name).stat().st_size
    before = checkpoints.identity(model)
    flip(model / name, place % size)
    assert checkpoints.identity(model) != before
    flip(model / name, place % size)
    assert checkpoints.identity(model) == before


def test_a_flipped_byte_in_a_shard_counts_and_links_are_followed(model, tmp_path):
    shards(model)
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in model.iterdir():
        (linked / file.name).symlink_to(file)
    before = checkpoints.identity(model)
    assert checkpoints.identity(linked) == before
    flip(model / "model-00002-of-00002.safetensors")
    assert checkpoints.identity(model) == checkpoints.identity(linked) != before


def test_what_shapes_no_answer_makes_no_other_model(model):
    before = checkpoints.identity(model)
    for name in ("README.md", ".gitattributes", "trainer_state.json", "training_args.bin"):
        (model / name).write_text("x")
    torch.save({}, model / "pytorch_model.bin")  # beside safetensors nothing reads it
    assert checkpoints.identity(model) == before
    (model / "generation_config.json").write_text("{}")
    assert checkpoints.identity(model) != before


def test_a_file_is_read_once(model, monkeypatch):
    checkpoints.identity(model)
    monkeypatch.setattr(weights.hashlib, "file_digest", None)
    checkpoints.identity(model)


def test_a_snapshot_of_the_hub_is_known_by_its_content(model, tmp_path):
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in model.iterdir():
        (snapshot / file.name).symlink_to(file)
    base = checkpoints.link(tmp_path / "run" / "checkpoints" / "base", str(snapshot))
    before = checkpoints.identity(model)
    assert checkpoints.identity(base) == before
    flip(model / "model.safetensors")
    assert checkpoints.identity(base) != before


def finished(model: Path, output: Path, made_from: dict) -> Path:
    """A checkpoint of ours with a model's files."""
    shutil.copytree(model, checkpoints.partial(output))
    made = {"kind": "sft", "made_from": made_from, "steps": 1}
    checkpoints.finish(checkpoints.partial(output), output, made)
    return output


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_our_own_checkpoint_with_other_content_is_another_model(model, tmp_path, name):
    made_from = {"seed": 1}
    sft = finished(model, tmp_path / "run" / "checkpoints" / "sft", made_from)
    copy = shutil.copytree(sft, tmp_path / "copy")
    recipe = checkpoints.fingerprint(made_from)
    assert checkpoints.identity(sft) == checkpoints.identity(copy) == recipe
    for _ in range(2):  # flipped, and flipped back
        flip(sft / name, 100)
        changed = checkpoints.identity(sft) != recipe
        assert changed != checkpoints.is_made_from(sft, made_from)
    assert not changed and checkpoints.identity(copy) == recipe


def test_what_is_no_content_leaves_our_own_checkpoint_the_same(model, tmp_path):
    sft = finished(model, tmp_path / "sft", {"seed": 1})
    (sft / "README.md").write_text("x")
    (sft / "model.safetensors").touch()
    assert checkpoints.is_made_from(sft, {"seed": 1})


def test_a_checkpoint_finished_before_digests_is_known_by_what_made_it(model, tmp_path):
    sft = finished(model, tmp_path / "sft", {"seed": 1})
    made = checkpoints.info(sft)
    del made["content"]
    (sft / "stage.json").write_text(json.dumps(made))
    flip(sft / "model.safetensors")
    assert checkpoints.is_made_from(sft, {"seed": 1})


def test_a_stage_json_of_others_makes_no_checkpoint_of_ours(model):
    before = checkpoints.identity(model)
    (model / "stage.json").write_text('{"stage": 2}')
    assert checkpoints.identity(model) == before and checkpoints.info(model) == {}


def test_what_made_one_model_says_nothing_of_other_weights_beside_it(model, tmp_path):
    sft = finished(model, tmp_path / "sft", {"seed": 1})
    flip(model / "model.safetensors")
    foreign = checkpoints.identity(model)
    shutil.copy(sft / "stage.json", model)
    assert checkpoints.identity(model) == foreign


@pytest.mark.parametrize("ours", [False, True])
def test_other_weights_of_the_same_size_start_the_stage_anew(model, sample, tmp_path, ours):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(row.model_dump_json() for row in sample[:2]))
    start = finished(model, tmp_path / "checkpoints" / "ours", {"seed": 1}) if ours else model
    output = paths.checkpoint(tmp_path, "sft")
    stage = stages.settings("sft", {"start": start, "train_file": rows, "output": output})
    finished(model, output, stages.made_from(stage))
    assert stages.is_done(stage)
    for changed in (start, output):
        flip(changed / "model.safetensors")
        assert not stages.is_done(stage)
        flip(changed / "model.safetensors")
        assert stages.is_done(stage)


@pytest.mark.heavy
def test_other_weights_of_the_same_size_are_asked_anew(model, sample, tmp_path):
    def response():
        settings = {"temperature": 0, "max_new_tokens": 6, "source": model}
        verdicts = evaluation.evaluate(tmp_path, "m", {"test": sample[:1]}, **settings)
        return verdicts["response"].item()

    mark = paths.answers_folder(tmp_path, "m") / "made_from.json"
    before = response()
    first = mark.stat().st_mtime_ns
    assert response() == before and mark.stat().st_mtime_ns == first
    tensors = load_file(model / "model.safetensors")
    others = {name: tensor.flip(0).contiguous() for name, tensor in tensors.items()}
    save_file(others, model / "model.safetensors", {"format": "pt"})
    assert response() != before
    again = mark.stat().st_mtime_ns
    flip(model / "model.safetensors")
    response()
    assert mark.stat().st_mtime_ns > again > first


# What can't be loaded ----------------------------------------------------------------------------


def only(model: Path, *names: str) -> None:
    """Files of such names in place of the weights."""
    (model / "model.safetensors").unlink()
    for name in names:
        (model / name).write_bytes(b"x" * 40)


def config_with(**fields):
    def change(model):
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | fields))

    return change


def no_index(model):
    shards(model)
    (model / "model.safetensors.index.json").unlink()


def no_shard(model):
    shards(model)
    (model / "model-00002-of-00002.safetensors").unlink()


def cut(model):
    with (model / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)


def emptied(model):
    shutil.rmtree(model)
    model.mkdir()


def no_tokenizer(model):
    (model / "tokenizer.json").unlink()


def gguf_alone(model):
    emptied(model)
    (model / "model-Q4_K_M.gguf").write_bytes(b"GGUF")


def adapter_alone(model):
    emptied(model)
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen2.5-7B"}')
    save_file({"lora": torch.ones(3)}, model / "adapter_model.safetensors")


WRONG = {
    "empty": (emptied, r"is no finished checkpoint: it holds no config\.json"),
    "no config": (lambda m: (m / "config.json").unlink(), r"holds no config\.json"),
    "cut config": (lambda m: (m / "config.json").write_text('{"a"'), "can't be read .*fetch it ag"),
    "list config": (lambda m: (m / "config.json").write_text("[]"), "can't be read .*fetch it ag"),
    "adapter": (adapter_alone, "an adapter, not a whole model: merge it .*merge_and_unload"),
    "adapter beside": (
        lambda m: (m / "adapter_config.json").write_text("{}"),
        "an adapter, not a whole model",
    ),
    "pointer": (
        lambda m: (m / "model.safetensors").write_text(POINTER),
        r"Git LFS pointers in place of model\.safetensors: run `git lfs pull`",
    ),
    "tokenizer pointer": (
        lambda m: (m / "tokenizer.json").write_text(POINTER),
        r"Git LFS pointers in place of tokenizer\.json",
    ),
    "config is a folder": (
        lambda m: ((m / "config.json").unlink(), (m / "config.json").mkdir()),
        "can't be read",
    ),
    "stale index": (
        lambda m: (m / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}'),
        r"cut off or broken \(model\.safetensors\.index\.json: ",
    ),
    "empty index": (
        lambda m: (m / "model.safetensors.index.json").write_text('{"weight_map": {}}'),
        "names no file",
    ),
    "code": (
        config_with(model_type="x", auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
        "type x .*never run; .*serve it",
    ),
    "no language model": (config_with(model_type="vit"), "type vit .*isn't among the causal"),
    "no type": (config_with(model_type=[]), "can't be read"),
    "no tokenizer": (no_tokenizer, "holds no tokenizer: save it there"),
    "no shard": (no_shard, r"incomplete, model-00002-of-00002\.safetensors is missing"),
    "no index": (no_index, r"incomplete, model\.safetensors is missing"),
    "cut": (cut, r"cut off or broken \(model\.safetensors: .*fetch it again"),
    "no bytes": (lambda m: (m / "model.safetensors").write_bytes(b""), "cut off or broken"),
    "gguf": (gguf_alone, "GGUF weights, which can't be trained"),
    "gguf and config": (lambda m: only(m, "x.gguf"), "GGUF weights"),
    "tensorflow": (lambda m: only(m, "tf_model.h5"), "TensorFlow's weights"),
    "flax": (lambda m: only(m, "flax_model.msgpack"), "Flax's weights"),
    "original": (lambda m: only(m, "consolidated.00.pth"), "its authors' own weights"),
    "bin": (pickled, r"only \.bin weights or none"),
    "sharded bin": (
        lambda m: pickled(m, "pytorch_model-00001-of-00002.bin"),
        r"only \.bin weights or none",
    ),
    "none": (only, r"only \.bin weights or none"),
    "leftovers": (lambda m: only(m, "training_args.bin"), r"only \.bin weights or none"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_can_not_be_loaded_is_refused_with_what_to_do(kind, model, tmp_path, sample):
    change, message = WRONG[kind]
    change(model)
    run = tmp_path / "run"
    for load in (
        lambda: checkpoints.prepare_base(str(model), run, []),
        lambda: checkpoints.check_start(model, sample[0]),
        lambda: evaluation.respond(model, sample[:1]),
    ):
        with pytest.raises(FileNotFoundError, match=f"(?s)model .*{message}"):
            load()
    assert not run.exists()


@pytest.mark.parametrize("how", ["awq", {"quant_method": "gptq"}, {"load_in_4bit": True}])
def test_a_quantised_model_is_evaluated_but_not_trained(how, model, sample):
    config_with(quantization_config=how)(model)
    weights.check(model)
    with pytest.raises(ValueError, match=r"start .*model is quantised, so it can't be trained"):
        checkpoints.check_start(model, sample[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part),
    max_leaves=8,
)
ANY = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
KEYS = st.sampled_from(["weight_map", "model_type", "auto_map"])
FIELDS = st.dictionaries(KEYS, JSON).map(lambda value: json.dumps(value).encode())


def refusal(folder: Path) -> str:
    with pytest.raises(FileNotFoundError) as caught:
        weights.check(folder)
    return str(caught.value)


@pytest.mark.heavy
@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(["config.json", "model.safetensors.index.json", "model.safetensors"]),
    raw=ANY | FIELDS,
)
def test_any_content_of_a_file_gets_a_plain_answer(name, raw, tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    for file in tiny_base.iterdir():
        if file.name != name:
            (folder / file.name).symlink_to(file)
    (folder / name).write_bytes(raw)
    if name == "config.json":
        with contextlib.suppress(FileNotFoundError):
            weights.check(folder)
    else:
        assert refusal(folder)


def test_a_file_is_no_folder(model, tmp_path):
    file = model / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"is a file: give the folder"):
        checkpoints.link(tmp_path / "base", str(file))


# Models whose repository brings code, though transformers has its own for them: Phi-3, Falcon.
NEEDLESS = config_with(auto_map={"AutoModelForCausalLM": "modeling_x.XForCausalLM"})


@pytest.mark.parametrize("whole", [lambda model: None, shards, NEEDLESS])
def test_a_whole_model_passes(whole, model):
    whole(model)
    weights.check(model)


def test_a_repository_of_bin_weights_says_the_command_with_its_name(model, tmp_path, monkeypatch):
    asked = {}

    def snapshot_download(repo, ignore_patterns):
        asked.update(repo=repo, left=ignore_patterns)
        return str(model)

    only(model)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match=r"from_pretrained\('medalpaca/medalpaca-7b'\)"):
        checkpoints.link(tmp_path / "base", "medalpaca/medalpaca-7b")
    assert {"*.bin", "*.gguf", "consolidated*"} <= set(asked["left"])


def command_of(model: Path, target: Path) -> list[str]:
    """The command that the refusal names, with this Python."""
    line = re.search("`(.*)`", refusal(model))[1].replace("NEW_FOLDER", str(target))
    return [sys.executable, *shlex.split(line)[1:]]


@pytest.mark.heavy
def test_the_command_that_is_named_makes_safetensors_of_the_same_weights(
    model, tiny_base, tmp_path
):
    target = tmp_path / "converted"
    subprocess.run(command_of(pickled(model), target), check=True, capture_output=True)
    weights.check(target)
    assert make.same_weights(tiny_base, target)
    assert checkpoints.load_tokenizer(target)("toux")["input_ids"]


@pytest.mark.heavy
def test_a_pickle_that_would_run_code_runs_none(model, tmp_path):
    trace = tmp_path / "code ran"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    only(model)
    torch.save({"weight": Payload()}, model / "pytorch_model.bin")
    ended = subprocess.run(command_of(model, tmp_path / "converted"), capture_output=True)
    assert ended.returncode and not trace.exists()
