"""YAML 1.2 as people write it: `1e-6` is a number, and no key stands there twice."""

import re
from pathlib import Path
from typing import ClassVar

import yaml

from curemed_utils import paths
from curemed_utils.data.files import DataError, read_text

FORMS = paths.beside(__file__, ".yaml")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node, deep=False):
        mapping = super().construct_mapping(node, deep)
        names = set()
        for key, _ in node.value:
            name = self.construct_object(key)
            if name in names:
                twice = f"{name!r} stands there twice"
                raise yaml.MarkedYAMLError(problem=twice, problem_mark=key.start_mark)
            names.add(name)
        return mapping


for _name, _form in FORMS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_form), None)
for _type in (int, float):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_type.__name__}",
        lambda loader, node, make=_type: make(loader.construct_scalar(node)),
    )


def parse_yaml(text: str, place: str = "") -> object:
    """What a YAML text holds; DataError where it is none or has a key twice."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        if mark := getattr(error, "problem_mark", None):  # without the line, which may hold a key
            why = f"{error.context or ''} {error.problem} in line {mark.line + 1}".strip()
        raise DataError(f"{place}this is not YAML: {why}") from None


def read_yaml(path: str | Path) -> object:
    """What a YAML file holds; DataError as of `parse_yaml`, or where it can't be read."""
    return parse_yaml(read_text(path), f"{paths.show(path)}: ")
