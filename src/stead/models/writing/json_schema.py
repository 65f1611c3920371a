"""JSON schema → nodes of `json_states`: a subset that can be kept exactly; anything else is refused by name.

Knows nothing about tokens. Known: type (one or several), properties, required, additionalProperties,
items, minItems, maxItems, minLength, maxLength, enum, const, anyOf, $ref into the same schema, and the
annotations title, description, default, examples, deprecated, readOnly, writeOnly, $comment, $schema,
$id. Properties are written in the schema's order. Source: JSON Schema 2020-12, Core and Validation.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from stead.core.errors import UsageError
from stead.models.writing.json_states import (
    Either,
    Fields,
    Grammar,
    Literals,
    Node,
    Number,
    Series,
    Text,
)

_NOTES = frozenset({
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment",
    "$schema", "$id", "$defs", "definitions",
})  # fmt: skip
_OF_TYPE = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "minItems", "maxItems"),
    "string": ("minLength", "maxLength"),
    "number": (), "integer": (), "boolean": (), "null": (),
}  # fmt: skip
_TYPES = tuple(_OF_TYPE)
_LONGEST = 10_000  # characters or items: beyond it counting costs more than it is worth
_DEEPEST = 64
_ANY: dict[str, Any] = {}


def grammar(schema: Any, *, param: str = "response_format") -> Grammar:  # Any: a JSON value
    """Return the states of all JSON that the schema allows.

    Raises: UsageError("schema-unsupported") naming the keyword; UsageError("schema-impossible") when
    nothing could be written.
    """
    builder = Builder(schema, param)
    builder.add_root()
    return Grammar(builder.nodes)


def any_object() -> Grammar:
    """Return the states of any JSON object."""
    return grammar({"type": "object"})


class Builder:
    """Nodes under construction; a part of the schema that is referred to becomes one node."""

    def __init__(self, schema: Any, param: str) -> None:
        self._schema, self._param = schema, param
        self.nodes: list[Node] = []
        self._known: dict[str, int] = {}

    def add_root(self) -> int:
        """Add the whole schema."""
        return self.add(self._schema, "#")

    def replace_root(self, nodes: tuple[int, ...]) -> None:
        """Let the whole text be one of these nodes instead."""
        self.nodes[0] = Either(nodes)

    def add(self, schema: Any, where: str, depth: int = 0) -> int:
        """Return the number of the node for the part at the JSON pointer `where`."""
        if schema is True or schema == _ANY:
            schema, where = _ANY, "anything"  # one node, which is inside itself
        if where in self._known:
            return self._known[where]
        if depth > _DEEPEST:
            raise self._refused(where, "it is nested too deeply")
        number = len(self.nodes)
        self._known[where] = number
        self.nodes.append(Either(()))
        self.nodes[number] = self._node(schema, where, depth)
        self._check_begins(number, frozenset(), where)
        return number

    def _node(self, schema: Any, where: str, depth: int) -> Node:
        if not isinstance(schema, Mapping):
            raise self._refused(where, f"{schema!r:.60} is no schema that can be met")
        for special in ("$ref", "anyOf", "const", "enum"):
            if special in schema:
                return self._special(special, schema, where, depth)
        kinds = self._kinds(schema, where)
        allowed = _NOTES.union({"type"}, *(_OF_TYPE[kind] for kind in kinds))
        self._only(schema, allowed, where)
        if len(kinds) == 1:
            return self._typed(kinds[0], schema, where, depth)
        own = {kind: {k: schema[k] for k in _OF_TYPE[kind] if k in schema} for kind in kinds}
        return Either(
            tuple(
                self.add({"type": kind} | fields, f"{where}|{kind}", depth + 1)
                for kind, fields in own.items()
            )
        )

    def _special(
        self, key: str, schema: Mapping[str, Any], where: str, depth: int
    ) -> Node:  # Any: a JSON value
        self._only(
            schema, _NOTES | {key} | ({"type"} if key in ("const", "enum") else set()), where
        )
        value = schema[key]
        if key == "$ref":
            return Either((self._refer(value, where, depth),))
        if key == "const":
            return Literals((_written(value),))
        if not isinstance(value, list) or not value:
            raise self._refused(f"{where}/{key}", "it is not a list with an entry")
        if key == "anyOf":
            return Either(tuple(self.add(s, f"{where}/anyOf/{i}", depth + 1) for i, s in enumerate(value)))  # fmt: skip
        kinds = self._kinds(schema, where)
        fitting = [v for v in value if any(_is(v, kind) for kind in kinds)]
        if not fitting:
            raise self._impossible(f"{where}/enum", "no value is of the type asked for")
        return Literals(tuple(dict.fromkeys(_written(v) for v in fitting)))

    def _typed(self, kind: str, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        if kind == "object":
            return self._object(schema, where, depth)
        if kind == "array":
            least, most = self._bounds(schema, "minItems", "maxItems", where)
            return Series(self.add(schema.get("items", _ANY), f"{where}/items", depth + 1), least, most)  # fmt: skip
        if kind == "string":
            return Text(*self._bounds(schema, "minLength", "maxLength", where))
        if kind in ("number", "integer"):
            return Number(whole=kind == "integer")
        return Literals((b"null",) if kind == "null" else (b"true", b"false"))

    def _object(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        names = isinstance(required, list) and all(isinstance(n, str) for n in required)
        if not isinstance(properties, Mapping) or not names:
            raise self._refused(where, "properties or required have another type than theirs")
        more = schema.get("additionalProperties", True)
        others = None if more is False else self.add(more, f"{where}/additionalProperties", depth + 1)  # fmt: skip
        missing = [name for name in dict.fromkeys(required) if name not in properties]
        if missing and others is None:
            raise self._impossible(f"{where}/required", f"{missing[0]!r} is required and excluded")
        known = [
            (_name(name), self.add(part, f"{where}/properties/{_escaped(name)}", depth + 1), name in required)
            for name, part in properties.items()
        ]  # fmt: skip
        known += [(_name(name), others, True) for name in missing if others is not None]
        return Fields(tuple(known), others)

    def _refer(self, pointer: Any, where: str, depth: int) -> int:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise self._refused(f"{where}/$ref", f"{pointer!r:.60} is not in this schema")
        if pointer in self._known:
            return self._known[pointer]
        part = self._schema
        for name in pointer[1:].split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            inside = part[int(key)] if isinstance(part, list) and key.isdigit() and int(key) < len(part) else None  # fmt: skip
            part = part.get(key) if isinstance(part, Mapping) else inside
        if part is None:
            raise self._refused(f"{where}/$ref", f"{pointer!r:.60} is not in this schema")
        return self.add(part, pointer, depth + 1)

    def _kinds(self, schema: Mapping[str, Any], where: str) -> list[str]:
        given = schema.get("type", [k for k in _TYPES if k != "integer"])
        kinds = given if isinstance(given, list) else [given]
        unknown = [k for k in kinds if k not in _TYPES]
        if unknown or not kinds:
            raise self._refused(f"{where}/type", f"{given!r:.60} is no type")
        return [
            "number" if k == "integer" and "number" in kinds else k for k in dict.fromkeys(kinds)
        ]

    def _bounds(
        self, schema: Mapping[str, Any], low: str, high: str, where: str
    ) -> tuple[int, int | None]:
        least, most = schema.get(low, 0), schema.get(high)
        for key, value in ((low, least), (high, most)):
            good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LONGEST
            if not good and not (key == high and value is None and high not in schema):
                raise self._refused(
                    f"{where}/{key}", f"{value!r:.60} is not between 0 and {_LONGEST}"
                )
        if most is not None and most < least:
            raise self._impossible(f"{where}/{high}", f"{most} is less than {low}={least}")
        return least, most

    def _check_begins(self, number: int, above: frozenset[int], where: str) -> None:
        """Refuse parts that are only other parts in a circle: nothing would ever be written."""
        if number in above:
            raise self._impossible(where, "it refers to itself and to nothing else")
        node = self.nodes[number]
        for one in node.nodes if isinstance(node, Either) else ():
            self._check_begins(one, above | {number}, where)

    def _only(
        self, schema: Mapping[str, Any], allowed: "frozenset[str] | set[str]", where: str
    ) -> None:
        for key in schema:
            if key not in allowed:
                raise self._refused(f"{where}/{key}", "this keyword cannot be kept here")

    def _refused(self, where: str, why: str) -> UsageError:
        return UsageError("schema-unsupported", f"the schema's {where}: {why}", param=self._param)

    def _impossible(self, where: str, why: str) -> UsageError:
        return UsageError("schema-impossible", f"the schema's {where}: {why}", param=self._param)


def _written(value: Any) -> bytes:  # Any: a JSON value
    return msgspec.json.encode(value)


def _name(name: str) -> bytes:
    return msgspec.json.encode(name)[1:-1]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _is(value: Any, kind: str) -> bool:  # Any: a JSON value
    """Say whether a value is of a JSON type; 1.0 is an integer (Validation section 6.1.1)."""
    if kind == "null":
        return value is None
    if kind in ("boolean", "integer", "number") and isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types = {"number": (int, float), "string": (str,), "array": (list,), "object": (dict,)}
    return isinstance(value, types.get(kind, ()))
