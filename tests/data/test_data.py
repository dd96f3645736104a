import json
from collections import Counter

import pytest

from curemed_utils import data, languages, paths
from curemed_utils.data import splits

LINE = {
    "id": "a",
    "language": "French",
    "question": "Quelle maladie ?",
    "answer": "<answer>asthme</answer>",
}


def write_lines(path, *records):
    path.write_text(
        "".join(
            (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in records
        ),
        encoding="utf-8",
    )
    return path


def fault(path, **options) -> str:
    with pytest.raises(data.DataError) as caught:
        data.read_jsonl(path, **options)
    return str(caught.value)


# Reading one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "Quelle', "is not JSON"),
        ('["a", "b"]', "is a JSON list, not an object"),
        ("3", "is a JSON int, not an object"),
        ({k: v for k, v in LINE.items() if k != "question"}, "field 'question': Field required"),
        ({k: v for k, v in LINE.items() if k != "answer"}, "field 'answer': Field required"),
        ({k: v for k, v in LINE.items() if k != "language"}, "field 'language': Field required"),
        (LINE | {"question": " \t"}, "field 'question': must not be blank"),
        (LINE | {"question": "\u200b\ufeff"}, "field 'question': must not be blank"),
        (LINE | {"answer": ""}, "field 'answer': must not be blank"),
        (LINE | {"answer": "<answer>\u2060 </answer>"}, "field 'answer': must not be blank"),
        (LINE | {"question": None}, "field 'question'"),
        (LINE | {"accepted": "asthme"}, "field 'accepted'"),
        (LINE | {"language": "Frensh"}, "did you mean 'French'?"),
        (
            {"questoin": "Q ?"} | {k: v for k, v in LINE.items() if k != "question"},
            "field 'question': Field required; did you mean 'questoin'?",
        ),
        (LINE | {"Question": "Q ?"}, "field 'Question': did you mean 'question'?"),
        (LINE | {"Accepted": ["asthme"]}, "field 'Accepted': did you mean 'accepted'?"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_fault(tmp_path, line, said):
    message = fault(write_lines(tmp_path / "rows.jsonl", LINE | {"id": "first"}, line))
    assert "rows.jsonl, line 2: " in message
    assert said in message


def test_all_faults_of_a_file_are_reported_at_once(tmp_path):
    message = fault(write_lines(tmp_path / "rows.jsonl", "{", LINE, "[]"))
    assert "line 1: " in message and "line 3: " in message


def test_only_ten_faults_are_listed_and_the_rest_counted(tmp_path):
    message = fault(write_lines(tmp_path / "rows.jsonl", *["{"] * 13))
    assert "line 10: " in message and "line 11: " not in message
    assert "… and 3 more" in message


def test_latin1_bytes_are_refused_with_advice(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        json.dumps(LINE | {"question": "Évaluer ?"}, ensure_ascii=False).encode("latin-1")
    )
    message = fault(path)
    assert "rows.jsonl, line 1: is not UTF-8" in message
    assert "save the file as UTF-8" in message


def test_half_a_surrogate_pair_is_refused_since_no_file_can_hold_it(tmp_path):
    line = json.dumps(LINE).replace("maladie", r"\ud83d")
    assert "rows.jsonl, line 1: " in fault(write_lines(tmp_path / "rows.jsonl", line))


def test_utf8_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode())
    assert data.read_jsonl(path)[0].id == "a"


def test_windows_line_ends_and_blank_lines_are_accepted(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\r\n" + json.dumps(LINE).encode() + b"\r\n\r\n")
    assert [row.id for row in data.read_jsonl(path)] == ["a"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_separators_inside_a_string_do_not_split_a_line(tmp_path, separator):
    question = f"Quelle{separator}maladie ?"
    rows = data.read_jsonl(write_lines(tmp_path / "rows.jsonl", LINE | {"question": question}))
    assert [row.question for row in rows] == [question]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_refused(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert "rows.jsonl: holds no row" in fault(path)


def test_a_missing_file_is_named(tmp_path):
    assert "nowhere.jsonl: can't be read" in fault(tmp_path / "nowhere.jsonl")
    assert "notebook 01" not in fault(tmp_path / "nowhere.jsonl")
    assert "run notebook 01 with the same run_dir first" in fault(tmp_path / "data" / "rft.jsonl")


def test_a_duplicate_id_names_both_lines(tmp_path):
    message = fault(write_lines(tmp_path / "rows.jsonl", LINE, LINE | {"id": "b"}, LINE))
    assert "line 3: duplicate id 'a', first on line 1" in message


def test_a_language_unlike_the_files_is_refused(tmp_path):
    message = fault(write_lines(tmp_path / "Spanish.jsonl", LINE), language="Spanish")
    assert "Spanish.jsonl, line 1: language is 'French', but the file is for 'Spanish'" in message


def test_rows_without_an_id_get_one_from_source_and_position(tmp_path):
    bare = {k: v for k, v in LINE.items() if k != "id"}
    rows = data.read_jsonl(write_lines(tmp_path / "rows.jsonl", bare, bare), source="mine")
    assert [row.id for row in rows] == ["mine-0", "mine-1"]


def test_unknown_fields_survive_writing_and_reading(tmp_path):
    record = LINE | {"source": "mine", "reviewer": {"name": "Ọlá", "scores": [1, 2.5]}}
    path = data.write_jsonl(
        data.read_jsonl(write_lines(tmp_path / "in.jsonl", record)), tmp_path / "deep" / "out.jsonl"
    )
    assert json.loads(path.read_text(encoding="utf-8")) == record


def test_writing_leaves_the_old_file_whole_if_it_fails(tmp_path, make_row):
    path = data.write_jsonl([make_row(1)], tmp_path / "rows.jsonl")
    with pytest.raises(TypeError):
        data.write_jsonl([make_row(2), {"not": {"json"}}], path)
    assert [row.id for row in data.read_jsonl(path)] == ["r1"]


def test_what_was_misspelt_gets_the_nearest_or_all_that_is_known():
    assert languages.nearest("FRENSH", ["French", "Thai"]) == "; did you mean 'French'?"
    assert languages.nearest(3, ["French", "Thai"]) == "; known: French, Thai"


def test_listed_faults_end_with_the_number_of_the_others():
    assert data.listed(["a", "b"]) == "a\nb"
    assert data.listed(["a"] * 12) == "a\n" * 10 + "… and 2 more"


# Folders ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder with one row for each language."""
    for name in languages.NAMES:
        write_lines(tmp_path / f"{name}.jsonl", LINE | {"id": name, "language": name})
    return tmp_path


def test_a_folder_holds_all_languages(folder):
    assert [row.language for row in data.read_folder(folder, "x")] == list(languages.NAMES)


def test_a_language_of_ones_own_is_read_where_it_has_a_file_and_missed_nowhere(folder, monkeypatch):
    own, before = (
        languages.Language("Esperanto", "eo", "Latin", "constructed", "high", published=False),
        data.read_folder(folder, "x"),
    )
    monkeypatch.setattr(languages, "ALL", (*languages.ALL, own))
    monkeypatch.setattr(languages, "BY_NAME", languages.BY_NAME | {own.name: own})
    monkeypatch.setattr(languages, "NAMES", (*languages.NAMES, own.name))
    assert data.read_folder(folder, "x") == before
    write_lines(folder / "Esperanto.jsonl", LINE | {"id": "eo", "language": "Esperanto"})
    assert [row.language for row in data.read_folder(folder, "x")] == [
        *(row.language for row in before),
        "Esperanto",
    ]
    assert own.name not in languages.in_tier("high")


@pytest.mark.parametrize("misspelt", ["Frensh", "french"])
def test_a_misnamed_file_is_named_with_the_right_name(folder, misspelt):
    (folder / "French.jsonl").rename(folder / f"{misspelt}.jsonl")
    with pytest.raises(
        data.DataError,
        match=rf"{misspelt}\.jsonl: no language has this name; did you mean 'French'",
    ):
        data.read_folder(folder, "x")


@pytest.mark.parametrize("name", ["French.json", "french.ndjson", "French.JSONL"])
def test_rows_in_a_file_of_another_ending_are_not_lost(folder, name):
    (folder / name).write_text("[]")
    with pytest.raises(data.DataError, match=rf"{name}: is not read; name it French\.jsonl"):
        data.read_folder(folder, "x")


@pytest.mark.parametrize(
    "name",
    [
        "~$French.jsonl",
        "dataset_info.json",
        "._French.jsonl",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "French.jsonl~",
        "x.crdownload",
    ],
)
def test_what_systems_and_editors_leave_in_a_folder_is_passed_over(folder, name):
    rows = data.read_folder(folder, "x")
    (folder / "__MACOSX").mkdir()
    (folder / name).write_bytes(b"\x00\x05\x16\x07")
    assert data.read_folder(folder, "x") == rows


def test_all_faults_of_a_folder_come_at_once(folder):
    (folder / "French.jsonl").rename(folder / "French (1).jsonl")
    (folder / "Thai.jsonl").rename(folder / "Thai.JSONL")
    (folder / "Yoruba.jsonl").rename(folder / "Yoru\u0300ba\u0301.jsonl")
    with pytest.raises(data.DataError) as caught:
        data.read_folder(folder, "x")
    faults = str(caught.value).splitlines()
    assert [fault.rpartition("; ")[2] for fault in faults[:3]] == [
        "did you mean 'French'?",
        "name it Thai.jsonl, with an object a line",
        "did you mean 'Yoruba'?",
    ]
    assert faults[3].endswith("lacks French.jsonl, Thai.jsonl, Yoruba.jsonl")


def test_a_missing_folder_that_is_no_release_says_nothing_of_the_release(tmp_path):
    with pytest.raises(data.DataError, match=r"mine is not a folder$"):
        data.read_folder(tmp_path / "mine", "x")


def test_missing_language_files_are_all_named(folder):
    (folder / "French.jsonl").unlink()
    (folder / "Thai.jsonl").unlink()
    with pytest.raises(data.DataError, match=r"lacks French\.jsonl, Thai\.jsonl"):
        data.read_folder(folder, "x")


def test_a_row_in_the_wrong_languages_file_is_refused(folder):
    write_lines(folder / "Thai.jsonl", LINE)
    with pytest.raises(
        data.DataError,
        match=r"Thai\.jsonl, line 1: language is 'French', but the file is for 'Thai'",
    ):
        data.read_folder(folder, "x")


def test_a_missing_folder_is_named_with_what_to_set(tmp_path):
    (tmp_path / "datasets").mkdir()
    with pytest.raises(data.DataError, match=r"SFT_data is not a folder; .*set CUREMED_RELEASE"):
        data.read_release(tmp_path)


def test_the_release_without_its_variable_says_what_to_set(monkeypatch):
    monkeypatch.delenv("CUREMED_RELEASE", raising=False)
    with pytest.raises(FileNotFoundError, match="set CUREMED_RELEASE"):
        splits.load_splits("release")


def test_a_wrong_release_root_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CUREMED_RELEASE", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match=r"elsewhere.*CUREMED_RELEASE"):
        splits.load_splits("release")


# Sources ------------------------------------------------------------------------------------------


def test_a_misspelt_source_names_the_nearest():
    with pytest.raises(ValueError, match=r"data_source is 'sampel'.*did you mean 'sample'"):
        splits.load_splits("sampel")


def test_the_sample_is_split_into_three(sample):
    parts = splits.load_splits("sample")
    assert list(parts) == ["sft", "rft", "test"]
    assert {row.id for part in parts.values() for row in part} == {row.id for row in sample}


def test_max_per_language_keeps_that_many_rows_of_every_language():
    parts = splits.load_splits("sample", max_per_language=6)
    assert Counter(row.language for part in parts.values() for row in part) == dict.fromkeys(
        languages.NAMES, 6
    )


def test_max_per_language_keeps_the_same_topics_in_every_language(sample):
    kept = splits.limit(sample, 5, seed=3)
    topics = {name: {row.topic for row in kept if row.language == name} for name in languages.NAMES}
    assert len(topics["French"]) == 5
    assert all(found == topics["French"] for found in topics.values())


def test_rows_of_one_id_count_one_by_one(make_row):
    assert len(splits.limit([make_row(0), make_row(0), make_row(0)], 2, seed=0)) == 2


def test_max_per_language_chooses_by_seed(sample):
    chosen = [{row.topic for row in splits.limit(sample, 5, seed)} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_negative_max_per_language_is_refused():
    with pytest.raises(ValueError, match="max_per_language"):
        splits.load_splits("sample", max_per_language=-1)


def test_a_local_dataset_folder_is_read_as_hub_source(tmp_path):
    rows = [LINE | {"id": f"r{n}", "question": f"Question {n} ?", "grade": n} for n in range(20)]
    write_lines(tmp_path / "train.jsonl", *rows)
    parts = splits.load_splits("hub", hub_dataset=str(tmp_path))
    assert {row.id for part in parts.values() for row in part} == {f"r{n}" for n in range(20)}
    assert parts["test"][0].grade == int(parts["test"][0].id[1:])


def test_curated_rows_are_split_like_the_sample(sample):
    assert splits.load_splits("curated", curated=sample) == splits.split(sample, 0.2, 0.2, 0)


def test_a_bad_row_of_a_hub_dataset_is_named_by_split_row_and_field(tmp_path):
    write_lines(tmp_path / "train.jsonl", LINE, LINE | {"id": "b", "question": " "})
    with pytest.raises(data.DataError, match="split 'train', row 1: field 'question'"):
        data.read_hub(str(tmp_path))
    write_lines(tmp_path / "train.jsonl", LINE | {"id": ""}, LINE, LINE | {"language": "fr"})
    with pytest.raises(data.DataError, match=r"row 0: .*\n.*row 2: .*did you mean 'French'"):
        data.read_hub(str(tmp_path))


def test_a_hub_dataset_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(
        data.DataError,
        match=r"data_source hub: .*nowhere.* can't be loaded.*local folder as hub_dataset",
    ):
        data.read_hub(str(tmp_path / "nowhere"))


# The released data --------------------------------------------------------------------------------


def test_the_released_test_set_has_1431_questions(released):
    assert len(released["test"]) == 1431
    assert {row.language for row in released["test"]} == set(languages.NAMES)


def test_max_per_language_limits_each_split_of_the_release(release):
    parts = splits.load_splits("release", max_per_language=7)
    assert all(
        Counter(row.language for row in part) == dict.fromkeys(languages.NAMES, 7)
        for part in parts.values()
    )


def test_a_release_without_verdict_csvs_says_what_is_missing(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    for name in ("SFT_data", "RFT_data"):
        (root / "datasets" / name).mkdir(parents=True)
        for path in folder.glob("*.jsonl"):
            (root / "datasets" / name / path.name).write_bytes(path.read_bytes())
    with pytest.raises(data.DataError, match=r"Amharic.*set CUREMED_RELEASE"):
        data.read_release(root)


def test_a_released_csv_that_is_a_pointer_is_named(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    for name in ("SFT_data", "RFT_data"):
        (root / "datasets" / name).parent.mkdir(exist_ok=True)
        (root / "datasets" / name).symlink_to(folder)
    outputs = root / "baseline_inference" / "BaseModel_logic_evaluation"
    outputs.mkdir(parents=True)
    (outputs / "Amharic_x.csv").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(data.DataError, match=r"Amharic_x\.csv: is a Git LFS pointer"):
        data.read_release(root)


def test_paths_are_shown_without_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.show(tmp_path / "release" / "x.csv") == "~/release/x.csv"


def test_readme_prints_the_tree_of_a_run():
    assert paths.run_tree() in (paths.ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "notebook"),
    [
        ("data/rft.jsonl", "01"),
        ("checkpoints/sft/log.jsonl", "03"),
        ("evaluation/labelling_sheet.csv", "09"),
        ("evaluation/base/verdicts.jsonl", "07"),
        ("ablation/seed1/data/sft.jsonl", "10"),
    ],
)
def test_a_path_of_a_run_has_its_notebook(path, notebook):
    assert paths.maker(path) == notebook


def test_what_no_notebook_makes_is_named():
    with pytest.raises(ValueError, match="no notebook makes elsewhere/x"):
        paths.maker("elsewhere/x")


@pytest.mark.parametrize("blank", ["", " ", "—", "…", "-", "\u200b"])
def test_an_accepted_answer_that_holds_nothing_is_refused_where_it_stands(tmp_path, blank):
    fields = {"language": "French", "question": "Q ?", "answer": "<answer>x</answer>"}
    lines = [json.dumps(fields | {"accepted": forms}) for forms in (["x"], ["x", blank])]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines))
    wanted = r"mine\.jsonl, line 2: field 'accepted\.1': must hold a letter or a number"
    with pytest.raises(data.DataError, match=wanted):
        data.read_jsonl(file)
