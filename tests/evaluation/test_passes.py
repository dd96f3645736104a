"""Prompts that teach: neither always solved by the starting checkpoint nor never."""

import pandas as pd
import pytest

from curemed_utils import data, paths
from curemed_utils.evaluation import passes

RATES = {"never": 0, "once": 1, "half": 2, "often": 3, "always": 4}  # of four samples


@pytest.fixture
def run(tmp_path, make_row, monkeypatch):
    """A run with a row of each kind in two languages, and one in Thai that nobody can tell."""
    rows, lines = [], []
    for language in ("French", "Yoruba"):
        for kind, solved in RATES.items():
            rows.append(make_row(id=f"{language}-{kind}", language=language))
            paid = [0.65] * solved + [0.0] * (4 - solved)
            lines += [{"id": rows[-1].id, "paid_accuracy": part} for part in paid]
    rows.append(make_row(id="unknown", language="Thai"))
    lines += [{"id": "unknown", "paid_accuracy": None}] * 4
    data.write_jsonl(rows, paths.rows_file(tmp_path, "stage3_low"))
    asked = {}

    def evaluate(run_dir, model, sets, **settings):
        asked.update(settings, model=model, rows=len(sets["pool"]))
        return pd.DataFrame(lines).astype({"paid_accuracy": float})

    monkeypatch.setattr(passes, "evaluate", evaluate)
    return tmp_path, asked


def kept(file) -> list[str]:
    return [row.id.removeprefix("French-") for row in data.read_jsonl(file) if row.id[0] != "Y"]


@pytest.mark.parametrize(
    ("low", "high", "kinds"),
    [
        (0, 1, [*RATES]),
        (0.01, 0.99, ["once", "half", "often"]),
        (0.25, 0.75, ["once", "half", "often"]),
        (0.3, 1, ["half", "often", "always"]),
    ],
)
def test_rows_between_the_two_rates_are_kept_and_those_that_nobody_can_tell(run, low, high, kinds):
    file, _ = passes.teachable(run[0], "stage3_low", "stage2_medium", low, high, samples=4)
    assert file == paths.rows_file(run[0], "stage3_low_teachable")
    assert kept(file) == [*kinds, "unknown"]


def test_what_was_dropped_is_counted_by_language(run):
    _, table = passes.teachable(run[0], "stage3_low", "sft", 0.3, 0.9, samples=4)
    assert table.loc["Yoruba"].to_dict() == {"too hard": 2, "too easy": 1, "kept": 2}
    assert table.loc["Thai"].to_dict() == {"too hard": 0, "too easy": 0, "kept": 1}


def test_the_answers_are_kept_apart_and_made_as_asked(run):
    passes.teachable(run[0], "stage3_low", "sft", 0, 1, samples=4, engine="vllm")
    assert run[1] == {
        "into": "pass_rates/stage3_low",
        "samples": 4,
        "engine": "vllm",
        "model": "sft",
        "rows": 11,
    }


def test_a_language_without_a_prompt_is_named(run, capsys):
    passes.teachable(run[0], "stage3_low", "sft", 0.6, 0.7, samples=4)
    told = capsys.readouterr().out
    assert "no prompt in French is left" in told and "no prompt in Yoruba is left" in told


def test_where_no_row_is_left_the_rates_are_named(run, monkeypatch):
    known = passes.evaluate(run[0], "sft", {"pool": []}).dropna()
    monkeypatch.setattr(passes, "evaluate", lambda *asked, **settings: known)
    rows = data.read_jsonl(paths.rows_file(run[0], "stage3_low"))[:-1]
    data.write_jsonl(rows, paths.rows_file(run[0], "stage3_low"))
    with pytest.raises(ValueError, match=r"sft solves no row of stage3_low in 0\.6 to 0\.7"):
        passes.teachable(run[0], "stage3_low", "sft", 0.6, 0.7)


@pytest.mark.heavy
def test_a_real_checkpoint_is_asked_once(tiny_trained, sample, tmp_path):
    rows = [row for row in sample if row.language == "French"][:4]
    data.write_jsonl(rows, paths.rows_file(tmp_path, "stage1_high"))
    settings = {"samples": 2, "max_new_tokens": 20, "source": tiny_trained}
    file, table = passes.teachable(tmp_path, "stage1_high", "sft", 0.0, 1.0, **settings)
    assert data.read_jsonl(file) == rows and table["kept"].sum() == 4
    answers = tmp_path / "pass_rates/stage1_high/sft/responses.jsonl"
    lines = answers.read_text().splitlines()
    passes.teachable(tmp_path, "stage1_high", "sft", 0.0, 0.0, **settings)
    assert len(lines) == 8 and answers.read_text().splitlines() == lines
