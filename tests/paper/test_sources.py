"""Published numbers and their seals."""

import pytest

from curemed_utils import paper, paths


def test_the_source_data_are_sealed_and_say_where_they_come_from():
    paper.check_sources()
    for path in paths.SOURCE_DATA.glob("*.csv"):
        assert paper.published(path.stem)["source"].str.len().min() > 10


def test_a_changed_number_is_named_until_it_is_sealed(changed_source):
    row = "Mistral-7B,medium,7,baseline,"
    changed_source("table02_main_results.csv", row + "18.70", row + "81.70")
    where = r"table02_main_results.csv, line 11: Mistral-7B,medium,7,baseline,81.70"
    with pytest.raises(paper.SourceChanged, match=rf"{where}.*\n.*paper.seal"):
        paper.check_sources()
    paper.seal()
    paper.check_sources()


def test_rows_that_vanished_are_noticed_beside_other_faults(changed_source):
    row = "Mistral-7B,medium,7,baseline,"
    changed_source("table02_main_results.csv", row + "18.70", row + "81.70")
    row = "Qwen2.5-Instruct-3B,lc,10.8,arXiv:2601.13262 Figure 5\n"
    text = (paths.SOURCE_DATA / "figure05_labels.csv").read_text(encoding="utf-8")
    (paths.SOURCE_DATA / "figure05_labels.csv").write_text(text.replace(row, ""), encoding="utf-8")
    (paths.SOURCE_DATA / "table05_human_verification.csv").unlink()
    (paths.SOURCE_DATA / "table99.csv").write_text("a\n")
    with pytest.raises(paper.SourceChanged) as error:
        paper.check_sources()
    lines = str(error.value).splitlines()
    assert "figure05_labels.csv: rows are missing, doubled or in another order" in lines
    assert "table05_human_verification.csv: missing" in lines
    assert "table99.csv: not sealed" in lines
    assert len(lines) == 6


def test_a_table_is_found_by_the_beginning_of_its_name():
    assert len(paper.published("table02")) == 33
    for name in ("table", "table99"):
        with pytest.raises(FileNotFoundError, match=f"no single table '{name}'.*table02_main"):
            paper.published(name)


def test_tables_8_to_10_have_the_columns_of_rescored_verdicts():
    table = paper.proprietary_scores()
    assert list(table) == ["model", "metric", "language", "value"]
    assert len(table) == 5 * 2 * (1 + 13)
    row = table.set_index(["model", "metric", "language"]).loc[("GPT-5-mini", "la", "all")]
    assert row["value"] == 80.57
