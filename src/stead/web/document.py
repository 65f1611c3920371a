"""The API's description: what answers hold, examples of them, who may ask, and how errors look.

Knows nothing about any route. Pydantic calls a field with a default optional in answers too; a client made from
that would doubt every `null`, so all fields of answers are said to be there, which is what routes send.
"""

from typing import Any

from fastapi import FastAPI

from stead.web.examples import example
from stead.web.guard import COOKIE
from stead.web.policies import POLICIES, Policy
from stead.web.problems import MEDIA_TYPE

Json = dict[str, Any]  # Any: JSON values
SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "a token of Settings, or a key"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE,
                "description": "of a browser; changes send the header X-Stead-CSRF, too"},
}  # fmt: skip
ASKING: list[Json] = [{"token": []}, {"session": []}]
_REF = "#/components/schemas/"


class Documented(FastAPI):
    """An application whose `openapi()` is exact about answers."""

    def openapi(self) -> Json:
        """Return the description, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            exact(document)
            tell(document)
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


def tell(document: Json) -> None:
    """Add in place: who may ask each route, an example of its answer, and the media type of problems."""
    parts = document["components"]
    parts["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            policy = _policy(method.upper(), path)
            operation["security"] = [] if policy.role == "public" else ASKING
            operation["x-stead-role"] = policy.role
            failed = answers["default"]
            failed["content"] = {MEDIA_TYPE: next(iter(failed["content"].values()))}
            for status, answer in answers.items():
                for media in answer.get("content", {}).values():
                    if status != "default" and "$ref" in media.get("schema", {}):
                        media["example"] = example(media["schema"], parts["schemas"])


def _policy(method: str, path: str) -> Policy:
    """Return the policy of a route as the description spells it: without the kinds of its parameters."""
    return _BY_SHOWN[f"{method} {path}"]


_BY_SHOWN = {name.replace(":path}", "}"): policy for name, policy in POLICIES.items()}


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
