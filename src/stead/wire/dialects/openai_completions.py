"""The plain completion route of the OpenAI protocol, `/v1/completions`.

Knows nothing about vendors or engines. Source: the published OpenAPI description of the OpenAI API,
schemas CreateCompletionRequest and CreateCompletionResponse.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.core.errors import BackendError
from stead.messages import (
    Choice,
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Sampling,
    TokenLogprob,
    Usage,
)
from stead.wire import openai_errors as errors
from stead.wire import openai_shape as shape
from stead.wire import sse
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter, decode_answer
from stead.wire.extras import carried, foreign
from stead.wire.openai_messages import openai_drops

_PROTOCOL = "openai_completions"
_LACKS = foreign(_PROTOCOL) | {"tools", "tool_choice", "response_format"}
_Ids = Annotated[list[shape.TokenId], Meta(min_length=1)]


class _Request(shape.SamplingFields, kw_only=True, forbid_unknown_fields=True):
    prompt: str | Annotated[list[str | int | _Ids], Meta(min_length=1, max_length=2048)] = ""
    best_of: shape.Choices | None = None
    echo: bool | None = None
    logprobs: shape.Alternatives | None = None
    suffix: str | None = None
    cache_prompt: bool | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_ENCODER = msgspec.json.Encoder()


def _sampling(asked: _Request) -> Sampling:
    n = 1 if asked.n is None else asked.n
    if asked.best_of is not None and asked.best_of != n:
        raise shape.refuse("best_of", f"best_of ({asked.best_of}) other than n ({n}) is not known")
    limit = 16 if asked.max_tokens is None else asked.max_tokens  # 16: the vendor's default
    return shape.sampling(asked, max_tokens=limit, logprobs=asked.logprobs)


class _Logprobs(Struct):
    """The route's own shape, or the chat shape that some engines send here."""

    tokens: list[str] | UnsetType = UNSET
    token_logprobs: list[float | None] | UnsetType = UNSET
    top_logprobs: list[dict[str, float | None] | None] | UnsetType | None = UNSET
    text_offset: list[int] | UnsetType = UNSET
    content: list[shape.ChatLogprob] | UnsetType | None = UNSET


class _Choice(Struct):
    text: str
    index: int
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Reply(errors.Fallible, kw_only=True):
    id: str = ""
    choices: list[_Choice] = msgspec.field(default_factory=list)
    created: int = 0
    model: str = ""
    object: str = "text_completion"
    usage: shape.UsageShape | UnsetType | None = UNSET


_REPLY = msgspec.json.Decoder(_Reply)


def _write_logprobs(tokens: tuple[TokenLogprob, ...], offset: int) -> _Logprobs | None:
    if not tokens:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return _Logprobs(
        [t.token for t in tokens],
        [t.logprob for t in tokens],
        [dict(t.top) for t in tokens],
        offsets,
    )


def _read_logprobs(found: _Logprobs | None) -> tuple[TokenLogprob, ...]:
    if found is None:
        return ()
    if isinstance(found.content, list):
        return shape.read_logprobs(shape.ChatLogprobs(found.content))
    if not isinstance(found.tokens, list) or not isinstance(found.token_logprobs, list):
        return ()
    tops = found.top_logprobs if isinstance(found.top_logprobs, list) else []
    tops = tops + [None] * (len(found.tokens) - len(tops))
    return tuple(
        TokenLogprob(
            token,
            shape.number(value),
            top=tuple((t, shape.number(p)) for t, p in (top or {}).items()),
        )
        for token, value, top in zip(found.tokens, found.token_logprobs, tops, strict=False)
    )


def _start(request: GenerateRequest) -> int:
    """Return where the answer's first token stands in the text, counted in characters."""
    return len(request.prompt) if isinstance(request.prompt, str) and not request.echo else 0


class OpenAICompletions(errors.OpenAIErrors, GenerateDialect):
    """Plain completions; several prompts in one request give their choices one after another."""

    kind = "completion"
    path = "/v1/completions"
    relays = True

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol does not carry; it has neither tools nor forms."""
        return openai_drops(request, _LACKS, _PROTOCOL)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = shape.decode_request(_REQUEST, body)
        streamed = bool(asked.stream)
        sampling = _sampling(asked)
        extra = {k: v for k in ("suffix", "cache_prompt") if (v := getattr(asked, k)) is not None}
        requests = tuple(
            GenerateRequest(
                model=asked.model,
                prompt=prompt,
                sampling=sampling,
                stream=streamed,
                strict=bool(asked.strict),
                user=asked.user,
                echo=bool(asked.echo),
                extra=extra,
            )
            for prompt in shape.texts("prompt", asked.prompt)
        )
        usage = shape.usage_wanted(asked)
        return Asked(asked.model, requests, stream=streamed, include_usage=usage)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream; a streamed one asks for usage."""
        if isinstance(request, EmbedRequest) or request.prompt is None:
            raise BackendError("not-supported", f"{self.path} takes a prompt only")
        body: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
        body |= shape.write_sampling(request.sampling)
        if request.sampling.logprobs is not None:
            body["logprobs"] = request.sampling.logprobs
        if request.user is not None:
            body["user"] = request.user
        if request.echo:
            body["echo"] = True
        extra = carried(request.extra, _PROTOCOL)
        return _ENCODER.encode(body | shape.write_stream(request) | extra)

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer."""
        starts = _starts(asked)
        choices = [
            _Choice(
                c.message.text,
                c.index,
                _write_logprobs(c.logprobs, starts.get(c.index, 0)),
                c.finish_reason,
            )
            for c in reply.choices
        ]
        usage = shape.write_usage(reply.usage)
        return _ENCODER.encode(
            _Reply(
                id=reply.id, choices=choices, created=reply.created, model=reply.model, usage=usage
            )
        )

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        errors.raise_if_answer_is_error(body)
        found = decode_answer(_REPLY, body)
        if not found.choices:
            raise BackendError("bad-answer", "the endpoint sent no choices")
        usage = shape.read_usage(found.usage if found.usage is not UNSET else None)
        return Reply(
            id=found.id,
            model=found.model,
            created=found.created,
            choices=tuple(
                Choice(
                    c.index,
                    Message("assistant", c.text),
                    shape.read_finish(c.finish_reason),
                    _read_logprobs(c.logprobs),
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


def _starts(asked: Asked) -> dict[int, int]:
    """Return the text offset of each choice's first token."""
    n = asked.generate[0].sampling.n
    return {i * n + j: _start(r) for i, r in enumerate(asked.generate) for j in range(n)}


class _Writer(errors.OpenAIWriter):
    """Chunks as events; text offsets go on from chunk to chunk."""

    def __init__(self, asked: Asked) -> None:
        self._usage_wanted = asked.include_usage
        self._offsets = _starts(asked)

    def chunk(self, chunk: Chunk) -> bytes:
        raw = chunk.raw
        if raw is not None and raw.fits(chunk, "openai_completions") and self._may_relay(chunk):
            return raw.data
        wire = _Reply(id=chunk.id, created=chunk.created, model=chunk.model)
        if self._usage_wanted:
            wire.usage = None
        events = b""
        if chunk.text or chunk.finish_reason or chunk.logprobs:
            offset = self._offsets.get(chunk.index, 0)
            logprobs = _write_logprobs(chunk.logprobs, offset)
            self._offsets[chunk.index] = offset + sum(len(t.token) for t in chunk.logprobs)
            wire.choices = [_Choice(chunk.text, chunk.index, logprobs, chunk.finish_reason)]
            events = sse.write(_ENCODER.encode(wire))
        if chunk.usage is not None and self._usage_wanted:
            wire.choices = []
            wire.usage = shape.write_usage(chunk.usage)
            events += sse.write(_ENCODER.encode(wire))
        return events

    def _may_relay(self, chunk: Chunk) -> bool:
        """Say whether a client may get the upstream's bytes: offsets are ours, counts only if wanted."""
        counted = chunk.raw is not None and chunk.raw.usage
        return not chunk.logprobs and (self._usage_wanted or not counted)


class _Reader(errors.OpenAIReader):
    def feed(self, event: sse.Event) -> list[Chunk]:
        found = self.decode(_REPLY, event)
        if found is None:
            return []
        usage = shape.read_usage(found.usage if found.usage is not UNSET else None)
        chunks = [
            Chunk(
                id=found.id,
                model=found.model,
                created=found.created,
                index=c.index,
                text=c.text,
                finish_reason=shape.read_finish(c.finish_reason) if c.finish_reason else None,
                logprobs=_read_logprobs(c.logprobs),
            )
            for c in found.choices
        ]
        return (
            chunks
            if usage is None
            else [
                *chunks,
                Chunk(id=found.id, model=found.model, created=found.created, usage=usage),
            ]
        )
