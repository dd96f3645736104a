"""What many tests need: rows, verdicts of a run, and a released folder of verdicts."""

from pathlib import Path

import pandas as pd

from curemed_utils import data, rewards

TRUTHS = ["correct", "in_language", "complete", "well_formed"]


def row(number: int = 0, **fields) -> data.Row:
    """A valid row in French; keyword arguments replace its fields."""
    plain = {
        "id": f"r{number}",
        "language": "French",
        "question": f"Question {number} ?",
        "answer": f"<answer>Réponse {number}</answer>",
    }
    return data.Row(**plain | fields)


def verdicts(model: str = "m", run: int = 0, **correct) -> pd.DataFrame:
    """One model's verdicts: a language and its items' verdicts each; ids run across languages."""
    lines = []
    for language, values in correct.items():
        for number, value in enumerate(values):
            lines.append({"id": f"{language}-{number}", "language": language, "correct": value})
    table = pd.DataFrame(lines).assign(model=model, set="test", seed=run, sample=0)
    table = table.assign(response="a", finish_reason="stop", in_language=True, complete=True)
    table[list(rewards.PAID)] = (0.15, 0.30, 0.05)
    return table.assign(well_formed=True, reward=0.5).astype(dict.fromkeys(TRUTHS, "boolean"))


def released_verdicts(
    root: Path, verdicts, model="claude", kind="logic", language="French", responses="T"
) -> Path:
    """Writes one CSV of published verdicts under `root` as the release has them; returns `root`."""
    folder = root / "baseline_inference" / "closed_source" / model / f"BaseModel_{kind}_evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"Question": "Q", "Response": "R", "Test Response": responses}
    table = pd.DataFrame(columns | {f"{kind.title()}_Score": verdicts})
    table.to_csv(folder / f"{language}_x_{kind}_evaluation.csv", index=False)
    return root


def judged_outputs(cells, model="m", language="French") -> pd.DataFrame:
    """Released outputs with verdicts: rows of (in_language, complete, published, how many)."""
    truths = []
    for *truth, count in cells:
        truths += [truth] * count
    table = pd.DataFrame(truths, columns=["in_language", "complete", "published"])
    table = table.astype("boolean").assign(model=model, language=language, row=range(len(truths)))
    texts = [f"text {number}" for number in range(len(truths))]
    return table.assign(question="Q", reference="R", response=texts, reason="", cut="")


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints of one shape hold the same weights."""
    import torch
    from safetensors.torch import load_file

    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
