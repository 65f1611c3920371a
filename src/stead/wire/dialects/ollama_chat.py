"""The chat route of Ollama's protocol, `/api/chat`: a stream of JSON lines unless told otherwise.

Knows nothing about engines. Source: Ollama's OpenAPI description (docs.ollama.com/openapi.yaml),
schemas ChatRequest, ChatResponse and ChatStreamEvent.
"""

import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from stead.core.errors import BackendError
from stead.messages import (
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Reply,
)
from stead.wire import ollama_messages as messages
from stead.wire import ollama_request as requests
from stead.wire import ollama_shape as shape
from stead.wire.call_pieces import CallPieces, deltas_of
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter
from stead.wire.openai_shape import decode_request, refuse
from stead.wire.sse import Event


class _Request(requests.Generating, kw_only=True):
    messages: Annotated[list[messages.MessageIn], Meta(max_length=10_000)]
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None


class _Answer(shape.Ended, kw_only=True):
    message: messages.MessageOut = msgspec.field(default_factory=messages.MessageOut)


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()
_CARRIED = ("tools", "messages.tool_calls", "messages.tool_name", "messages.reasoning")


def _check_tools(tools: list[dict[str, Any]]) -> None:
    for i, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise refuse(f"tools[{i}].type", "only tools of type 'function' are known")
        if not isinstance(function.get("name"), str):
            raise refuse(f"tools[{i}].function.name", "a function needs a name")


class OllamaChat(shape.OllamaErrors, GenerateDialect):
    """Chat as Ollama's clients know it."""

    kind = "chat"
    path = "/api/chat"
    framing = "ndjson"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        if isinstance(request, GenerateRequest) and request.tool_choice == "none":
            return requests.drops(request, *_CARRIED, "tool_choice")  # carried by sending no tools
        return requests.drops(request, *_CARRIED)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body)
        if not asked.messages:
            return requests.ask_to_load(asked)
        tools = [] if asked.tools is None else asked.tools
        _check_tools(tools)
        streamed = asked.stream is not False
        request = GenerateRequest(
            model=asked.model,
            messages=messages.read_messages(asked.messages),
            sampling=requests.read_sampling(asked),
            tools=tuple({"type": "function"} | t for t in tools),
            response_format=requests.read_format(asked.format),
            stream=streamed,
            extra=requests.read_extra(asked),
        )
        return Asked(asked.model, (request,), stream=streamed, begun_ns=time.monotonic_ns())

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream."""
        if isinstance(request, EmbedRequest) or request.messages is None:
            raise BackendError("not-supported", f"{self.path} takes messages only")
        body = requests.write_shared(request)
        body["messages"] = [messages.write_message(m) for m in request.messages]
        if request.tools and request.tool_choice != "none":
            body["tools"] = request.tools
        return _ENCODER.encode(body)

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer: its first choice, there are no others here."""
        choice = reply.choices[0]
        line = _Answer(
            model=reply.model,
            created_at=shape.write_time(reply.created),
            message=messages.write_answer(choice.message),
            logprobs=shape.write_logprobs(choice.logprobs),
        )
        shape.write_end(line, choice.finish_reason, reply.usage, asked, asked.begun_ns)
        return _ENCODER.encode(line)

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        line = shape.read_whole(_ANSWER, body)
        return shape.read_reply(line, messages.read_answer(line.message, line.created_at))

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return _Writer(asked)

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return _Reader()


class _Writer(shape.OllamaWriter):
    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._calls = CallPieces()

    def lines(self, chunk: Chunk) -> list[shape.Ended]:
        self._calls.add(chunk.tool_calls)
        found: list[shape.Ended] = []
        if chunk.text or chunk.reasoning:
            message = messages.MessageOut(
                content=chunk.text, thinking=chunk.reasoning if chunk.reasoning else UNSET
            )
            found.append(_Answer(message=message, logprobs=shape.write_logprobs(chunk.logprobs)))
        if chunk.finish_reason is not None and (calls := self._calls.take()):
            written = [messages.write_call(c) for c in calls]
            found.append(_Answer(message=messages.MessageOut(tool_calls=written)))
        return found

    def last(self) -> shape.Ended:
        return _Answer()


class _Reader(shape.OllamaReader):
    def __init__(self) -> None:
        self._id = ""
        self._calls = 0

    def feed(self, event: Event) -> list[Chunk]:
        line = self.decode(_ANSWER, event.data)
        self._id = self._id if self._id else f"ollama-{line.created_at}"
        calls = messages.read_calls(line.message, self._id, self._calls)
        deltas = deltas_of(calls, self._calls)
        self._calls += len(calls)
        text, thought = line.message.content, line.message.thinking
        chunk = Chunk(
            id=self._id,
            model=line.model,
            created=shape.read_time(line.created_at),
            text="" if text is None else text,
            reasoning=thought if isinstance(thought, str) else "",
            tool_calls=deltas,
            finish_reason=shape.read_finish(line, called=self._calls > 0) if line.done else None,
            logprobs=shape.read_logprobs(line.logprobs),
            usage=shape.read_usage(line) if line.done else None,
        )
        return [chunk]
