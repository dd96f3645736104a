"""The benchmarks of training run at a toy's size: that both sides do the same work is asserted
inside.
"""

import json
import sys

import pandas as pd
import pytest
import torch

from curemed_utils import data, paths

pytestmark = pytest.mark.heavy


@pytest.fixture
def benchmark(monkeypatch):
    """A function that imports a file of benchmarks/."""
    monkeypatch.syspath_prepend(paths.ROOT / "benchmarks")
    monkeypatch.delenv("CUREMED_RELEASE", raising=False)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return load


def test_the_plain_loop_prepares_and_loses_the_same(benchmark, monkeypatch):
    sft = benchmark("sft")
    for name, value in {"ROUNDS": 1, "BATCH": 4, "MICRO_BATCH": 2, "EVERY": 100}.items():
        monkeypatch.setattr(sft, name, value)
    result = sft.measure()
    assert result["rows"] == "sample" and result["preparation_ratio"] > 1
    assert result["tokens_per_second"]["plain loop"] > 0 and result["loss_difference"] < 1e-4


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="it asks for what a machine without a GPU gives"
)
def test_the_gpu_measurements_run_at_a_toys_size_without_one(benchmark):
    result = benchmark("gpu").measure(benchmark("gpu").TINY)
    assert result["device"] == "CPU" and result["packed_to_padded"] > 0
    assert (
        "share_of_peak" not in result["padded"]
        and result["grpo_transformers"]["seconds_per_step"] > 0
    )


def test_a_step_beside_a_busy_core_is_measured(benchmark, monkeypatch):
    busy = benchmark("busy")
    small = {"grpo_batch_size": 2, "grpo_micro_batch": 2, "num_generations": 2}
    small |= {"max_completion_length": 4}
    monkeypatch.setattr(busy.yaml12, "read_yaml", lambda _: small)
    monkeypatch.setattr(busy, "ROUNDS", 1)
    result = busy.measure()
    assert set(result["seconds_per_step"]) == {"quiet", "busy", "libgomp's default"}
    assert min(result["seconds_per_step"].values()) > 0 and result["busy to quiet"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is one")
def test_without_a_gpu_nothing_is_recorded(benchmark, monkeypatch):
    gpu = benchmark("gpu")
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    before = gpu.RESULTS.read_text()
    with pytest.raises(SystemExit, match="no CUDA GPU is here"):
        gpu.main()
    assert gpu.RESULTS.read_text() == before


def test_the_recorded_result_of_a_pretrained_model_is_that_of_its_verdicts(benchmark):
    pretrained = benchmark("pretrained")
    table = pd.read_csv(pretrained.VERDICTS)
    recorded = json.loads(pretrained.RESULTS.read_text())["pretrained"]
    assert json.loads(json.dumps(pretrained.results_of(table))) == recorded
    assert table.groupby(["model", "sample"])["id"].nunique().eq(299).all()


def test_arms_of_a_model_are_trained_and_asked(benchmark, monkeypatch, tmp_path, tiny_base):
    pretrained = benchmark("pretrained")
    rows = data.read_folder(paths.SAMPLE, "sample")
    monkeypatch.setattr(data, "read_release", lambda: {"sft": rows, "test": rows})
    monkeypatch.setattr(pretrained, "VERDICTS", tmp_path / "verdicts.csv")
    monkeypatch.setattr(pretrained, "record", lambda table: table)
    monkeypatch.setattr(pretrained, "SFT", {"batch_size": 2, "max_steps": 1})
    monkeypatch.setattr(pretrained, "ARMS", {"code-switched": ("sample", {}, 1)})
    monkeypatch.setattr(pretrained, "LIMIT", 4)
    monkeypatch.setattr(pretrained, "ASKED", 1)
    monkeypatch.setattr("sys.argv", ["pretrained.py", str(tiny_base), str(tmp_path)])
    pretrained.main()
    table = pd.read_csv(tmp_path / "verdicts.csv")
    assert set(table["model"]) == {"base", "code-switched"} and len(table) == 2 * (13 + 39)
