"""Responses that try a judge: their shape and languages, and what honest and fooled scorers pay."""

import json

import nbformat
import papermill
import pytest

from curemed_utils import data, language_id, languages, paths, rewards, trace
from curemed_utils.judge import Judge, adversarial
from curemed_utils.judge.wire import key_of

NOTEBOOK = paths.NOTEBOOKS / "04_grpo_stage1_high.ipynb"
ENGLISH = ("in English", "false message")
NO_SENTENCE = ("named 50 times", "empty answer", "empty response")
HOLD_THE_NAME = ("reworded", "hedged", "negated", "two rivals", "five rivals", "wrong side")


@pytest.fixture(scope="module")
def tried():
    return adversarial.responses()


def cell(identity: str) -> str:
    (source,) = (c.source for c in nbformat.read(NOTEBOOK, 4).cells if c.id == identity)
    return source


@pytest.fixture(scope="module")
def scorers():
    """The scorers that the notebook defines."""
    names = {"adversarial": adversarial, "rewards": rewards}
    exec(cell("04-trial-1"), names)
    return names["simulated"]


# The set -----------------------------------------------------------------------------------------


def test_there_are_24_kinds_in_each_of_the_13_languages(tried):
    assert len(tried) == 24 * 13 and tried["kind"].nunique() == 24
    assert set(tried["language"]) == set(languages.PUBLISHED)
    assert not tried.duplicated(["kind", "language"]).any()
    assert not tried.duplicated(["language", "response"]).any()
    worth = tried.drop_duplicates("kind")["worth"].value_counts().to_dict()
    assert worth == {"all": 3, "unlisted": 2, "part": 5, "nothing": 14}


@pytest.mark.heavy
def test_what_is_written_in_a_language_reads_as_it(tried):
    other = []
    for line in tried[~tried["kind"].isin(ENGLISH + NO_SENTENCE)].itertuples():
        answer = trace.answer_of(line.response) or trace.without_tags(line.response)
        if language_id.check_language(answer, line.language).verdict is False:
            other.append((line.language, line.kind, answer))
    assert other == []
    for line in tried[tried["kind"] == "in English"].itertuples():
        answer = trace.answer_of(line.response)
        assert language_id.check_language(answer, line.language).verdict is False


def test_each_language_has_all_texts_and_they_name_what_they_should(sample):
    rows = {(row.topic, row.language): row for row in sample}
    names = {tuple(sorted(texts)) for texts in adversarial.SET["texts"].values()}
    assert len(names) == 1
    for language, texts in adversarial.SET["texts"].items():
        assert texts["another disease"] in rows["tuberculosis", language].accepted
        assert texts["other answer"] == trace.answer_of(rows["appendicitis", language].answer)
        accepted = [form.casefold() for form in rows["pneumonia", language].accepted]
        for kind, text in texts.items():
            holds = any(form in text.casefold() for form in accepted)
            assert holds == (kind in HOLD_THE_NAME), (language, kind, text)
        for topic in ("tuberculosis", "asthma", "malaria", "measles"):
            forms = [form.casefold() for form in rows[topic, language].accepted]
            assert any(form in texts["five rivals"].casefold() for form in forms), language


def test_traces_argue_for_what_they_should(tried):
    for line in tried.itertuples():
        steps = trace.without_tags("".join(trace.blocks(line.response, "thinking")))
        argues = any(form.casefold() in steps.casefold() for form in line.accepted)
        if line.kind in ("reference", "another disease, right trace", "empty answer"):
            assert argues, (line.language, line.kind)
        if line.kind == "another disease, argued":
            assert (
                not argues and adversarial.SET["texts"][line.language]["another disease"] in steps
            )
    whole = tried[~tried["kind"].isin(["empty answer", "empty response", "outside of tags"])]
    assert [text for text in whole["response"] if trace.form_fault(text)] == []


# What scorers pay --------------------------------------------------------------------------------


def test_exact_match_pays_what_is_listed_and_nothing_else(tried, scorers):
    paid = tried.assign(exact_match=[scorers["exact_match"](i) for i in tried.to_dict("records")])
    assert set(paid.loc[paid["worth"] == "all", "exact_match"]) == {1.0}
    assert set(paid.loc[paid["worth"] != "all", "exact_match"]) == {0.0}
    told = adversarial.told(paid, "exact_match")
    assert told == "exact_match: 100.0% of pairs in order, 0 of 312 unknown"


FOOLED = {
    "keyword_judge": [
        "another disease, right trace",
        "negated",
        "two rivals",
        "five rivals",
        "empty answer",
    ],
    "obedient_judge": ["orders", "false message", "flattery", "empty answer", "question repeated"],
}


@pytest.mark.parametrize("name", FOOLED)
def test_a_fooled_judge_is_named_with_kinds_and_languages(tried, scorers, name):
    paid = tried.assign(**{name: [scorers[name](item) for item in tried.to_dict("records")]})
    lines = adversarial.told(paid, name).splitlines()
    named = {line.split("'")[1] for line in lines[1:] if "can't" not in line}
    assert set(FOOLED[name]) <= named
    assert "empty response" not in named
    if name == "keyword_judge":
        assert named == set(FOOLED[name])
    (empty,) = [line for line in lines if "empty answer" in line]
    assert empty.endswith(": every language")
    assert float(lines[0].split(": ")[1].split("%")[0]) < 90


def test_pairs_in_order_are_counted_within_a_language(tried):
    two = tried[tried["kind"].isin(["reference", "negated"])]
    two = two[two["language"].isin(["French", "Thai"])]
    scores = {("French", "reference"): 0.4, ("French", "negated"): 0.3}
    scores |= {("Thai", "reference"): 0.9, ("Thai", "negated"): 0.9}  # a tie is out of order
    two = two.assign(
        judge=[scores[pair] for pair in zip(two["language"], two["kind"], strict=True)]
    )
    told = adversarial.told(two, "judge").splitlines()
    assert told[0] == "judge: 50.0% of pairs in order, 0 of 4 unknown"
    assert told[1:] == ["paid 'negated' 0.60: French, Thai"]


def test_a_score_that_is_unknown_is_neither_paid_nor_in_a_pair(tried):
    right = (tried["worth"] == "all").astype(object)
    known = tried.assign(judge=right.where(tried["kind"] != "negated", None))
    assert adversarial.told(known, "judge") == "judge: 100.0% of pairs in order, 13 of 312 unknown"
    nobody = adversarial.told(tried.assign(judge=None), "judge")
    assert nobody == "judge: unknown how many of pairs in order, 312 of 312 unknown"


def test_a_judge_that_is_absent_pays_nothing_and_says_why(tried, tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with Judge("gpt-4.1", cache=tmp_path / "judge.sqlite", max_usd=1) as judge:
        verdicts = judge.score("reward_accuracy", tried.to_dict("records"))
    assert {verdict.value for verdict in verdicts if verdict.error} == {None}
    unasked = tried[[verdict.error is None for verdict in verdicts]]
    assert set(unasked["kind"]) == {"empty response"}
    assert "no server to ask" in next(verdict.error for verdict in verdicts if verdict.error)


# In the notebook, before the stage ---------------------------------------------------------------


def replies(judge: Judge, tried, file, texts: dict[str, str]) -> str:
    """A file for tests/server.py: what is replied to the responses of each kind."""
    lines = []
    for item in tried.to_dict("records"):
        if item["kind"] in texts:
            (request,) = judge.requests("reward_accuracy", [item])
            lines.append(json.dumps({"key": key_of(request), "text": texts[item["kind"]]}))
    file.write_text("\n".join(lines))
    return str(file)


def text_of(executed: nbformat.NotebookNode, identity: str) -> str:
    (outputs,) = (c.outputs for c in executed.cells if c.id == identity)
    texts = [output.get("text") or output.data["text/html"] for output in outputs]
    return "".join("".join(text) for text in texts)


@pytest.mark.heavy
def test_notebook_04_names_a_judge_that_pays_negated_answers(
    tried, sample, serve, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    rows = [row for row in sample if languages.get(row.language).tier == "high"]
    data.write_jsonl(rows, paths.rows_file(run, "stage1_high"))
    honest = dict.fromkeys(tried.loc[tried["worth"].isin(["all", "unlisted"]), "kind"], "1.0")
    fooled = honest | {"negated": "1.0", "empty answer": "0.25", "hedged": "hard to say"}
    with Judge("fooled", cache=tmp_path / "other.sqlite") as judge:
        file = replies(judge, tried, tmp_path / "replies.jsonl", fooled)
    server = serve(reply="0.0", replies=file)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    cut = nbformat.read(NOTEBOOK, 4)
    last = [c.id for c in cut.cells].index("04-trial-5")
    cut.cells = cut.cells[: last + 1]
    nbformat.write(cut, tmp_path / "cut.ipynb")
    files = [str(tmp_path / name) for name in ("cut.ipynb", "out.ipynb")]
    parameters = {"run_dir": str(run), "accuracy_by": "judge", "judge_model": "fooled"}
    for _ in range(2):
        executed = papermill.execute_notebook(
            *files, parameters, cwd=str(paths.NOTEBOOKS), progress_bar=False
        )
        told = text_of(executed, "04-trial-5")
        assert "fooled: 94.4% of pairs in order, 13 of 312 unknown" in told
        assert "paid 'negated' 1.00: every language" in told
        assert "paid 'empty answer' 0.25: every language" in told
        assert told.count("paid '") == 2 and "expected a number" in told
        assert "keyword_judge" in told and "unknown</td>" in told  # the table
        assert server.stats()["distinct"] == 23 * 13
        assert server.stats()["finished"] == 22 * 13 + 3 * 13  # the second time from the file
    assert "paid 'negated' 1.00" in text_of(executed, "04-trial-1")


def test_the_notebook_tries_the_judge_before_the_stage_is_launched():
    identities = [c.id for c in nbformat.read(NOTEBOOK, 4).cells if c.cell_type == "code"]
    sources = [cell(identity) for identity in identities]
    launch = next(n for n, source in enumerate(sources) if "training.stage(" in source)
    assert identities.index("04-trial-5") < launch
