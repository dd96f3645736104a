"""The paper as a test."""

import pytest

from curemed_utils.paper import claims, words


def test_the_disagreements_of_the_paper_appear_and_nothing_else():
    table = claims.recompute()
    disagree = table[~table["agrees"]].set_index("claim")
    own = disagree[disagree["kind"].ne(claims.MACRO)]
    assert set(own.index) == {
        "Table 3: LC mean of base, 32B",
        "Figure 5: LC of Qwen2.5-Instruct-3B",
        "Figure 5: LA of Qwen2.5-Instruct-3B",
        "Table 2: LC of Qwen2.5-Instruct-3B, as micro average",
        "instances of CUREMED-BENCH",
        "share of French",
        "share of Bengali",
    }
    counts = table.groupby("kind")["agrees"].agg(["size", "sum"])
    assert counts.loc[claims.MACRO].tolist() == [10, 0]
    assert counts.loc["gain"].tolist() == [72, 72]  # 52 of Tables 6 and 7, 20 of Table 3
    ablation = disagree.loc["Table 3: LC mean of base, 32B"]
    assert ablation[["published", "recomputed"]].tolist() == [35.57, 41.51]
    assert round(ablation["difference"], 2) == 5.94


@pytest.mark.parametrize(
    "file, row, old, new, claim",
    [
        (
            "table02_main_results.csv",
            "CURE-MED-Qwen2.5-14B,large,14,cure-med,",
            "90.27",
            "90.72",
            "Table 3: LC mean of codeswitch_sft_curriculum_rl, 14B",
        ),
        (
            "table03_ablation.csv",
            "la,3B,codeswitch_sft,39.13,0.53,",
            "29.63",
            "29.36",
            "Table 3: LA gain of codeswitch_sft, 3B",
        ),
    ],
)
def test_a_changed_number_that_stands_elsewhere_too_is_contradicted(
    changed_source, file, row, old, new, claim
):
    changed_source(file, row + old, row + new)
    table = claims.recompute()
    assert claim in table.loc[~table["agrees"], "claim"].tolist()


# In words ----------------------------------------------------------------------------------------


def cells(where: str, words_of: str = "") -> list[str]:
    rows = words.claims().loc[[where]]
    return rows.loc[rows["claim"].str.contains(words_of), "cells"].tolist()


def test_what_the_tables_contradict_is_no_and_what_they_bear_out_is_yes():
    holds = words.claims().set_index("claim", append=True)["holds"]
    borne_out = holds[holds.eq("yes")].index.get_level_values("where").tolist()
    assert borne_out == ["Tables 4, 11, 12", "Figure 8"]
    assert len(holds) == 12


def test_the_cells_are_those_of_the_tables():
    (gaps,) = cells("Figure 5", "widens")
    assert gaps.startswith("LC: 1.5B 53.8, 3B 65.9, 7B 59.8, 14B 54.7, 32B 53.")
    (scale,) = cells("Figure 5", "gain little")
    assert scale.endswith("base +37.67, CURE-MED +37.36")
    assert "pearson +0.89, spearman +0.90" in cells("Figure 4")[0]
    (share,) = cells("Table 3")
    assert "LC 7B +1.75 ± 2.66" in share and "LA 7B +4.32 ± 3.66" in share
    (falls,) = cells("Tables 4, 11, 12")
    assert falls.startswith("8 of 55 cells fall") and "MedQA 14B Simplified Chinese -5.50" in falls
    assert "14B 71.50, 7B 63.00, 32B 29.50" in cells("Table 4", "Spanish")[0]
    assert cells("Table 6")[0].startswith("Bengali 50.00, Hindi 44.03, Yoruba 40.86")
    assert "3B LA 21.3 to 45.4" in cells("Tables 6, 7")[0]
    assert cells("Figure 6")[0].startswith("HuatuoGPT-70B 79.33, MMed-LLaMA-70B 74.83")


def test_a_claim_holds_where_its_cells_do(changed_source):
    row = "MMedBench,7B,cure-med,Japanese,"
    changed_source("table04_ood_mmedbench.csv", row + "46.73", row + "56.73")
    rows = words.claims().loc["Table 4"].set_index("claim")
    assert rows.loc["CURE-MED improves at all sizes", "holds"] == "yes"
