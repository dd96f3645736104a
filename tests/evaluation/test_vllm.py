"""The engine vLLM on a CPU, beside transformers and behind a server: `make vllm`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from curemed_utils import data, evaluation, paths, prompts
from curemed_utils.evaluation import generation
from curemed_utils.evaluation.generation import GenerationSettings
from curemed_utils.judge import Judge

pytestmark = pytest.mark.vllm


def generate(model, posed, seeds=None, **settings):
    responses = {}
    settings = GenerationSettings(**{"max_new_tokens": 64, "temperature": 0} | settings)
    for batch in generation.in_batches(model, posed, seeds or [0] * len(posed), settings):
        responses |= batch
    return [responses[place] for place in range(len(posed))]


def engines():
    """This process's descendants that belong to a vLLM engine."""
    return [each for each in psutil.Process().children(True) if is_engine(each)]


def is_engine(process):
    with contextlib.suppress(psutil.Error):
        return "vllm" in process.name().lower() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def posed(sample):
    """200 prompts: the sample's, and five with another language in the system turn."""
    others = [row.model_copy(update={"language": "Spanish"}) for row in sample[:5]]
    return [prompts.messages(row) for row in [*sample, *others]]


def test_greedy_texts_are_those_of_transformers(tiny_trained, posed, capfd):
    assert len(posed) == 200
    plain = generate(tiny_trained, posed)
    found = generate(tiny_trained, posed, engine="vllm", batch_size=128)
    same = sum(one == other for one, other in zip(plain, found, strict=True))
    with capfd.disabled():
        print(f"\n{same} of 200 greedy responses are equal in text, end and counts")
    assert same >= 190
    assert {response.finish_reason for response in plain} == {"stop", "length"}
    assert not engines(), "the engine outlives its model"
    assert "EngineDeadError" not in capfd.readouterr().out


def test_a_seed_makes_a_response_whatever_its_batch(tiny_trained, posed):
    few = posed[::20]
    seeds = [0] * len(few) * 2 + [1] * len(few)
    found = generate(tiny_trained, few * 3, seeds, engine="vllm", temperature=1.2, batch_size=7)
    first, again, other = (found[place * len(few) :][: len(few)] for place in range(3))
    assert first == again
    assert sum(one != another for one, another in zip(first, other, strict=True)) > len(few) / 4


def test_further_devices_serve_copies(tiny_trained, posed, monkeypatch):
    plain = generate(tiny_trained, posed[:40])
    monkeypatch.setattr(generation, "tensor_parallel", lambda *_: 1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    running = []

    def count(*_):
        running.append(len([each for each in engines() if "EngineCore" in each.name()]))
        return response_of(*_)

    response_of = generation._response
    monkeypatch.setattr(generation, "_response", count)
    found = generate(tiny_trained, posed[:40], engine="vllm")
    assert set(running) == {2} and not engines()
    assert sum(one == other for one, other in zip(plain, found, strict=True)) >= 38


def test_a_prompt_that_does_not_fit_is_told_before_an_engine_starts(tiny_trained, posed):
    with pytest.raises(ValueError, match=r"max_model_len.*32768"):
        generate(tiny_trained, posed, engine="vllm", max_new_tokens=32768)


KILLED = """
import sys
from pathlib import Path
from curemed_utils import data, evaluation

run = Path(sys.argv[1])
rows = data.read_jsonl(run / "rows.jsonl")
settings = dict(engine="vllm", samples=2, max_new_tokens=24, batch_size=8)
evaluation.evaluate(run, "base", {"test": rows}, **settings)
"""


def test_a_killed_evaluation_goes_on(tiny_trained, sample, tmp_path, monkeypatch):
    base = paths.checkpoint(tmp_path, "base")
    base.parent.mkdir()
    base.symlink_to(tiny_trained)
    rows = sample[:96]
    data.write_jsonl(rows, tmp_path / "rows.jsonl")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, env=environment)
    kept = paths.answers_folder(tmp_path, "base") / "responses.jsonl"
    end = time.monotonic() + 300
    while not (kept.exists() and kept.stat().st_size):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.005)
    orphans = [each for each in psutil.Process(process.pid).children(True) if is_engine(each)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept.read_bytes().splitlines()
    assert orphans and 8 <= len(before) < 192
    for orphan in orphans:  # vLLM's processes don't see that their parent is gone
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    asked = []

    def count(*given):
        asked.append(given)
        return response_of(*given)

    response_of = generation._response
    monkeypatch.setattr(generation, "_response", count)
    settings = dict(engine="vllm", samples=2, max_new_tokens=24, batch_size=8)
    found = evaluation.evaluate(tmp_path, "base", {"test": rows}, **settings)
    lines = kept.read_bytes().splitlines()
    assert len(asked) == 192 - len(before) and lines[: len(before)] == before
    assert len({json.loads(line)["key"] for line in lines}) == len(lines) == len(found) == 192


# A server of vLLM's own --------------------------------------------------------------------------


def test_a_server_says_greedily_what_transformers_says(served, tiny_trained, posed, tmp_path):
    plain = generate(tiny_trained, posed[:40])
    settings = {
        "engine": "server",
        "base_url": f"{served}/v1",
        "cache": tmp_path / "answers.sqlite",
    }
    found = generate("tiny", posed[:40], **settings)
    same = [
        (one.text, one.finish_reason) == (other.text, other.finish_reason)
        for one, other in zip(plain, found, strict=True)
    ]
    print(f"{sum(same)} of 40 responses of vllm serve are equal")
    assert sum(same) >= 38
    assert {response.served for response in found} == {"tiny"}


def test_a_served_evaluation_is_paid_once(served, sample, tmp_path):
    settings = {
        "engine": "server",
        "base_url": f"{served}/v1",
        "max_new_tokens": 32,
        "temperature": 0.8,
    }
    sets = {"test": sample[:6]}
    first = evaluation.evaluate(tmp_path, "other", sets, source="tiny", **settings)
    assert first["n_tokens"].between(1, 33).all() and first["n_prompt_tokens"].gt(50).all()
    again = evaluation.evaluate(tmp_path, "other", sets, source="tiny", **settings)
    assert again["response"].tolist() == first["response"].tolist()


def test_a_served_model_judges(served, sample, tmp_path):
    items = []
    for row in sample[:6]:
        items.append({"question": row.question, "reference": row.answer, "response": row.reasoning})
    options = {"structured_outputs": {"choice": ["True", "False"]}}  # it knows no such words
    settings = {"cache": tmp_path / "judge.sqlite", "base_url": f"{served}/v1", "options": options}
    with Judge("tiny", **settings) as judge:
        verdicts = judge.score("logic", items)
        again = judge.score("logic", items)
    assert {verdict.value for verdict in verdicts} <= {True, False}
    assert not any(verdict.cached for verdict in verdicts)
    assert all(verdict.cached for verdict in again)
    assert [verdict.value for verdict in again] == [verdict.value for verdict in verdicts]
    with Judge("tiny", cache=tmp_path / "plain.sqlite", base_url=f"{served}/v1") as judge:
        told = judge.score("logic", items)
    assert all(verdict.value is None and verdict.error for verdict in told)
