"""Chat messages in the OpenAI shape ↔ our `Message`.

Knows nothing about requests or answers. Source: the published OpenAPI description of the OpenAI
API, schema ChatCompletionRequestMessage.
"""

from collections.abc import Collection
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from stead.messages import (
    Deviation,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    sampled,
)
from stead.wire import seals
from stead.wire.given import DROPPED, given, is_plain
from stead.wire.openai_shape import Role, refuse


class Function(Struct):
    """The called function of a tool call."""

    name: str = ""
    arguments: str = ""


class Call(Struct):
    """A tool call inside a message."""

    id: str
    function: Function
    type: str = "function"


class ImageUrl(Struct, forbid_unknown_fields=True):
    """The `image_url` of a part."""

    url: str
    detail: str | None = None


class TextItem(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A text part."""

    text: str


class RefusalItem(Struct, tag_field="type", tag="refusal", forbid_unknown_fields=True):
    """A refusal part of an earlier answer."""

    refusal: str


class ImageItem(Struct, tag_field="type", tag="image_url", forbid_unknown_fields=True):
    """An image part."""

    image_url: ImageUrl


class MessageIn(Struct, forbid_unknown_fields=True):
    """A message of a request; clients send back what answers held, so those keys are allowed."""

    role: Role
    content: str | list[TextItem | ImageItem | RefusalItem] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # what some servers call it
    annotations: list[Any] | None = None  # Any: the vendor's citations, of no use to a model
    audio: Any = None  # Any: refers to an answer kept by the vendor
    function_call: None = None


def read_message(shape: MessageIn, index: int) -> Message:
    """Translate one message. Raises: RequestRefused when the role lacks what it needs."""
    where = f"messages[{index}]"
    if shape.role == "tool" and shape.tool_call_id is None:
        raise refuse(f"{where}.tool_call_id", "a tool message names the call it answers")
    if shape.content is None and not shape.tool_calls and shape.refusal is None:
        raise refuse(f"{where}.content", f"a {shape.role} message needs content")
    content: str | tuple[Part, ...] | None = shape.refusal
    if isinstance(shape.content, list):
        content = tuple(_part(p) for p in shape.content)
    elif shape.content is not None:
        content = shape.content
    return Message(
        "system" if shape.role == "developer" else shape.role,
        content,
        shape.name,
        tuple(
            ToolCall(c.id, c.function.name, c.function.arguments) for c in shape.tool_calls or ()
        ),
        shape.tool_call_id,
        shape.reasoning if shape.reasoning_content is None else shape.reasoning_content,
    )


def _part(item: TextItem | ImageItem | RefusalItem) -> Part:
    if isinstance(item, ImageItem):
        return ImagePart(item.image_url.url, item.image_url.detail)
    return TextPart(item.text if isinstance(item, TextItem) else item.refusal)


def write_message(message: Message) -> dict[str, Any]:  # Any: JSON values
    """Translate one message for an upstream."""
    found: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, tuple):
        found["content"] = [_write_part(p) for p in message.content]
    elif message.content is not None or not message.tool_calls:
        found["content"] = message.content
    if message.tool_calls:
        found["tool_calls"] = [write_call(c) for c in message.tool_calls]
    for key, value in (
        ("name", message.name),
        ("tool_call_id", message.tool_call_id),
        ("reasoning_content", message.reasoning),
    ):
        if value is not None:
            found[key] = value
    return found


def write_call(call: ToolCall) -> Call:
    """Translate one tool call."""
    return Call(call.id, Function(call.name, call.arguments))


def _write_part(part: Part) -> dict[str, Any]:  # Any: JSON values
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    image = {"url": part.url} | ({} if part.detail is None else {"detail": part.detail})
    return {"type": "image_url", "image_url": image}


class CallNumbers:
    """Numbers of streamed calls. Some servers number every call 0: another id with a name is another call.

    An id alone is none, since others invent one per piece.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[int, int], str] = {}
        self._moved: dict[tuple[int, int], int] = {}

    def number(self, choice: int, index: int, id_: str | None, name: str | None) -> int:
        """Return the number of the call that a piece belongs to."""
        key = (choice, self._moved.get((choice, index), index))
        if id_ is None or not name:
            return key[1]
        if self._ids.get(key, id_) != id_:
            number = 1 + max(n for c, n in self._ids if c == choice)
            self._moved[choice, index] = number
            key = (choice, number)
        self._ids[key] = id_
        return key[1]


def openai_drops(
    request: GenerateRequest | EmbedRequest, lacks: Collection[str], protocol: str
) -> tuple[Deviation, ...]:
    """Return what of a request the chat or the completion route does not carry."""
    if isinstance(request, EmbedRequest):
        return ()
    if is_plain(request) and sampled(request.sampling).keys().isdisjoint(lacks):
        return ()
    lost = [f"{name} is unknown to {protocol}" for name in given(request) if name in lacks]
    if any(m.failed for m in request.messages or ()):
        lost.append(f"messages.failed is unknown to {protocol}")
    return (*(Deviation(DROPPED, words) for words in lost), *seals.dropped(request, None))


class MessageOut(Struct):
    """The message of an answer, read and written."""

    role: str | None = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    reasoning: str | UnsetType | None = UNSET  # what some servers call it; only read


def spoken_reasoning(*found: str | UnsetType | None) -> str | None:
    """Return the reasoning, by whichever name it came."""
    return next((text for text in found if isinstance(text, str)), None)


def write_answer(message: Message) -> MessageOut:
    """Translate the message of an answer."""
    empty = message.content is None and bool(message.tool_calls)
    return MessageOut(
        "assistant",
        None if empty else message.text,
        None,
        [write_call(c) for c in message.tool_calls] if message.tool_calls else UNSET,
        UNSET if message.reasoning is None else message.reasoning,
    )


def read_answer(shape: MessageOut) -> Message:
    """Translate the message of an upstream's answer."""
    calls = shape.tool_calls if isinstance(shape.tool_calls, list) else []
    content = shape.content if shape.content is not None else shape.refusal
    return Message(
        "assistant",
        content,
        tool_calls=tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in calls),
        reasoning=spoken_reasoning(shape.reasoning_content, shape.reasoning),
    )
