"""Turns of a conversation, whatever names a data set gives to roles and keys.

Knows nothing about files or whole rows. Every turn of the input is a turn of the output; what cannot
be read raises DataError with the turn's number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stead.core.errors import DataError
from stead.data.chat import function_tools
from stead.messages import ImagePart, Message, Role, TextPart, ToolCall

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "question": "user", "customer": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "ai": "assistant",
    "answer": "assistant", "agent": "assistant", "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool",
    "tool_response": "tool", "ipython": "tool",
}  # fmt: skip
ROLE_KEYS = ("role", "from", "speaker", "author")
TEXT_KEYS = ("content", "value", "text", "message")
_CALL_ROLES = ("function_call", "tool_call")


def is_turn(value: Any) -> bool:  # Any: a JSON value
    """Say whether a value looks like one turn: a role key and a text key or tool calls."""
    return (
        isinstance(value, Mapping)
        and any(key in value for key in ROLE_KEYS)
        and any(key in value for key in (*TEXT_KEYS, "tool_calls"))
    )


def is_turns(value: Any) -> bool:  # Any: a JSON value
    """Say whether a value is a list of turns."""
    return isinstance(value, list) and bool(value) and all(is_turn(one) for one in value)


def read_turns(value: Any) -> tuple[Message, ...]:  # Any: a JSON value
    """Return a list of turns as messages, one for one.

    Raises: DataError("bad-turn") naming turn and key; DataError("unknown-role").
    """
    if not isinstance(value, list) or not value:
        raise DataError("bad-turn", f"the turns are a {type(value).__name__} without a turn")
    messages: list[Message] = []
    for number, one in enumerate(value, 1):
        last_call = messages[-1].tool_calls if messages else ()
        messages.append(read_turn(one, number, last_call))
    return tuple(messages)


def read_turn(value: Any, number: int = 1, last_call: Sequence[ToolCall] = ()) -> Message:
    """Return one turn as a message. Any: a JSON value."""
    if not isinstance(value, Mapping):
        raise DataError("bad-turn", f"turn {number} is a {type(value).__name__}, not an object")
    given = _first(value, ROLE_KEYS)
    if not isinstance(given, str):
        raise DataError(
            "bad-turn", f"turn {number} has no role (keys: {', '.join(map(str, value))})"
        )
    role = ROLES.get(given.strip().lower())
    if role is None:
        known = ", ".join(ROLES)
        raise DataError("unknown-role", f"turn {number} has the role {given!r} (known: {known})")
    text = _first(value, TEXT_KEYS)
    if given.strip().lower() in _CALL_ROLES:
        return Message("assistant", None, tool_calls=_call_text(text, number))
    calls = _calls(value, number)
    content = _content(text, number, optional=bool(calls))
    call_id = _text(value.get("tool_call_id"))
    if role == "tool" and call_id is None and last_call:
        call_id = last_call[0].id
    return Message(
        role, content, name=_text(value.get("name")), tool_calls=calls, tool_call_id=call_id,
        reasoning=_text(_first(value, ("reasoning_content", "reasoning", "thinking"))),
    )  # fmt: skip


def _first(value: Mapping[str, Any], keys: Sequence[str]) -> Any:  # Any: a JSON value
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _text(value: Any) -> str | None:  # Any: a JSON value
    return value if isinstance(value, str) else None


def _content(
    value: Any, number: int, *, optional: bool
) -> str | tuple[TextPart | ImagePart, ...] | None:
    if isinstance(value, str):
        return value
    if value is None and optional:
        return None
    if isinstance(value, list) and value:
        return tuple(_part(one, number) for one in value)
    if isinstance(value, dict) and value:
        return msgspec.json.encode(value).decode()  # tool results often are bare objects
    raise DataError("bad-turn", f"turn {number} has no text, but {value!r:.60}")


def _part(value: Any, number: int) -> TextPart | ImagePart:  # Any: a JSON value
    if isinstance(value, str):
        return TextPart(value)
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return TextPart(value["text"])
    if isinstance(value, Mapping):
        image = value.get("image_url", value.get("url", value.get("image")))
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str):
            return ImagePart(url)
    raise DataError(
        "bad-turn", f"turn {number} has a part that is neither text nor image: {value!r:.60}"
    )


def _call_text(value: Any, number: int) -> tuple[ToolCall, ...]:  # Any: text or JSON values
    """Read `{"name", "arguments"}` or a list of them, written as JSON text."""
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(
            "bad-call", f"turn {number} calls a function, but is no JSON: {error}"
        ) from error
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise DataError("bad-call", f"turn {number} calls no function")
    return tuple(_call(one, number, i) for i, one in enumerate(listed))


def _calls(value: Mapping[str, Any], number: int) -> tuple[ToolCall, ...]:
    given = value.get("tool_calls")
    if given is None and value.get("function_call") is not None:
        given = [value["function_call"]]
    if given is None:
        return ()
    if isinstance(given, str):
        return _call_text(given, number)
    if not isinstance(given, list):
        raise DataError(
            "bad-call", f"turn {number} has tool_calls that are a {type(given).__name__}"
        )
    return tuple(_call(one, number, i) for i, one in enumerate(given))


def _call(value: Any, number: int, i: int) -> ToolCall:  # Any: a JSON value
    inside = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(inside, Mapping) or not isinstance(inside.get("name"), str):
        raise DataError("bad-call", f"turn {number} calls a function without a name: {value!r:.60}")
    arguments = inside.get("arguments", inside.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    given = value.get("id")
    return ToolCall(
        given if isinstance(given, str) else f"call_{number}_{i}", inside["name"], arguments
    )


def read_tools(
    value: Any,
) -> tuple[dict[str, Any], ...]:  # Any: a list of tools, or that as JSON text
    """Return a row's tools in one form. Raises: DataError("bad-tools")."""
    if value is None or value in ("", "[]"):
        return ()
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError("bad-tools", f"the tools are no JSON: {error}") from error
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(one, Mapping) for one in listed):
        raise DataError("bad-tools", f"the tools are not objects: {found!r:.60}")
    return function_tools(listed)


def with_system(fields: Mapping[str, Any], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put a row's `system` column in front, unless the turns begin with a system turn."""
    system = fields.get("system", fields.get("system_prompt"))
    if not isinstance(system, str) or not system.strip():
        return messages
    if messages and messages[0].role == "system":
        return messages
    return (Message("system", system), *messages)


def as_messages(value: Any, role: Role) -> tuple[Message, ...]:  # Any: text, a turn or turns
    """Return text as one message of `role`, a turn as itself, a list of turns as they are."""
    if isinstance(value, str):
        return (Message(role, value),)
    if isinstance(value, Mapping):
        return (read_turn(value),)
    return read_turns(value)
