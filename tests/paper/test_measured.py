"""What a run has to show beside the paper, and what is measured on the release."""

import json

import make
import pandas as pd
import pytest

from curemed_utils import data, languages, paper, paths
from curemed_utils.evaluation import calibration
from curemed_utils.paper import figures_data, measured


@pytest.mark.heavy
def test_the_committed_tables_are_what_is_measured_on_the_release(release):
    judged = calibration.judge_offline(calibration.released_outputs(release))
    tables = {
        "figure08_composition": measured.count_rows(data.read_release(release)),
        "lc_decomposition": calibration.decompose(judged),
        "verifier_agreement": calibration.compare(judged, ["model", "language"]),
    }
    for name, table in tables.items():
        committed = paper.published(name).drop(columns="source")
        counted = table.round(4).reset_index()[committed.columns]
        pd.testing.assert_frame_equal(counted, committed, check_dtype=False, obj=name)


@pytest.mark.heavy
def test_duplicates_do_not_explain_the_paper_s_total(released):
    """Notebooks 02 and 08: more rows than the paper's total with them, fewer without."""
    rows = [row for part in released.values() for row in part]
    questions = {(row.language, data.normalize(row.question)) for row in rows}
    assert len(rows) == 18230 and len(questions) == 15486
    assert len(questions) < 15774 < len(rows)


def test_a_run_that_has_not_begun_says_what_is_missing(tmp_path):
    results = measured.results_of(tmp_path)
    assert results[:4] == (None, None, None, None)
    assert results.missing == [
        "data/sft.jsonl: notebook 01",
        "data/rft.jsonl: notebook 01",
        "data/test.jsonl: notebook 01",
        "checkpoints/stage1_high/log.jsonl: notebook 04",
        "checkpoints/stage2_medium/log.jsonl: notebook 05",
        "checkpoints/stage3_low/log.jsonl: notebook 06",
        "evaluation/stage3_low/verdicts.jsonl: notebook 07",
        "the levels of each tier: notebook 06",
    ]


def test_a_half_done_run_gives_what_it_has(tmp_path, sample):
    parts = {"sft": sample[:100], "rft": sample[100:150], "test": sample[150:]}
    for name, rows in parts.items():
        data.write_jsonl(rows, paths.rows_file(tmp_path, name))
    results = measured.results_of(tmp_path)
    counts = results.composition[["n_sft", "n_rft", "n_test"]].sum().tolist()
    assert counts == [100, 50, len(sample) - 150]
    assert results.scores is None
    assert results.missing[0] == "checkpoints/stage1_high/log.jsonl: notebook 04"
    alt = figures_data.composition(results.composition).alt
    assert alt.startswith(f"Left: rows of {len(languages.PUBLISHED)} languages")


@pytest.fixture
def evaluated(tmp_path):
    """A run whose base answers wrongly and whose stage3_low rightly, and is often cut off."""
    rows = [make.row(0), make.row(1)]
    for name in data.SPLITS:
        data.write_jsonl(rows, paths.rows_file(tmp_path, name))
    for model, correct in (("base", [False, False]), ("stage3_low", [False, True])):
        verdicts = make.verdicts(model, French=correct)
        verdicts["id"] = [row.id for row in rows]
        verdicts["set"] = "test"
        verdicts["response"] = [row.answer for row in rows]
        if model == "stage3_low":
            verdicts["finish_reason"] = "length"
        lines = json.loads(verdicts.drop(columns="model").to_json(orient="records"))
        data.write_jsonl(lines, paths.verdicts_file(tmp_path, model))
    return tmp_path


def test_scores_are_those_of_held_out_prompts(evaluated):
    scores = measured.results_of(evaluated).scores
    assert scores["model"].unique().tolist() == ["base", "stage3_low †"]
    overall = scores.query("language == 'all' and metric == 'la'").set_index("model")["value"]
    assert overall.to_dict() == {"base": 0, "stage3_low †": 50}
    assert set(scores["language"]) == {"all", "French"}
