"""Streamed answers of the OpenAI Responses protocol: numbered events, items that open and close.

Knows nothing about requests. Source: the published OpenAPI description of the OpenAI API, schema
ResponseStreamEvent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError, SteadError
from stead.messages import Chunk, FinishReason, GenerateRequest, ToolCall, ToolCallDelta, Usage
from stead.wire import openai_shape as shape
from stead.wire import responses_shape as answer
from stead.wire import sse
from stead.wire.blocks import Block, Blocks, Step
from stead.wire.dialect import StreamReader, StreamWriter, decode_answer
from stead.wire.openai_errors import ErrorShape, error_object
from stead.wire.responses_items import ItemRead, item_thought

_ENCODER = msgspec.json.Encoder()
_PREFIX = {"reasoning": "rs", "text": "msg", "call": "fc"}


class Writer(StreamWriter):
    """Chunks as events. The whole answer is said again at its end, as the protocol wants."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._head: answer.Head | None = None
        self._blocks = Blocks()
        self._number = -1
        self._finish: FinishReason = "stop"
        self._usage: Usage | None = None

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events of a chunk."""
        events = b"" if self._head is not None else self._start(chunk)
        for step in self._blocks.feed(chunk):
            events += b"".join(self._step(step))
        if chunk.finish_reason is not None:
            self._finish = chunk.finish_reason
        if chunk.usage is not None:
            self._usage = chunk.usage
        return events

    def end(self) -> bytes:
        """Return the last item's end and the whole answer."""
        events = b"".join(e for s in self._blocks.close() for e in self._step(s))
        status = answer.status_word(self._finish)
        error = answer.failure() if status == "failed" else None
        return events + self._whole(f"response.{status}", status, error)

    def error(self, error: SteadError) -> bytes:
        """Return the failed answer; before an answer has begun, the error alone."""
        if self._head is not None:
            return self._whole("response.failed", "failed", answer.failure(error))
        found = error_object(error)
        fields = {k: found[k] for k in ("code", "message", "param")}
        return self._event("error", **fields)

    def _event(self, name: str, /, **fields: Any) -> bytes:  # Any: JSON values
        self._number += 1
        body = {"type": name, "sequence_number": self._number, **fields}
        return sse.write(_ENCODER.encode(body), name)

    def _start(self, chunk: Chunk) -> bytes:
        self._head = answer.Head(self._request, chunk.id, chunk.model, chunk.created)
        now = self._head.write("in_progress", [])
        created = self._event("response.created", response=now)
        return created + self._event("response.in_progress", response=now)

    def _whole(self, name: str, status: str, error: dict[str, str] | None) -> bytes:
        if self._head is None:  # an answer without a single chunk
            self._head = answer.Head(self._request, "", self._request.model, 0)
        cut = status != "completed"
        last = len(self._blocks.all) - 1
        output = [
            self._item(b, "incomplete" if cut and b.index == last else "completed")
            for b in self._blocks.all
        ]
        finish = self._finish if error is None else "error"
        return self._event(
            name,
            response=self._head.write(
                status, output, usage=self._usage, finish=finish, error=error
            ),
        )

    def _id(self, block: Block) -> str:
        id_ = "" if self._head is None else self._head.id
        return f"{_PREFIX[block.what]}_{id_}_{block.index}"

    def _item(self, block: Block, status: str) -> dict[str, Any]:  # Any: JSON values
        id_, text = self._id(block), block.text
        if block.what == "call":
            return answer.call_item(id_, ToolCall(block.id, block.name, text), status)
        if block.what == "reasoning":
            shown = text if text or block.thought is None else block.thought.text
            return answer.reasoning_item(id_, shown, status, block.thought)
        return answer.message_item(id_, text, status, _logprobs(tuple(block.logprobs)))

    def _step(self, step: Step) -> Iterator[bytes]:
        block = step.block
        where = {"item_id": self._id(block), "output_index": block.index}
        if step.what == "open":
            yield from self._open(block, where)
        elif step.what == "delta":
            yield self._delta(step, where)
        else:
            yield from self._close(block, where)

    def _open(self, block: Block, where: dict[str, Any]) -> Iterator[bytes]:
        item = self._item(block, "in_progress")
        if block.what != "call":
            item["content"] = []
        yield self._event("response.output_item.added", output_index=block.index, item=item)
        if block.what != "call":
            part = _part(block.what, "", [])
            yield self._event("response.content_part.added", **where, content_index=0, part=part)

    def _delta(self, step: Step, where: dict[str, Any]) -> bytes:
        if step.block.what == "call":
            name = "response.function_call_arguments.delta"
            return self._event(name, **where, delta=step.text)
        fields = {**where, "content_index": 0, "delta": step.text}
        if step.block.what == "reasoning":
            return self._event("response.reasoning_text.delta", **fields)
        logprobs = _logprobs(step.logprobs)
        return self._event("response.output_text.delta", **fields, logprobs=logprobs)

    def _close(self, block: Block, where: dict[str, Any]) -> Iterator[bytes]:
        item = self._item(block, "completed")
        if block.what == "call":
            name = "response.function_call_arguments.done"
            yield self._event(name, **where, name=block.name, arguments=block.text)
        else:
            text, logprobs = block.text, _logprobs(tuple(block.logprobs))
            done: dict[str, Any] = {**where, "content_index": 0}
            if block.what == "text":
                name, more = "response.output_text.done", {"logprobs": logprobs}
            else:
                name, more = "response.reasoning_text.done", {}
            yield self._event(name, **done, text=text, **more)
            part = _part(block.what, text, logprobs)
            yield self._event("response.content_part.done", **done, part=part)
        yield self._event("response.output_item.done", output_index=block.index, item=item)


def _part(what: str, text: str, logprobs: list[shape.ChatLogprob]) -> dict[str, Any]:
    if what == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return answer.text_part(text, logprobs)


def _logprobs(tokens: tuple[Any, ...]) -> list[shape.ChatLogprob]:
    found = shape.write_logprobs(tokens)
    return [] if found is None or found.content is None else found.content


class _Event(Struct):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: str = ""
    item: ItemRead | None = None
    logprobs: list[Any] | None = None  # Any: of two shapes, one of them with fewer keys
    response: answer.ResponseRead | None = None
    code: str | None = None
    message: str | None = None


_EVENT = msgspec.json.Decoder(_Event)
_TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_REASONINGS = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Reader(StreamReader):
    """Events as chunks; those that only repeat what was said are passed over."""

    def __init__(self) -> None:
        self._response = answer.ResponseRead()
        self._calls: dict[int, int] = {}  # output_index -> number of the call
        self._argued: set[int] = set()

    def feed(self, event: sse.Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises: BackendError for a failure or nonsense."""
        if event.data == b"[DONE]":  # some servers of this protocol send the older one's marker
            return []
        found = decode_answer(_EVENT, event.data)
        if found.type == "error":
            raise answer.failed(ErrorShape(found.message, code=found.code))
        if found.type in _ENDS:
            return self._end(found)
        if found.type == "response.created" and found.response is not None:
            self._response = found.response
            return [self._chunk(role="assistant")]
        if found.delta:
            return self._delta(found)
        if found.item is not None:
            return self._item(found.type, found.output_index, found.item)
        return []

    def _chunk(self, **fields: Any) -> Chunk:  # Any: the fields of Chunk
        head = self._response
        return Chunk(id=head.id, model=head.model, created=int(head.created_at), **fields)

    def _delta(self, found: _Event) -> list[Chunk]:
        if found.type in _TEXTS:
            logprobs = answer.read_logprobs(found.logprobs or [])
            return [self._chunk(text=found.delta, logprobs=logprobs)]
        if found.type in _REASONINGS:
            return [self._chunk(reasoning=found.delta)]
        if found.type == "response.function_call_arguments.delta":
            self._argued.add(found.output_index)
            return [self._arguments(found.output_index, found.delta)]
        return []

    def _arguments(self, index: int, text: str) -> Chunk:
        number = self._calls.get(index)
        if number is None:
            raise BackendError("bad-answer", f"the endpoint went on with call {index}, not begun")
        return self._chunk(tool_calls=(ToolCallDelta(number, arguments=text),))

    def _item(self, event: str, index: int, item: ItemRead) -> list[Chunk]:
        if event == "response.output_item.added":
            if item.type != "function_call":
                return []
            self._calls[index] = len(self._calls)
            call = ToolCallDelta(self._calls[index], item.call_id, item.name, item.arguments)
            if item.arguments:
                self._argued.add(index)
            return [self._chunk(tool_calls=(call,))]
        if event != "response.output_item.done":
            return []
        if item.type == "function_call":
            told = index in self._argued or not item.arguments
            return [] if told else [self._arguments(index, item.arguments)]
        thought = item_thought(item)
        if thought is not None:
            return [self._chunk(thought=thought)]
        known = item.type in answer.KNOWN
        return [] if known else [self._chunk(deviations=(answer.left_out(item.type),))]

    def _end(self, found: _Event) -> list[Chunk]:
        response = answer.ResponseRead() if found.response is None else found.response
        response.status = found.type.removeprefix("response.")
        finish = answer.read_finish(response)
        self.ended = True
        if finish == "stop" and self._calls:
            finish = "tool_calls"
        return [self._chunk(finish_reason=finish, usage=answer.read_usage(response.usage))]
