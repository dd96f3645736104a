"""A real model behind a real server, calibrated over HTTP from the command line."""

import importlib.util
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import make
import pandas as pd
import pytest
import server

from curemed_utils import paths, prompts

N = 40  # published verdicts of each task


@pytest.fixture
def root(sample, tmp_path, monkeypatch):
    """The release, or a small one by hand."""
    if not os.environ.get("CUREMED_RELEASE"):
        folder = tmp_path / "release"
        for kind in ("logic", "language"):
            for language in ("French", "Hausa"):
                texts = [row.reasoning for row in sample if row.language == language]
                scores = ["True" if k % 2 else "False" for k in range(len(texts))]
                where = {"kind": kind, "language": language}
                make.released_verdicts(folder, scores, responses=texts, **where)
        monkeypatch.setenv("CUREMED_RELEASE", str(folder))


@pytest.fixture
def coin(tiny_base, sample, tmp_path):
    """The tiny model, taught to toss a coin: each prompt of a judge with True and with False."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rows = random.Random(0).sample(sample, 60)
    for row in rows:
        item = {"question": row.question, "reference": row.answer, "response": row.reasoning}
        for task in ("logic", "language"):
            messages = prompts.judge_messages(task, item | {"language": row.language})
            prompt = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            for word in ("True", "False"):
                reply = tokenizer(word + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
                labels = torch.tensor([[-100] * len(asked) + reply])
                model(input_ids=torch.tensor([asked + reply]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.do_sample = True  # temperature alone makes no server of theirs draw
    model.save_pretrained(tmp_path / "coin")
    tokenizer.save_pretrained(tmp_path / "coin")
    return tmp_path / "coin"


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn")),
    reason="transformers serve is not installed: pip install 'transformers[serving]'",
)
def test_a_served_model_is_no_better_than_chance_and_paid_once(root, coin, tmp_path):
    log, run = tmp_path / "serve.log", tmp_path / "run"
    with server.transformers_serve(coin, log) as url:
        command = [sys.executable, "-m", "curemed_utils.judge", "calibrate", str(coin)]
        command += ["--n", str(N), "--base-url", url, "--run-dir", str(run)]
        # what was learnt is a chance of each word, which only a draw shows
        command += ["--options", "{temperature: 1.0, max_concurrency: 1}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while answers(log) < N and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(2)  # for the server to end what it was asked
        lost = answers(log) - stored(run)
        assert N / 2 < stored(run) < 60 and 0 <= lost < 8, "more had not reached the disk"
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert subprocess.run(command, capture_output=True, timeout=600).returncode == 0
        assert answers(log) == stored(run) + lost, "what was stored is not paid for again"
    lines = pd.read_csv(paths.judge_rates(run, str(coin))).query("by == 'all'")
    assert (lines["n_scored"] > 0.8 * lines["n"]).all()
    assert lines["kappa"].abs().max() < 0.6 and (lines["kappa_low"] < 0).any(), lines.T
    assert "no better than chance" in done.stdout


def answers(log):
    return log.read_text().count('"POST /v1/chat/completions HTTP/1.1" 200')


def stored(run):
    with closing(sqlite3.connect(paths.judge_cache(run))) as file:
        return file.execute("SELECT COUNT(*) FROM replies").fetchone()[0]
