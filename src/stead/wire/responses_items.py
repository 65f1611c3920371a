"""Input items of the OpenAI Responses protocol ↔ our `Message`.

Knows nothing about requests or answers as a whole. An assistant's reasoning, text and calls are items
of their own there and one message with us. Source: the published OpenAPI description of the OpenAI
API, schemas InputItem and Item.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from stead.messages import ImagePart, Message, Part, TextPart, Thought, ToolCall
from stead.wire import seals
from stead.wire.openai_shape import convert, refuse

ISSUER = "openai"


class _Loose(Struct, forbid_unknown_fields=True, kw_only=True):
    """Keys that every item may have and that say nothing to a model."""

    id: str | None = None
    status: str | None = None


class InputText(Struct, tag_field="type", tag="input_text", forbid_unknown_fields=True):
    """Text of a user, the system or a tool."""

    text: str


class InputImage(Struct, tag_field="type", tag="input_image", forbid_unknown_fields=True):
    """An image by value or address; `auto` is the detail that means none was asked for."""

    image_url: str
    detail: str | None = "auto"


class OutputText(Struct, tag_field="type", tag="output_text", forbid_unknown_fields=True):
    """Text of the assistant."""

    text: str
    annotations: list[Any] = []  # Any: the vendor's citations
    logprobs: list[Any] | None = None  # Any: of no use to a model


class Refusal(Struct, tag_field="type", tag="refusal", forbid_unknown_fields=True):
    """The assistant's refusal."""

    refusal: str


_Content = InputText | InputImage | OutputText | Refusal


class _MessageItem(_Loose, kw_only=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_Content]
    type: str = "message"
    phase: str | None = None  # what an earlier answer said of itself


class _CallItem(_Loose, kw_only=True, forbid_unknown_fields=True):
    type: str
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    caller: Any = None  # Any: the vendor's own, sent back by clients


class _OutputItem(_Loose, kw_only=True, forbid_unknown_fields=True):
    type: str
    call_id: str
    output: str | list[InputText | InputImage]
    name: str | None = None


class _Piece(Struct):
    text: str


class _ReasoningItem(_Loose, kw_only=True, forbid_unknown_fields=True):
    type: str
    summary: list[_Piece] = []
    content: list[_Piece] | None = None
    encrypted_content: str | None = None


def read_items(items: Iterable[dict[str, Any]]) -> Iterator[Message]:
    """Yield the messages of an input. Raises: RequestRefused naming the item's field."""
    answer = _Answer()
    for i, item in enumerate(items):
        where = f"input[{i}]"
        match item.get("type", "message"):
            case "reasoning":
                yield from answer.reasoning(convert(item, _ReasoningItem, where))
            case "function_call":
                call = convert(item, _CallItem, where)
                answer.calls.append(ToolCall(call.call_id, call.name, call.arguments))
            case "function_call_output":
                yield from answer.flush()
                found = convert(item, _OutputItem, where)
                yield Message("tool", _content(found.output), tool_call_id=found.call_id)
            case "message":
                message = convert(item, _MessageItem, where)
                if message.role == "assistant":
                    yield from answer.text(_content(message.content))
                    continue
                yield from answer.flush()
                role: Literal["user", "system"] = "user" if message.role == "user" else "system"
                yield Message(role, _content(message.content))
            case kind:
                raise refuse(f"{where}.type", f"items of type {kind!r} are not known here")
    yield from answer.flush()


class _Answer:
    """The assistant's message that is being put together from its items."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self._content: str | tuple[Part, ...] | None = None
        self._reasoning: list[str] = []
        self._thoughts: list[Thought] = []

    def text(self, content: str | tuple[Part, ...]) -> Iterator[Message]:
        """Take the text; a second one begins another message."""
        if self._content is not None or self.calls:
            yield from self.flush()
        self._content = content

    def reasoning(self, item: _ReasoningItem) -> Iterator[Message]:
        """Take a piece of reasoning; after text or calls it begins another message."""
        if self._content is not None or self.calls:
            yield from self.flush()
        text = reasoning_text(item.summary, item.content)
        self._reasoning.append(text)
        if item.encrypted_content is not None:
            self._thoughts.append(seals.read(item.encrypted_content, ISSUER, text, id_=item.id))

    def flush(self) -> Iterator[Message]:
        """Yield the message if there is one, and begin anew."""
        reasoning = "".join(self._reasoning) if any(self._reasoning) else None
        if self._content is not None or self.calls or reasoning is not None or self._thoughts:
            yield Message(
                "assistant",
                self._content,
                tool_calls=tuple(self.calls),
                reasoning=reasoning,
                thoughts=tuple(self._thoughts),
            )
        self.__init__()  # type: ignore[misc]


def reasoning_text(summary: Iterable[_Piece], content: Iterable[_Piece] | None) -> str:
    """Return what a reasoning item shows: its text, or else its summary."""
    return "".join(p.text for p in (content if content else summary))


def _content(content: str | list[Any]) -> str | tuple[Part, ...]:  # Any: a content union's member
    if isinstance(content, str):
        return content
    parts = tuple(_part(p) for p in content)
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, TextPart) else parts


def _part(part: _Content) -> Part:
    if isinstance(part, InputImage):
        return ImagePart(part.image_url, None if part.detail == "auto" else part.detail)
    return TextPart(part.refusal if isinstance(part, Refusal) else part.text)


def write_items(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:  # Any: JSON values
    """Yield the items of a conversation, for an upstream."""
    for message in messages:
        if message.role == "tool":
            yield {
                "type": "function_call_output",
                "call_id": message.tool_call_id or "",
                "output": _write_content(message, InputText),
            }
            continue
        if message.role != "assistant":
            content = _write_content(message, InputText)
            yield {"type": "message", "role": message.role, "content": content}
            continue
        yield from (write_thought(t) for t in seals.own(message, ISSUER))
        if message.content is not None and (message.content or not message.tool_calls):
            content = _write_content(message, OutputText)
            yield {"type": "message", "role": "assistant", "content": content}
        yield from (write_call(c) for c in message.tool_calls)


def _write_content(
    message: Message, text: type[InputText] | type[OutputText]
) -> str | list[InputText | OutputText | InputImage]:
    content = message.content
    if not isinstance(content, tuple):
        return "" if content is None else content
    return [text(p.text) if isinstance(p, TextPart) else _write_image(p) for p in content]


def _write_image(part: ImagePart) -> InputImage:
    return InputImage(part.url, "auto" if part.detail is None else part.detail)


def write_call(call: ToolCall) -> dict[str, Any]:  # Any: JSON values
    """Return a call as an item without the vendor's own id."""
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def write_thought(thought: Thought) -> dict[str, Any]:  # Any: JSON values
    """Return sealed reasoning as the item it came in."""
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    found: dict[str, Any] = {"type": "reasoning", "summary": summary}
    if thought.id is not None:
        found["id"] = thought.id
    return found | {"encrypted_content": thought.seal}


class PieceRead(Struct):
    """A piece of an item's content."""

    text: str | None = None
    refusal: str | None = None
    logprobs: list[Any] | None = None  # Any: checked where they are read


class ItemRead(Struct):
    """An item of an answer, with whatever keys the vendor has added since."""

    type: str
    id: str | None = None
    content: list[PieceRead] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    summary: list[_Piece] = []
    encrypted_content: str | None = None


def item_text(item: ItemRead) -> str:
    """Return what a message item says, refusals included, or a reasoning item shows."""
    pieces = [c.refusal if c.text is None else c.text for c in item.content or ()]
    return "".join(p for p in pieces if p) if pieces else "".join(p.text for p in item.summary)


def item_thought(item: ItemRead) -> Thought | None:
    """Return the thought of a reasoning item; None when it is not sealed."""
    if item.type != "reasoning" or item.encrypted_content is None:
        return None
    return seals.read(item.encrypted_content, ISSUER, item_text(item), id_=item.id)
