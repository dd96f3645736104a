"""Notebook 07 with a judge that reasons, set by parameters alone."""

import json

import papermill
import pytest

from curemed_utils import data, paths

OPTIONS = {"temperature": None, "max_tokens": None, "max_completion_tokens": 400}
SMALL = {"eval_samples": 1, "eval_max_new_tokens": 8, "eval_max_per_language": 1, "ood_limit": 1}


@pytest.mark.heavy
def test_a_judge_that_reasons_judges_from_notebook_07(
    serve, sample, tiny_base, tmp_path, monkeypatch
):
    rows = [row for row in sample if row.language in ("French", "Thai")]
    data.write_jsonl(rows[::2], paths.rows_file(tmp_path, "rft"))
    data.write_jsonl(rows[1::2], paths.rows_file(tmp_path, "test"))
    paths.checkpoint(tmp_path, "base").parent.mkdir()
    paths.checkpoint(tmp_path, "base").symlink_to(tiny_base)
    server = serve(reply="True", reasons=300)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    notebook = paths.NOTEBOOKS / "07_evaluation.ipynb"
    chosen = SMALL | {"run_dir": str(tmp_path), "judge_model": "stand-in"}
    options = OPTIONS | {"requests_per_minute": 6000, "timeout": 30}
    papermill.execute_notebook(
        notebook, tmp_path / "07.ipynb", chosen | {"judge_options": options}, progress_bar=False
    )
    verdicts = paths.verdicts_file(tmp_path, "base").read_text(encoding="utf-8").splitlines()
    judged = [json.loads(line) for line in verdicts]
    answered = [each for each in judged if (each["response"] or "").strip()]
    assert answered and all(each["judged_correct"] for each in answered)
    assert not any(each["judge_error"] for each in judged)
    assert server.stats()["finished"] == server.stats()["seen"] <= 2 * len(judged)
