"""Messages as the plain dicts that chat templates are written for.

Knows nothing about jinja. The shape is the one `transformers` passes to templates: keys without a
value are left out, tool arguments are objects, reasoning stands under the three names in use.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stead.messages import ImagePart, Message, TextPart, ToolCall


def chat_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the messages as templates expect them. Source: transformers 5.23, `render_jinja_template`."""
    return [_message(message) for message in messages]


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        found["content"] = _content(message)
    if message.reasoning is not None:
        found["thinking"] = found["reasoning_content"] = found["reasoning"] = message.reasoning
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _content(message: Message) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    parts = message.content if message.content is not None else ()
    if all(isinstance(part, TextPart) for part in parts):
        return message.text
    return [
        {"type": "image", "url": part.url}
        if isinstance(part, ImagePart)
        else {"type": "text", "text": part.text}
        for part in parts
    ]


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments(call.arguments)},
    }


def arguments(text: str) -> Any:  # Any: a JSON object, or the text as it was
    """Return tool arguments as an object where they are one: templates print them with `tojson`."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def function_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return tools in the `{"type": "function", "function": …}` form, whatever form they came in."""
    return tuple(
        dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)}
        for tool in tools
    )
