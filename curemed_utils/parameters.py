"""The notebooks' parameters: read by their declared types, checked before anything loads."""

import ast
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import yaml
from pydantic import FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError

from curemed_utils import languages, paths
from curemed_utils.curation import items
from curemed_utils.evaluation import benchmarks
from curemed_utils.training import stages

TYPES = {"int": int, "float": FiniteFloat, "str": str, "bool": bool, "list": list, "dict": dict}
EXAMPLES = {"int": "20", "float": "0.5 or 1.0e-6", "bool": "true or false"}
EXAMPLES |= {"str": "'text', within quotes in YAML", "list": "[1, 2]", "dict": "{name: value}"}
WITHIN = {  # what a list or mapping holds
    "ablation_seeds": list[NonNegativeInt],
    "baselines": list[str],
    "model_servers": dict[str, str],
    "ood_data": dict[Literal[*benchmarks.LANGUAGES], str],
}
FILES = ("questions_file", "topics_file", "ratings_dir")  # of the reader's; empty: none
BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
BLANKS = " \t\r\n\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # seen or not
DIGITS = "[0-9]+(_[0-9]+)*"
FORMS = {  # of what is no text in YAML
    "int": rf"[-+]?{DIGITS}\Z",
    "float": rf"[-+]?({DIGITS}(\.({DIGITS})?)?|\.{DIGITS})([eE][-+]?[0-9]+)?\Z",
    "bool": r"(true|True|TRUE|false|False|FALSE)\Z",
    "null": r"(~|null|Null|NULL|)\Z",
}


class UsageError(ValueError):
    """A wrong profile, notebook or parameter."""


class Parameter(NamedTuple):
    type: str
    default: object


def declared(notebook: Path) -> dict[str, Parameter]:
    """The lines `name: type = default` of a notebook's parameters cell."""
    parameters = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            for line in ast.parse("".join(cell["source"])).body:
                if isinstance(line, ast.AnnAssign):
                    parameters[line.target.id] = _parameter(line, notebook)
    return parameters


def _parameter(line: ast.AnnAssign, notebook: Path) -> Parameter:
    try:
        return Parameter(ast.unparse(line.annotation), ast.literal_eval(line.value))
    except ValueError:
        what = f"{paths.show(notebook)}: parameter {line.target.id}"
        raise UsageError(f"{what} needs a plain value, not {ast.unparse(line)}") from None


def known_parameters() -> dict[str, dict[str, Parameter]]:
    """The parameters of every notebook by its name."""
    return {path.stem: declared(path) for path in paths.notebooks()}


class _Loader(yaml.SafeLoader):
    """YAML 1.2: `010` is ten, `1e-6` a number, `1:30`, `yes` and a date are text."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node, deep=False):
        mapping = super().construct_mapping(node, deep)
        names = Counter(self.construct_object(key) for key, _ in node.value)
        for name, times in names.items():
            if times > 1:
                raise UsageError(f"{name!r} stands there twice")
        return mapping

    def construct_number(self, node):
        text = self.construct_scalar(node)
        whole = re.match(FORMS["int"], text) and len(text) < 400
        return int(text) if whole else float(text)


for _name, _form in FORMS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_form), None)
for _name in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _Loader.construct_number)


def read_yaml(text: str) -> object:
    """What a YAML text holds; UsageError where it is none or has a key twice."""
    try:
        return yaml.load(text, _Loader)
    except UsageError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"this is not YAML: {' '.join(str(error).split())}") from None


def read_profile(name: str) -> dict:
    """The parameters of `papermill_params/<name>.yaml` (or of a YAML file given by path)."""
    by_path = name.endswith((".yaml", ".yml"))
    path = paths.resolve(name) if by_path else paths.PROFILES / f"{name}.yaml"
    if not path.is_file():
        profiles = sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))
        raise UsageError(f"no profile {path}{languages.nearest(name, profiles)}")
    try:
        profile = read_yaml(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise UsageError(f"{paths.show(path)}: {error}") from None
    if not isinstance(profile, dict):
        raise UsageError(f"{paths.show(path)} must hold `name: value` lines")
    return profile


def read_value(text: str, type_name: str) -> object:
    """What `text` means where a value of this type is due: a str is taken as typed.

    Others are YAML, a bool also yes, no, on or off in any case. Whether the type is right,
    `check_parameters` says; UsageError for what is no YAML.
    """
    if type_name == "str":
        return text
    bare = text.strip(BLANKS)
    return BOOLS.get(bare.lower(), text) if type_name == "bool" else read_yaml(bare)


def read_arguments(pairs: list[tuple[str, str]], known: dict) -> dict:
    """The parameters of a command line, [(name, value as typed), …]."""
    types, values = _types(known), {}
    for name, text in pairs:
        try:
            if name in values:
                raise UsageError("stands there twice")
            values[name] = read_value(text, types.get(name, "str"))
        except UsageError as error:
            raise UsageError(f"parameter {name} {text!r:.99}: {error}") from None
    return values


def check_parameters(values: dict, known: dict, chosen: list[str] | None = None) -> None:
    """Raises UsageError for what no notebook has, a wrong type, a file that is not there.

    Those of the `chosen` notebooks (default: all) must also give stages that can be trained.
    """
    types = _types(known)
    for name, value in values.items():
        if name not in types:
            raise UsageError(f"unknown parameter {name!r}{languages.nearest(name, sorted(types))}")
        _check(name, value, types[name])
    for notebook in known if chosen is None else chosen:
        check_stages(complete(values, known[notebook]))


def complete(values: dict, parameters: dict[str, Parameter]) -> dict:
    """The parameters of a notebook: its defaults where `values` has none."""
    return {name: values.get(name, one.default) for name, one in parameters.items()}


def check_stages(parameters: dict) -> None:
    """Raises UsageError for a notebook's parameters of which no training stage can be made."""
    for kind in stages.KINDS:
        if f"{kind}_options" in parameters:
            try:
                stages.check_parameters(kind, parameters)
            except (ValueError, TypeError) as error:
                raise UsageError(f"{kind}_options and its like: {error}") from None


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


def _types(known: dict) -> dict[str, str]:
    types = {}
    for parameters in known.values():
        types |= {name: parameter.type for name, parameter in parameters.items()}
    return types


def _check(name: str, value: object, type_name: str) -> None:
    form = WITHIN.get(name) or TYPES.get(type_name, Any)
    try:
        TypeAdapter(form).validate_python(value, strict=True)
        if name == "curation_models":
            items.Settings(**value, seed=0)
    except (ValidationError, TypeError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        where = [f" ({fault['loc'][0]}: {fault['msg']})" for fault in faults if fault["loc"]]
        wanted = f"{type_name}, not {value!r:.99}; for example {EXAMPLES[type_name]}"
        raise UsageError(f"parameter {name} must be {wanted}{''.join(where[:1])}") from None
    if name in FILES and not os.path.exists(paths.resolve(value)):
        raise UsageError(f"parameter {name} is {value!r}, but there is no {paths.resolve(value)}")
