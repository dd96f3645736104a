"""The sweeps on the tiny model: what they compare, and the tables that follow from verdicts."""

import sys
from collections import Counter

import pandas as pd
import pytest

from curemed_utils import data, languages, paper, paths, rewards
from curemed_utils.evaluation import verdicts


@pytest.fixture
def benchmark(monkeypatch):
    """A function that imports a file of benchmarks/."""
    monkeypatch.syspath_prepend(paths.ROOT / "benchmarks")
    for name in ("tiny_runs", "language_weight", "transfer", "dead_groups"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__


def answered(model: str, seed: int, rows: list[data.Row], part: str, right: int) -> pd.DataFrame:
    """Six verdicts a row, of which the first `right` are right and in the language."""
    lines = []
    for row in rows:
        for sample in range(6):
            truth = sample < right
            line = {"id": row.id, "language": row.language, "model": model, "set": part}
            line |= {"seed": seed, "sample": sample, "complete": True, "well_formed": True}
            lines.append(line | {"correct": truth, "in_language": truth})
    return verdicts.typed(pd.DataFrame(lines))


def test_weights_differ_in_the_language_s_share_alone(benchmark):
    sweep = benchmark("language_weight")
    paper_s = {f"{name}_weight": weight for name, weight in rewards.WEIGHTS.items()}
    assert sweep.weights(0.30) == pytest.approx(paper_s)
    for weight in sweep.WEIGHTS:
        shares = sweep.weights(weight)
        assert sum(shares.values()) == pytest.approx(1) and shares["language_weight"] == weight
        assert shares["accuracy_weight"] == pytest.approx(13 * shares["format_weight"])


def test_the_sweep_s_table_has_a_line_a_weight_sft_first(benchmark):
    sweep = benchmark("language_weight")
    rows = [row for row in sweep.split_rows()["rft"] if row.language in ("French", "Thai")]
    parts = []
    for seed in range(3):
        parts.append(answered("sft", seed, rows, "trained", 1))
        parts.append(answered("language_0.85", seed, rows, "trained", 3))
        parts.append(answered("language_0.00", seed, rows, "trained", seed + 1))
    names = {"sft": None, "language_0.85": 0.85, "language_0.00": 0.0}
    table = sweep.table_of(pd.concat(parts), names).set_index("weight")
    assert list(table.index) == ["SFT", "0.00", "0.85"]
    assert table["la"].tolist() == table["lc"].tolist() == [16.7, 33.3, 50.0]
    assert table["la_sd"].tolist() == [0, 16.7, 0]
    assert (table["la_low"] < table["la"]).all() and (table["la"] < table["la_high"]).all()


def test_every_language_lacks_two_topics_that_most_others_learn(benchmark):
    cells = benchmark("transfer").cells()
    lacking = Counter(row.language for row in cells["left_out"])
    assert lacking == dict.fromkeys(languages.NAMES, 2)
    topics = Counter(row.topic for row in cells["trained"])
    assert set(topics) == {row.topic for row in cells["left_out"]}
    assert min(topics.values()) >= len(languages.NAMES) - 3
    assert not set(topics) & {row.topic for row in cells["never"]}


def test_the_table_of_transfer_keeps_cells_and_seeds_apart(benchmark):
    transfer = benchmark("transfer")
    parts = []
    for seed in range(3):
        for part, right in (("trained", 3), ("left_out", seed), ("never", 0)):
            parts.append(answered("sft", seed, transfer.cells()[part], part, right))
    table = transfer.table_of(pd.concat(parts)).set_index("cells")
    assert table["la"].tolist() == [50.0, 16.7, 0.0]
    left_out = table.loc["left_out"]
    assert left_out[["la_least", "la_most"]].tolist() == [0.0, 33.3] and left_out["rows"] == 26
    assert left_out["la_low"] < 16.7 < left_out["la_high"]


def test_dead_groups_and_dead_steps_are_read_from_a_stage_s_log(benchmark, tmp_path):
    steps = []
    for step, dead in enumerate((0.0, 0.5, 1.0, 1.0), 1):
        steps.append({"step": step, "dead_groups": dead, "num_tokens": 100 * step, "reward": 0.5})
    data.write_jsonl([{"step": 0, "eval_reward": 0.2}, *steps], tmp_path / "log.jsonl")
    assert benchmark("dead_groups").measure(tmp_path) == {
        "steps": 4,
        "dead_groups": 0.625,
        "dead_steps": 2,
        "tokens_a_step": 100,
        "reward": 0.5,
    }


def test_what_notebook_06_concludes_stands_in_the_committed_tables():
    transfer = paper.published("demo_transfer").set_index("cells")
    assert transfer.loc[["left_out", "never"], "la"].eq(0).all()
    assert transfer.loc["trained", "la_least"] > 0
    price = paper.published("demo_language_weight").set_index("weight")
    assert (price.drop("SFT")[["la", "lc"]] > price.loc["SFT", ["la", "lc"]]).all(axis=None)
    for part in ("la", "lc"):  # no weight's interval lies apart from another's
        assert price.drop("SFT")[f"{part}_low"].max() < price.drop("SFT")[f"{part}_high"].min()


def test_filter_and_refill_leave_less_than_half_of_the_dead_groups():
    table = paper.published("demo_dead_groups").set_index(["shape", "groups"])
    for shape in ("demo", "demo, surer"):
        as_they_come, refilled = table.loc[shape, "dead_groups"]
        assert as_they_come > 0 and refilled < as_they_come / 2
    assert table.loc[("demo, surer", "as they come"), "kept"] == 12  # all of stage 1
