"""The paper as a test."""

from curemed_utils import paths
from curemed_utils.paper import claims


def test_the_disagreements_of_the_paper_appear_and_nothing_else():
    table = claims.recompute("no release")
    disagree = table[~table["agrees"]].set_index("claim")
    expected = {
        "Table 3: LC mean of base, 32B",
        "Figure 5: LC of Qwen2.5-Instruct-3B",
        "Figure 5: LA of Qwen2.5-Instruct-3B",
        "instances of CUREMED-BENCH",
        "share of French",
        "share of Bengali",
    }
    for metric in ("LA", "LC"):  # Tables 6 and 7 are single runs
        for model in ("Qwen2.5-Instruct-3B", "CURE-MED-Qwen2.5-3B", "CURE-MED-Qwen2.5-7B"):
            expected.add(f"Table 2: {metric} of {model}, as micro average")
    macro = set(table.loc[table["claim"].str.contains("as macro"), "claim"])
    assert set(disagree.index) == expected | macro
    assert len(macro) == 18 and len(table) == 417
    ablation = disagree.loc["Table 3: LC mean of base, 32B"]
    assert ablation[["published", "recomputed"]].tolist() == [35.57, 41.51]
    assert round(ablation["difference"], 2) == 5.94


def test_a_changed_number_that_stands_elsewhere_too_is_contradicted(changed_source):
    row = "CURE-MED-Qwen2.5-14B,large,14,cure-med,"
    changed_source("table02_main_results.csv", row + "90.27", row + "90.72")
    table = claims.recompute("no release")
    disagree = table.loc[~table["agrees"], "claim"].tolist()
    assert "Table 3: LC mean of codeswitch_sft_curriculum_rl, 14B" in disagree


def test_with_the_release_tables_8_to_10_follow_from_the_verdicts(release):
    table = claims.recompute(release)
    verdicts = table[table["claim"].str.startswith("Tables 8-10")]
    assert len(verdicts) == 84 and verdicts["agrees"].all()


def test_without_the_release_the_rest_is_checked(monkeypatch):
    monkeypatch.delenv("CUREMED_RELEASE", raising=False)
    assert paths.SOURCE_DATA.exists() and len(claims.recompute()) == 417
