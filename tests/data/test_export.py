from collections import Counter

import datasets
import pytest
import yaml

from curemed_utils import data, languages
from curemed_utils.data import splits
from curemed_utils.data.export import export

LINEAGE = {
    "topic_id": "sample-asthma",
    "snapshot": "2026-11-20",
    "source_url": "sample:asthma",
    "model": "recorded",
    "votes": {"a": True, "b": None},
    "edits": [],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keeps what `datasets` builds out of the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def parts(make_row):
    """Three splits of all languages, whose rows differ in every way that a table could spoil."""
    odd = [
        {
            "options": {"A": "un", "B": "deux"},
            "key": "A",
            "mcq_question": "Quoi ?",
            "accepted": ["un", "1"],
            "topic": "t",
        },
        {"options": {"1": "x", "é": ""}, "lineage": LINEAGE},
        {
            "lineage": {"model": "m", "votes": [1, 2.5, "x", {"deep": [None]}]},
            "grade": 3,
            "flag": False,
        },
        {
            "grade": 2.0,
            "flag": "yes",
            "notes": '{"a": 1}',
            "text_json": "[1]",
            "list": [],
            "reasoning": "<thinking>\n\u2028</thinking>",
        },
        {"lineage": {}, "notes": "null", "empty": "", "reasoning_monolingual": "r"},
    ]
    odd[4]["source"] = "release-sft-fr"
    made = {name: [] for name in data.SPLITS}
    for number, (split, language, fields) in enumerate(
        (s, n, f) for s in made for n in languages.NAMES for f in odd
    ):
        made[split].append(make_row(number, **{"language": language} | fields))
    return made


def by_id(rows):
    return sorted(rows, key=lambda row: row.id)


def card_of(folder):
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


# The folder ---------------------------------------------------------------------------------------


def test_every_language_opens_by_its_name_with_its_rows_in_three_splits(parts, tmp_path):
    export(parts, tmp_path / "set")
    assert datasets.get_dataset_config_names(str(tmp_path / "set")) == [
        "all",
        *sorted(name.lower() for name in languages.NAMES),
    ]
    for name in languages.NAMES:
        loaded = datasets.load_dataset(str(tmp_path / "set"), name.lower())
        assert {split: part["id"][:] for split, part in loaded.items()} == {
            split: [row.id for row in rows if row.language == name] for split, rows in parts.items()
        }


def test_a_round_trip_keeps_every_field_with_its_type(parts, tmp_path):
    export(parts, tmp_path / "set")
    back = data.read_hub(str(tmp_path / "set"))
    assert {split: by_id(rows) for split, rows in back.items()} == {
        split: by_id(rows) for split, rows in parts.items()
    }
    told = [
        [sorted(row.model_dump().items()) for name in data.SPLITS for row in by_id(made[name])]
        for made in (parts, back)
    ]
    assert repr(told[0]) == repr(told[1])  # 2.0 equals 2, but is not the same


def test_dictionaries_open_as_dictionaries(parts, tmp_path):
    paths = export(parts, tmp_path / "set")
    assert len(paths) == 1 + len(languages.NAMES) * len(data.SPLITS)
    row = datasets.load_dataset(str(tmp_path / "set"), "yoruba")["rft"][0]
    assert row["options"] == {"A": "un", "B": "deux"} and row["accepted"] == ["un", "1"]


def test_an_exported_folder_is_a_source_that_comes_split(sample, tmp_path):
    made = splits.split(sample, 0.2, 0.2, seed=0, rft_seen=0.5)
    export(made, tmp_path / "set")
    loaded = splits.load_splits("hub", hub_dataset=str(tmp_path / "set"), seed=7)
    assert {name: by_id(rows) for name, rows in loaded.items()} == {
        name: by_id(rows) for name, rows in made.items()
    }
    few = splits.load_splits("hub", hub_dataset=str(tmp_path / "set"), max_per_language=1)
    assert {
        name: set(Counter(row.language for row in rows).values()) for name, rows in few.items()
    } == {name: {1} for name in made}


def test_a_language_without_rows_in_a_split_opens_with_the_others(parts, tmp_path):
    parts["test"] = [row for row in parts["test"] if row.language != "Thai"]
    export(parts, tmp_path / "set")
    assert set(datasets.load_dataset(str(tmp_path / "set"), "thai")) == {"sft", "rft"}
    assert set(datasets.load_dataset(str(tmp_path / "set"), "hausa")) == {"sft", "rft", "test"}
    assert data.read_hub(str(tmp_path / "set"))["test"]
    assert "| Thai | 5 | 5 | 0 |" in card_of(tmp_path / "set")[1]


def test_a_split_without_any_row_is_left_out(parts, tmp_path):
    export({"sft": parts["sft"], "test": []}, tmp_path / "set")
    assert set(data.read_hub(str(tmp_path / "set"))) == {"sft"}


def test_a_new_export_replaces_the_old_one_wholly(parts, tmp_path, make_row):
    export(parts, tmp_path / "set")
    data.read_hub(str(tmp_path / "set"))
    (tmp_path / "set" / ".DS_Store").write_bytes(b"Bud1")
    export({"sft": [make_row(1)]}, tmp_path / "set")
    assert data.read_hub(str(tmp_path / "set")) == {"sft": [make_row(1)]}
    assert [path.name for path in (tmp_path / "set/parquet").iterdir()] == ["french"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "set"]


@pytest.mark.parametrize("name", ["README.md", "notes.txt"])
def test_a_folder_of_something_else_is_never_replaced(tmp_path, make_row, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(data.DataError, match="is no earlier export: name a new folder"):
        export({"sft": [make_row(1)]}, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_an_export_that_fails_leaves_the_old_one_whole(tmp_path, make_row):
    export({"sft": [make_row(1)]}, tmp_path / "set")
    with pytest.raises(TypeError, match="not JSON serializable"):
        export({"sft": [make_row(2, x={1, 2})]}, tmp_path / "set")
    assert data.read_hub(str(tmp_path / "set")) == {"sft": [make_row(1)]}


@pytest.mark.parametrize(
    ("given", "said"),
    [({"sft": []}, "no row to export"), ({"train": []}, "split 'train' is none of sft, rft, test")],
)
def test_what_can_not_be_exported_is_named(tmp_path, given, said):
    with pytest.raises(data.DataError, match=said):
        export(given, tmp_path / "set")


# The card -----------------------------------------------------------------------------------------


def test_the_card_tells_composition_provenance_licence_and_limits(parts, tmp_path):
    sources = "our own 15 topics (sample/topics.xml)"
    export(
        parts,
        tmp_path / "set",
        name="My set",
        licence="cc-by-4.0",
        topics_source=sources,
    )
    fields, text = card_of(tmp_path / "set")
    assert fields["language"] == sorted(language.code for language in languages.ALL)
    assert (fields["license"], fields["pretty_name"]) == ("cc-by-4.0", "My set")
    assert [c["config_name"] for c in fields["configs"] if c.get("default")] == ["all"]
    n = len(parts["sft"])
    assert "| Yoruba | 5 | 5 | 5 |" in text and f"| all | {n} | {n} | {n} |" in text
    assert sources in text and f"| release-sft-fr | {3 * n // 5} |" in text
    assert "cc-by-4.0, as stated" in text


def test_the_card_says_that_nobody_reviewed_the_rows(tmp_path, make_row):
    export({"sft": [make_row(1)]}, tmp_path / "set")
    fields, text = card_of(tmp_path / "set")
    assert "No clinician and no native speaker has reviewed these rows." in text
    assert fields["license"] == "unknown"


@pytest.mark.parametrize(
    "fields", [{"source": "release-sft-fr"}, {"id": "release-test-fr-3"}, {"source": "hub-train"}]
)
def test_the_card_counts_rows_that_came_without_a_licence(tmp_path, make_row, fields):
    splits_of_rows = {"sft": [make_row(0), make_row(1, **fields)]}
    export(splits_of_rows, tmp_path / "set")
    text = card_of(tmp_path / "set")[1]
    assert "1 rows came without one" in text and "Don't publish them again" in text
    export(splits_of_rows, tmp_path / "set", licence="cc-by-4.0")
    header, text = card_of(tmp_path / "set")
    assert header["license"] == "cc-by-4.0" and "cc-by-4.0, as stated" in text
    assert "came without" not in text and "## Limits" in text
    assert data.read_hub(str(tmp_path / "set"))["sft"][0] == make_row(0)
