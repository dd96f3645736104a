"""The notebooks' parameters: read by their declared types, checked before anything loads."""

import ast
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    AfterValidator,
    Field,
    FiniteFloat,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)

from curemed_utils import extras, languages, paths
from curemed_utils.curation import items
from curemed_utils.data import DataError, splits, yaml12
from curemed_utils.data.scrubbing import hide
from curemed_utils.evaluation import benchmarks, models
from curemed_utils.judge.models import Options, tell
from curemed_utils.training import curricula, launch, stages


def _there(file):
    if file and not os.path.exists(paths.resolve(file)):
        raise ValueError(f"there is no {paths.resolve(file)}")


def _judge(model):
    if model and (fault := extras.fault("judge")):
        raise ValueError(fault)
    return tell(model)


def _curation(options):
    if "seed" in options:
        raise ValueError("seed is a parameter of its own")
    items.Settings.model_validate(options)


TYPES = {"int": NonNegativeInt, "float": Annotated[FiniteFloat, Field(ge=0)]}
TYPES |= {"str": str, "bool": bool, "list": list, "dict": dict}
BLANKS = " \t\r\n\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # seen or not
File = Annotated[str, AfterValidator(_there)]
Share = Annotated[float, Field(ge=0, le=1)]
NARROWER = {  # than what the parameters cell declares
    "ablation_seeds": list[NonNegativeInt],
    "baselines": list[Annotated[str, AfterValidator(models.find)]],
    "curation_models": Annotated[dict, AfterValidator(_curation)],
    "curriculum": Literal[*curricula.NAMES],
    "data_source": Literal[*splits.SOURCES],
    "judge_rates": File,
    "eval_engine": Literal["", "transformers", "vllm", "server"],
    "judge_model": Annotated[str, AfterValidator(_judge)],
    "judge_options": Options,
    "model_servers": dict[str, str],
    "ood_data": dict[Literal[*benchmarks.LANGUAGES], str],
    "ood_form": Literal[*benchmarks.FORMS],
    "ood_rule": Literal[*benchmarks.READERS],
    "questions_file": File,
    "ratings_dir": File,
    "retain": Share,
    "rft_seen": Share,
    "rft_share": Share,
    "strategy": Literal[*launch.STRATEGIES],
    "test_share": Share,
    "topics_file": File,
}


class Parameter(NamedTuple):
    type: str
    default: object


def declared(notebook: Path) -> dict[str, Parameter]:
    """The lines `name: type = default` of a notebook's parameters cell."""
    parameters = {}
    for cell in json.loads(notebook.read_bytes())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            for line in ast.parse("".join(cell["source"])).body:
                if isinstance(line, ast.AnnAssign):
                    parameters[line.target.id] = _parameter(line, notebook)
    return parameters


def _parameter(line, notebook):
    try:
        return Parameter(ast.unparse(line.annotation), ast.literal_eval(line.value))
    except ValueError:
        what = f"{paths.show(notebook)}: parameter {line.target.id}"
        raise DataError(f"{what} needs a plain value, not {ast.unparse(line)}") from None


def known_parameters() -> dict[str, dict[str, Parameter]]:
    """The parameters of every notebook by its name."""
    return {path.stem: declared(path) for path in paths.notebooks()}


def read_profile(name: str) -> dict:
    """The parameters of `papermill_params/<name>.yaml` (or of a YAML file given by path)."""
    by_path = name.endswith((".yaml", ".yml"))
    path = paths.resolve(name) if by_path else paths.PROFILES / f"{name}.yaml"
    if not path.is_file():
        profiles = sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))
        raise DataError(f"no profile {path}{languages.nearest(name, profiles)}")
    profile = yaml12.read_yaml(path) or {}
    if not isinstance(profile, dict):
        raise DataError(f"{paths.show(path)} must hold `name: value` lines")
    return profile


def read_arguments(pairs: list[tuple[str, str]], known: dict) -> dict:
    """The parameters of a command line, [(name, value as typed), …]."""
    types, values = _types(known), {}
    for name, text in pairs:
        shown = "" if types.get(name) == "dict" else f" {text!r:.99}"  # it may hold a key
        place = f"parameter {name}{shown}: "
        if name in values:
            raise DataError(f"{place}the name stands there twice")
        values[name] = _read(text, types.get(name, "str"), place)
    return values


def _read(text, type_name, place):
    """A str is taken as typed; others are YAML, a bool also yes, no, on or off in any case."""
    if type_name == "str":
        return text
    bare = text.strip(BLANKS)
    if type_name == "bool":
        return yaml.SafeLoader.bool_values.get(bare.lower(), text)
    return yaml12.parse_yaml(bare, place)


def check_parameters(values: dict, known: dict, chosen: list[str] | None = None) -> None:
    """Raises DataError for what no notebook has, a wrong value, a file that is not there.

    Those of the `chosen` notebooks (default: all) must also give stages that can be trained.
    """
    types = _types(known)
    for name, value in values.items():
        if name not in types:
            raise DataError(f"unknown parameter {name!r}{languages.nearest(name, sorted(types))}")
        _check(name, value, types[name])
        if hide(str(value)) != str(value):
            raise DataError(f"parameter {name} holds a key: keys come from the environment alone")
    for notebook in known if chosen is None else chosen:
        check_stages(complete(values, known[notebook]))


def complete(values: dict, parameters: dict[str, Parameter]) -> dict:
    """The parameters of a notebook: its defaults where `values` has none."""
    return {name: values.get(name, one.default) for name, one in parameters.items()}


def check_stages(parameters: dict) -> None:
    """DataError for parameters of which no training stage can be made."""
    for kind in stages.KINDS:
        if f"{kind}_options" in parameters:
            try:
                stages.check_parameters(kind, parameters)
            except (ValueError, TypeError) as error:
                raise DataError(f"{kind}_options and its like: {error}") from None


def check_notebook(namespace: dict) -> None:
    """`check_parameters` for a notebook at work, from its variables."""
    known = known_parameters()
    names = {*namespace.get("__annotations__", {})} & {*_types(known)}
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters\n"):  # papermill's
            names |= {line.targets[0].id for line in ast.parse(cell).body}
    values = {name: namespace[name] for name in names if name in namespace}
    if known:
        check_parameters(values, known, [])
    check_stages(values)


def _types(known):
    types = {}
    for parameters in known.values():
        types |= {name: parameter.type for name, parameter in parameters.items()}
    return types


def _check(name, value, type_name):
    form = NARROWER.get(name) or TYPES.get(type_name, Any)
    try:
        TypeAdapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        within = "".join(f"{part}: " for part in fault["loc"][:1])
        shown = "" if value and type_name == "dict" else f" is {value!r:.99}"  # no key is shown
        raise DataError(f"parameter {name}{shown}: {within}{stages.plain(fault)}") from None
