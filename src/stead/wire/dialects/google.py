"""The generating routes of Google's Gemini protocol: `:generateContent`, `:streamGenerateContent`.

Knows nothing about engines. Source: the Gemini API reference (ai.google.dev/api/generate-content).
"""

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
from stead.wire import google_errors, openai_errors, sse
from stead.wire import google_messages as messages
from stead.wire import google_request as requests
from stead.wire import google_shape as shape
from stead.wire.call_pieces import CallPieces, deltas_of
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter, decode_answer


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


_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()


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
        return requests.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode a request's body. Raises: RequestRefused naming the field."""
        return requests.read(body)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream. Raises: BackendError for a plain prompt."""
        return _ENCODER.encode(requests.write(request))

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
        return sse.write(google_errors.write_error(error))


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
