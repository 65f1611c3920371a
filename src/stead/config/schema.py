"""JSON Schemas of everything people write, with the settings of every registered extension.

Knows nothing about how forms, docs or editors use them. Generated from the classes that check.
"""

from typing import Any

from pydantic import BaseModel

from stead.config.model_catalog import CatalogFile
from stead.config.run import RunConfig
from stead.config.settings import Settings
from stead.config.strategy import StrategyFile
from stead.core.errors import NotFound

MODELS: dict[str, type[BaseModel]] = {
    "run": RunConfig,
    "settings": Settings,
    "strategy": StrategyFile,
    "catalog": CatalogFile,
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"  # what pydantic 2 writes


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema called `name`: "run" (recipes), "settings", "strategy" … Raises: NotFound."""
    if name not in MODELS:
        raise NotFound(
            "unknown-schema", f"there is no schema {name!r} (known: {', '.join(MODELS)})"
        )
    return {"$schema": _DIALECT, **MODELS[name].model_json_schema()}


def schemas() -> dict[str, Any]:
    """Return every schema by name."""
    return {name: schema(name) for name in MODELS}
