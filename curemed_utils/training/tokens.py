"""What a language costs in a model's tokens."""

import pandas as pd

from curemed_utils import data, prompts


def token_tax(tokenizer, rows: list[data.Row]) -> pd.DataFrame:
    """A line a row: its language, the tokens of its question and of its code-switched response.

    A response's end is one of its tokens; `characters` are those that a token of it holds.
    """
    lines = []
    for row in rows:
        response = prompts.completion(row)[0]["content"]
        asked = len(tokenizer.encode(row.question, add_special_tokens=False))
        answered = len(tokenizer.encode(response, add_special_tokens=False))
        lines.append((row.language, asked, answered + 1, len(response) / answered))
    return pd.DataFrame(lines, columns=["language", "question", "response", "characters"])
