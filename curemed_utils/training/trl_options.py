"""Fields of TRL's configs that settings of ours leave alone, checked before anything loads."""

import typing

import pydantic

from curemed_utils import languages


def checked(options: dict, config: str) -> dict:
    """The options; ValueError for one that is no field of TRL's `config` or of another type."""
    if not options:
        return options
    import trl

    fields = typing.get_type_hints(getattr(trl, config))
    for name, value in options.items():
        if name not in fields:
            like = languages.nearest(name, fields)
            raise ValueError(f"{name!r} is no field of TRL's {config}{like}")
        try:
            pydantic.TypeAdapter(fields[name]).validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            fault = error.errors()[0]["msg"]
            raise ValueError(f"{name}: {fault[0].lower()}{fault[1:]}") from None
    return options
