import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from curemed_utils import evaluation, paper, paths, prompts
from curemed_utils.data import DataError
from curemed_utils.evaluation import benchmarks, choices, generation
from curemed_utils.evaluation.generation import Response
from curemed_utils.judge import Judge, Verdict
from curemed_utils.paper import sources
from curemed_utils.training import checkpoints

SAMPLE = paths.SAMPLE / "ood"
PLAIN = {"question": "Which?", "options": {"A": "aa", "B": "bb", "C": "cc"}, "answer_idx": "B"}


def put(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path


def one(tmp_path, **fields):
    record = {name: value for name, value in (PLAIN | fields).items() if value is not ...}
    [question] = benchmarks.read_questions("MedQA", put(tmp_path / "en.jsonl", [record]))
    return question


# Reading ------------------------------------------------------------------------------------------


def test_mmedbench_as_published():
    questions = {}
    for question in benchmarks.read_questions("MMedBench", SAMPLE / "MMedBench"):
        questions[question.id.removeprefix("mmedbench-")] = question
    assert questions["fr-0"].keys == ["C"]
    assert questions["fr-1"].keys == ["A", "B", "E"]
    assert questions["ja-1"].keys == ["A", "C"]
    spoken = {question.language for question in questions.values()}
    assert spoken == {"French", "Japanese", "Russian", "Spanish"}
    assert questions["fr-0"].source.endswith("French.jsonl, row 1")


def test_medexpqa_as_published():
    questions = benchmarks.read_questions("MedExpQA", SAMPLE / "MedExpQA")
    first, second = questions[:2]
    assert (first.id, second.id, len(questions)) == ("medexpqa-en-1", "medexpqa-en-2", 8)
    assert first.question.startswith("A child wheezes")
    assert first.question.endswith("most likely?")
    assert list(first.options) == list("ABCD"), "the missing fifth option is no option"
    assert (first.keys, second.keys, first.topic) == (["A"], ["C"], "1")


def test_medqa_as_published_in_its_three_forms():
    names = ("MedQA", "MedQA-USMLE-4-options", "med_qa")
    original, four, source = (benchmarks.read_questions("MedQA", SAMPLE / name) for name in names)
    assert {q.language for q in original} == set(benchmarks.LANGUAGES["MedQA"])
    english = []
    for questions in (original, four, source):
        english.append([(q.question, q.keys) for q in questions if q.language == "English"])
    assert len(english[0]) == 2 and english[0] == english[1] == english[2]
    assert [len(q.options) for q in four] == [4, 4]
    assert source[-1].options["A"] == "按蚊" and source[-1].keys == ["A"]


def test_multimed_x_as_published():
    questions = benchmarks.read_questions("MultiMed-X", SAMPLE / "MultiMed-X")
    spoken = [question.language for question in questions]
    assert spoken == ["Japanese", "Korean", "Swahili", "Thai", "Yoruba"]
    assert {question.topic for question in questions} == {"qa-001"}
    assert questions[2].id == "multimed-x-sw-qa-001" and not questions[2].options
    assert questions[2].question.startswith("Ni ugonjwa gani")
    assert questions[2].reference.startswith("Ni malaria.")


def test_afrimed_qa_as_published():
    single, several, open_one = benchmarks.read_questions("AfriMed-QA", SAMPLE / "AfriMed-QA")
    assert (single.keys, several.keys, open_one.keys) == (["B"], ["A", "C"], [])
    assert open_one.reference.startswith("Rabies virus") and open_one.language == "English"
    assert single.id == "afrimed-qa-en-ours-1" and single.reference == ""


@pytest.mark.parametrize("benchmark", benchmarks.LANGUAGES)
def test_every_benchmark_has_sample_questions_for_notebook_07(benchmark):
    assert benchmarks.read_questions(benchmark, SAMPLE / benchmark)


def test_lists_and_parquet_read_as_json_lines(tmp_path):
    source = SAMPLE / "MedExpQA/data/it/test.it.casimedicos.rag.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "list").mkdir()
    (tmp_path / "list/it.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "parquet/it").mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "parquet/it/test-00000-of-00001.parquet")
    wanted = [q[:4] + q[5:] for q in benchmarks.read_questions("MedExpQA", source)]
    for form in ("list", "parquet"):
        questions = benchmarks.read_questions("MedExpQA", tmp_path / form)
        assert [q[:4] + q[5:] for q in questions] == wanted, form


def test_a_hub_name_is_downloaded(monkeypatch):
    name = "GBaker/MedQA-USMLE-4-options"

    def download(wanted, repo_type, allow_patterns):
        assert (wanted, repo_type) == (name, "dataset")
        return str(SAMPLE / "MedQA-USMLE-4-options")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    questions = benchmarks.read_questions("MedQA", name)
    assert questions[0].language == "English"
    assert questions[0].source == f"{name}/phrases_no_exclude_test.jsonl, row 1"


def test_what_is_nowhere_is_said_to_be_nowhere(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        DataError, match=r"no file or folder here .*, and the hub gives no dataset .*no network"
    ):
        benchmarks.read_questions("MedQA", tmp_path / "nothing")


def test_only_test_files_and_originals_are_read_unless_named(tmp_path):
    names = ["test", "train", "US_qbank", "4_options/phrases_no_exclude_test"]
    for name in names:
        put(tmp_path / f"US/{name}.jsonl", [PLAIN | {"question": name}])
    translated = put(tmp_path / "Taiwan/tw_translated_jsonl/en/test-2en.jsonl", [PLAIN])

    def read(place):
        return [(q.question, q.language) for q in benchmarks.read_questions("MedQA", place)]

    assert read(tmp_path) == [("test", "English")]
    assert read(tmp_path / "US/train.jsonl") == [("train", "English")]
    assert read(tmp_path / "US/4_options") == [("4_options/phrases_no_exclude_test", "English")]
    assert read(translated) == [("Which?", "English")]
    (tmp_path / "US/test.jsonl").unlink()
    shutil.rmtree(tmp_path / "Taiwan")
    with pytest.raises(DataError, match="no test file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"answer_idx": "b"}, ["B"]),
        ({"answer_idx": "Ｂ"}, ["B"]),
        ({"answer_idx": "A,C"}, ["A", "C"]),
        ({"answer_idx": "C、A"}, ["A", "C"]),
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
    options = {"1": "aa", "2": None, "3": "cc", "4": float("nan"), "5": " "}
    question = one(tmp_path, options=options, answer_idx=3)
    assert question.options == {"A": "aa", "C": "cc"} and question.keys == ["C"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": " "}, "has no text under 'question'"),
        ({"question": ...}, "its fields are options, answer_idx"),
        ({"options": ...}, "has no options"),
        ({"options": "A. aa B. bb"}, "options: is not JSON"),
        ({"options": {"A": "aa", "B": None}, "answer_idx": "A"}, "has 1 options"),
        ({"options": {"A": "aa", "B": ["bb"]}}, "option B is a JSON list"),
        ({"options": {"A": "aa", "a": "bb"}}, "name an option twice"),
        ({"options": {"first": "aa", "B": "bb"}}, "option key 'first'"),
        ({"answer_idx": ...}, "says no right option"),
        ({"answer_idx": "E"}, "answer_idx is 'E', which names none of the options A, B, C"),
        ({"answer_idx": 1}, "answer_idx is 1, which names none"),
        ({"answer_idx": []}, "names none"),
        ({"answer_idx": "A,F"}, "'A,F'"),
        (
            {"options": {"A": "aa", "B": "bb", "C": None}, "answer_idx": "C"},
            "none of the options A, B",
        ),
    ],
)
def test_each_fault_of_a_row_is_named(tmp_path, fields, message):
    with pytest.raises(DataError, match=r"en\.jsonl, row 1: ") as caught:
        one(tmp_path, **fields)
    assert message in str(caught.value)


def test_the_first_ten_faults_are_listed_by_row(tmp_path):
    broken = ["{broken\n", "[1]\n", *[PLAIN | {"answer_idx": "Z"}] * 10, "\n"]
    path = put(tmp_path / "French.jsonl", [PLAIN, *broken])
    with pytest.raises(DataError) as caught:
        benchmarks.read_questions("MMedBench", path)
    lines = str(caught.value).splitlines()
    assert (
        "row 2: is not JSON" in lines[0]
        and "row 3: is a JSON list" in lines[1]
        and "row 4" in lines[2]
    )
    assert len(lines) == 11 and lines[-1] == "… and 2 more"


def test_files_that_are_none_are_named(tmp_path):
    (tmp_path / "en.zip").write_bytes(b"PK\3\4")
    (tmp_path / "en.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "en.tsv").write_text("question\n")
    for name, message in (
        ("en.zip", "is a zip file"),
        ("en.parquet", "can't be read"),
        ("en.tsv", "no test file ending in"),
    ):
        with pytest.raises(DataError, match=rf"{name}.*{message}"):
            benchmarks.read_questions("MedExpQA", tmp_path / name)
    with pytest.raises(DataError, match="holds no question"):
        benchmarks.read_questions("MedExpQA", put(tmp_path / "en.jsonl", []))


def test_the_language_comes_from_path_or_row(tmp_path):
    path = put(tmp_path / "rows.jsonl", [PLAIN | {"lang": "es"}, PLAIN | {"language": "it"}])
    questions = benchmarks.read_questions("MedExpQA", path)
    assert [question.language for question in questions] == ["Spanish", "Italian"]
    put(tmp_path / "rows.jsonl", [PLAIN])
    with pytest.raises(DataError, match="row 1: neither path nor row says its language: put one"):
        benchmarks.read_questions("MedExpQA", path)


def test_duplicate_ids_are_faults(tmp_path):
    with pytest.raises(DataError, match=r"row 2: duplicate id 'medexpqa-en-7', first in .*row 1"):
        benchmarks.read_questions("MedExpQA", put(tmp_path / "en.jsonl", [PLAIN | {"id": 7}] * 2))


def test_wrong_parameters_are_told():
    with pytest.raises(ValueError, match="did you mean 'MMedBench'"):
        benchmarks.read_questions("MMedbench", SAMPLE)
    with pytest.raises(ValueError, match="limit must be 0"):
        benchmarks.read_questions("MedQA", SAMPLE / "MedQA", limit=-1)


def test_a_limit_is_a_seeded_choice_and_parallel(tmp_path):
    for code in ("en", "it"):
        put(tmp_path / f"{code}.jsonl", [PLAIN | {"id": f"q{n}"} for n in range(30)])
    draws = [
        [q.topic for q in benchmarks.read_questions("MedExpQA", tmp_path, limit=5, seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2] and len(draws[0]) == 10
    assert draws[0][:5] == draws[0][5:], "the same questions in both languages"


# Posing -------------------------------------------------------------------------------------------


@pytest.fixture
def questions():
    by_id = {}
    for name in benchmarks.LANGUAGES:
        by_id |= {q.id: q for q in benchmarks.read_questions(name, SAMPLE / name)}
    return by_id


def test_asked_openly(questions):
    row = benchmarks.pose([questions["medexpqa-it-1"]])[0]
    assert row.question == questions["medexpqa-it-1"].question and row.accepted == ["Asma"]
    assert "in Italian" in prompts.messages(row)[0]["content"]
    several = benchmarks.pose([questions["mmedbench-ja-1"]])[0]
    assert several.accepted == ["小球性赤血球, 匙状爪", "小球性赤血球; 匙状爪"]


def test_asked_with_options(questions):
    asked = [questions["medqa-zh-0"], questions["mmedbench-fr-1"]]
    single, several = benchmarks.pose(asked, "options")
    assert "\nC. 维生素C\n" in single.question
    assert "the letter of the one right option" in single.question
    assert "letters of all right options" in several.question
    assert single.accepted == ["C", "C. 维生素C"]
    assert several.accepted == ["A, B, E", "A,B,E"]
    with pytest.raises(ValueError, match="unknown form 'option'"):
        benchmarks.pose([], "option")


def test_other_languages_are_posed_and_judged(questions, monkeypatch):
    rows = benchmarks.pose(list(questions.values()), "options")
    reply = Response("<answer>C</answer>", "stop", 3)

    def answer(_, posed, *__):
        return iter([dict.fromkeys(range(len(posed)), reply)])

    monkeypatch.setattr(generation, "in_batches", answer)
    monkeypatch.setattr(checkpoints, "identity", str)
    table = evaluation.respond("checkpoint", rows).set_index("id")
    assert table.loc["medqa-zh-0", "correct"] and not table.loc["medqa-tw-0", "correct"]
    assert pd.isna(table.loc["medqa-zh-0", "tier"])
    assert table.loc["mmedbench-fr-0", "tier"] == "high"


def test_open_questions_are_posed_without_options_and_unknown_without_a_judge(questions):
    asked = [questions["multimed-x-yo-qa-001"], questions["afrimed-qa-en-ours-1"]]
    open_row, choice = benchmarks.pose(asked, "options")
    assert (open_row.question, open_row.accepted) == (asked[0].question, [])
    assert open_row.answer == f"<answer>{asked[0].reference}</answer>"
    assert "\nB. Anopheles mosquito\n" in choice.question
    replies = []
    for row in (open_row, choice):
        reply = {"id": row.id, "model": "m", "sample": 0, "response": "<answer>B</answer>"}
        replies.append(reply | {"finish_reason": "stop"})
    scored = benchmarks.score_answers(asked, pd.DataFrame(replies), "letter").set_index("id")
    assert pd.isna(scored.loc[open_row.id, "correct"]) and scored.loc[choice.id, "correct"]
    assert scored.loc[open_row.id, "fault"] == benchmarks.NO_OPTIONS
    table = benchmarks.accuracy_table(scored).set_index("benchmark")
    assert pd.isna(table.loc["MultiMed-X", ["accuracy_of_all", "accuracy_of_read"]]).all()
    assert table.loc["AfriMed-QA", "accuracy_of_all"] == 100


def test_open_questions_are_judged_by_their_reference(questions, serve, tmp_path):
    question = questions["multimed-x-sw-qa-001"]
    reply = {"id": question.id, "model": "m", "sample": 0, "response": "<answer>Malaria</answer>"}
    responses = pd.DataFrame([reply | {"finish_reason": "stop"}])
    with Judge("j", serve(reply="True").url, cache=tmp_path / "judge.sqlite") as judge:
        asked = []
        monkey = judge.requests
        judge.requests = lambda task, items: asked.append((task, items)) or monkey(task, items)
        [correct] = benchmarks.score_answers([question], responses, "judge", judge)["correct"]
    [(task, [item])] = asked
    assert correct and task == "logic"
    assert (item["question"], item["reference"]) == (question.question, question.reference)


# Scoring ------------------------------------------------------------------------------------------

OPTIONS = {
    "A": "Amoxicillin",
    "B": "Vitamin C",
    "C": "E. coli",
    "D": "Hepatitis B vaccine",
    "E": "None of these",
}


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        *[
            ("<answer>B</answer>", "B"),
            ("<answer>(D)</answer>", "D"),
            ("<answer>Ａ</answer>", "A"),
            ("<answer>**C**</answer>", "C"),
        ],
        *[
            ("<answer>b)</answer>", "B"),
            (r"<answer>\boxed{C}</answer>", "C"),
            ("ⓒ", "C"),
            ("B. Vitamin C", "B"),
            ("C - E. coli", "C"),
        ],
        *[
            ("<answer>B. vitamin C</answer>", "B"),
            ("D. Hepatitis B vaccine is right since…", "D"),
            ("**Answer:** C", "C"),
        ],
        *[
            ("The answer is A and C", "AC"),
            ("The answer is A, C, and E.", "ACE"),
            ("The answer is C because it is.", "C"),
        ],
        *[
            ("a, b", "AB"),
            ("ACE", "ACE"),
            ("B is correct", "B"),
            ("The correct option is (B) Vitamin C.", "B"),
        ],
        *[
            ("答案：C", "C"),
            ("答案是Ｃ。", "C"),
            ("正确答案为（D）", "D"),
            ("我选B", "B"),
            ("选项A正确", "A"),
            ("答案：AC", "AC"),
            ("A、C", "AC"),
        ],
        *[
            ("AとC", "AC"),
            ("正解はD", "D"),
            ("正解はＡとＣです", "AC"),
            ("答えは「B」です。", "B"),
            ("Bが正しい", "B"),
        ],
        *[
            ("Ответ: В", "B"),
            ("Правильный ответ — С.", "C"),
            ("А и С", "AC"),
            ("Правильный вариант: D", "D"),
        ],
        *[
            ("La respuesta correcta es la B", "B"),
            ("Respuesta: A y C", "AC"),
            ("En este caso, la opción correcta es C.", "C"),
        ],
        *[
            ("La bonne réponse est la lettre C.", "C"),
            ("Réponse : D", "D"),
            ("Les réponses A et C", "AC"),
        ],
        *[
            ("La risposta corretta è la E.", "E"),
            ("<thinking>The answer is A</thinking><answer>C</answer>", "C"),
            ("<answer>D", "D"),
        ],
        *[
            ("<answer>B</answer> <answer>(B)</answer>", "B"),
            ("B is wrong.\n\nC", "C"),
            ("A. No\nB. Yes\nC. No\nD. No\nE. No\n\nB", "B"),
        ],
        *[
            ("A. no\nB. yes\nC. no\nD. no\nE. no\nAnswer: B", "B"),
            ("A. Amoxicillin\nD. Hepatitis B vaccine", "AD"),
        ],
    ],
)
def test_letters_that_are_declared_are_read(text, letters):
    assert choices.by_letter(text, OPTIONS) == set(letters)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "Vitamin C",
            "E. coli",
            "Hepatitis B vaccine",
            "Chlamydia",
            "A patient with fever",
            "The answer is a beta blocker",
        ],
        *[
            "The answer: A beta blocker",
            "C. difficile",
            "D-dimer",
            "Answer: D-dimer",
            "The answer is not A",
            "B is not correct",
            "CBC",
            "A or B",
            "F",
            "<answer>A</answer> <answer>B</answer>",
        ],
        *[
            "<thinking><step1>The answer is A",
            "(A) is wrong and (B) is too",
            "A. No\nB. Yes\nC. No\nD. No\nE. No",
            "Ответ: Б",
        ],
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
        (
            "<answer>It is VIRAL  pneumonia.</answer>",
            {"A": "Pneumonia", "B": "Viral pneumonia"},
            "B",
        ),
        ("pneumonia", {"A": "Pneumonia", "B": "Viral pneumonia"}, "A"),
        ("Asthma, not measles", {"A": "Asthma", "B": "Measles"}, "A"),
        ("asthmatic", {"A": "Asthma", "B": "Measles"}, None),
        ("これはハマダラカです", {"A": "ハマダラカ", "B": "ダニ"}, "A"),
        ("应该是维生素C。", {"A": "维生素A", "C": "维生素C"}, "C"),
        ("это адреналин!", {"A": "Адреналин", "B": "Инсулин"}, "A"),
        ("Ｖｉｔａｍｉｎ Ｃ", {"A": "Vitamin C", "B": "Vitamin D"}, "A"),
        ("<thinking>asthma</thinking>", {"A": "Asthma", "B": "Measles"}, None),
        ("yes", {"A": "Yes.", "B": "No."}, "A"),
        ("yes", {"A": "Yes", "B": "."}, "A"),
        ("same", {"A": "Same", "B": "same", "C": "other"}, "AB"),
    ],
)
def test_option_texts_that_stand_in_the_answer_are_read(text, options, letters):
    found = choices.by_text(text, options)
    assert found == set(letters) if letters else isinstance(found, str)


def responses(**texts):
    ids = [name.replace("_", "-") for name in texts]
    table = pd.DataFrame({"id": ids, "response": texts.values()})
    return table.assign(model="m", sample=0, finish_reason="stop")


def score(asked, table, rule="letter", judge=None):
    """Verdicts in the order of the questions, True, False or None, and the whole table."""
    scored = benchmarks.score_answers(asked, table, rule, judge)
    return [None if pd.isna(value) else value for value in scored["correct"]], scored


def test_no_response_and_one_without_its_question_are_said(questions):
    table = responses(mmedbench_fr_1="A")
    with pytest.raises(DataError, match="no response to score"):
        benchmarks.score_answers(list(questions.values()), table.iloc[:0], "letter")
    with pytest.raises(DataError, match="1 responses, such as to 'mmedbench-fr-1', have no quest"):
        benchmarks.score_answers([], table, "letter")


def test_several_right_letters_must_all_be_there(questions):
    texts = ["A, B, E", "E et A et B", "A, B", "A, B, C, E", "Soif"]
    for text, wanted in zip(texts, [True, True, False, False, None], strict=True):
        table = responses(mmedbench_fr_1=text)
        assert score([questions["mmedbench-fr-1"]], table)[0] == [wanted], text


def test_each_fault_is_apart_and_counted(questions):
    asked = [q for q in questions.values() if q.benchmark == "MedExpQA"]
    texts = {
        "en_1": "A",
        "en_2": "B",
        "es_1": "",
        "es_2": "No lo sé",
        "fr_1": None,
        "fr_2": "Je pense que",
        "it_1": "A",
        "it_2": None,
    }
    table = responses(**{f"medexpqa_{name}": text for name, text in texts.items()})
    table["finish_reason"] = ["stop"] * 5 + ["length"] * 2 + ["stop"]
    _, scored = score(asked, table)
    faults = scored.set_index("id")["fault"].dropna().to_dict()
    assert faults == {
        "medexpqa-es-1": "empty",
        "medexpqa-es-2": "no letter",
        "medexpqa-fr-1": "no response",
        "medexpqa-fr-2": "truncated",
        "medexpqa-it-2": "no response",
    }
    summary = benchmarks.accuracy_table(scored).set_index("language")
    shown = ["accuracy_of_all", "accuracy_of_read", "n", "n_unread"]
    assert summary.loc["English", shown].tolist() == [50, 50, 2, 0]
    assert summary.loc["Italian", shown].tolist() == [50, 100, 2, 1]
    assert summary["accuracy_of_read"].dtype == float
    assert summary.loc["Spanish", "accuracy_of_all"] == 0
    assert pd.isna(summary.loc["Spanish", "accuracy_of_read"]) and set(summary["rule"]) == {
        "letter"
    }


def test_a_cut_response_with_a_letter_has_no_fault(questions):
    asked = [questions["medexpqa-en-1"]]
    cut = responses(medexpqa_en_1="A").assign(finish_reason="length")
    verdicts, scored = score(asked, cut)
    assert verdicts == [True] and scored["fault"].isna().all()


def test_the_text_rule(questions):
    asked = [questions[f"medexpqa-{code}-1"] for code in ("en", "es", "fr", "it")]
    table = responses(
        medexpqa_en_1="asthma",
        medexpqa_es_1="Asma o rabia",
        medexpqa_fr_1="A",
        medexpqa_it_1="Rabbia",
    )
    verdicts, scored = score(asked, table, "text")
    assert verdicts == [True, None, None, False]
    faults = ["alternatives, none chosen", "no option's text"]
    assert scored["fault"].tolist()[1:3] == faults


def test_options_of_an_equal_text_are_equally_right(questions):
    options = {"A": "Asthma", "B": "asthma", "C": "Rabies"}
    equal = questions["medexpqa-en-1"]._replace(options=options)
    for rule, text in (("text", "Asthma"), ("letter", "B")):
        assert score([equal], responses(medexpqa_en_1=text), rule)[0] == [True]


def test_the_judge_rule(questions, serve, tmp_path):
    server = serve(reply="True", poison={"Rougeole": "400"})
    asked = [questions[f"medexpqa-{code}-1"] for code in ("en", "es", "fr")]
    table = responses(medexpqa_en_1="A", medexpqa_es_1=" ", medexpqa_fr_1=None)
    with Judge("m", server.url, cache=tmp_path / "judge.sqlite") as judge:
        verdicts, scored = score(asked, table, "judge", judge)
    assert verdicts == [True, None, None]
    assert scored["fault"].tolist()[1:] == ["empty", "no response"]
    with pytest.raises(ValueError, match="needs a judge"):
        score(asked, responses(medexpqa_en_1="A"), "judge")


def test_a_failed_judge_is_a_fault_of_its_own(questions):
    class Failing:
        def score(self, task, items, progress=""):
            assert task == "logic" and items[0]["reference"] == "A. Asthma"
            assert "\nB. Measles" in items[0]["question"]
            return [Verdict(None, "time out")]

    table = responses(medexpqa_en_1="A").assign(finish_reason="length")
    verdicts, scored = score([questions["medexpqa-en-1"]], table, "judge", Failing())
    assert verdicts == [None] and scored["fault"].tolist() == ["judge failed: time out"]


def test_models_and_samples_stay_apart(questions):
    asked = [questions["medexpqa-en-1"], questions["medexpqa-en-2"]]
    tables = []
    for model, text in (("base", "A"), ("sft", "B")):
        tables.append(responses(medexpqa_en_1=text, medexpqa_en_2=None).assign(model=model))
    _, scored = score(asked, pd.concat(tables))
    summary = benchmarks.accuracy_table(scored).set_index("model")
    assert summary["accuracy_of_read"].to_dict() == {"base": 100, "sft": 0}
    assert summary["accuracy_of_all"].to_dict() == {"base": 50, "sft": 0}
    assert summary["n_unread"].tolist() == [1, 1]


def test_an_unknown_rule_and_an_idle_judge_are_told(questions):
    asked = [questions["medexpqa-en-1"]]
    with pytest.raises(ValueError, match=r"unknown rule 'letters'; did you mean 'letter'"):
        score(asked, responses(), "letters")
    with pytest.raises(ValueError, match="the others ask none"):
        score(asked, responses(), "letter", object())


def test_beside_the_published_tables(questions):
    asked = [question for question in questions.values() if question.options]
    letters = [question.keys[0] for question in asked]
    table = responses(
        **{question.id: letter for question, letter in zip(asked, letters, strict=True)}
    )
    accuracies = benchmarks.accuracy_table(score(asked, table)[1])
    both = sources.other_benchmarks(accuracies).set_index(["benchmark", "language"])
    for row in paper.published("table11").itertuples():
        name = f"{row.model_size} {row.variant}"
        assert both.loc[("MedExpQA", row.language), name] == row.accuracy
    french = both.loc[("MMedBench", "French"), ["1.5B base", "accuracy_of_all", "n"]]
    assert french.tolist() == [6.0, 50.0, 2]
    taiwan = both.loc[("MedQA", "Traditional Chinese"), ["32B cure-med", "accuracy_of_all"]]
    assert taiwan.tolist() == [76.0, 100.0]
    assert set(both.index) == {(question.benchmark, question.language) for question in asked}
    assert not both["accuracy_of_all"].isna().any()
