"""Messages of the Anthropic protocol (blocks of content) ↔ our `Message`.

Knows nothing about requests or answers as a whole. A turn's tool results are messages of their own
with us, and blocks of the user's turn there. Source: the vendor's published API description,
`ContentBlockParam` and `ContentBlock`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stead.messages import Deviation, ImagePart, Message, Part, TextPart, Thought, ToolCall
from stead.wire import media, seals
from stead.wire.anthropic_shape import ISSUER
from stead.wire.openai_shape import refuse

Mark = Any  # Any: a mark of this vendor's prompt cache, an object or null


class Text(Struct, tag_field="type", tag="text", forbid_unknown_fields=True, omit_defaults=True):
    """A piece of text."""

    text: str
    cache_control: Mark = None
    citations: Any = None  # Any: the vendor's, sent back by clients


class Base64(Struct, tag_field="type", tag="base64", forbid_unknown_fields=True):
    """An image by value."""

    media_type: str
    data: str


class Address(Struct, tag_field="type", tag="url", forbid_unknown_fields=True):
    """An image by address."""

    url: str


class Image(Struct, tag_field="type", tag="image", forbid_unknown_fields=True, omit_defaults=True):
    """An image."""

    source: Base64 | Address
    cache_control: Mark = None


class Use(Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True, omit_defaults=True):
    """The model calls a tool; `input` keeps the bytes of its JSON."""

    id: str
    name: str
    input: msgspec.Raw
    cache_control: Mark = None
    caller: Any = None  # Any: the vendor's own, sent back by clients
    toolset_name: str | None = None


class Result(
    Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True, omit_defaults=True
):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[Text | Image] | None = None
    is_error: bool | None = None
    cache_control: Mark = None


class Thinking(Struct, tag_field="type", tag="thinking", forbid_unknown_fields=True):
    """Reasoning with the vendor's signature."""

    thinking: str
    signature: str = ""


class Redacted(Struct, tag_field="type", tag="redacted_thinking", forbid_unknown_fields=True):
    """Reasoning the vendor does not show."""

    data: str


Block = Text | Image | Use | Result | Thinking | Redacted
_ROLES: dict[type[Block], str] = {Use: "assistant", Thinking: "assistant", Redacted: "assistant",
                                  Result: "user", Image: "user"}  # fmt: skip
_SPACE = b" \t\r\n"


class Turn(Struct, forbid_unknown_fields=True):
    """One message of a request."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


def read_turn(turn: Turn, index: int) -> Iterator[Message]:
    """Yield the messages of a turn. Raises: RequestRefused for a block its role cannot have."""
    if isinstance(turn.content, str):
        yield Message(turn.role, turn.content)
        return
    where = f"messages[{index}].content"
    for i, block in enumerate(turn.content):
        allowed = _ROLES.get(type(block), turn.role)
        if allowed != turn.role:
            raise refuse(f"{where}[{i}].type", f"a {turn.role} message cannot hold this block")
    if turn.role == "assistant":
        yield read_answer(turn.content, where)
    else:
        yield from _read_user(turn.role, turn.content)


def _read_user(role: Literal["user", "system"], blocks: list[Block]) -> Iterator[Message]:
    parts: list[Part] = []
    for block in blocks:
        if isinstance(block, Result):
            if parts:
                yield Message(role, _content(parts))
                parts = []
            yield _read_result(block)
        elif isinstance(block, Text | Image):
            parts.append(_part(block))
    if parts or not blocks:
        yield Message(role, _content(parts))


def _read_result(block: Result) -> Message:
    content = block.content
    if isinstance(content, list):
        found = _content([_part(b) for b in content])
    else:
        found = "" if content is None else content
    return Message("tool", found, tool_call_id=block.tool_use_id, failed=bool(block.is_error))


def _content(parts: list[Part]) -> str | tuple[Part, ...]:
    """Return parts as a message has them: text alone stands by itself."""
    if not parts:
        return ""
    first = parts[0]
    return first.text if len(parts) == 1 and isinstance(first, TextPart) else tuple(parts)


def _part(block: Text | Image) -> Part:
    if isinstance(block, Text):
        return TextPart(block.text)
    source = block.source
    if isinstance(source, Address):
        return ImagePart(source.url)
    return ImagePart(media.data_url(source.media_type, source.data))


def read_answer(blocks: Iterable[Block], where: str = "content") -> Message:
    """Return the assistant's blocks as one message."""
    parts: list[Part] = []
    calls: list[ToolCall] = []
    thoughts: list[Thought] = []
    reasoning: list[str] = []
    for i, block in enumerate(blocks):
        if isinstance(block, Text):
            parts.append(TextPart(block.text))
        elif isinstance(block, Use):
            arguments = bytes(block.input)
            if not arguments.lstrip(_SPACE).startswith(b"{"):
                raise refuse(f"{where}[{i}].input", "the input of a tool is an object")
            calls.append(ToolCall(block.id, block.name, arguments.decode("utf-8", "replace")))
        elif isinstance(block, Thinking):
            reasoning.append(block.thinking)
            if block.signature:
                thoughts.append(seals.read(block.signature, ISSUER, block.thinking))
        elif isinstance(block, Redacted):
            thoughts.append(seals.read(block.data, ISSUER, withheld=True))
    return Message(
        "assistant",
        None if calls and not parts else _content(parts),
        tool_calls=tuple(calls),
        reasoning="".join(reasoning) if any(reasoning) else None,
        thoughts=tuple(thoughts),
    )


class Loose(Struct):
    """A block of an answer, with whatever keys the vendor has added since."""

    type: str = ""
    id: str = ""
    name: str = ""
    data: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    input: msgspec.Raw | UnsetType = UNSET

    @property
    def arguments(self) -> bytes:
        """The input of a call, as it was written."""
        return b"{}" if self.input is UNSET else bytes(self.input)

    def block(self) -> Block | None:
        """Return the block it is; None for a type that is not known here."""
        match self.type:
            case "text":
                return Text(self.text)
            case "tool_use":
                return Use(self.id, self.name, msgspec.Raw(self.arguments))
            case "thinking":
                return Thinking(self.thinking, self.signature)
            case "redacted_thinking":
                return Redacted(self.data)
        return None


def left_out(kind: str) -> Deviation:
    """Return what is recorded for a block of an answer that is not known here."""
    return Deviation("block_dropped", f"a block of type {kind!r} was left out")


def write_turns(messages: Iterable[Message]) -> list[dict[str, Any]]:  # Any: JSON values
    """Return the turns of a conversation; results that follow one another share a turn."""
    turns: list[dict[str, Any]] = []
    results: list[Result] | None = None
    for message in messages:
        if message.role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_write_result(message))
            continue
        results = None
        if message.role == "assistant":
            own = seals.own(message, ISSUER)
            turns.append({"role": "assistant", "content": write_answer(message, own)})
        else:
            turns.append({"role": "user", "content": _write_content(message.content)})
    return turns


def write_system(messages: Iterable[Message]) -> str | list[Text] | None:
    """Return what the system messages say, as `system` holds it; None when there are none."""
    found = [m.content for m in messages if m.role == "system"]
    if len(found) == 1 and isinstance(found[0], str):
        return found[0]
    if not found:
        return None
    texts = [[TextPart(c)] if isinstance(c, str) else c or () for c in found]
    return [Text(p.text) for parts in texts for p in parts if isinstance(p, TextPart)]


def _write_result(message: Message) -> Result:
    content = _write_content(message.content)
    return Result(message.tool_call_id or "", content, True if message.failed else None)


def _write_content(content: str | tuple[Part, ...] | None) -> str | list[Text | Image]:
    if isinstance(content, tuple):
        return [_write_part(p) for p in content]
    return "" if content is None else content


def _write_part(part: Part) -> Text | Image:
    if isinstance(part, TextPart):
        return Text(part.text)
    found = media.split_data_url(part.url)
    return Image(Address(part.url) if found is None else Base64(*found))


def write_answer(
    message: Message, thoughts: tuple[Thought, ...], *, open_reasoning: bool = False
) -> str | list[Block]:
    """Return the assistant's blocks; plain text alone stands by itself unless `open_reasoning`.

    The vendor takes back only reasoning it has signed; with `open_reasoning` (answers to clients) the
    rest is told with an empty signature.
    """
    if isinstance(message.content, str) and not (thoughts or message.tool_calls or open_reasoning):
        return message.content
    found: list[Block] = [write_thought(t) for t in thoughts]
    if open_reasoning and not thoughts and message.reasoning is not None:
        found.append(Thinking(message.reasoning))
    content = _write_content(message.content)
    found += [Text(content)] if isinstance(content, str) and content else []
    found += content if isinstance(content, list) else []
    found += [Use(c.id, c.name, write_input(c.arguments)) for c in message.tool_calls]
    return found if found or open_reasoning else ""


def write_thought(thought: Thought) -> Thinking | Redacted:
    """Return a sealed piece of reasoning."""
    seal = seals.write(thought, ISSUER)
    return Redacted(seal) if thought.withheld else Thinking(thought.text, seal)


def is_object(arguments: str) -> bool:
    """Say whether a tool call's arguments are a JSON object."""
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def write_input(arguments: str) -> msgspec.Raw:
    """Return arguments as the protocol's object; what is none becomes `{"unparsed": text}`."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    if is_object(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode({"unparsed": arguments}))
