"""What the routes of Ollama's protocol share: options, formats, thinking, times, errors, the end.

Knows nothing about one route. Source: Ollama's OpenAPI description (docs.ollama.com/openapi.yaml),
schemas ModelOptions, GenerateRequest, ChatRequest; durations are in nanoseconds.
"""

import time
from abc import abstractmethod
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.core.errors import BackendError, SteadError
from stead.messages import (
    Chunk,
    Deviation,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    Sampling,
    TokenLogprob,
    Usage,
)
from stead.wire import given, ndjson, openai_errors, seals
from stead.wire.dialect import Asked, StreamReader, StreamWriter, decode_answer
from stead.wire.extras import EXTRAS, carried
from stead.wire.openai_shape import (
    Penalty,
    Seed,
    Share,
    Stops,
    StopText,
    decode_request,
    refuse,
    stops,
)

__all__ = ["decode_request", "refuse"]

E = TypeVar("E", bound="Ended")
Model = Annotated[str, Meta(min_length=1, max_length=512)]
NAME: Final = "Ollama's protocol"
PROTOCOL: Final = "ollama"  # its row in `wire.extras`
_TOP: Final = frozenset({"keep_alive", "think", "reasoning_effort", "truncate", "shift"})
_OPTIONS: Final = EXTRAS[PROTOCOL] - _TOP  # extras that stand in `options`
_SAMPLING: Final = {  # options that are fields of `Sampling`, by their name there
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "seed": "seed", "max_tokens": "num_predict", "repeat_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
}  # fmt: skip
CARRIED: Final = frozenset({*_SAMPLING, "stop", "logprobs", "response_format", "messages.image"})
_NEAREST: Final = {"minimal": "low", "xhigh": "high"}  # efforts of others, and what comes nearest
_EFFORTS: Final = ("low", "medium", "high")
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "load": "stop",
    "unload": "stop", "content_filter": "content_filter",
}  # fmt: skip


class Options(Struct, forbid_unknown_fields=True, kw_only=True):
    """`options` of a request: sampling, and what only Ollama's runners know."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    seed: Seed | None = None
    num_predict: Annotated[int, Meta(ge=-2, le=2**31 - 1)] | None = None
    stop: StopText | Stops | None = None
    repeat_penalty: Annotated[float, Meta(ge=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    typical_p: float | None = None
    tfs_z: float | None = None
    repeat_last_n: int | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    penalize_newline: bool | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    vocab_only: bool | None = None
    logits_all: bool | None = None
    embedding_only: bool | None = None
    draft_num_predict: int | None = None


class Generating(Struct, forbid_unknown_fields=True, kw_only=True):
    """Request fields that both generating routes have; a stream unless told otherwise."""

    model: Model
    stream: bool | None = None
    options: Options | None = None
    format: str | dict[str, Any] | None = None  # Any: a JSON schema
    keep_alive: float | str | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


def read_sampling(asked: Generating) -> Sampling:
    """Return the sampling of a request. Raises: RequestRefused."""
    found = Options() if asked.options is None else asked.options
    if found.num_predict == 0:
        raise refuse("options.num_predict", "num_predict is 0; nothing could be answered")
    if asked.top_logprobs is not None and not asked.logprobs:
        raise refuse("top_logprobs", "top_logprobs needs logprobs to be true")
    fields = {ours: getattr(found, theirs) for ours, theirs in _SAMPLING.items()}
    if found.num_predict is not None and found.num_predict < 0:
        fields["max_tokens"] = None  # -1: no limit, -2: until the context is full
    alternatives = 0 if asked.top_logprobs is None else asked.top_logprobs
    return Sampling(
        **fields, stop=stops(found.stop), logprobs=alternatives if asked.logprobs else None
    )


def read_extra(asked: Generating) -> dict[str, Any]:  # Any: JSON values
    """Return what only this protocol knows, in the names of `GenerateRequest.extra`."""
    found: dict[str, Any] = {}
    for name in sorted(EXTRAS[PROTOCOL]):
        holder = asked.options if name in _OPTIONS else asked
        if holder is not None and (value := getattr(holder, name, None)) is not None:
            found[name] = value
    if isinstance(asked.think, str):
        if asked.think not in _EFFORTS:
            raise refuse("think", f"{asked.think!r} is not true, false, 'low', 'medium' or 'high'")
        found["reasoning_effort"] = found.pop("think")
    return found


def read_format(value: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Return `format` as a response format. Raises: RequestRefused."""
    if value in (None, ""):
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "response", "schema": value}}
    raise refuse("format", f"{value!r} is not 'json' or a JSON schema")


def write_shared(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return the fields that both generating routes have."""
    sampling = request.sampling
    options = {
        theirs: value
        for ours, theirs in _SAMPLING.items()
        if (value := getattr(sampling, ours)) is not None
    }
    if sampling.stop:
        options["stop"] = sampling.stop
    body: dict[str, Any] = {"model": request.model, "stream": request.stream}
    for name, value in carried(request.extra, PROTOCOL).items():
        (options if name in _OPTIONS else body)[name] = value
    if "reasoning_effort" in body:
        body["think"] = _write_effort(body.pop("reasoning_effort"))
    if options:
        body["options"] = options
    if request.response_format is not None:
        body |= _write_format(request.response_format)
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return body


def _write_effort(effort: Any) -> Any:  # Any: a JSON value, as it came
    return False if effort == "none" else _NEAREST.get(str(effort), effort)


def _write_format(asked: dict[str, Any]) -> dict[str, Any]:
    """Return `format` for a response format; plain text needs none."""
    schema = (asked.get("json_schema") or {}).get("schema")
    if asked.get("type") == "json_schema" and isinstance(schema, dict):
        return {"format": schema}
    return {} if asked.get("type") == "text" else {"format": "json"}


def drops(request: GenerateRequest | EmbedRequest, *more: str) -> tuple[Deviation, ...]:
    """Return what the generating routes cannot carry; `more` is what only one of them can."""
    if isinstance(request, EmbedRequest):
        return ()
    known = carried(request.extra, PROTOCOL).keys()
    found = given.missing(request, CARRIED | known | set(more), NAME)
    found += seals.dropped(request, None)
    effort = str(request.extra.get("reasoning_effort"))
    if effort not in _NEAREST:
        return found
    words = f"reasoning_effort {effort!r} is {_NEAREST[effort]!r} in {NAME}"
    return (*found, Deviation("param_translated", words))


class TopLogprob(Struct):
    """One alternative of a token."""

    token: str
    logprob: float
    bytes: list[int] | UnsetType | None = UNSET


class Logprob(TopLogprob):
    """A token with its alternatives."""

    top_logprobs: list[TopLogprob] | UnsetType | None = UNSET


def write_logprobs(tokens: tuple[TokenLogprob, ...]) -> list[Logprob] | UnsetType:
    """Return the wire shape of log-probabilities."""
    if not tokens:
        return UNSET
    return [
        Logprob(
            t.token,
            t.logprob,
            UNSET if t.raw is None else list(t.raw),
            [TopLogprob(s, p) for s, p in t.top] if t.top else UNSET,
        )
        for t in tokens
    ]


def read_logprobs(shape: list[Logprob] | UnsetType | None) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities; bytes are kept where they differ from the text."""
    return tuple(
        TokenLogprob(
            t.token,
            t.logprob,
            None,
            tuple((a.token, a.logprob) for a in t.top_logprobs or ()),
            _raw(t),
        )
        for t in shape or ()
    )


def _raw(token: Logprob) -> bytes | None:
    if not token.bytes or any(not 0 <= b <= 255 for b in token.bytes):
        return None
    raw = bytes(token.bytes)
    return None if raw == token.token.encode("utf-8", "surrogatepass") else raw


class Ended(openai_errors.Fallible, kw_only=True):
    """An answer or a line of one: the last has the reason, the counts and the durations (ns)."""

    model: str = ""
    created_at: str = ""
    done: bool = False
    done_reason: str | UnsetType | None = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[Logprob] | UnsetType | None = UNSET


def write_end(line: Ended, finish: FinishReason, usage: Usage, asked: Asked, first_ns: int) -> None:
    """Fill in what the last line tells; `first_ns` is when the first piece came (0: unknown)."""
    line.done = True
    line.done_reason = "stop" if finish == "tool_calls" else finish
    line.prompt_eval_count, line.eval_count = usage.prompt_tokens, usage.completion_tokens
    now = time.monotonic_ns()
    begun = asked.begun_ns if asked.begun_ns else now
    first = first_ns if first_ns else now
    line.total_duration, line.load_duration = now - begun, 0
    line.prompt_eval_duration, line.eval_duration = first - begun, now - first


def read_finish(line: Ended, *, called: bool) -> FinishReason:
    """Return why an answer ended; an unknown reason is an error, none given is a stop."""
    reason = line.done_reason if isinstance(line.done_reason, str) else "stop"
    found = _FINISH.get(reason, "error")
    return "tool_calls" if called and found == "stop" else found


def read_usage(line: Ended) -> Usage | None:
    """Return token counts; None when there are none. A prompt answered from the cache has no count."""
    prompt = line.prompt_eval_count if isinstance(line.prompt_eval_count, int) else 0
    answer = line.eval_count if isinstance(line.eval_count, int) else 0
    if line.eval_count is UNSET and line.prompt_eval_count is UNSET:
        return None
    return Usage(max(0, prompt), max(0, answer))


def write_time(created: int) -> str:
    """Return a time in seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")


def read_time(text: str) -> int:
    """Return RFC 3339 (nanoseconds allowed) as seconds since 1970; 0 for anything else."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0


def write_error(error: SteadError) -> bytes:
    """Encode an error body: the message alone."""
    words = error.message if error.hint is None else f"{error.message} ({error.hint})"
    return msgspec.json.encode({"error": words})


class OllamaErrors:
    """The error half of every dialect of this protocol."""

    def write_error(self, error: SteadError) -> bytes:
        """Encode an error body."""
        return write_error(error)

    def read_error(self, status: int, body: bytes, retry_after: str | None) -> BackendError:
        """Turn an upstream's error answer into one of ours."""
        return openai_errors.read_error(status, body, retry_after)

    def takes_url(self, url: str) -> bool:
        """Say no: images travel as base64."""
        return False


class OllamaWriter(StreamWriter):
    """Pieces as lines, the last one held until the stream has ended well.

    Calls are written whole: Ollama's clients know no pieces of them.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._first_ns = 0
        self._finish: FinishReason = "stop"
        self._usage = Usage()
        self._head = ("", 0)

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the line of a piece; empty where there is nothing to see yet."""
        if not self._first_ns:
            self._first_ns = time.monotonic_ns()
        self._head = (chunk.model, chunk.created)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.finish_reason is not None:
            self._finish = chunk.finish_reason
        return b"".join(
            ndjson.write(msgspec.json.encode(self.headed(x))) for x in self.lines(chunk)
        )

    def end(self) -> bytes:
        """Return the last line."""
        line = self.headed(self.last())
        write_end(line, self._finish, self._usage, self._asked, self._first_ns)
        return ndjson.write(msgspec.json.encode(line))

    def error(self, error: SteadError) -> bytes:
        """Return the line that ends a failed stream."""
        return ndjson.write(write_error(error))

    def headed(self, line: E) -> E:
        """Return the line with its model and time."""
        line.model, line.created_at = self._head[0], write_time(self._head[1])
        return line

    @abstractmethod
    def lines(self, chunk: Chunk) -> list[Ended]:
        """Return the lines of a piece."""

    @abstractmethod
    def last(self) -> Ended:
        """Return the last line, still without reason and counts."""


class OllamaReader(StreamReader):
    """Lines as pieces; the one that is `done` ends the stream."""

    def decode(self, decoder: "msgspec.json.Decoder[E]", data: bytes) -> E:
        """Return a line's object. Raises: BackendError for an error line or nonsense."""
        line = decode_answer(decoder, data)
        if line.error is not UNSET:
            openai_errors.raise_if_error(line.error, data)
        self.ended = line.done
        return line
