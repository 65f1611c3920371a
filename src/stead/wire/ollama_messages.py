"""Chat messages in Ollama's shape ↔ our `Message`.

Knows nothing about requests or answers. A call's arguments are an object there and JSON text here; a
call without an id gets one by its place, so that the answer to it can be told. Source: Ollama's
OpenAPI description, schemas ChatMessage and ToolCall.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from stead.core.errors import BackendError
from stead.messages import ImagePart, Message, Part, TextPart, ToolCall
from stead.wire.call_pieces import arguments_of
from stead.wire.ids import stable_id
from stead.wire.media import data_url, media_type_of_base64, split_data_url
from stead.wire.openai_shape import refuse

Image = Annotated[str, Meta(min_length=1)]


class Function(Struct):
    """The called function; `arguments` stays the bytes it came as."""

    name: str
    arguments: Raw = Raw(b"{}")
    index: int | UnsetType = UNSET


class Call(Struct):
    """A tool call inside a message."""

    function: Function
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class MessageIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A message of a request."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Image] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class MessageOut(Struct, kw_only=True):
    """The message of an answer, read and written."""

    role: str = "assistant"
    content: str | None = ""
    thinking: str | UnsetType | None = UNSET
    tool_calls: list[Call] | UnsetType | None = UNSET


def read_messages(shapes: Iterable[MessageIn]) -> tuple[Message, ...]:
    """Translate a conversation. Raises: RequestRefused naming the field."""
    found: list[Message] = []
    waiting: list[ToolCall] = []  # calls without an answer yet
    for i, shape in enumerate(shapes):
        where = f"messages[{i}]"
        calls = tuple(_read_call(c, i, k, where) for k, c in enumerate(shape.tool_calls or ()))
        waiting += calls
        found.append(
            Message(
                shape.role,
                read_content(shape.content, shape.images, where),
                tool_calls=calls,
                tool_call_id=_answered(shape, waiting, where),
                name=shape.tool_name if shape.role == "tool" else None,
                reasoning=shape.thinking,
            )
        )
    return tuple(found)


def _read_call(call: Call, message: int, place: int, where: str) -> ToolCall:
    arguments = bytes(call.function.arguments)
    if not arguments.startswith(b"{"):
        raise refuse(f"{where}.tool_calls[{place}].function.arguments", "arguments is no object")
    id_ = call.id if isinstance(call.id, str) else f"call_{message}_{place}"
    return ToolCall(id_, call.function.name, arguments.decode())


def _answered(shape: MessageIn, waiting: list[ToolCall], where: str) -> str | None:
    """Return which call a tool message answers: the one it names, else the oldest of that name."""
    if shape.role != "tool":
        return None
    if shape.tool_call_id is not None:
        return shape.tool_call_id
    for call in waiting:
        if shape.tool_name in (None, call.name):
            waiting.remove(call)
            return call.id
    raise refuse(f"{where}.tool_name", "a tool message follows the call it answers")


def read_content(
    text: str | None, images: list[str] | None, where: str
) -> str | tuple[Part, ...] | None:
    """Return text and images as content. Raises: RequestRefused for what is no image."""
    if not images:
        return text
    parts: list[Part] = [TextPart(text)] if text else []
    for i, image in enumerate(images):
        kind = media_type_of_base64(image)
        if kind is None:
            raise refuse(
                f"{where}.images[{i}]", "this is no PNG, JPEG, GIF or WebP image in base64"
            )
        parts.append(ImagePart(data_url(kind, image)))
    return tuple(parts)


def write_message(message: Message) -> dict[str, Any]:  # Any: JSON values
    """Translate one message for an upstream."""
    found: dict[str, Any] = {"role": message.role, "content": message.text}
    if images := write_images(message):
        found["images"] = images
    if message.reasoning is not None:
        found["thinking"] = message.reasoning
    if message.tool_calls:
        found["tool_calls"] = [write_call(c) for c in message.tool_calls]
    if message.role == "tool":
        found |= {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
        found |= {"tool_name": message.name} if message.name else {}
    return found


def write_images(message: Message) -> list[str]:
    """Return a message's images as base64. Raises: BackendError for one given by another URL."""
    if not isinstance(message.content, tuple):
        return []
    return [_base64(p) for p in message.content if isinstance(p, ImagePart)]


def _base64(part: ImagePart) -> str:
    found = split_data_url(part.url)
    if found is None:
        raise BackendError(
            "bad-image", f"{part.url[:200]!r} is no image in base64", status=400, param="messages"
        )
    return found[1]


def write_call(call: ToolCall) -> Call:
    """Translate one tool call. Raises: BackendError("bad-arguments") when it holds no object."""
    return Call(Function(call.name, arguments_of(call)), call.id if call.id else UNSET)


def read_answer(shape: MessageOut, answer: str) -> Message:
    """Translate the message of an upstream's answer; `answer` is what tells it from others."""
    return Message(
        "assistant",
        shape.content,
        tool_calls=read_calls(shape, answer),
        reasoning=shape.thinking if isinstance(shape.thinking, str) and shape.thinking else None,
    )


def read_calls(shape: MessageOut, answer: str, before: int = 0) -> tuple[ToolCall, ...]:
    """Return an answer's calls; `before` is how many came in earlier lines.

    Raises: BackendError("bad-answer") for arguments that are no object.
    """
    found = []
    for place, call in enumerate(shape.tool_calls or ()):
        arguments = bytes(call.function.arguments)
        if not arguments.startswith(b"{"):
            raise BackendError(
                "bad-answer", f"the arguments of {call.function.name!r} are no object"
            )
        name, text = call.function.name, arguments.decode()
        id_ = call.id if isinstance(call.id, str) else ""
        if not id_:
            id_ = stable_id(answer, before + place, name, text)
        found.append(ToolCall(id_, name, text))
    return tuple(found)


def write_answer(message: Message) -> MessageOut:
    """Translate the message of an answer."""
    return MessageOut(
        content=message.text,
        thinking=UNSET if message.reasoning is None else message.reasoning,
        tool_calls=[write_call(c) for c in message.tool_calls] if message.tool_calls else UNSET,
    )
