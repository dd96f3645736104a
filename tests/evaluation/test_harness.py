"""The task files of `harness.write_tasks`, alone and run by each harness that is installed."""

import asyncio
import importlib.util
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import make
import pandas as pd
import pytest
import torch
import yaml

from curemed_utils import data, evaluation, prompts, rewards
from curemed_utils.evaluation import generation, harness

NAMES = ("French", "Hindi", "Japanese", "Yoruba")
TASKS = [f"curemed_bench_{name.lower()}" for name in NAMES]
REPLY = "<thinking><step1>a</step1></thinking>\n<answer>{question}</answer>"


@pytest.fixture(scope="module")
def rows(sample):
    """Two rows in each of four languages: `REPLY` is right, of unknown truth or wrong by turns."""
    picked = []
    for name in NAMES:
        picked += [row for row in sample if row.language == name][:2]
    changed = []
    for n, row in enumerate(picked):
        accepted = [[row.question], [], row.accepted][n % 3]
        changed.append(row.model_copy(update={"accepted": accepted}))
    return changed


@pytest.fixture
def folder(rows, tmp_path):
    return harness.write_tasks(rows, tmp_path / "tasks")


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
    )


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(theirs, ours):
    return theirs is None or math.isnan(theirs) if ours is None else theirs == ours


# What is written --------------------------------------------------------------------------------


def test_the_rows_go_out_with_the_prompts_of_the_workbook_and_without_reasoning(rows, folder):
    records = harness.read_records(folder)
    assert [set(record) for record in records] == [set(harness.FIELDS)] * len(rows)
    for record, row in zip(records, rows, strict=True):
        system = {"role": "system", "content": record["system"]}
        user = {"role": "user", "content": record["question"]}
        assert [system, user] == prompts.messages(row)
        assert (record["id"], record["answer"]) == (row.id, row.answer)
        assert record["accepted"] == row.accepted
    assert rows[0].reasoning not in (folder / harness.ROWS).read_text(encoding="utf-8")


def test_one_task_a_language_one_over_all_and_a_group(folder):
    paths_of_tasks = sorted((folder / "lm_eval").glob("*.yaml"))
    configs = [yaml.safe_load(path.read_text()) for path in paths_of_tasks]
    group = configs.pop(0)
    assert [config["task"] for config in configs] == ["curemed_bench_all", *TASKS]
    assert [config["dataset_kwargs"]["language"] for config in configs] == ["", *NAMES]
    assert group["group"] == "curemed_bench" and group["task"] == TASKS
    assert all(not mean["weight_by_size"] for mean in group["aggregate_metric_list"])
    digest = harness.rows_digest(folder)
    assert all(config["metadata"]["rows"] == digest for config in [group, *configs])


def test_the_digest_changes_with_a_row(rows, folder, tmp_path):
    other = harness.write_tasks(rows[1:], tmp_path / "other")
    assert harness.rows_digest(other) != harness.rows_digest(folder)


def test_written_again_the_tasks_of_other_languages_go(rows, folder):
    harness.write_tasks(rows[:2], folder)
    left = {path.name for path in (folder / "lm_eval").glob("*.yaml")}
    assert left == {f"curemed_bench{end}.yaml" for end in ("", "_all", "_french")}


def test_the_task_files_of_all_harnesses_go_out(folder):
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"curemed_inspect.py", "curemed_lighteval.py", harness.ROWS} < names
    assert {"curemed_verifiers.py", "pyproject.toml"} < names
    assert {"lm_eval/_common_yaml", "lm_eval/utils.py"} < names
    assert not any("__pycache__" in name for name in names)


def test_the_limit_is_that_of_the_workbook(folder):
    default = generation.GenerationSettings().max_new_tokens
    common = (folder / "lm_eval" / "_common_yaml").read_text()
    assert default == harness.MAX_NEW_TOKENS and f"max_gen_toks: {default}}}" in common


def test_no_row_and_an_id_twice_are_said(tmp_path):
    with pytest.raises(data.DataError, match="holds no row"):
        harness.write_tasks([], tmp_path)
    with pytest.raises(data.DataError, match="duplicate id 'r1'"):
        harness.write_tasks([make.row(1), make.row(1)], tmp_path)


def test_a_language_unknown_or_without_rows_is_said(folder):
    with pytest.raises(ValueError, match="did you mean 'French'"):
        harness.read_records(folder, "french")
    with pytest.raises(data.DataError, match="holds no row in Thai"):
        harness.read_records(folder, "Thai")


# lm-evaluation-harness ----------------------------------------------------------------------------


def test_lm_eval_leaves_out_what_nothing_can_tell_and_counts_it(rows, folder):
    utils = load(folder / "lm_eval" / "utils.py")
    docs = list(utils.rows()["test"])
    assert [doc["id"] for doc in docs] == [row.id for row in rows]
    assert len(utils.rows("Hindi", version=1.0)["test"]) == 2
    for doc, row in zip(docs, rows, strict=True):
        response = REPLY.replace("{question}", row.question)
        results = utils.process_results(doc, [response])
        ours = rewards.score(response, row)
        assert all(same(results.get(name), ours[name]) for name in harness.PARTS)
        assert results["accuracy_unknown"] == float(not row.accepted)
        assert ("accuracy" in results) == bool(row.accepted)
    # no answer is a wrong one, not an unknown one
    assert utils.process_results(docs[0], [""])["accuracy"] == 0.0


@needs("lm_eval")
def test_lm_eval_gives_our_responses_and_verdicts_to_the_last_item(
    rows, folder, tiny_base, monkeypatch
):
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ours = evaluation.respond(tiny_base, rows, temperature=0, max_new_tokens=24, batch_size=4)
    on_gpu = torch.cuda.is_available()
    precision = "bfloat16" if on_gpu else "float32"
    result = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tiny_base), "dtype": precision},
        tasks=["curemed_bench", "curemed_bench_all"],
        task_manager=TaskManager(include_path=str(folder / "lm_eval"), include_defaults=False),
        apply_chat_template=True,
        gen_kwargs="max_gen_toks=24",
        batch_size=4,
        device="cuda" if on_gpu else "cpu",
        bootstrap_iters=0,
    )
    columns = {"accuracy": "correct", "language": "in_language", "format": "well_formed"}
    for samples in result["samples"].values():
        for item in samples:
            (mine,) = ours[ours["id"] == item["doc"]["id"]].to_dict("records")
            assert item["resps"][0][0] == mine["response"]
            for part, column in columns.items():
                expected = None if pd.isna(mine[column]) else float(mine[column])
                assert same(item.get(part), expected)
    for by, task in (({"x": 1}, "all"), ({"language": "French"}, "french")):
        name = next(iter(by))
        table = evaluation.table(ours.assign(x=1), [name]).loc[by[name]]
        theirs = result["results"][f"curemed_bench_{task}"]
        for part, column in {"accuracy": "la", "language": "lc", "format": "well_formed"}.items():
            expected = None if pd.isna(table[column]) else table[column] / 100
            assert same(theirs.get(f"{part},none"), expected)
        assert theirs["accuracy_unknown,none"] == table["n_unknown_la"] > 0
    assert "accuracy,none" in result["results"]["curemed_bench"]


# inspect_ai ---------------------------------------------------------------------------------------


@needs("inspect_ai")
def test_inspect_asks_the_server_what_we_would_and_scores_as_we_do(
    rows, folder, serve, monkeypatch, tmp_path
):
    import inspect_ai

    server = serve(reply=REPLY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.chdir(folder)
    (log,) = inspect_ai.eval(
        "curemed_inspect.py",
        model="openai/m",
        model_args={"responses_api": False},
        display="none",
        log_dir=str(tmp_path / "logs"),
    )
    assert log.status == "success" and server.stats()["finished"] == len(rows)
    assert log.eval.metadata["rows"] == harness.rows_digest(folder)
    by_id = {row.id: row for row in rows}
    scored = {part: [] for part in harness.PARTS}
    for item in log.samples:
        row = by_id[item.id]
        asked = [{"role": turn.role, "content": turn.content} for turn in item.input]
        assert asked == prompts.messages(row)
        assert item.output.completion == REPLY.replace("{question}", row.question)
        ours = rewards.score(item.output.completion, row)
        for part in harness.PARTS:
            assert same(item.scores["curemed"].value[part], ours[part])
            scored[part] += [] if ours[part] is None else [ours[part]]
    for score in log.results.scores:
        known = scored[score.name]
        assert score.scored_samples == len(known)
        assert score.unscored_samples == len(rows) - len(known)
        assert score.metrics["grouped_all"].value == pytest.approx(sum(known) / len(known))
    assert 0 < sum(scored["accuracy"]) < len(scored["accuracy"]) < len(rows)


# lighteval ----------------------------------------------------------------------------------------

# In a process of its own: the task file changes lighteval's prompts.
LIGHTEVAL = """
import json, pickle, sys
from types import SimpleNamespace
from lighteval.tasks.lighteval_task import LightevalTask
from lighteval.tasks.prompt_manager import PromptManager
from lighteval.tasks.registry import Registry

configs = Registry._extract_configs(Registry.create_custom_tasks_module(sys.argv[1]))
tasks = {name: LightevalTask(config) for name, config in configs.items()}
LightevalTask.load_datasets(tasks)
found = []
for name, task in tasks.items():
    (metric,) = task.metrics
    items = []
    for doc in task.get_docs():
        reply = SimpleNamespace(text=[sys.argv[2].replace("{question}", doc.query)])
        scores = metric.compute_sample(model_response=reply, doc=doc)
        prompt = PromptManager(use_chat_template=True).prepare_prompt_api(doc)
        items.append({"id": doc.specific["id"], "prompt": prompt, "scores": scores})
    corpus = {}
    for part, mean in task.aggregation().items():
        mean = pickle.loads(pickle.dumps(mean))  # as its bootstrap does
        corpus[part] = float(mean([item["scores"][part] for item in items]))
    limit = task.generation_size
    found.append({"task": name, "items": items, "corpus": corpus, "limit": limit})
print(json.dumps(found))
"""


@needs("lighteval")
def test_lighteval_loads_the_tasks_and_scores_as_we_do(rows, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    command = [sys.executable, "-c", LIGHTEVAL, str(folder / "curemed_lighteval.py"), REPLY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [one["task"] for one in found] == [f"curemed_bench:{name.lower()}" for name in NAMES]
    by_id = {row.id: row for row in rows}
    for one in found:
        assert len(one["items"]) == 2 and one["limit"] == harness.MAX_NEW_TOKENS
        known = []
        for item in one["items"]:
            row = by_id.pop(item["id"])
            assert item["prompt"] == prompts.messages(row)
            ours = rewards.score(REPLY.replace("{question}", row.question), row)
            assert all(same(item["scores"][part], ours[part]) for part in harness.PARTS)
            known += [] if ours["accuracy"] is None else [ours["accuracy"]]
        assert one["corpus"]["accuracy"] == sum(known) / len(known)
        assert one["corpus"]["accuracy_unknown"] == 2 - len(known)
    assert not by_id


# verifiers ----------------------------------------------------------------------------------------


class Made:
    """In place of verifiers' classes where it is not installed: keeps what it was made of."""

    def __init__(self, data=None, config=None, **fields):
        self.data, self.config = data, config
        vars(self).update(fields)

    def __class_getitem__(cls, _):
        return cls


@pytest.fixture
def taskset(folder, monkeypatch):
    if importlib.util.find_spec("verifiers") is None:
        names = ("TaskData", "Task", "TasksetConfig", "Taskset", "Trace")
        stub = SimpleNamespace(reward=lambda f: f, metric=lambda f: f, **dict.fromkeys(names, Made))
        monkeypatch.setitem(sys.modules, "verifiers", SimpleNamespace(v1=stub))
        monkeypatch.setitem(sys.modules, "verifiers.v1", stub)
    module = load(folder / "curemed_verifiers.py")
    assert module.__all__ == ["CuremedTaskset"]

    def load_taskset(language):
        made = module.CuremedTaskset.__new__(module.CuremedTaskset)
        made.config = SimpleNamespace(language=language, task=None)
        return list(made.load())

    return load_taskset


def test_verifiers_asks_and_scores_as_we_do(rows, taskset):
    tasks = taskset("")
    assert len(taskset("French")) == 2 and len(tasks) == len(rows)
    for task, row in zip(tasks, rows, strict=True):
        system, user = prompts.messages(row)
        asked = (task.data.id, task.data.system_prompt, task.data.prompt)
        assert asked == (row.id, system["content"], user["content"])
        trace = SimpleNamespace(last_reply=REPLY.replace("{question}", row.question))
        ours = rewards.score(trace.last_reply, row)
        assert asyncio.run(task.composite(trace)) == rewards.composite(ours)
        parts = asyncio.run(task.parts(trace))
        assert all(same(parts.get(part), ours[part]) for part in harness.PARTS)
        assert ("accuracy" in parts) == bool(row.accepted)
        assert parts["accuracy_unknown"] == float(not row.accepted)
