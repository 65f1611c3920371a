"""What the routes of Ollama's protocol share: errors, times, log-probabilities, the lines of a stream.

Knows nothing about one route or about requests. Source: Ollama's OpenAPI description
(docs.ollama.com/openapi.yaml), schemas ChatResponse, GenerateResponse; durations are in nanoseconds.
"""

import time
from abc import abstractmethod
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.core.errors import BackendError, SteadError
from stead.messages import Choice, Chunk, FinishReason, Message, Reply, TokenLogprob, Usage
from stead.wire import ndjson, openai_errors
from stead.wire.dialect import Asked, StreamReader, StreamWriter, decode_answer
from stead.wire.openai_shape import number

E = TypeVar("E", bound="Ended")
Model = Annotated[str, Meta(min_length=1, max_length=512)]
NAME: Final = "Ollama's protocol"
_YEAR_10000_S: Final = 253_402_300_800  # the first second that a date cannot tell
_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "load": "stop",
    "unload": "stop", "content_filter": "content_filter",
}  # fmt: skip


class TopLogprob(Struct):
    """One alternative of a token."""

    token: str
    logprob: float | None = None
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
    """Return log-probabilities, an absent number as NaN; bytes are kept where they differ from the text."""
    return tuple(
        TokenLogprob(
            t.token,
            number(t.logprob),
            None,
            tuple((a.token, number(a.logprob)) for a in t.top_logprobs or ()),
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
    if asked.loads:
        line.done_reason = "load"
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


def read_whole(decoder: "msgspec.json.Decoder[E]", body: bytes) -> E:
    """Decode a whole answer. Raises: BackendError("bad-answer") for one that is not done."""
    openai_errors.raise_if_answer_is_error(body)
    line = decode_answer(decoder, body)
    if not line.done:
        raise BackendError("bad-answer", "the endpoint sent an answer that is not done")
    return line


def read_reply(line: Ended, message: Message) -> Reply:
    """Return a whole answer: its one choice and what its line tells."""
    finish = read_finish(line, called=bool(message.tool_calls))
    usage = read_usage(line)
    return Reply(
        id=f"ollama-{line.created_at}",
        model=line.model,
        created=read_time(line.created_at),
        choices=(Choice(0, message, finish, read_logprobs(line.logprobs)),),
        usage=Usage() if usage is None else usage,
    )


def read_usage(line: Ended) -> Usage | None:
    """Return token counts; None when there are none. A prompt answered from the cache has no count."""
    prompt = line.prompt_eval_count if isinstance(line.prompt_eval_count, int) else 0
    answer = line.eval_count if isinstance(line.eval_count, int) else 0
    if line.eval_count is UNSET and line.prompt_eval_count is UNSET:
        return None
    return Usage(max(0, prompt), max(0, answer))


def write_time(created: int) -> str:
    """Return a time in seconds since 1970 as RFC 3339; 1970 for what is no such time."""
    known = created if 0 <= created < _YEAR_10000_S else 0
    return datetime.fromtimestamp(known, UTC).isoformat().replace("+00:00", "Z")


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
