"""Models as rows of `models.yaml`: the paper's, and your own behind them."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, ValidationError

from curemed_utils import data, languages, paths
from curemed_utils.data import yaml12
from curemed_utils.evaluation.generation import GenerationSettings
from curemed_utils.evaluation.responses import evaluate
from curemed_utils.judge import Judge
from curemed_utils.training import checkpoints

MODELS = Path(__file__).with_name("models.yaml")


class Model(GenerationSettings):
    """One row; `models.yaml` says what the fields mean."""

    name: str = Field(pattern=r"^[\w(][\w .()+-]*$")  # a folder's name as well
    id: str = ""
    params_b: float | None = Field(None, gt=0)  # billions
    size_class: Literal["small", "medium", "large", "proprietary"]
    context: int | None = Field(None, gt=0)  # tokens
    note: str = ""


def load_models() -> dict[str, Model]:
    """The models of MODELS by name; DataError lists faults by row, name and field."""
    rows, file = yaml12.read_yaml(MODELS), paths.show(MODELS)
    if not isinstance(rows, list):
        raise data.DataError(f"{file}: must be a list of rows")
    models, faults = {}, []
    for number, row in enumerate(rows, 1):
        name = row.get("name") if isinstance(row, dict) else row
        place = f"row {number} ({name!r}), field"
        try:
            model = Model.model_validate(row)
        except ValidationError as error:
            for each in error.errors():
                field = ".".join(map(str, each["loc"])) or "row"
                faults.append(f"{place} {field!r}: {each['msg']}")
            continue
        if model.name in languages.CHECKPOINTS:
            faults.append(f"{place} 'name': the name of a checkpoint of a run")
        if model.name in models:
            faults.append(f"{place} 'name': there twice")
        models[model.name] = model
    if faults:
        raise data.DataError(f"{file}: {len(faults)} faults\n{data.listed(faults)}")
    return models


def find(name: str) -> Model:
    """The model of this name; ValueError if there is none, or none with an id."""
    models, file = load_models(), paths.show(MODELS)
    if name not in models:
        raise ValueError(f"no model {name!r} in {file}{languages.nearest(name, models)}")
    if not models[name].id:
        why = models[name].note or "fill it in"
        raise ValueError(f"model {name!r} has no id yet in {file}: {why}")
    return models[name]


def evaluate_baseline(
    name: str,
    run_dir: Path,
    sets: dict[str, list[data.Row]],
    judge: Judge | None = None,
    chosen: dict | None = None,
    **settings,
) -> pd.DataFrame:
    """`evaluation.evaluate` for one row of `models.yaml`.

    `settings` are those of `evaluation.respond`. What the row says goes before them, and what is
    `chosen` for baselines before the row. Weights are fetched if need be and linked as a
    checkpoint of the run. ValueError for an unknown name or no id.
    """
    model = find(name)
    of_row = model.model_dump(include=set(GenerationSettings.model_fields), exclude_unset=True)
    settings = settings | of_row | (chosen or {})
    source = model.id
    if settings.get("engine") != "server":
        source = checkpoints.link(paths.checkpoint(run_dir, name), model.id)
    return evaluate(run_dir, name, sets, judge, source=source, **settings)
