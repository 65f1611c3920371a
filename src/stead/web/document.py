"""The API's description: answers say that all their fields are there, which is what routes send.

Knows nothing about any route. Pydantic calls a field with a default optional in answers too; a client made from
that would doubt every `null`.
"""

from typing import Any

from fastapi import FastAPI

Json = dict[str, Any]  # Any: JSON values
_REF = "#/components/schemas/"


class Documented(FastAPI):
    """An application whose `openapi()` is exact about answers."""

    def openapi(self) -> Json:
        """Return the description, made once."""
        if self.openapi_schema is None:
            exact(super().openapi())
        return super().openapi()


def exact(document: Json) -> None:
    """Mark all fields of schemas that no request uses as required, in place."""
    schemas: Json = document["components"]["schemas"]
    asked: set[str] = set()
    for path in document["paths"].values():
        for operation in path.values():
            _follow(operation.get("requestBody"), schemas, asked)
    for name, schema in schemas.items():
        if name not in asked and "properties" in schema:
            schema["required"] = sorted(schema["properties"])


def _follow(value: Any, schemas: Json, found: set[str]) -> None:  # Any: JSON values
    """Collect the names of all schemas that a value refers to."""
    if isinstance(value, list):
        for inner in value:
            _follow(inner, schemas, found)
    elif isinstance(value, dict):
        ref = str(value.get("$ref", ""))
        name = ref.removeprefix(_REF)
        if ref.startswith(_REF) and name not in found:
            found.add(name)
            _follow(schemas[name], schemas, found)
        for inner in value.values():
            _follow(inner, schemas, found)
