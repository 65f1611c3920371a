"""Chat messages ↔ `contents` of Google's Gemini protocol.

Knows nothing about requests or answers. Differences that are bridged here: the system's words stand
apart from the conversation; the answers to calls of one turn are parts of one content; calls may
have no ids, so they get stable ones; and a call may bear a signature of the thought behind it, which
must come back with the call and so travels as the end of its id. Source: the Gemini API reference
(ai.google.dev/api), resources Content, Part, FunctionCall, FunctionResponse; "Thought signatures".
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stead.core.errors import BackendError
from stead.messages import ImagePart, Message, Part, TextPart, ToolCall
from stead.wire.call_pieces import arguments_of
from stead.wire.google_shape import FILES
from stead.wire.ids import signed, split, stable_id
from stead.wire.media import data_url, split_data_url
from stead.wire.openai_shape import refuse

_OUTPUT: Final = "output"  # the keys that the vendor gives to a function's result
_ERROR: Final = "error"


class CallShape(Struct):
    """A function call; `args` stays the bytes it came as."""

    name: str
    args: Raw | UnsetType = UNSET
    id: str | UnsetType = UNSET


class ResponseShape(Struct):
    """What a function gave back."""

    name: str
    response: dict[str, Any] = {}
    id: str | UnsetType = UNSET


class InlineShape(Struct, rename="camel"):
    """Bytes in base64."""

    mime_type: str
    data: str


class FileShape(Struct, rename="camel"):
    """A file in one of the vendor's stores."""

    file_uri: str
    mime_type: str | UnsetType = UNSET


class PartShape(Struct, rename="camel", kw_only=True):
    """One part of a content: exactly one of the first five is set."""

    text: str | UnsetType = UNSET
    inline_data: InlineShape | UnsetType = UNSET
    file_data: FileShape | UnsetType = UNSET
    function_call: CallShape | UnsetType = UNSET
    function_response: ResponseShape | UnsetType = UNSET
    thought: bool | UnsetType = UNSET
    thought_signature: str | UnsetType = UNSET


class ContentShape(Struct):
    """One turn."""

    parts: list[PartShape] = []
    role: str | UnsetType = UNSET


def write_system(messages: tuple[Message, ...]) -> ContentShape | None:
    """Return the system's words, a part for each message; None when there are none."""
    parts = [p for m in messages if m.role == "system" for p in _write_content(m)]
    return ContentShape(parts) if parts else None


def has_late_system(messages: tuple[Message, ...]) -> bool:
    """Say whether the system speaks after others have: that place is lost."""
    roles = [m.role for m in messages]
    first = next((i for i, r in enumerate(roles) if r != "system"), len(roles))
    return "system" in roles[first:]


def write_contents(messages: tuple[Message, ...]) -> list[ContentShape]:
    """Return the conversation without the system's words.

    Raises: BackendError("bad-image", "bad-arguments", "unknown-call") for what cannot be told.
    """
    names = {c.id: c.name for m in messages for c in m.tool_calls}
    found: list[ContentShape] = []
    talk = [m for m in messages if m.role != "system"]
    for is_tool, turns in groupby(talk, key=lambda m: m.role == "tool"):
        if is_tool:
            found.append(ContentShape([_write_result(m, names) for m in turns], "user"))
        else:
            found += [_write_turn(m) for m in turns]
    return found


def _write_turn(message: Message) -> ContentShape:
    parts: list[PartShape] = []
    if message.reasoning is not None:
        parts.append(PartShape(text=message.reasoning, thought=True))
    if message.content or not (message.tool_calls or parts):
        parts += _write_content(message)
    parts += [write_call(c) for c in message.tool_calls]
    return ContentShape(parts, "model" if message.role == "assistant" else "user")


def _write_content(message: Message) -> list[PartShape]:
    if isinstance(message.content, tuple):
        return [_write_part(p) for p in message.content]
    return [PartShape(text=message.text)]


def _write_part(part: Part) -> PartShape:
    if isinstance(part, TextPart):
        return PartShape(text=part.text)
    if (found := split_data_url(part.url)) is not None:
        return PartShape(inline_data=InlineShape(*found))
    if part.url.startswith(FILES):
        return PartShape(file_data=FileShape(part.url))
    raise BackendError(
        "bad-image", f"{part.url[:200]!r} is no image in base64", status=400, param="messages"
    )


def write_call(call: ToolCall) -> PartShape:
    """Return a call as a part. Raises: BackendError("bad-arguments") when it holds no object."""
    id_, signature = split(call.id)
    shape = CallShape(call.name, arguments_of(call), id_ if id_ else UNSET)
    return PartShape(function_call=shape, thought_signature=signature if signature else UNSET)


def _write_result(message: Message, names: dict[str, str]) -> PartShape:
    id_ = message.tool_call_id
    name = message.name if id_ is None else names.get(id_, message.name)
    if name is None:
        raise BackendError(
            "unknown-call", f"the tool message answers {id_!r}, which nobody called",
            status=400, param="messages",
        )  # fmt: skip
    sent = UNSET if id_ is None else split(id_)[0]
    told = {_ERROR if message.failed else _OUTPUT: message.text}
    return PartShape(function_response=ResponseShape(name, told, sent))


def read_contents(contents: list[ContentShape]) -> Iterator[Message]:
    """Yield the messages of a conversation. Raises: RequestRefused naming the field."""
    waiting: list[ToolCall] = []
    for i, content in enumerate(contents):
        results = [p for p in content.parts if isinstance(p.function_response, ResponseShape)]
        if results:
            for part in results:
                yield _read_result(part, waiting, f"contents[{i}]")
        elif content.role == "model":
            message = read_answer(content, f"request-{i}")
            waiting += message.tool_calls
            yield message
        else:
            yield Message("user", _read_parts(content.parts, f"contents[{i}]"))


def _read_result(part: PartShape, waiting: list[ToolCall], where: str) -> Message:
    shape = part.function_response
    assert isinstance(shape, ResponseShape)  # noqa: S101 - the caller has chosen by it
    failed = _ERROR in shape.response
    text = shape.response.get(_ERROR if failed else _OUTPUT)
    if not isinstance(text, str) or len(shape.response) > 1:
        text = msgspec.json.encode(shape.response).decode()
    for call in waiting:
        known = shape.id in (UNSET, "", split(call.id)[0])
        if known and call.name == shape.name:
            waiting.remove(call)
            return Message("tool", text, tool_call_id=call.id, failed=failed)
    raise refuse(f"{where}.parts.functionResponse", f"nobody called {shape.name!r}")


def _read_parts(parts: list[PartShape], where: str) -> str | tuple[Part, ...]:
    if len(parts) == 1 and isinstance(parts[0].text, str):
        return parts[0].text
    return tuple(_read_part(p, f"{where}.parts[{i}]") for i, p in enumerate(parts))


def _read_part(part: PartShape, where: str) -> Part:
    if isinstance(part.text, str):
        return TextPart(part.text)
    if isinstance(part.inline_data, InlineShape):
        return ImagePart(data_url(part.inline_data.mime_type, part.inline_data.data))
    if isinstance(part.file_data, FileShape):
        return ImagePart(part.file_data.file_uri)
    raise refuse(where, "a part holds text, an image or a call")


def read_answer(content: ContentShape, answer: str, before: int = 0) -> Message:
    """Return the message of an answer or of a piece of one.

    `answer` tells it from other answers and `before` is how many calls came earlier: both make the
    ids of calls that have none.
    """
    text, thoughts = "", ""
    calls: list[ToolCall] = []
    for part in content.parts:
        if isinstance(part.function_call, CallShape):
            calls.append(_read_call(part, part.function_call, answer, before + len(calls)))
        elif isinstance(part.text, str):
            if part.thought is True:
                thoughts += part.text
            else:
                text += part.text
    return Message(
        "assistant", text, tool_calls=tuple(calls), reasoning=thoughts if thoughts else None
    )


def _read_call(part: PartShape, shape: CallShape, answer: str, place: int) -> ToolCall:
    arguments = bytes(shape.args).decode() if isinstance(shape.args, Raw) else "{}"
    if not arguments.startswith("{"):
        raise BackendError("bad-answer", f"the arguments of {shape.name!r} are no object")
    id_ = shape.id if isinstance(shape.id, str) else ""
    if not id_:
        id_ = stable_id(answer, place, shape.name, arguments)
    if isinstance(part.thought_signature, str):
        id_ = signed(id_, part.thought_signature)
    return ToolCall(id_, shape.name, arguments)
