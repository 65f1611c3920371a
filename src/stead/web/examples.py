"""Examples of answers, made from the schemas that describe them: one value per field, every field there.

Knows nothing about routes. Well-known names have values that look like what a server sends.
"""

from typing import Any

Json = dict[str, Any]  # Any: JSON values
_REF = "#/components/schemas/"
_KNOWN: Json = {
    "id": "7f3c9e52", "name": "sums", "title": "sums", "created": "2026-01-31T09:00:00.000Z", "started": "2026-01-31T09:00:04.000Z",
    "updated": "2026-01-31T09:05:00.000Z", "at": "2026-01-31T09:00:00.000Z", "finished": None, "model": "qwen3-0.6b", "method": "sft", "adapter": "lora",
    "error": None, "hint": None, "next": None, "reason": "", "step": 40, "steps": 100, "epoch": 0.4, "loss": 1.82, "lr": 0.0002, "total": 1, "bytes": 4096,
    "yaml": "model: {path: qwen3-0.6b}\\n", "role": "member", "seconds": 12.5, "progress": 0.4, "owner": "ann", "version": 1, "used_by": [],
}  # fmt: skip


def example(schema: Json, schemas: Json, name: str = "") -> Any:  # Any: JSON values
    """Return a value that a schema allows. No schema of ours holds itself."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].removeprefix(_REF)], schemas, name)
    if "anyOf" in schema:
        return _either(schema["anyOf"], schemas, name)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, schemas)
    if kind == "array":
        parts = schema.get("prefixItems", [schema.get("items", {})])
        return [example(one, schemas, name) for one in parts]
    return _leaf(kind, schema, name)


def _either(options: list[Json], schemas: Json, name: str) -> Any:  # Any: JSON values
    values = [one for one in options if one.get("type") != "null"]
    is_nothing = len(values) < len(options) and _KNOWN.get(name, "") is None
    return None if is_nothing else example(values[0], schemas, name)


def _object(schema: Json, schemas: Json) -> Json:
    if "properties" in schema:
        return {k: example(v, schemas, k) for k, v in schema["properties"].items()}
    inner = schema.get("additionalProperties")
    return {"name": example(inner, schemas)} if isinstance(inner, dict) and inner else {}  # fmt: skip


def _leaf(kind: str | None, schema: Json, name: str) -> Any:  # Any: a JSON value
    usual: Json = {"string": "text", "integer": 1, "number": 0.5, "boolean": True}
    known = _KNOWN.get(name)
    fits = type(known) in {"string": (str,), "integer": (int,), "number": (int, float)}.get(str(kind), ())  # fmt: skip
    if fits:
        return known
    least = schema.get("minimum")
    return usual.get(str(kind)) if least is None else max(least, usual.get(str(kind), 0))
