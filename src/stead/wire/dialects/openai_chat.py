"""The chat route of the OpenAI protocol, `/v1/chat/completions`.

Knows nothing about vendors or engines. Source: the published OpenAPI description of the OpenAI API,
schemas CreateChatCompletionRequest, CreateChatCompletionResponse, CreateChatCompletionStreamResponse.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.core.errors import BackendError
from stead.messages import (
    Choice,
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Reply,
    Sampling,
    ToolCallDelta,
    Usage,
)
from stead.wire import openai_errors as errors
from stead.wire import openai_shape as shape
from stead.wire import sse
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter, decode_answer
from stead.wire.extras import EXTRAS, carried, foreign
from stead.wire.openai_messages import (
    CallNumbers,
    MessageIn,
    MessageOut,
    openai_drops,
    read_answer,
    read_message,
    spoken_reasoning,
    write_answer,
    write_message,
)

_PROTOCOL = "openai_chat"
_PASSED = sorted(EXTRAS[_PROTOCOL])  # fields that travel as they came, in GenerateRequest.extra
_LACKS = foreign(_PROTOCOL) | {"echo"}


class _Request(shape.SamplingFields, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[list[MessageIn], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: shape.Count | None = None
    logprobs: bool | None = None
    top_logprobs: shape.Alternatives | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[Literal["text"]] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prediction: dict[str, Any] | None = None
    verbosity: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    web_search_options: dict[str, Any] | None = None
    cache_prompt: bool | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_ENCODER = msgspec.json.Encoder()


def _check_tools(asked: _Request) -> None:
    for i, tool in enumerate(asked.tools or ()):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise shape.refuse(f"tools[{i}].type", "only tools of type 'function' are known")
        if not isinstance(function.get("name"), str):
            raise shape.refuse(f"tools[{i}].function.name", "a function needs a name")
    choice = asked.tool_choice
    if isinstance(choice, str) and choice not in {"none", "auto", "required"}:
        raise shape.refuse("tool_choice", f"{choice!r} is not 'none', 'auto' or 'required'")
    if (choice == "required" or isinstance(choice, dict)) and not asked.tools:
        raise shape.refuse("tool_choice", "tool_choice needs tools")
    if isinstance(choice, dict) and choice.get("type") not in ("function", "allowed_tools"):
        raise shape.refuse("tool_choice.type", f"{choice.get('type')!r} is not known")


class _Schema(Struct, forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


def _check_format(form: dict[str, Any] | None) -> None:
    if form is None:
        return
    if form.get("type") not in ("text", "json_object", "json_schema"):
        raise shape.refuse("response_format.type", f"{form.get('type')!r} is not a known format")
    if form["type"] == "json_schema":
        shape.convert(form.get("json_schema"), _Schema, "response_format.json_schema")


def _sampling(asked: _Request) -> Sampling:
    if asked.top_logprobs is not None and not asked.logprobs:
        raise shape.refuse("top_logprobs", "top_logprobs needs logprobs to be true")
    limit = asked.max_completion_tokens
    return shape.sampling(
        asked,
        max_tokens=asked.max_tokens if limit is None else limit,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
    )


class _Choice(Struct):
    index: int
    message: MessageOut
    logprobs: shape.ChatLogprobs | None = None
    finish_reason: str | None = "stop"


class _Reply(Struct):
    id: str
    choices: list[_Choice]
    created: int = 0
    model: str = ""
    object: str = "chat.completion"
    usage: shape.UsageShape | None = None


class _Function(Struct):
    name: str | UnsetType | None = UNSET
    arguments: str | UnsetType | None = UNSET


class _CallDelta(Struct):
    index: int = 0
    id: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    function: _Function | UnsetType = UNSET


class _Delta(Struct):
    role: str | UnsetType | None = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[_CallDelta] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    reasoning: str | UnsetType | None = UNSET  # what some servers call it; only read


class _ChunkChoice(Struct):
    index: int
    delta: _Delta
    logprobs: shape.ChatLogprobs | None = None
    finish_reason: str | None = None


class _Chunk(errors.Fallible, kw_only=True):
    id: str = ""
    object: str = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[_ChunkChoice] = msgspec.field(default_factory=list)
    usage: shape.UsageShape | UnsetType | None = UNSET


_REPLY = msgspec.json.Decoder(_Reply)
_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIChat(errors.OpenAIErrors, GenerateDialect):
    """Chat completions."""

    kind = "chat"
    path = "/v1/chat/completions"
    relays = True

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol does not carry.

        Its servers share more fields than the vendor knows (top_k, min_p, repeat_penalty): these are
        carried, and a vendor that refuses them says so.
        """
        return openai_drops(request, _LACKS, _PROTOCOL)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = shape.decode_request(_REQUEST, body)
        _check_tools(asked)
        _check_format(asked.response_format)
        streamed = bool(asked.stream)
        extra = {k: v for k in _PASSED if (v := getattr(asked, k)) is not None}
        request = GenerateRequest(
            model=asked.model,
            messages=tuple(read_message(m, i) for i, m in enumerate(asked.messages)),
            sampling=_sampling(asked),
            tools=tuple(asked.tools or ()),
            tool_choice=asked.tool_choice,
            response_format=asked.response_format,
            stream=streamed,
            strict=bool(asked.strict),
            user=asked.user,
            extra=extra,
        )
        usage = shape.usage_wanted(asked)
        return Asked(asked.model, (request,), stream=streamed, include_usage=usage)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream; a streamed one asks for usage."""
        if isinstance(request, EmbedRequest) or request.messages is None:
            raise BackendError("not-supported", f"{self.path} takes messages only")
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [write_message(m) for m in request.messages],
        }
        body |= shape.write_sampling(request.sampling)
        if request.sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.sampling.logprobs}
        if request.tools:
            body["tools"] = request.tools
        for key in ("tool_choice", "response_format", "user"):
            if (value := getattr(request, key)) is not None:
                body[key] = value
        extra = carried(request.extra, _PROTOCOL)
        return _ENCODER.encode(body | shape.write_stream(request) | extra)

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer."""
        choices = [
            _Choice(
                c.index, write_answer(c.message), shape.write_logprobs(c.logprobs), c.finish_reason
            )
            for c in reply.choices
        ]
        usage = shape.write_usage(reply.usage)
        return _ENCODER.encode(_Reply(reply.id, choices, reply.created, reply.model, usage=usage))

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        errors.raise_if_answer_is_error(body)
        found = decode_answer(_REPLY, body)
        if not found.choices:
            raise BackendError("bad-answer", "the endpoint sent no choices")
        usage = shape.read_usage(found.usage)
        return Reply(
            id=found.id,
            model=found.model,
            created=found.created,
            choices=tuple(
                Choice(
                    c.index,
                    read_answer(c.message),
                    shape.read_finish(c.finish_reason),
                    shape.read_logprobs(c.logprobs),
                )
                for c in found.choices
            ),
            usage=Usage() if usage is None else usage,
        )

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return _Writer(asked)

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return _Reader()


class _Writer(errors.OpenAIWriter):
    """Chunks as events: the role with the first of each choice, usage in an event of its own."""

    def __init__(self, asked: Asked) -> None:
        self._usage_wanted = asked.include_usage
        self._begun: set[int] = set()

    def chunk(self, chunk: Chunk) -> bytes:
        raw = chunk.raw
        if raw is None or not raw.fits(chunk, "openai_chat"):
            return self._made(chunk)
        if raw.usage and not self._usage_wanted:
            return self._made(chunk)
        if chunk.index in self._begun or not _says_something(chunk):
            return raw.data
        self._begun.add(chunk.index)
        return raw.data if chunk.role is not None else self._role(chunk) + raw.data

    def _role(self, chunk: Chunk) -> bytes:
        """Return the event that begins a choice, where the upstream sent none."""
        wire = _Chunk(id=chunk.id, created=chunk.created, model=chunk.model)
        wire.choices = [_ChunkChoice(chunk.index, _Delta("assistant", ""))]
        return sse.write(_ENCODER.encode(wire))

    def _made(self, chunk: Chunk) -> bytes:
        wire = _Chunk(id=chunk.id, created=chunk.created, model=chunk.model)
        if self._usage_wanted:
            wire.usage = None
        events = b""
        if _says_something(chunk):
            wire.choices = [self._choice(chunk)]
            events = sse.write(_ENCODER.encode(wire))
        if chunk.usage is not None and self._usage_wanted:
            wire.choices = []
            wire.usage = shape.write_usage(chunk.usage)
            events += sse.write(_ENCODER.encode(wire))
        return events

    def _choice(self, chunk: Chunk) -> _ChunkChoice:
        delta = _Delta()
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
            delta.role = "assistant"
            delta.content = ""
        if chunk.text:
            delta.content = chunk.text
        if chunk.reasoning:
            delta.reasoning_content = chunk.reasoning
        if chunk.tool_calls:
            delta.tool_calls = [_write_delta(c) for c in chunk.tool_calls]
        return _ChunkChoice(
            chunk.index, delta, shape.write_logprobs(chunk.logprobs), chunk.finish_reason
        )


def _says_something(chunk: Chunk) -> bool:
    return bool(
        chunk.text
        or chunk.role
        or chunk.tool_calls
        or chunk.reasoning
        or chunk.finish_reason
        or chunk.logprobs
    )


def _write_delta(call: ToolCallDelta) -> _CallDelta:
    function = _Function(UNSET if call.name is None else call.name, call.arguments)
    if call.id is None:
        return _CallDelta(call.index, function=function)
    return _CallDelta(call.index, call.id, "function", function)


class _Reader(errors.OpenAIReader):
    def __init__(self) -> None:
        self._calls = CallNumbers()

    def feed(self, event: sse.Event) -> list[Chunk]:
        found = self.decode(_CHUNK, event)
        if found is None:
            return []
        usage = shape.read_usage(found.usage if found.usage is not UNSET else None)
        if not found.choices:
            return [] if usage is None else [self._chunk(found, None, usage)]
        last = len(found.choices) - 1
        return [
            self._chunk(found, choice, usage if i == last else None)
            for i, choice in enumerate(found.choices)
        ]

    def _chunk(self, wire: _Chunk, choice: _ChunkChoice | None, usage: Usage | None) -> Chunk:
        if choice is None:
            return Chunk(id=wire.id, model=wire.model, created=wire.created, usage=usage)
        delta = choice.delta
        return Chunk(
            id=wire.id,
            model=wire.model,
            created=wire.created,
            index=choice.index,
            text=delta.content if isinstance(delta.content, str) else "",
            reasoning=spoken_reasoning(delta.reasoning_content, delta.reasoning, "") or "",
            role="assistant" if isinstance(delta.role, str) else None,
            tool_calls=tuple(self._read_delta(c, choice.index) for c in delta.tool_calls or ()),
            finish_reason=shape.read_finish(choice.finish_reason) if choice.finish_reason else None,
            logprobs=shape.read_logprobs(choice.logprobs),
            usage=usage,
        )

    def _read_delta(self, call: _CallDelta, choice: int) -> ToolCallDelta:
        function = call.function if isinstance(call.function, _Function) else _Function()
        id_ = call.id if isinstance(call.id, str) and call.id else None
        name = function.name if isinstance(function.name, str) else None
        return ToolCallDelta(
            self._calls.number(choice, call.index, id_, name),
            id_,
            name,
            function.arguments if isinstance(function.arguments, str) else "",
        )
