"""Streamed answers of the Anthropic protocol: named events, blocks that open and close.

Knows nothing about requests. Source: the vendor's published description of streaming
(message_start, content_block_start/delta/stop, message_delta, message_stop, ping, error).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError, SteadError
from stead.messages import Chunk, FinishReason, Thought, ToolCallDelta, Usage
from stead.wire import anthropic_shape as shape
from stead.wire import seals, sse
from stead.wire.anthropic_messages import Loose, left_out, write_thought
from stead.wire.blocks import Block, Blocks, Step
from stead.wire.dialect import StreamReader, StreamWriter, decode_answer

_ENCODER = msgspec.json.Encoder()
_DELTAS = {"text": ("text_delta", "text"), "reasoning": ("thinking_delta", "thinking"),
           "call": ("input_json_delta", "partial_json")}  # fmt: skip


def _event(name: str, /, **fields: Any) -> bytes:  # Any: JSON values
    return sse.write(_ENCODER.encode({"type": name, **fields}), name)


class Writer(StreamWriter):
    """Chunks as events. Usage and the reason to stop come with the end."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._begun = False
        self._finish: FinishReason = "stop"
        self._stop_text: str | None = None
        self._usage = Usage()

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events of a chunk."""
        events = b"" if self._begun else self._start(chunk)
        for step in self._blocks.feed(chunk):
            events += self._step(step)
        if chunk.finish_reason is not None:
            self._finish, self._stop_text = chunk.finish_reason, chunk.stop_text
        if chunk.usage is not None:
            self._usage = chunk.usage
        return events

    def end(self) -> bytes:
        """Return the last block's end, usage, and the message's end."""
        events = b"".join(self._step(s) for s in self._blocks.close())
        delta = {
            "stop_reason": shape.write_finish(self._finish, self._stop_text),
            "stop_sequence": self._stop_text,
        }
        events += _event("message_delta", delta=delta, usage=shape.write_usage(self._usage))
        return events + _event("message_stop")

    def error(self, error: SteadError) -> bytes:
        """Return the error event."""
        return sse.write(shape.write_error(error), "error")

    def _start(self, chunk: Chunk) -> bytes:
        self._begun = True
        message: dict[str, Any] = {
            "id": chunk.id, "type": "message", "role": "assistant", "content": [],
            "model": chunk.model, "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }  # fmt: skip
        return _event("message_start", message=message)

    def _step(self, step: Step) -> bytes:
        block = step.block
        if step.what == "open":
            return _event("content_block_start", index=block.index, content_block=_opened(block))
        if step.what == "close":
            return self._sealed(block) + _event("content_block_stop", index=block.index)
        if not step.text:
            return b""
        kind, key = _DELTAS[block.what]
        delta = {"type": kind, key: step.text}
        return _event("content_block_delta", index=block.index, delta=delta)

    def _sealed(self, block: Block) -> bytes:
        thought = block.thought
        if thought is None or thought.withheld:
            return b""
        events = b""
        if thought.text and not block.parts:
            delta = {"type": "thinking_delta", "thinking": thought.text}
            events = _event("content_block_delta", index=block.index, delta=delta)
        signed = {"type": "signature_delta", "signature": seals.write(thought, shape.ISSUER)}
        return events + _event("content_block_delta", index=block.index, delta=signed)


def _opened(block: Block) -> Any:  # Any: JSON values
    if block.what == "text":
        return {"type": "text", "text": ""}
    if block.what == "call":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    if block.thought is not None and block.thought.withheld:
        return write_thought(block.thought)
    return {"type": "thinking", "thinking": "", "signature": ""}


class _Message(Struct):
    id: str = ""
    model: str = ""
    usage: shape.UsageShape | None = None


class _Delta(Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: Loose | None = None
    delta: _Delta | None = None
    usage: shape.UsageShape | None = None
    error: shape.ErrorShape | None = None


_EVENT = msgspec.json.Decoder(_Event)


class _Open:
    """A block that is being read."""

    __slots__ = ("call", "kind", "signature", "started", "written")

    def __init__(self, kind: str, started: Loose, call: int) -> None:
        self.kind, self.started, self.call = kind, started, call
        self.written: list[str] = []
        self.signature = started.signature


class Reader(StreamReader):
    """Events as chunks. Unknown events are passed over, as the vendor asks of its clients."""

    def __init__(self) -> None:
        self._message = _Message()
        self._usage = shape.UsageShape()
        self._open: dict[int, _Open] = {}
        self._calls = 0

    def feed(self, event: sse.Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises: BackendError for an error event or nonsense."""
        found = decode_answer(_EVENT, event.data)
        match found.type:
            case "message_start" if found.message is not None:
                self._message = found.message
                self._usage = found.message.usage or self._usage
                return [self._chunk(role="assistant")]
            case "content_block_start" if found.content_block is not None:
                return self._start(found.index, found.content_block)
            case "content_block_delta" if found.delta is not None:
                return self._delta(found.index, found.delta)
            case "content_block_stop":
                return self._stop(found.index)
            case "message_delta":
                return self._end(found)
            case "message_stop":
                self.ended = True
            case "error":
                raise shape.event_error(found.error)
        return []

    def _chunk(self, **fields: Any) -> Chunk:  # Any: the fields of Chunk
        return Chunk(id=self._message.id, model=self._message.model, created=0, **fields)

    def _start(self, index: int, started: Loose) -> list[Chunk]:
        opened = self._open[index] = _Open(started.type, started, self._calls)
        if started.type == "tool_use":
            self._calls += 1
            call = ToolCallDelta(opened.call, started.id, started.name)
            return [self._chunk(tool_calls=(call,))]
        if started.type == "redacted_thinking":
            thought = seals.read(started.data, shape.ISSUER, withheld=True)
            return [self._chunk(thought=thought)]
        if started.type not in {"text", "thinking"}:
            return [self._chunk(deviations=(left_out(started.type),))]
        return self._delta(index, _Delta("", started.text, "", started.thinking))

    def _delta(self, index: int, delta: _Delta) -> list[Chunk]:
        opened = self._open.get(index)
        if opened is None:
            raise BackendError("bad-answer", f"the endpoint went on with block {index}, not begun")
        if delta.signature:
            opened.signature = delta.signature
        text = delta.text + delta.partial_json + delta.thinking
        if not text:
            return []
        opened.written.append(text)
        match opened.kind:
            case "text":
                return [self._chunk(text=text)]
            case "thinking":
                return [self._chunk(reasoning=text)]
            case "tool_use":
                return [self._chunk(tool_calls=(ToolCallDelta(opened.call, arguments=text),))]
        return []

    def _stop(self, index: int) -> list[Chunk]:
        opened = self._open.pop(index, None)
        if opened is None:
            return []
        if opened.kind == "tool_use" and not opened.written:
            arguments = opened.started.arguments.decode("utf-8", "replace")
            return [self._chunk(tool_calls=(ToolCallDelta(opened.call, arguments=arguments),))]
        if opened.kind == "thinking" and opened.signature:
            return [self._chunk(thought=self._thought(opened))]
        return []

    @staticmethod
    def _thought(opened: _Open) -> Thought:
        return seals.read(opened.signature, shape.ISSUER, "".join(opened.written))

    def _end(self, found: _Event) -> list[Chunk]:
        if found.usage is not None:
            self._usage = shape.later_usage(self._usage, found.usage)
        if found.delta is None or found.delta.stop_reason is None:
            return []
        return [
            self._chunk(
                finish_reason=shape.read_finish(found.delta.stop_reason),
                stop_text=found.delta.stop_sequence,
                usage=shape.read_usage(self._usage),
            )
        ]
