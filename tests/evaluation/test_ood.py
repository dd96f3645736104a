import json
import shutil
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from curemed_utils import data, paper, paths, prompts
from curemed_utils.data import DataError
from curemed_utils.evaluation import benchmarks, choices
from curemed_utils.evaluation import verdicts as evaluation
from curemed_utils.evaluation.generation import Response
from curemed_utils.judge import Judge, Verdict

SAMPLE = paths.SAMPLE / "ood"
PLAIN = {"question": "Which?", "options": {"A": "aa", "B": "bb", "C": "cc"}, "answer_idx": "B"}


def put(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(tmp_path, **fields):
    record = {name: value for name, value in (PLAIN | fields).items() if value is not ...}
    return benchmarks.read("MedQA", put(tmp_path / "rows.jsonl", [record]), language="English")[0]


# Reading ------------------------------------------------------------------------------------------------------------


def test_mmedbench_as_published():
    questions = {question.id: question for question in benchmarks.read("MMedBench", SAMPLE / "MMedBench")}
    assert [questions[f"mmedbench-{name}"].keys for name in ("fr-0", "fr-1", "ja-1")] == [["C"], ["A", "B", "E"], ["A", "C"]]
    assert {question.language for question in questions.values()} == {"French", "Japanese", "Russian", "Spanish"}
    first = questions["mmedbench-fr-0"]
    assert first.rationale.startswith("Sans vitamine C") and first.extra["human_checked"] is True
    assert first.file.endswith("French.jsonl") and first.row == 1


def test_medexpqa_as_published():
    questions = benchmarks.read("MedExpQA", SAMPLE / "MedExpQA")
    assert [question.id for question in questions[:2]] == ["medexpqa-en-1", "medexpqa-en-2"] and len(questions) == 8
    assert questions[0].question.startswith("A child wheezes") and questions[0].question.endswith("most likely?")
    assert list(questions[0].options) == list("ABCD"), "the missing fifth option is no option"
    assert (questions[0].keys, questions[1].keys, questions[0].topic) == (["A"], ["C"], "1")
    assert "rag" in questions[0].extra and questions[0].extra["question"] == "Which disease is the most likely?"


def test_medqa_as_published_in_its_three_forms():
    found = {name: benchmarks.read("MedQA", SAMPLE / name) for name in ("MedQA", "MedQA-USMLE-4-options", "med_qa")}
    assert {q.language for q in found["MedQA"]} == {"English", "Simplified Chinese", "Traditional Chinese"}
    english = {name: [(q.question, q.keys) for q in questions if q.language == "English"] for name, questions in found.items()}
    assert len(english["MedQA"]) == 2 and english["MedQA"] == english["MedQA-USMLE-4-options"] == english["med_qa"]
    assert [len(q.options) for q in found["MedQA-USMLE-4-options"]] == [4, 4]
    assert found["med_qa"][-1].options["A"] == "按蚊" and found["med_qa"][-1].keys == ["A"]


@pytest.mark.parametrize("benchmark", benchmarks.LANGUAGES)
def test_every_benchmark_has_sample_questions_for_notebook_07(benchmark):
    assert benchmarks.read(benchmark, SAMPLE / benchmark)


def test_a_zip_reads_as_its_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "MMedBench.zip", "w") as archive:
        for path in SAMPLE.glob("MMedBench/Test/*.jsonl"):
            archive.write(path, f"MMedBench/Test/{path.name}")
            archive.writestr(f"MMedBench/Train/{path.name}", "not read")
            archive.writestr(f"__MACOSX/MMedBench/Test/._{path.name}", "not read")
    for given in (tmp_path / "MMedBench.zip", tmp_path):
        questions = benchmarks.read("MMedBench", given)
        assert [(q.id, q.keys) for q in questions] == [(q.id, q.keys) for q in benchmarks.read("MMedBench", SAMPLE / "MMedBench")]
    assert questions[0].file.endswith("MMedBench.zip/MMedBench/Test/French.jsonl")


def test_lists_parquet_and_saved_datasets_read_as_json_lines(tmp_path):
    source = SAMPLE / "MedExpQA/data/it/test.it.casimedicos.rag.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "list").mkdir()
    (tmp_path / "list/it.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "parquet/it").mkdir(parents=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet/it/test-00000-of-00001.parquet")
    import datasets

    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(tmp_path / "saved/it")
    wanted = [(q.id, q.options, q.keys, q.rationale) for q in benchmarks.read("MedExpQA", source)]
    for form in ("list", "parquet", "saved"):
        assert [(q.id, q.options, q.keys, q.rationale) for q in benchmarks.read("MedExpQA", tmp_path / form)] == wanted, form


def test_a_hub_name_is_downloaded(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **options: asked.append(name) or str(SAMPLE / "MedQA-USMLE-4-options")
    )
    questions = benchmarks.read("MedQA", "GBaker/MedQA-USMLE-4-options")
    assert asked == ["GBaker/MedQA-USMLE-4-options"] and questions[0].language == "English"
    assert questions[0].file == "GBaker/MedQA-USMLE-4-options/phrases_no_exclude_test.jsonl"


def test_what_is_nowhere_is_said_to_be_nowhere(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(DataError, match=r"no file or folder here, and the hub gives no dataset .*no network"):
        benchmarks.read("MedQA", tmp_path / "nothing")


def test_only_test_files_and_originals_are_read_unless_named(tmp_path):
    for name in ("US/test.jsonl", "US/train.jsonl", "US/US_qbank.jsonl", "US/4_options/phrases_no_exclude_test.jsonl"):
        put(tmp_path / name, [PLAIN | {"question": name}])
    put(tmp_path / "Taiwan/tw_translated_jsonl/en/test-2en.jsonl", [PLAIN])
    assert [q.question for q in benchmarks.read("MedQA", tmp_path)] == ["US/test.jsonl"]
    assert [q.question for q in benchmarks.read("MedQA", tmp_path / "US/train.jsonl")] == ["US/train.jsonl"]
    assert benchmarks.read("MedQA", tmp_path / "US/4_options")[0].language == "English"
    assert benchmarks.read("MedQA", tmp_path / "Taiwan/tw_translated_jsonl/en/test-2en.jsonl")[0].language == "English"
    (tmp_path / "US/test.jsonl").unlink()
    with pytest.raises(DataError, match="no test file"):
        shutil.rmtree(tmp_path / "Taiwan")
        benchmarks.read("MedQA", tmp_path)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"answer_idx": "b"}, ["B"]),
        ({"answer_idx": "Ｂ"}, ["B"]),
        ({"answer_idx": "A,C"}, ["A", "C"]),
        ({"answer_idx": "C、A"}, ["A", "C"]),
        ({"answer_idx": "AC"}, ["A", "C"]),
        ({"answer_idx": ["C", "B", "C"]}, ["B", "C"]),
        ({"answer_idx": "cc"}, ["C"]),
        ({"answer_idx": None, "answer": "bb"}, ["B"]),
        ({"answer_idx": float("nan"), "answer": ["aa", "bb"]}, ["A", "B"]),
        ({"options": {"1": "aa", "2": "bb"}, "answer_idx": 2}, ["B"]),
        ({"options": {"1": "aa", "2": "bb"}, "answer_idx": 2.0}, ["B"]),
        ({"options": {"0": "aa", "1": "bb"}, "answer_idx": "1"}, ["B"]),
        ({"options": {"1": "aa", "2": "bb"}, "answer_idx": "B"}, ["B"]),
        ({"options": {"1": "3", "2": "1"}, "answer_idx": 1}, ["A"]),
        ({"options": {"A": "AB", "B": "A"}, "answer_idx": ..., "answer": "A"}, ["B"]),
        ({"options": ["aa", "bb"], "answer_idx": "B"}, ["B"]),
        ({"options": {"A": 5, "B": 7.5}, "answer_idx": "A"}, ["A"]),
    ],
)
def test_every_form_of_a_key_is_read(tmp_path, fields, keys):
    assert one(tmp_path, **fields).keys == keys


def test_missing_options_keep_the_letters_of_the_others(tmp_path):
    question = one(tmp_path, options={"1": "aa", "2": None, "3": "cc", "4": float("nan"), "5": " "}, answer_idx=3, note="kept")
    assert question.options == {"A": "aa", "C": "cc"} and question.keys == ["C"] and question.extra["note"] == "kept"


def test_explanations_are_the_rationale_where_there_is_no_other(tmp_path):
    given = {"1": {"text": "no"}, "2": {"text": "because", "exist": True}}
    assert one(tmp_path, options={"1": "aa", "2": "bb"}, answer_idx=2, explanations=given).rationale == "because"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": " "}, "has no text under 'question'"),
        ({"question": ...}, "its fields are options, answer_idx"),
        ({"options": ...}, "has no options"),
        ({"options": "A. aa B. bb"}, "has no options"),
        ({"options": {"A": "aa", "B": None}, "answer_idx": "A"}, "has 1 options"),
        ({"options": {"A": "aa", "B": ["bb"]}}, "option B is a JSON list"),
        ({"options": {"A": "aa", "a": "bb"}}, "name an option twice"),
        ({"options": {"first": "aa", "B": "bb"}}, "option key 'first'"),
        ({"answer_idx": ...}, "says no right option"),
        ({"answer_idx": "E"}, "answer_idx is 'E', which names none of the options A, B, C"),
        ({"answer_idx": 1}, "answer_idx is 1, which names none"),
        ({"answer_idx": []}, "names none"),
        ({"answer_idx": "A,F"}, "'A,F'"),
        ({"options": {"A": "aa", "B": "bb", "C": None}, "answer_idx": "C"}, "option C has no text"),
    ],
)
def test_each_fault_of_a_row_is_named(tmp_path, fields, message):
    with pytest.raises(DataError, match=r"rows\.jsonl, row 1: ") as caught:
        one(tmp_path, **fields)
    assert message in str(caught.value)


def test_the_first_ten_faults_are_listed_by_row(tmp_path):
    broken = ["{broken\n", "[1]\n", *[PLAIN | {"answer_idx": "Z"}] * 10, "\n"]
    path = put(tmp_path / "French.jsonl", [PLAIN, *broken])
    with pytest.raises(DataError) as caught:
        benchmarks.read("MMedBench", path)
    lines = str(caught.value).splitlines()
    assert "row 2: is not JSON" in lines[0] and "row 3: is a JSON list" in lines[1] and "row 4" in lines[2]
    assert len(lines) == 11 and lines[-1] == "… and 2 more"


def test_files_that_are_none_are_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "en.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "en.csv").write_text("question\n")
    for name, message in (("a.zip", "zip file"), ("en.parquet", "can't be read"), ("en.csv", "no test file ending in")):
        with pytest.raises(DataError, match=rf"{name}.*{message}"):
            benchmarks.read("MedExpQA", tmp_path / name)
    with pytest.raises(DataError, match="holds no question of MedExpQA in Italian"):
        benchmarks.read("MedExpQA", put(tmp_path / "en.jsonl", [PLAIN]), language="Italian")


def test_the_language_comes_from_path_row_or_parameter(tmp_path):
    path = put(tmp_path / "rows.jsonl", [PLAIN | {"lang": "es"}, PLAIN | {"lang": "it"}])
    assert [q.language for q in benchmarks.read("MedExpQA", path)] == ["Spanish", "Italian"]
    assert [q.language for q in benchmarks.read("MedExpQA", path, language="Italian")] == ["Italian"]
    with pytest.raises(DataError, match="row 1: neither path nor row says its language: give language"):
        benchmarks.read("MedExpQA", put(tmp_path / "rows.jsonl", [PLAIN]))


def test_duplicate_ids_are_faults(tmp_path):
    with pytest.raises(DataError, match=r"row 2: duplicate id 'medexpqa-en-7', first in .*row 1"):
        benchmarks.read("MedExpQA", put(tmp_path / "en.jsonl", [PLAIN | {"id": 7}] * 2))


def test_wrong_parameters_are_told():
    with pytest.raises(ValueError, match="did you mean 'MMedBench'"):
        benchmarks.read("MMedbench", SAMPLE)
    with pytest.raises(ValueError, match="unknown language of MedQA 'Chinese'"):
        benchmarks.read("MedQA", SAMPLE / "MedQA", language="Chinese")
    with pytest.raises(ValueError, match="limit must be 0"):
        benchmarks.read("MedQA", SAMPLE / "MedQA", limit=-1)


def test_a_limit_is_a_seeded_choice_and_parallel(tmp_path):
    for code in ("en", "it"):
        put(tmp_path / f"{code}.jsonl", [PLAIN | {"id": f"q{n}"} for n in range(30)])
    draws = [[q.topic for q in benchmarks.read("MedExpQA", tmp_path, limit=5, seed=seed)] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2] and len(draws[0]) == 10
    assert draws[0][:5] == draws[0][5:], "the same questions in both languages"


# Posing -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def questions():
    return {q.id: q for name in ("MMedBench", "MedExpQA", "MedQA") for q in benchmarks.read(name, SAMPLE / name)}


def test_asked_openly(questions):
    row = benchmarks.rows([questions["medexpqa-it-1"]])[0]
    assert row.question == questions["medexpqa-it-1"].question and row.accepted == ["Asma"]
    assert "in Italian" in prompts.messages(row)[0]["content"]
    assert benchmarks.rows([questions["mmedbench-ja-1"]])[0].accepted == ["小球性赤血球, 匙状爪", "小球性赤血球; 匙状爪"]


def test_asked_with_options(questions):
    single, several = benchmarks.rows([questions["medqa-zh-0"], questions["mmedbench-fr-1"]], "options")
    assert "\nC. 维生素C\n" in single.question and "the letter of the one right option" in single.question
    assert single.accepted == ["C", "C. 维生素C"] and "letters of all right options" in several.question
    assert several.accepted == ["A, B, E", "A,B,E"]
    with pytest.raises(ValueError, match="unknown form 'option'"):
        benchmarks.rows([], "option")


def test_other_languages_are_posed_and_judged_but_the_benchmark_stays_strict(questions, monkeypatch):
    rows = benchmarks.rows(list(questions.values()), "options")
    said = Response("<answer>C</answer>", "stop", 3)
    monkeypatch.setattr(evaluation.generation, "in_batches", lambda _, posed, *__: iter([dict.fromkeys(range(len(posed)), said)]))
    monkeypatch.setattr(evaluation.checkpoints, "identity", str)
    table = evaluation.respond("checkpoint", rows).set_index("id")
    assert table.loc["medqa-zh-0", "correct"] and not table.loc["medqa-tw-0", "correct"]
    assert pd.isna(table.loc["medqa-zh-0", "tier"]) and table.loc["mmedbench-fr-0", "tier"] == "high"
    for strict, language in ((data.Row, "Italian"), (benchmarks.Posed, "Klingon")):
        with pytest.raises(ValueError, match="unknown language"):
            strict(id="1", language=language, question="?", answer="a")


# Scoring ------------------------------------------------------------------------------------------------------------

OPTIONS = {"A": "Amoxicillin", "B": "Vitamin C", "C": "E. coli", "D": "Hepatitis B vaccine", "E": "None of these"}


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        *[("<answer>B</answer>", "B"), ("<answer>(D)</answer>", "D"), ("<answer>Ａ</answer>", "A"), ("<answer>**C**</answer>", "C")],
        *[("<answer>b)</answer>", "B"), (r"<answer>\boxed{C}</answer>", "C"), ("ⓒ", "C"), ("B. Vitamin C", "B"), ("C - E. coli", "C")],
        *[("<answer>B. vitamin C</answer>", "B"), ("D. Hepatitis B vaccine is right since…", "D"), ("**Answer:** C", "C")],
        *[("The answer is A and C", "AC"), ("The answer is A, C, and E.", "ACE"), ("The answer is C because it is.", "C")],
        *[("A or B", "AB"), ("ACE", "ACE"), ("F", "F"), ("B is correct", "B"), ("The correct option is (B) Vitamin C.", "B")],
        *[
            ("答案：C", "C"),
            ("答案是Ｃ。", "C"),
            ("正确答案为（D）", "D"),
            ("我选B", "B"),
            ("选项A正确", "A"),
            ("答案：AC", "AC"),
            ("A、C", "AC"),
        ],
        *[("AとC", "AC"), ("正解はD", "D"), ("正解はＡとＣです", "AC"), ("答えは「B」です。", "B"), ("Bが正しい", "B")],
        *[("Ответ: В", "B"), ("Правильный ответ — С.", "C"), ("А и С", "AC"), ("Правильный вариант: D", "D")],
        *[("La respuesta correcta es la B", "B"), ("Respuesta: A y C", "AC"), ("En este caso, la opción correcta es C.", "C")],
        *[("La bonne réponse est la lettre C.", "C"), ("Réponse : D", "D"), ("Les réponses A et C", "AC")],
        *[("La risposta corretta è la E.", "E"), ("<thinking>The answer is A</thinking><answer>C</answer>", "C"), ("<answer>D", "D")],
        *[("<answer>A</answer> <answer>B</answer>", "AB"), ("B is wrong.\n\nC", "C"), ("A. No\nB. Yes\nC. No\nD. No\nE. No\n\nB", "B")],
        *[("A. no\nB. yes\nC. no\nD. no\nE. no\nAnswer: B", "B"), ("A. Amoxicillin\nD. Hepatitis B vaccine", "AD")],
    ],
)
def test_letters_that_are_declared_are_read(text, letters):
    assert choices.by_letter(text, OPTIONS) == set(letters)


@pytest.mark.parametrize(
    "text",
    [
        *["", "Vitamin C", "E. coli", "Hepatitis B vaccine", "Chlamydia", "A patient with fever", "The answer is a beta blocker"],
        *["The answer: A beta blocker", "C. difficile", "D-dimer", "Answer: D-dimer", "The answer is not A", "B is not correct", "CBC"],
        *["<thinking><step1>The answer is A", "(A) is wrong and (B) is too", "A. No\nB. Yes\nC. No\nD. No\nE. No", "Ответ: Б"],
        *["Ответ: В данном случае нужен адреналин", r"\boxed{}", "<answer> </answer>", "…"],
    ],
)
def test_letters_that_are_not_declared_are_not_read(text):
    assert isinstance(choices.by_letter(text, OPTIONS), str)


def test_reading_a_long_text_takes_no_time():
    text = "the correct answer, the option: (correct) " * 5_000
    assert choices.by_letter(text, OPTIONS) == "no letter"


@pytest.mark.parametrize(
    ("text", "options", "letters"),
    [
        ("<answer>It is VIRAL  pneumonia.</answer>", {"A": "Pneumonia", "B": "Viral pneumonia"}, "B"),
        ("pneumonia", {"A": "Pneumonia", "B": "Viral pneumonia"}, "A"),
        ("Asthma, not measles", {"A": "Asthma", "B": "Measles"}, "AB"),
        ("asthmatic", {"A": "Asthma", "B": "Measles"}, None),
        ("これはハマダラカです", {"A": "ハマダラカ", "B": "ダニ"}, "A"),
        ("应该是维生素C。", {"A": "维生素A", "C": "维生素C"}, "C"),
        ("это адреналин!", {"A": "Адреналин", "B": "Инсулин"}, "A"),
        ("Ｖｉｔａｍｉｎ Ｃ", {"A": "Vitamin C", "B": "Vitamin D"}, "A"),
        ("<thinking>asthma</thinking>", {"A": "Asthma", "B": "Measles"}, None),
        ("yes", {"A": "Yes.", "B": "No."}, "A"),
        ("same", {"A": "Same", "B": "same", "C": "other"}, "AB"),
    ],
)
def test_option_texts_that_stand_in_the_answer_are_read(text, options, letters):
    found = choices.by_text(text, options)
    assert found == set(letters) if letters else isinstance(found, str)


def responses(**texts):
    return pd.DataFrame({"id": [name.replace("_", "-") for name in texts], "response": texts.values()})


def verdicts(scored):
    return {row.id: None if pd.isna(row.correct) else bool(row.correct) for row in scored.itertuples()}


def test_several_right_letters_must_all_be_there(questions):
    asked = [questions["mmedbench-fr-1"]]
    for text, wanted in (("A, B, E", True), ("E et A et B", True), ("A, B", False), ("A, B, C, E", False), ("Soif", None)):
        assert list(verdicts(benchmarks.score(asked, responses(mmedbench_fr_1=text), "letter")).values()) == [wanted], text


def test_each_fault_is_apart_and_counted(questions):
    asked = [q for q in questions.values() if q.benchmark == "MedExpQA"]
    given = {"en-1": "A", "en-2": "B", "es-1": "", "es-2": "No lo sé", "fr-1": None, "fr-2": "Je pense que", "it-1": "A"}
    table = responses(**{f"medexpqa-{name}": text for name, text in given.items()})
    table["finish_reason"] = ["stop"] * 5 + ["length"] * 2
    scored = benchmarks.score(asked, table, "letter").set_index("id")
    faults = {name.removeprefix("medexpqa-"): fault for name, fault in scored["fault"].dropna().items()}
    assert faults == {"es-1": "empty", "es-2": "no letter", "fr-1": "no response", "fr-2": "truncated", "it-2": "no response"}
    summary = benchmarks.accuracy(scored.reset_index()).set_index("language")
    assert summary.loc["English", ["accuracy", "n", "n_unread"]].tolist() == [50, 2, 0]
    assert summary.loc["Italian", ["accuracy", "accuracy_of_all", "n", "n_unread"]].tolist() == [100, 50, 2, 1]
    assert pd.isna(summary.loc["Spanish", "accuracy"]) and set(summary["rule"]) == {"letter"}


def test_no_fault_and_no_response_at_all(questions):
    asked = [questions["medexpqa-en-1"]]
    scored = benchmarks.score(asked, responses(medexpqa_en_1="A").assign(finish_reason="length"), "letter")
    assert verdicts(scored) == {"medexpqa-en-1": True} and scored["fault"].isna().all()
    empty = pd.DataFrame({"id": [], "model": [], "response": [], "finish_reason": []})
    assert benchmarks.score(asked, empty, "letter")["fault"].tolist() == ["no response"]


def test_the_text_rule(questions):
    asked = [questions[f"medexpqa-{code}-1"] for code in ("en", "es", "fr", "it")]
    table = responses(medexpqa_en_1="asthma", medexpqa_es_1="Asma o rabia", medexpqa_fr_1="A", medexpqa_it_1="Rabbia")
    scored = benchmarks.score(asked, table, "text")
    assert list(verdicts(scored).values()) == [True, False, None, False]
    assert scored["fault"].tolist()[2] == "no option's text"
    equal = questions["medexpqa-en-1"].model_copy(update={"options": {"A": "Asthma", "B": "asthma", "C": "Rabies"}})
    assert list(verdicts(benchmarks.score([equal], responses(medexpqa_en_1="Asthma"), "text")).values()) == [True]


def test_the_judge_rule(questions, serve, tmp_path):
    server = serve(reply="True", poison={"Rougeole": "400"})
    asked = [questions[f"medexpqa-{code}-1"] for code in ("en", "es", "fr")]
    with Judge("m", server.url, cache=tmp_path / "judge.sqlite") as judge:
        scored = benchmarks.score(asked, responses(medexpqa_en_1="A", medexpqa_es_1=" "), "judge", judge)
    assert list(verdicts(scored).values()) == [True, None, None]
    assert scored["fault"].tolist()[1:] == ["empty", "no response"]
    with pytest.raises(ValueError, match="needs a judge"):
        benchmarks.score(asked, responses(medexpqa_en_1="A"), "judge")


def test_a_failed_judge_is_a_fault_of_its_own(questions):
    class Failing:
        def score(self, task, items, progress=""):
            assert task == "logic" and items[0]["reference"] == "A. Asthma" and "\nB. Measles" in items[0]["question"]
            return [Verdict(None, "time out")]

    scored = benchmarks.score([questions["medexpqa-en-1"]], responses(medexpqa_en_1="A").assign(finish_reason="length"), "judge", Failing())
    assert scored["correct"].isna().all() and scored["fault"].tolist() == ["judge failed: time out"]


def test_models_and_samples_stay_apart(questions):
    asked = [questions["medexpqa-en-1"], questions["medexpqa-en-2"]]
    table = pd.concat([responses(medexpqa_en_1=text).assign(model=m, sample=0) for m, text in (("base", "A"), ("sft", "B"))])
    summary = benchmarks.accuracy(benchmarks.score(asked, table, "letter")).set_index("model")
    assert summary["accuracy"].to_dict() == {"base": 100, "sft": 0} and summary["n_unread"].tolist() == [1, 1]


def test_responses_to_other_questions_are_told(questions):
    asked = [questions["medexpqa-en-1"]]
    with pytest.raises(DataError, match="1 ids are of no question here, the first 'other'"):
        benchmarks.score(asked, responses(other="A"), "letter")
    with pytest.raises(DataError, match="lack the column response"):
        benchmarks.score(asked, pd.DataFrame({"id": []}), "letter")
    with pytest.raises(ValueError, match=r"unknown rule 'letters'; .*did you mean 'letter'"):
        benchmarks.score(asked, responses(), "letters")
    with pytest.raises(ValueError, match="asks no judge"):
        benchmarks.score(asked, responses(), "letter", object())


def test_beside_the_published_tables(questions):
    asked = list(questions.values())
    given = pd.DataFrame({"id": [q.id for q in asked], "response": [q.keys[0] for q in asked]})
    table = benchmarks.beside_published(benchmarks.accuracy(benchmarks.score(asked, given, "letter"))).set_index(["benchmark", "language"])
    published = paper.published("table11")
    for row in published.itertuples():
        assert table.loc[("MedExpQA", row.language), f"{row.model_size} {row.variant}"] == row.accuracy
    assert table.loc[("MMedBench", "French"), ["1.5B base", "accuracy", "n"]].tolist() == [6.0, 50.0, 2]
    assert table.loc[("MedQA", "Traditional Chinese"), ["32B cure-med", "accuracy"]].tolist() == [76.0, 100.0]
    assert len(table) == 11 and not table["accuracy"].isna().any()
