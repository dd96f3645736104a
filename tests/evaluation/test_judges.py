"""Judges beside published verdicts: simulated ones of known error rates, and served ones."""

import os
import signal
import subprocess
import sys
import time

import make
import numpy as np
import pandas as pd
import pytest

from curemed_utils import paths
from curemed_utils.data import DataError
from curemed_utils.evaluation import judges, rates
from curemed_utils.judge import Judge
from curemed_utils.judge.__main__ import main


def published(n=600, seed=0):
    """Verdicts on logic as `judges.draw` gives them, 60% of them True."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({"published": random.random(n) < 0.6, "task": "logic", "model": "m"})
    table["language"] = random.choice(["French", "Hausa"], n)
    return table.assign(response=["x" * k for k in range(1, n + 1)])


def simulated(truth, sensitivity, specificity, random):
    return random.random(len(truth)) < np.where(truth, sensitivity, 1 - specificity)


# Simulated judges ---------------------------------------------------------------------------------


def overall(sample, values):
    return judges.measure("m", sample, list(values)).iloc[0]


@pytest.mark.heavy
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.8), (0.7, 0.95)])
def test_the_intervals_hold_what_a_judge_was_made_with(sensitivity, specificity):
    sample = published()
    random, inside = np.random.default_rng(0), np.zeros(2)
    for _ in range(500):
        accepts = simulated(sample["published"], sensitivity, specificity, random)
        line = rates.agreement(accepts, sample["published"])  # as each line of the table
        for place, (name, true) in enumerate(
            [("sensitivity", sensitivity), ("specificity", specificity)]
        ):
            inside[place] += line[f"{name}_low"] <= 100 * true <= line[f"{name}_high"]
    assert ((inside / 500 >= 0.93) & (inside / 500 <= 0.97)).all(), inside / 500
    last = overall(sample, accepts)
    assert last[[*line]].equals(pd.Series(line))


@pytest.mark.heavy
def test_corrected_rates_cover_the_truth_and_plain_ones_do_not():
    """120 runs of 40 topics in two languages, whose accuracy differs from topic to topic."""
    sample, random, covered = published(), np.random.default_rng(1), np.zeros(2)
    for _ in range(120):
        accepts = simulated(sample["published"], 0.97, 0.7, random)
        calibrated = judges.measure("m", sample, list(accepts))
        calibrated = pd.concat([calibrated, calibrated.assign(task="language")], ignore_index=True)
        of_topic = np.repeat(random.beta(3, 7, 40), 10)  # 30% on average
        accepts = simulated(random.random(400) < of_topic, 0.97, 0.7, random)
        unknown = pd.array([pd.NA] * 400, "boolean")
        run = make.verdicts(French=accepts[::2].tolist(), Hausa=accepts[1::2].tolist())
        run = run.assign(judged_correct=run["correct"], judged_language=unknown)
        run["correct"] = True  # by exact match, which is not asked
        topics = {row_id: str(int(row_id.split("-")[1]) // 5) for row_id in run["id"]}
        line = judges.corrected(run, calibrated, topics).set_index("metric").loc["la"]
        covered[0] += line["low"] <= 30 <= line["high"]
        covered[1] += line["corrected_low"] <= 30 <= line["corrected_high"]
        assert line["corrected_high"] - line["corrected_low"] > line["high"] - line["low"]
    assert covered[0] == 0 and 111 <= covered[1] <= 117, covered


def test_a_corrected_rate_by_hand():
    # (.6 + .8 - 1) / (.9 + .8 - 1); only the specificity is unsure, by .1 / .7 * (1 - .571)
    sure = [[0.6] * 3, [0.9] * 3, [0.8, 0.7, 0.9]]
    true, low, high = rates.true_share(*sure)
    assert true == pytest.approx(0.4 / 0.7)
    assert (true - low, high - true) == pytest.approx([0.1 / 0.7 * (1 - 0.4 / 0.7)] * 2)
    # half of the change in what is accepted, one for one where nobody errs
    assert rates.true_share([0.6, 0.5, 0.8], [1] * 3, [1] * 3) == pytest.approx([0.6, 0.5, 0.8])


def test_a_judge_by_hand():
    truth = [True] * 50 + [False] * 50
    says = [True] * 45 + [False] * 5 + [True] * 10 + [False] * 40
    sample = published(100).assign(published=truth)
    line = overall(sample, says)
    names = ["n", "n_scored", "false_accept", "false_reject"]
    assert line[names].tolist() == [100, 100, 10, 5]
    names = ["agreement", "sensitivity", "specificity"]
    assert line[names].tolist() == pytest.approx([85, 90, 80])
    # by chance .5 * .55 + .5 * .45 = .5; 2 * .85 * .15 of the verdicts differ
    assert line["kappa"] == pytest.approx(0.7) and line["note"] == ""
    assert line["settles_2"] == 5000  # 7.85 * 0.255 * 2500 = 5004
    assert 0.5 < line["kappa_low"] < 0.7 < line["kappa_high"] < 0.85


def test_what_could_not_be_read_is_unknown_and_not_wrong():
    sample = published(90)
    values = sample["published"].tolist()
    values[::3] = [None] * 30
    line = overall(sample, values)
    assert line[["n", "n_scored", "agreement"]].tolist() == [90, 60, 100]
    nothing = overall(sample, [None] * 90)
    assert nothing["n_scored"] == 0 and nothing["note"] == "no verdict"
    assert nothing[["agreement", "kappa", "kappa_low"]].isna().all()


def test_a_judge_that_says_one_word_or_tosses_a_coin_is_told_so():
    sample = published()
    always = overall(sample, [True] * 600)
    assert np.isnan(always["kappa"]) and always["note"] == "no kappa: a side never varies"
    assert always["sensitivity"] == pytest.approx(always["sensitivity_high"]) == 100
    coin = simulated(sample["published"], 0.5, 0.5, np.random.default_rng(9))
    tossed = overall(sample, coin)
    assert abs(tossed["kappa"]) < 0.1 and tossed["note"] == "no better than chance"
    run = make.verdicts(French=[True, False])
    run = run.assign(judged_correct=run["correct"], judged_language=run["correct"])
    calibrated = judges.measure("m", sample, list(coin))
    calibrated = pd.concat([calibrated, calibrated.assign(task="language")], ignore_index=True)
    lines = judges.corrected(run, calibrated, None)
    assert lines["corrected"].isna().all() and set(lines["note"]) == {"no better than chance"}


def test_a_table_has_texts_for_people():
    sample = published(100)
    lines = [judges.measure(name, sample, list(sample["published"])) for name in ("b", "a")]
    table = judges.shown(pd.concat(lines), "kappa", "n")
    assert table.columns.tolist() == ["b", "a"]
    assert table.loc[("logic", "all", "kappa")].tolist() == ["1 (1 to 1)"] * 2
    assert table.loc[("logic", "all", "n"), "a"] == 100


def test_drift_by_length_and_author_shows():
    sample = published(600).assign(model=["a", "b"] * 300)
    long = sample["response"].str.len() > 400
    table = judges.measure("m", sample, list(sample["published"] | long))
    specificity = table.set_index(["by", "group"])["specificity"]
    assert specificity["length", "short"] == specificity["length", "middle"] == 100
    assert specificity["length", "long"] == 0
    assert set(table.loc[table["by"].eq("tier"), "group"]) == {"high", "low"}
    assert set(table.loc[table["by"].eq("model"), "group"]) == {"a", "b"}


# The sample ---------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A release with 270 verdicts for each task, and the environment that points to it."""
    folder = tmp_path / "release"
    for kind in ("logic", "language"):
        for model, share in (("claude", 3), ("gpt/gpt5_nano", 1)):
            for language, n in (("French", 90), ("Hausa", 45)):
                scores = ["False" if k % 4 < share else "True" for k in range(n)]
                texts = [f"{model}, {language}, {k}" for k in range(n)]
                where = {"model": model, "kind": kind, "language": language}
                make.released_verdicts(folder, scores, responses=texts, **where)
    monkeypatch.setenv("CUREMED_RELEASE", str(folder))
    monkeypatch.setenv("CUREMED_RUNS", str(tmp_path / "runs"))
    return folder


def test_each_stratum_has_its_share(root):
    sample = judges.draw(90, seed=3)
    sizes = sample.groupby(["task", "model", "language", "published"]).size()
    assert len(sizes) == 16 and sizes["logic", "Claude 3 Haiku", "French", False] in (22, 23)
    assert sizes["language", "GPT-5-nano", "Hausa", False] in (3, 4)
    assert len(sample) == 180
    pd.testing.assert_frame_equal(sample, judges.draw(90, seed=3))
    assert sample["response"].tolist() != judges.draw(90, seed=4)["response"].tolist()
    assert len(judges.draw(5000)) == 540, "all there are"
    assert (sample["published"] != sample["published"].shift()).sum() > 30, (
        "a cap may end the asking anywhere"
    )


@pytest.mark.heavy
def test_the_release_gives_about_six_hundred_of_each_task(release):
    sample = judges.draw()
    assert sample["task"].value_counts().between(550, 650).all()
    population = judges.draw(10**6)
    for name in ("model", "language", "published"):
        drawn, whole = (
            t.groupby("task")[name].value_counts(normalize=True) for t in (sample, population)
        )
        assert (drawn - whole).abs().max() < 0.01


# Served judges ------------------------------------------------------------------------------------


def calibrate(server, *arguments):
    return main(["calibrate", *arguments, "--base-url", server.url])


@pytest.mark.heavy
def test_three_judges_and_their_majority_are_printed_and_kept(root, serve, capsys):
    server = serve(reply="True")
    assert calibrate(server, "one", "two/2", "three", "--n", "45", "--run-dir", "runs/j") == 0
    told = capsys.readouterr().out
    assert "one, logic, still to ask: Totals(requests=45" in told
    assert max(map(len, told.splitlines()[-30:])) < 140
    for word in (
        "majority of three",
        "no kappa: a side never varies",
        "settles_2",
        "seconds",
        "Hausa",
        " to 100)",
    ):
        assert word in told
    assert server.stats()["finished"] == 270
    run = paths.run_directory("runs/j")
    kept = pd.read_csv(paths.judge_rates(run, "two/2"))
    assert kept["n"].iloc[:2].tolist() == [45, 45] and kept["sensitivity"].eq(100).all()
    assert calibrate(server, "one", "--n", "45", "--run-dir", "runs/j") == 0
    assert server.stats()["finished"] == 270, "paid once"


@pytest.mark.heavy
def test_rates_of_another_judge_prompt_or_request_are_refused(root, serve, tmp_path, monkeypatch):
    server = serve(reply="True")
    make_judge = lambda name, **options: Judge(  # noqa: E731
        name, server.url, cache=tmp_path / "j.sqlite", options=options
    )
    judges.calibrate(["m"], judges.draw(20), tmp_path, base_url=server.url)
    file = str(paths.judge_rates(tmp_path, "m"))
    assert judges.read_rates(file, make_judge("m"))["n"].iloc[:2].tolist() == [20, 20]
    with pytest.raises(DataError, match=r"'m'.* this run of .*'other'.*calibrate again"):
        judges.read_rates(file, make_judge("other"))
    with pytest.raises(DataError, match=r"'temperature', 0\.0.*'temperature', 1"):
        judges.read_rates(file, make_judge("m", temperature=1))
    monkeypatch.setattr("curemed_utils.prompts.judge_fingerprint", lambda: "another")
    with pytest.raises(DataError, match="this run of prompt another"):
        judges.read_rates(file, make_judge("m"))


@pytest.mark.heavy
def test_a_judge_that_nobody_can_read_has_a_line_that_says_so(root, serve, capsys):
    server = serve(reply="perhaps")
    assert calibrate(server, "m", "--n", "20") == 0
    told = capsys.readouterr().out
    assert "no verdict" in told and server.stats()["finished"] == 3 * 40


@pytest.mark.heavy
def test_what_was_cut_off_is_asked_once_in_all_calibrations(root, serve, capsys):
    cut = '{"model": "m", "choices": [{"message": {"content": "Tr"}, "finish_reason": "length"}]}'
    server = serve(body=cut)
    for _ in range(2):
        assert calibrate(server, "m", "--n", "20") == 0
        assert "no verdict" in capsys.readouterr().out
    assert server.stats()["finished"] == 40
    longer = ["--options", "{max_tokens: 20}"]
    assert calibrate(server, "m", "--n", "20", *longer) == 0
    assert server.stats()["finished"] == 80, "another request"


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"faults": {"404": 1}}, [], "check model and OPENAI_BASE_URL"),
        ({"faults": {"drop": 1}}, ["--base-url", "http://127.0.0.1:9/v1"], "m did not answer"),
        ({}, ["--options", "{"], "--options"),
    ],
)
@pytest.mark.heavy
def test_a_judge_that_cannot_be_had_ends_with_a_sentence(
    root, serve, capsys, monkeypatch, options, arguments, message
):
    monkeypatch.setattr("curemed_utils.judge.wire.RETRIES", 0)
    server = serve(**options)
    assert main(["calibrate", "m", "--n", "20", "--base-url", server.url, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.heavy
def test_nothing_is_asked_without_a_release_or_a_cap(root, serve, capsys, monkeypatch):
    server = serve()
    assert calibrate(server, "gpt-4o", "--n", "20") == 2
    assert "gpt-4o may cost money: give --max-usd" in capsys.readouterr().err
    assert calibrate(server, "gpt-4o", "--n", "20", "--max-usd", "1") == 0
    asked = server.stats()["seen"]
    monkeypatch.delenv("CUREMED_RELEASE")
    assert calibrate(server, "m") == 2
    assert "set CUREMED_RELEASE" in capsys.readouterr().err
    assert server.stats()["seen"] == asked == 40


@pytest.mark.heavy
def test_killed_and_started_again_it_pays_for_nothing_twice(root, serve, tmp_path):
    server = serve(delay=0.3, reply="True")
    command = [sys.executable, "-m", "curemed_utils.judge", "calibrate", "m", "--n", "270"]
    command += ["--base-url", server.url, "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while server.stats()["finished"] < 100 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed = time.time()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = server.stats()["finished"]
    assert 100 <= before < 540
    server.change(delay=0.0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stats = server.stats()
    assert stats["distinct"] == 540 and stats["finished"] == 540 + stats["twice"]
    # only what came in the last moment before the kill had not reached the disk
    assert all(answered > killed - 0.5 for answered in stats["again"])
