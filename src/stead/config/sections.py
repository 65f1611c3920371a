"""Checks that sections share: names that must be registered, and sections owned by an extension.

Knows nothing about single extensions; asks the registry of the kind.
"""

from typing import Any

from pydantic import BaseModel, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from stead.config.kinds import registry
from stead.core.errors import ConfigError


def known(kind: str, *, field: str | None = None, always: tuple[str, ...] = ("auto",)) -> Any:
    """Return a pydantic validator: the field's names (one or several) must be registered.

    `always` is accepted without asking. Any: pydantic's decorator proxy.
    """

    def check(value: Any) -> Any:  # Any: a name or a tuple of names
        for name in (value,) if isinstance(value, str) else value:
            if name not in always:
                _require(kind, name, always)
        return value

    return field_validator(field if field is not None else kind)(check)


def _require(kind: str, name: str, always: tuple[str, ...] = ()) -> None:
    try:
        registry(kind).get(name)
    except ConfigError as error:
        if not error.code.startswith("unknown-"):
            raise
        raise PydanticCustomError(
            "unknown_name",
            "{message}",
            {"message": error.message, "suggestion": error.details.get("suggestion")},
        ) from error


def extension(kind: str, value: Any) -> Any:  # Any: what people wrote → the extension's config
    """Check a section by the config class of the extension that its `type` names.

    A plain name means the extension's defaults. Errors inside keep their own places.
    """
    if isinstance(value, BaseModel):
        return value
    section = {"type": value} if isinstance(value, str) else value
    if not isinstance(section, dict) or not isinstance(section.get("type"), str):
        raise PydanticCustomError(
            "no_type",
            "{message}",
            {"message": f"the {kind} needs a name, or settings with a `type`", "suggestion": None},
        )
    _require(kind, section["type"])
    try:
        return registry(kind).config_of(section["type"]).model_validate(section)
    except ValidationError as error:
        raise PydanticCustomError(
            "extension", "invalid settings", {"errors": error.errors(include_url=False)}
        ) from error
