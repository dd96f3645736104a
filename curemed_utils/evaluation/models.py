"""Models to evaluate as rows of a YAML file: the paper's baselines and sizes in `models.yaml`, anyone's own in a file like it."""

from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curemed_utils import data, evaluation, paths
from curemed_utils.evaluation import verdicts
from curemed_utils.judge import Judge
from curemed_utils.training import checkpoints

MODELS = Path(__file__).with_name("models.yaml")


class Model(BaseModel):
    """One row; what the fields mean stands at the top of `models.yaml`. `params_b` is in billions, `context` in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w(][\w .()+-]*$")  # a folder's name as well
    id: str = ""
    params_b: float | None = Field(None, gt=0)
    size_class: Literal["small", "medium", "large", "proprietary"]
    engine: Literal["transformers", "vllm", "server"] = "transformers"
    prompt_style: Literal["chat", "user_only", "plain"] = "chat"
    max_new_tokens: int = Field(1024, gt=0)
    context: int | None = Field(None, gt=0)
    base_url: str = ""
    key_name: str = "OPENAI_API_KEY"
    request: dict = {}
    note: str = ""


def load(path: str | Path = MODELS) -> dict[str, Model]:
    """The models of a YAML file by name, in its order; DataError lists every fault by row (from 1), name and field."""
    path = Path(path).expanduser()
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise data.DataError(f"{paths.show(path)}: can't be read as YAML ({error})") from None
    if not isinstance(rows, list) or not rows:
        raise data.DataError(f"{paths.show(path)}: must be a list of rows, each with name, id and size_class")
    models, ids, faults = {}, {}, []
    for number, row in enumerate(rows, 1):
        place = f"row {number} ({row.get('name') if isinstance(row, dict) else row!r})"
        try:
            model = Model.model_validate(row)
        except ValidationError as error:
            faults += [f"{place}, field {'.'.join(map(str, e['loc'])) or 'row'!r}: {e['msg']}" for e in error.errors()]
            continue
        if model.name in models or model.name in verdicts.MODELS:
            faults.append(f"{place}, field 'name': {'there twice' if model.name in models else 'the name of a checkpoint of a run'}")
        if model.engine == "server" and model.prompt_style == "plain":
            faults.append(f"{place}, field 'prompt_style': 'plain' does not go with engine 'server', whose chat has turns")
        if model.id and (other := ids.setdefault((model.id, model.base_url), model.name)) != model.name:
            faults.append(f"{place}, field 'id': {model.id} is {other}'s already")
        models[model.name] = model
    if faults:
        raise data.DataError("\n".join([f"{paths.show(path)}: {len(faults)} faults", *faults]))
    return models


def evaluate(
    name: str,
    run_dir: Path,
    sets: dict[str, list[data.Row]],
    judge: Judge | None = None,
    path: str | Path = MODELS,
    into: str = "evaluation",
    max_usd: float | None = None,
    **settings,
) -> pd.DataFrame:
    """`evaluation.evaluate` for one row of a file of models: verdicts at `<run_dir>/<into>/<name>/verdicts.jsonl`.

    `settings` are those of `evaluation.respond` and go before the row's own, e.g. engine='transformers' where vLLM is not installed.
    `max_usd` caps what a server's answers may have cost, for a model that `prices.yaml` has a price of. Weights become a link at
    `<run_dir>/checkpoints/<name>`, fetched from the hub if need be. ValueError for an unknown name or a row without an id.
    """
    rows = load(path)
    if name not in rows:
        raise ValueError(f"model {name!r} is not in {paths.show(path)}; it has {', '.join(rows)}")
    model = rows[name]
    if not model.id:
        raise ValueError(f"model {name!r} has no id yet in {paths.show(path)}: {model.note or 'fill it in'}")
    own = {"engine": model.engine, "prompt_style": model.prompt_style, "max_new_tokens": model.max_new_tokens}
    settings = own | settings
    if model.context and settings["max_new_tokens"] >= model.context:
        raise ValueError(
            f"max_new_tokens {settings['max_new_tokens']} leaves no room for a prompt in the {model.context} tokens of {name!r}"
        )
    if settings["engine"] != "server":
        source = checkpoints.link(Path(run_dir) / "checkpoints" / name, model.id)
        return evaluation.evaluate(Path(run_dir), name, sets, judge, into, source, **settings)
    server = {"base_url": model.base_url or None, "key_name": model.key_name, "request": model.request or None, "max_usd": max_usd}
    server = {field: value for field, value in server.items() if value is not None}
    return evaluation.evaluate(Path(run_dir), name, sets, judge, into, model.id, **server | settings)
