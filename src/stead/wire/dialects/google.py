"""The generating routes of Google's Gemini protocol: `:generateContent`, `:streamGenerateContent`.

Knows nothing about engines. The model and whether to stream stand in the path, so a request that is
read back has neither. Source: the Gemini API reference (ai.google.dev/api/generate-content).
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stead.core.errors import BackendError, SteadError
from stead.messages import (
    Choice,
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Usage,
)
from stead.wire import given, openai_errors, seals, sse
from stead.wire import google_messages as messages
from stead.wire import google_shape as shape
from stead.wire.call_pieces import CallPieces, deltas_of
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter, decode_answer
from stead.wire.extras import carried
from stead.wire.openai_shape import decode_request, refuse


class _Tool(Struct, forbid_unknown_fields=True, rename="camel"):
    function_declarations: list[dict[str, Any]]


class _Calling(Struct, forbid_unknown_fields=True, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] | None = None


class _ToolConfig(Struct, forbid_unknown_fields=True, rename="camel"):
    function_calling_config: _Calling


class _Request(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    contents: list[messages.ContentShape]
    model: str = ""
    system_instruction: messages.ContentShape | None = None
    tools: list[_Tool] | None = None
    tool_config: _ToolConfig | None = None
    generation_config: shape.Config | None = None
    safety_settings: list[dict[str, Any]] | None = None
    cached_content: str | None = None


class _Candidate(Struct, rename="camel"):
    content: messages.ContentShape | UnsetType = UNSET
    finish_reason: str | UnsetType = UNSET
    index: int = 0
    logprobs_result: shape.LogprobsShape | UnsetType = UNSET


class _Feedback(Struct, rename="camel"):
    block_reason: str = ""


class _Answer(openai_errors.Fallible, rename="camel", kw_only=True):
    candidates: list[_Candidate] = msgspec.field(default_factory=list)
    prompt_feedback: _Feedback | UnsetType = UNSET
    usage_metadata: shape.UsageShape | UnsetType = UNSET
    model_version: str = ""
    response_id: str = ""


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()
_MODES = {"none": "NONE", "required": "ANY", "auto": "AUTO"}
_CHOICES = {"NONE": "none", "ANY": "required", "AUTO": "auto"}


def _write_tools(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return the functions and how they are chosen; their schemas travel as JSON schemas."""
    if not request.tools:
        return {}
    declared = []
    for tool in request.tools:
        function = dict(tool["function"])
        function.pop("strict", None)
        if "parameters" in function:
            function["parametersJsonSchema"] = function.pop("parameters")
        declared.append(function)
    found: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    choice = request.tool_choice
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [name]}
        found["toolConfig"] = {"functionCallingConfig": calling}
    elif choice is not None:
        found["toolConfig"] = {"functionCallingConfig": {"mode": _MODES[choice]}}
    return found


def _read_tools(asked: _Request) -> tuple[dict[str, Any], ...]:
    found = []
    for declared in (f for t in asked.tools or () for f in t.function_declarations):
        function = dict(declared)
        if "parametersJsonSchema" in function:
            function["parameters"] = function.pop("parametersJsonSchema")
        found.append({"type": "function", "function": function})
    return tuple(found)


def _read_choice(config: _ToolConfig | None) -> str | dict[str, Any] | None:
    if config is None:
        return None
    calling = config.function_calling_config
    names = calling.allowed_function_names
    if calling.mode not in _CHOICES:
        raise refuse("toolConfig.functionCallingConfig.mode", f"{calling.mode!r} is no known mode")
    if names is not None and len(names) == 1:
        return {"type": "function", "function": {"name": names[0]}}
    return _CHOICES[calling.mode]


class Google(shape.GoogleRoute, GenerateDialect):
    """Gemini's chat, for the client side; both directions are here."""

    kind = "chat"
    path = f"{shape.ROOT}/models"

    def target(self, request: GenerateRequest | EmbedRequest) -> str:
        """Return the path of the model's method; a stream is asked for as events."""
        if isinstance(request, GenerateRequest) and request.stream:
            return shape.target(request.model, "streamGenerateContent?alt=sse")
        return shape.target(request.model, "generateContent")

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        if isinstance(request, EmbedRequest) or request.messages is None:
            return ()
        found = given.missing(
            request, shape.CARRIED | carried(request.extra, "google").keys(), shape.NAME
        )
        found += seals.dropped(request, None)
        if not messages.has_late_system(request.messages):
            return found
        words = f"messages.system stands before all others in {shape.NAME}"
        return (*found, Deviation("param_translated", words))

    def read_request(self, body: bytes) -> Asked:
        """Decode a request's body. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body)
        config = shape.Config() if asked.generation_config is None else asked.generation_config
        system = [] if asked.system_instruction is None else asked.system_instruction.parts
        said = [Message("system", p.text) for p in system if isinstance(p.text, str)]
        extra = {
            name: value
            for name, value in (
                ("safetySettings", asked.safety_settings),
                ("cachedContent", asked.cached_content),
                ("thinkingConfig", config.thinking_config),
            )
            if value is not None
        }
        model = asked.model.removeprefix("models/")
        request = GenerateRequest(
            model=model,
            messages=(*said, *messages.read_contents(asked.contents)),
            sampling=shape.read_sampling(config),
            tools=_read_tools(asked),
            tool_choice=_read_choice(asked.tool_config),
            response_format=shape.read_format(config),
            extra=extra,
        )
        return Asked(model, (request,))

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream. Raises: BackendError for a plain prompt."""
        if isinstance(request, EmbedRequest) or request.messages is None:
            raise BackendError("not-supported", f"{shape.NAME} takes messages only")
        body: dict[str, Any] = {"contents": messages.write_contents(request.messages)}
        if (system := messages.write_system(request.messages)) is not None:
            body["systemInstruction"] = system
        if config := shape.write_config(request):
            body["generationConfig"] = config
        known = carried(request.extra, "google")
        body |= {k: v for k, v in known.items() if k not in shape.CONFIGURED}
        return _ENCODER.encode(body | _write_tools(request))

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer."""
        found = [
            _Candidate(
                _content(c.message),
                shape.write_finish(c.finish_reason),
                c.index,
                shape.write_logprobs(c.logprobs),
            )
            for c in reply.choices
        ]
        usage = shape.write_usage(reply.usage)
        return _ENCODER.encode(
            _Answer(
                candidates=found,
                usage_metadata=usage,
                model_version=reply.model,
                response_id=reply.id,
            )
        )

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer; a blocked prompt is one too. Raises: BackendError("bad-answer")."""
        openai_errors.raise_if_answer_is_error(body)
        found = decode_answer(_ANSWER, body)
        usage = shape.read_usage(found.usage_metadata)
        return Reply(
            id=found.response_id,
            model=found.model_version,
            created=0,  # the protocol tells no time
            choices=tuple(_choice(c, found.response_id) for c in _candidates(found)),
            usage=Usage() if usage is None else usage,
        )

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return _Writer()

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return _Reader()


def _content(message: Message) -> messages.ContentShape:
    return messages.write_contents((message,))[0]


def _candidates(answer: _Answer) -> list[_Candidate]:
    """Return the candidates; a blocked prompt has one that says so."""
    if answer.candidates:
        return answer.candidates
    if isinstance(answer.prompt_feedback, _Feedback) and answer.prompt_feedback.block_reason:
        return [_Candidate(finish_reason="SAFETY")]
    raise BackendError("bad-answer", "the endpoint sent no candidates")


def _choice(candidate: _Candidate, answer: str) -> Choice:
    message = Message("assistant", "")
    if isinstance(candidate.content, messages.ContentShape):
        message = messages.read_answer(candidate.content, f"{answer}-{candidate.index}")
    reason = candidate.finish_reason if isinstance(candidate.finish_reason, str) else "STOP"
    finish = shape.read_finish(reason, called=bool(message.tool_calls))
    lps = shape.read_logprobs(candidate.logprobs_result)
    return Choice(candidate.index, message, finish, lps)


class _Writer(StreamWriter):
    """Each piece is a whole answer in small; calls are sent whole, with the choice's end."""

    def __init__(self) -> None:
        self._calls: dict[int, CallPieces] = {}

    def chunk(self, chunk: Chunk) -> bytes:
        pieces = self._calls.setdefault(chunk.index, CallPieces())
        pieces.add(chunk.tool_calls)
        calls = pieces.take() if chunk.finish_reason is not None else []
        thought = chunk.reasoning if chunk.reasoning else None
        answer = _Answer(model_version=chunk.model, response_id=chunk.id)
        if chunk.text or thought or chunk.finish_reason is not None:
            message = Message("assistant", chunk.text, tool_calls=tuple(calls), reasoning=thought)
            reason = chunk.finish_reason
            finish = UNSET if reason is None else shape.write_finish(reason)
            lps = shape.write_logprobs(chunk.logprobs)
            answer.candidates = [_Candidate(_content(message), finish, chunk.index, lps)]
        if chunk.usage is not None:
            answer.usage_metadata = shape.write_usage(chunk.usage)
        if not answer.candidates and chunk.usage is None:
            return b""
        return sse.write(_ENCODER.encode(answer))

    def end(self) -> bytes:
        return b""

    def error(self, error: SteadError) -> bytes:
        return sse.write(shape.write_error(error))


class _Reader(StreamReader):
    """The protocol has no end marker: the reason to finish is the end."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._id = ""

    def feed(self, event: sse.Event) -> list[Chunk]:
        found = decode_answer(_ANSWER, event.data)
        if found.error is not UNSET:
            openai_errors.raise_if_error(found.error, event.data)
        self._id = self._id if self._id else found.response_id
        usage = shape.read_usage(found.usage_metadata)
        if not found.candidates and usage is not None and found.prompt_feedback is UNSET:
            return [Chunk(id=self._id, model=found.model_version, created=0, usage=usage)]
        candidates = _candidates(found)
        ends = any(isinstance(c.finish_reason, str) for c in candidates)
        last = len(candidates) - 1
        return [
            self._chunk(found.model_version, c, usage if ends and i == last else None)
            for i, c in enumerate(candidates)
        ]

    def _chunk(self, model: str, candidate: _Candidate, usage: Usage | None) -> Chunk:
        before = self._calls.get(candidate.index, 0)
        message = Message("assistant", "")
        if isinstance(candidate.content, messages.ContentShape):
            answer = f"{self._id}-{candidate.index}"
            message = messages.read_answer(candidate.content, answer, before)
        self._calls[candidate.index] = before + len(message.tool_calls)
        reason, finish = candidate.finish_reason, None
        if isinstance(reason, str):
            finish = shape.read_finish(reason, called=self._calls[candidate.index] > 0)
        return Chunk(
            id=self._id,
            model=model,
            created=0,
            index=candidate.index,
            text=message.text,
            reasoning="" if message.reasoning is None else message.reasoning,
            tool_calls=deltas_of(message.tool_calls, before),
            finish_reason=finish,
            logprobs=shape.read_logprobs(candidate.logprobs_result),
            usage=usage,
        )
