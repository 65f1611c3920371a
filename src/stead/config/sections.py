"""Marks for fields: names that must be registered, and sections that belong to an extension.

Knows nothing about single extensions; asks the registry of the kind, also for the JSON Schema.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from stead.config.kinds import registry
from stead.core.errors import ConfigError

JsonSchema = dict[str, Any]
if TYPE_CHECKING:

    class ExtensionConfig(BaseModel):
        """What is known of every extension's config class: its name."""

        type: str

else:
    ExtensionConfig = BaseModel  # an extension need not derive from a class of this room


@dataclass(frozen=True)
class Registered:
    """The field is the name of an extension of `kind`, or one of `always`."""

    kind: str
    always: tuple[str, ...] = ()

    def check(self, name: str) -> str:
        """Return `name` when it is known."""
        if name not in self.always:
            require(self.kind, name)
        return name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        names = dict.fromkeys([*self.always, *registry(self.kind).names()])
        return handler(schema) | {"enum": list(names)}


@dataclass(frozen=True)
class Owned:
    """The section's config class belongs to the extension that its `type` names."""

    kind: str
    default: str

    def name(self, value: Any) -> str:  # Any: what people wrote
        """Return the extension's name: the section itself, its `type`, or the default."""
        found = value.get("type", self.default) if isinstance(value, dict) else value
        return found if isinstance(found, str) else self.default

    def check(self, value: Any) -> Any:  # Any: what people wrote → the extension's config
        """Check a section by its extension's config class; a plain name means its defaults.

        Errors inside keep their own places.
        """
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, str | dict):
            raise PydanticCustomError(
                "no_type", "{message}", {"message": f"should be the name of a {self.kind}"}
            )
        name = self.name(value)
        require(self.kind, name)
        section = {"type": name} | (value if isinstance(value, dict) else {})
        try:
            return registry(self.kind).config_of(name).model_validate(section)
        except ValidationError as error:
            raise PydanticCustomError(
                "extension", "invalid settings", {"errors": error.errors(include_url=False)}
            ) from error

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        found = registry(self.kind)
        configs = [found.config_of(name).__pydantic_core_schema__ for name in found.names()]
        return {"anyOf": [{"enum": found.names()}, *map(handler, configs)]}


def require(kind: str, name: str) -> None:
    """Refuse a name that is not registered, with the registry's own words."""
    try:
        registry(kind).get(name)
    except ConfigError as error:
        if not error.code.startswith("unknown-"):
            raise
        raise PydanticCustomError(
            "unknown_name", "{message}", {"message": error.message}
        ) from error
