"""The benchmarks of training run at a toy's size: that both sides do the same work is asserted
inside.
"""

import json
import sys

import make
import pandas as pd
import pytest
import torch

from curemed_utils import data, notebook, paper, paths, prompts, rewards
from curemed_utils.evaluation import verdicts
from curemed_utils.paper import curves
from curemed_utils.training import checkpoints, tokens

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


def test_the_figures_tables_of_a_pretrained_model_are_those_of_its_verdicts(benchmark):
    pretrained = benchmark("pretrained")
    tables = pretrained.tables_of(pd.read_csv(pretrained.VERDICTS))
    assert set(tables) == {"real_arms", "real_pairs", "real_languages", "real_held_out"}
    for name, table in tables.items():
        committed = paper.published(name).drop(columns="source")
        pd.testing.assert_frame_equal(table, committed, check_dtype=False, obj=name)


def test_undecided_languages_bound_a_share_and_seeds_a_difference(benchmark):
    tables = benchmark("pretrained_tables")
    lines = []
    for arm, right in (("monolingual", 12), ("code-switched", 15)):
        for seed in range(2):
            for n in range(20):
                truth = None if n >= 16 else n < right
                line = {"id": f"release-{n}", "language": "French", "in_language": truth}
                line |= {"model": arm, "sample": seed, "n_tokens": 10 + n, "complete": n != 0}
                lines.append(line | {"well_formed": True, "correct": None})
    runs = verdicts.typed(pd.DataFrame(lines).assign(set="test", seed=0))
    arm = tables.arms_of(runs).set_index("arm").loc["156 short rows, code-switched"]
    assert (arm["lc"], arm["undecided"], arm["tokens"]) == (93.75, 20, 19.5)
    assert (arm["lc_wrong"], arm["lc_right"]) == (75, 95)
    assert arm["lc_complete"] == pytest.approx(100 * 14 / 15, abs=1e-4)
    (pair,) = tables.compared(runs).to_dict("records")
    assert pair["lc"] == pytest.approx(100 * 3 / 16, abs=1e-4)
    assert pair["lc_low"] < pair["lc"] < pair["lc_high"]
    assert pair["lc_detectable_seeds"] == 0 and pair["lc_detectable"] > 5


def test_the_training_of_a_run_becomes_a_table(benchmark, monkeypatch, tmp_path, tiny_base):
    pretrained = benchmark("pretrained")
    logs = {
        "sft": [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.25}, {"train_loss": 2}],
        "stage1_high": [{"step": 1, "loss": 0.1, "reward": 0.5, "completions/mean_length": 60}],
    }
    logs["stage1_high"][0] |= {f"rewards/{name}/mean": 0.25 for name in rewards.WEIGHTS}
    for stage, lines in logs.items():
        data.write_jsonl(lines, paths.training_log(tmp_path, stage))
    checkpoints.link(paths.checkpoint(tmp_path, "base"), str(tiny_base))
    notebook.record(tmp_path, "03_code_switched_sft", seed=7)
    (tmp_path / "tables").mkdir()
    monkeypatch.setattr(paths, "SOURCE_DATA", tmp_path / "tables")
    monkeypatch.setattr("sys.argv", ["pretrained.py", "--run", str(tmp_path)])
    pretrained.main()
    table = paper.published("real_training")
    columns = ["step", "loss", "reward", "accuracy", "language", "format", "length"]
    assert list(table) == ["stage", *columns, "source"]
    assert table["loss"].tolist() == [2.5, 1.25, 0.1] and table["length"].tolist()[-1] == 60
    assert table["source"].str.contains("qwen2 of 1 million parameters, seed 7").all()
    loss = curves.sft_loss(table.query("stage == 'sft'"))
    assert loss.alt == "Training loss falls from 2.50 to 1.25 over 2 steps"
    rewarded = curves.reward_curves(table.query("stage != 'sft'"))
    assert "stage1_high from 0.50 to 0.50" in rewarded.alt


class Letters:
    """A tokenizer with a token for each two letters."""

    def encode(self, text, add_special_tokens):
        return list(range(0, len(text), 2))


def test_tokens_are_counted_by_language_and_over_each_limit(benchmark):
    rows = [make.row(n, question="ab" * (n + 1), reasoning="x" * 200 * n) for n in range(4)]
    tax = tokens.token_tax(Letters(), rows)
    assert tax["question"].tolist() == [1, 2, 3, 4]
    response = prompts.completion(rows[3])[0]["content"]
    assert tax["response"].iloc[3] == (len(response) + 1) // 2 + 1
    assert tax["characters"].iloc[3] == pytest.approx(2, abs=0.02)
    table = benchmark("tokens").by_language(tax)
    assert table.index.tolist() == ["French", "all"]
    assert table.loc["all", ["rows", "question", "over_256", "over_512"]].tolist() == [
        4,
        2.5,
        25,
        0,
    ]
    assert table.loc["all", "longest"] == tax["response"].max()


def test_arms_of_a_model_are_trained_and_asked(benchmark, monkeypatch, tmp_path, tiny_base):
    pretrained = benchmark("pretrained")
    rows = data.read_folder(paths.SAMPLE, "sample")
    monkeypatch.setattr(data, "read_release", lambda: {"sft": rows, "test": rows})
    monkeypatch.setattr(pretrained, "VERDICTS", tmp_path / "verdicts.csv")
    monkeypatch.setattr(pretrained, "record", lambda table: table)
    monkeypatch.setattr(pretrained, "SFT", {"batch_size": 2, "max_steps": 1})
    monkeypatch.setattr(pretrained, "ARMS", {"code-switched": ("sample", {}, 1)})
    monkeypatch.setattr(pretrained, "THEN_GRPO", {"code-switched, then GRPO": ("code-switched", 1)})
    small = {"steps": 1, "batch_size": 2, "num_generations": 2, "micro_batch": 2}
    small["max_completion_length"] = 4
    monkeypatch.setattr(pretrained, "GRPO", pretrained.GRPO | small)
    monkeypatch.setattr(pretrained, "LIMIT", 4)
    monkeypatch.setattr(pretrained, "ASKED", 1)
    monkeypatch.setattr("sys.argv", ["pretrained.py", str(tiny_base), str(tmp_path)])
    pretrained.main()
    table = pd.read_csv(tmp_path / "verdicts.csv")
    arms = ["base", "code-switched", "code-switched, then GRPO"]
    assert table["model"].value_counts().to_dict() == dict.fromkeys(arms, 13 + 39)
