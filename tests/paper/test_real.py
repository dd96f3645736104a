"""Numbers of the real model and of the token tax in prose are those of their tables."""

import json
import re

import pandas as pd
import pytest

from curemed_utils import data, paths
from curemed_utils.paper.sources import published


def text_of(place: str) -> str:
    """A page or the prose of a notebook, with single spaces."""
    (file,) = paths.ROOT.glob(place)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        prose = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
        text = " ".join(map("".join, prose))
    return re.sub(r"\s+", " ", text)


def three(row: pd.Series, measure: str) -> str:
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    return f"{row[measure]:.1f} ({low:.1f} to {high:.1f})"


def test_the_page_on_gpus_has_a_line_for_each_arm():
    page = text_of("docs/gpu.md")
    for _, row in published("real_arms").iterrows():
        cells = [row["arm"], row["seeds"], three(row, "lc")]
        cells.append(f"{row['lc_wrong']:.1f} to {row['lc_right']:.1f}")
        cells.append("" if pd.isna(row["lc_complete"]) else f"{row['lc_complete']:.1f}")
        cells += [f"{row['complete']:.1f}", f"{row['well_formed']:.1f}", f"{row['tokens']:.0f}"]
        line = "| " + " | ".join(map(str, cells)) + " |"
        assert re.sub(r"\s+", " ", line) in page


def test_the_page_on_gpus_has_the_differences():
    page = text_of("docs/gpu.md")
    for _, pair in published("real_pairs").iterrows():
        assert f"{three(pair, 'lc')}" in page and three(pair, "lc_complete") in page
    traces = published("real_pairs").iloc[0]
    assert f"a difference of {traces['lc_detectable']:.1f} points four times in five" in page
    assert f"these seeds one of {traces['lc_detectable_seeds']:.1f}." in page
    length = published("real_pairs").iloc[1]
    assert f"seeds alone would have shown {length['lc_detectable_seeds']:.1f} or more" in page
    table03 = published("table03").query("metric == 'lc' and model_size == '1.5B'")
    naive, switched = table03["mean"].iloc[[1, 2]]
    assert f"Table 3 has {switched:.1f} against {naive:.1f} for 1.5B" in page
    held_out = published("real_held_out")
    assert held_out["la"].eq(0).all() and held_out["questions"].eq(39).all()
    assert "No answer to the 39 held-out questions" in page


def test_notebook_03_has_the_numbers_of_the_two_kinds_of_traces():
    arms = published("real_arms").set_index("arm")["lc"]
    untrained, one, switched = arms[
        ["untrained", "156 short rows, one language", "156 short rows, code-switched"]
    ]
    pair = published("real_pairs").iloc[0]
    prose = text_of("notebooks/03*.ipynb")
    assert f"from {untrained:.1f} to {switched:.1f}%" in prose
    assert f"monolingual traces of the same rows to {one:.1f}%" in prose
    limits = f"{pair['lc_low']:.1f} to {pair['lc_high']:.1f}"
    assert f"the difference is {pair['lc']:.1f} points (95% interval {limits})" in prose


def test_the_cost_page_has_the_token_tax():
    page = text_of("papermill_params/README.md")
    table = published("token_tax").set_index(["tokenizer", "language"])
    qwen, gemma = table.loc["Qwen2.5"], table.loc["Gemma 3"]
    assert len(qwen) == len(gemma) == 14
    for language, row in qwen.iterrows():
        whole = [row[name] for name in ("question", "response", "response_95", "longest")]
        cells = [language, *(f"{value:.0f}" for value in whole), f"{row['characters']:.1f}"]
        cells += [f"{row[f'over_{limit}']:.1f}" for limit in (256, 512, 768, 1024)]
        cells += [f"{gemma['response'][language]:.0f}", f"{gemma['over_512'][language]:.1f}"]
        assert "| " + " | ".join(cells) + " |" in page
    assert f"{qwen['rows']['all']:,} released SFT and RFT rows" in page
    assert qwen["over_1024"].max() == 0 and "1,024 and 2,048 tokens cut none" in page
    assert f"would cut {qwen['over_256']['all']:.1f}% of the released ones" in page
    assert f"cuts {qwen['over_768']['Bengali']:.1f}% of the Bengali ones" in page
    dear = qwen["over_512"].drop("all").nlargest(3).index
    assert set(dear) == {"Bengali", "Hindi", "Amharic"}
    assert "At 512 what is cut is Bengali, Hindi and Amharic" in page


@pytest.mark.heavy
def test_the_counts_of_rows_are_those_of_the_release(release):
    rows = data.read_release(release)
    counts = pd.Series([row.language for name in ("sft", "rft") for row in rows[name]])
    table = published("token_tax").query("language != 'all'")
    for _, part in table.groupby("tokenizer"):
        expected = counts.value_counts().to_dict()
        assert part.set_index("language")["rows"].to_dict() == expected


def test_the_page_on_gpus_has_what_a_run_on_a_cpu_earned():
    page, log = text_of("docs/gpu.md"), published("real_training")
    loss = log.loc[log["stage"].eq("sft"), "loss"]
    assert f"fell from {loss.iloc[0]:.2f} to {loss.iloc[-5:].mean():.2f}" in page
    grpo = log[log["stage"].ne("sft")]
    low, high = grpo["reward"].min(), grpo["reward"].max()
    assert f"earned {low:.2f} to {high:.2f} of 1" in page
    shares = []
    for part in ("language", "format"):
        low, high = 100 * grpo[part].min(), 100 * grpo[part].max()
        shares.append(f"{low:.0f} to {high:.0f}%")
    assert shares[0] in page and f"the form in {shares[1]}" in page
    assert grpo["accuracy"].eq(0).all()
