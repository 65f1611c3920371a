"""What a request's `response_format` and `tool_choice` force an answer to be, as guides for its rows.

Knows nothing about computing. Grammars and masks of a schema are kept for the next request with it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import msgspec

from stead.core.errors import UsageError
from stead.data.tokenizer import TextTokenizer
from stead.messages import GenerateRequest
from stead.models.writing import json_schema
from stead.models.writing.guide import Masks, SchemaGuide, Vocabulary
from stead.models.writing.json_states import Grammar, Joined
from stead.models.writing.tool_calls import Format

_KEPT = 32  # schemas


@dataclass(frozen=True, slots=True)
class Forced:
    """What an answer is forced to be: text put before it, and the masks for the rest."""

    prefix: str
    masks: Masks

    def guide(self) -> SchemaGuide:
        """Return a guide for one row."""
        return SchemaGuide(self.masks)


class Constraints:
    """Makes guides for one model. Usable from several threads."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._words: Vocabulary | None = None
        self._kept: OrderedDict[bytes, Masks] = OrderedDict()
        self._lock = Lock()

    def of(self, request: GenerateRequest, form: Format | None) -> Forced | None:
        """Return what forces the answer, if anything does.

        Raises: UsageError("schema-unsupported" | "schema-impossible" | "bad-schema" | "no-constraint" |
        "no-tools" | "unknown-tool" | "format-and-tools"), all with the field in `param`.
        """
        calls = bool(request.tools) and request.tool_choice != "none"
        kind = None if request.response_format is None else request.response_format.get("type")
        if kind in ("json_object", "json_schema"):
            if calls:
                raise UsageError(
                    "format-and-tools",
                    f"an answer of the format {kind!r} cannot call functions; ask for one of the two",
                    param="response_format",
                )
            return Forced("", self._masks(request.response_format, _of_format))
        if calls and (request.tool_choice == "required" or isinstance(request.tool_choice, dict)):
            if form is None:
                raise UsageError(
                    "no-tools",
                    f"the chat template of {request.model[:200]!r} has no place for functions",
                    param="tool_choice",
                )
            asked = [form.key, *_chosen(request)]
            return Forced(form.mark, self._masks(asked, _of_tools))
        return None

    def _masks(self, value: Any, build: Any) -> Masks:  # Any: JSON values; value → Grammar
        key = msgspec.json.encode(value)
        with self._lock:
            if key not in self._kept:
                if self._words is None:
                    self._words = Vocabulary.of(self._tokenizer)
                self._kept[key] = Masks(build(value), self._words)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def _of_format(form: Mapping[str, Any]) -> Grammar:
    if form["type"] == "json_object":
        return json_schema.any_object()
    inner = form.get("json_schema")
    if not isinstance(inner, Mapping) or "schema" not in inner:
        raise UsageError(
            "bad-schema",
            "response_format.json_schema has no schema",
            param="response_format.json_schema.schema",
        )
    return json_schema.grammar(inner["schema"], param="response_format.json_schema.schema")


def _chosen(request: GenerateRequest) -> list[Mapping[str, Any]]:
    """Return the functions of which one has to be called."""
    functions = [tool.get("function", tool) for tool in request.tools]
    if not isinstance(request.tool_choice, dict):
        return functions
    inner = request.tool_choice.get("function", request.tool_choice)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    chosen = [f for f in functions if f.get("name") == name]
    if not chosen:
        raise UsageError(
            "unknown-tool",
            f"tool_choice names {name!r:.100}, which no tool is",
            param="tool_choice",
        )
    return chosen


def _of_tools(asked: list[Any]) -> Grammar:  # Any: the arguments' key, then functions
    """Return the states of one call: `{"name": …, "arguments": {…}}`."""
    key, functions = asked[0], asked[1:]
    empty: dict[str, Any] = {"type": "object", "properties": {}}
    schema = {"anyOf": [f.get("parameters", empty) for f in functions]}
    builder = json_schema.Builder(schema, "tools")
    builder.add_root()
    for i, function in enumerate(functions):
        number = builder.add(schema["anyOf"][i], f"#/anyOf/{i}")
        name = msgspec.json.encode(function["name"])
        head = b'{"name": ' + name + b', "' + key.encode() + b'": '
        builder.nodes.append(Joined((head, number, b"}")))
    choices = tuple(range(len(builder.nodes) - len(functions), len(builder.nodes)))
    builder.replace_root(choices)
    return Grammar(builder.nodes)
