"""What the routes of the Anthropic protocol share: tools, usage, reasons to stop, errors.

Knows nothing about one route. Source: the vendor's published API description (Messages API, errors,
streaming), as the types of its official client state it.
"""

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError, RateLimited, SteadError
from stead.messages import FinishReason, Usage
from stead.wire import openai_errors
from stead.wire.dialect import status_of
from stead.wire.openai_shape import chosen, convert, refuse

VERSION = "2023-06-01"
ISSUER = "anthropic"

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}  # fmt: skip
_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use",
    "content_filter": "refusal", "error": "end_turn",
}  # fmt: skip


def read_finish(reason: str | None) -> FinishReason:
    """Return why an answer ended; an unknown reason is an error, none given is a stop."""
    return "stop" if reason is None else _FINISH.get(reason, "error")


def write_finish(reason: FinishReason, stop_text: str | None) -> str:
    """Return the reason in the protocol's words."""
    return "stop_sequence" if stop_text is not None else _REASONS[reason]


class OutputDetails(Struct):
    """What output tokens were for."""

    thinking_tokens: int = 0


class CacheCreation(Struct):
    """What was written to the cache, by how long it is kept."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class UsageShape(Struct, omit_defaults=True):
    """`usage`; `input_tokens` are those neither read from nor written to the cache."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    cache_creation: CacheCreation | None = None


def write_usage(usage: Usage) -> UsageShape:
    """Return the wire shape of token counts."""
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    long = usage.long_write_tokens
    return UsageShape(
        max(0, fresh),
        usage.completion_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        OutputDetails(usage.reasoning_tokens) if usage.reasoning_tokens else None,
        CacheCreation(usage.cache_write_tokens - long, long) if long else None,
    )


def read_usage(shape: UsageShape | None) -> Usage | None:
    """Return token counts; None when they are missing or cannot be true (negative)."""
    if shape is None:
        return None
    thought = 0
    if shape.output_tokens_details is not None:
        thought = shape.output_tokens_details.thinking_tokens
    fresh, output = shape.input_tokens or 0, shape.output_tokens or 0
    cached, written = shape.cache_read_input_tokens or 0, shape.cache_creation_input_tokens or 0
    kept = shape.cache_creation
    long = 0 if kept is None else min(written, kept.ephemeral_1h_input_tokens)
    if min(fresh, output, cached, written, thought, long) < 0:
        return None
    return Usage(fresh + cached + written, output, cached, thought, written, long)


def later_usage(first: UsageShape, last: UsageShape) -> UsageShape:
    """Return the counts after an event that repeats those that changed (they are totals)."""
    given = {n: v for n in last.__struct_fields__ if (v := getattr(last, n)) is not None}
    return msgspec.structs.replace(first, **given)


class _Tool(Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: Any = None  # Any: a mark of this vendor's prompt cache
    input_examples: list[dict[str, Any]] | None = None
    eager_input_streaming: bool | None = None  # how soon arguments are sent, not which


def read_tool(tool: dict[str, Any], index: int) -> dict[str, Any]:  # Any: JSON values
    """Return a tool in our shape. Raises: RequestRefused for tools that the vendor itself runs."""
    if tool.get("type") not in (None, "custom"):
        raise refuse(f"tools[{index}].type", f"{tool['type']!r} is not known; 'custom' is")
    found = convert(tool, _Tool, f"tools[{index}]")
    function: dict[str, Any] = {"name": found.name, "parameters": found.input_schema}
    for key in ("description", "strict", "input_examples"):
        if (value := getattr(found, key)) is not None:
            function[key] = value
    return {"type": "function", "function": function}


def write_tool(tool: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Return one of our tools in the protocol's shape."""
    function = dict(tool.get("function") or {})
    schema = function.pop("parameters", None)
    found = {k: v for k, v in function.items() if v is not None}
    found["input_schema"] = {"type": "object", "properties": {}} if schema is None else schema
    return found


class _ToolChoice(Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


def read_choice(
    choice: dict[str, Any],
) -> tuple[str | dict[str, Any], bool | None]:  # Any: JSON values
    """Return the tool choice in our shape, and whether several calls at once are allowed."""
    found = convert(choice, _ToolChoice, "tool_choice")
    parallel = None
    if found.disable_parallel_tool_use is not None:
        parallel = not found.disable_parallel_tool_use
    if found.type == "tool":
        if found.name is None:
            raise refuse("tool_choice.name", "a choice of type 'tool' names it")
        return {"type": "function", "function": {"name": found.name}}, parallel
    return "required" if found.type == "any" else found.type, parallel


def write_choice(
    choice: str | dict[str, Any] | None, parallel: bool | None
) -> dict[str, Any] | None:
    """Return the tool choice in the protocol's shape; None when there is nothing to say."""
    if choice is None and parallel is None:
        return None
    name = chosen(choice) if isinstance(choice, dict) else None
    found: dict[str, Any] = {"type": "auto"}
    if name is not None:
        found = {"type": "tool", "name": name}
    elif isinstance(choice, str):
        found = {"type": "any" if choice == "required" else choice}
    if parallel is not None and found["type"] != "none":
        found["disable_parallel_tool_use"] = not parallel
    return found


_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def write_error(error: SteadError) -> bytes:
    """Encode an error; code, field and hint are extra keys."""
    status = status_of(error)
    kind = "api_error" if status >= 500 else "invalid_request_error"
    found: dict[str, Any] = {"type": _TYPES.get(status, kind), "message": error.message}
    found["code"] = error.code.replace("-", "_")
    if (param := error.details.get("param")) is not None:
        found["param"] = param
    if error.hint is not None:
        found["hint"] = error.hint
    return msgspec.json.encode({"type": "error", "error": found})


class Errors:
    """The errors, the key's header and the list of models of every dialect of this protocol."""

    models_path: ClassVar[str] = "/v1/models?limit=1000"  # its largest page

    def auth(self, token: str) -> dict[str, str]:
        """Return the headers that carry the key, and the version this codec knows."""
        return {"x-api-key": token, "anthropic-version": VERSION}

    def write_error(self, error: SteadError) -> bytes:
        """Encode an error body."""
        return write_error(error)

    def read_error(self, status: int, body: bytes, retry_after: str | None) -> BackendError:
        """Turn an upstream's error answer into one of ours; the body's outline is the same."""
        return openai_errors.read_error(status, body, retry_after)


class ErrorShape(Struct):
    """The `error` of an error event."""

    type: str = ""
    message: str = ""


def event_error(shape: ErrorShape | None) -> BackendError:
    """Return what an error event in a stream means."""
    kind, words = ("", "(no text)") if shape is None else (shape.type, shape.message)
    message = f"the endpoint ended its stream: {kind}: {words}"
    if kind == "rate_limit_error":
        return RateLimited("rate-limited", message)
    if kind == "overloaded_error":
        return BackendError("upstream-overloaded", message, status=503)
    if kind == "timeout_error":
        return BackendError("upstream-timeout", message, status=504)
    return BackendError("upstream-failed", message)
