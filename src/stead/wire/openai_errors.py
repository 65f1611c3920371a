"""Errors of the OpenAI protocol, both directions, and the end and error of its streams.

Knows nothing about one route. Source: the published OpenAPI description of the OpenAI API
(schema Error); streams end with `data: [DONE]`.
"""

import re
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stead.core.errors import BackendError, RateLimited, SteadError
from stead.wire import sse
from stead.wire.dialect import StreamReader, StreamWriter, decode_answer, excerpt, status_of

W = TypeVar("W", bound="Fallible")


_ERROR_HEAD_BYTES = 64  # vendors put the error first; answers do not begin with that word


class ErrorShape(Struct):
    """The `error` object."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class ErrorBody(Struct):
    """A body that may hold an error."""

    error: ErrorShape | str | None = None


_ERROR_DECODER = msgspec.json.Decoder(ErrorBody)
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_object(error: SteadError) -> dict[str, Any]:  # Any: JSON values
    """Return the vendor's error object for one of our errors; our hint is an extra key."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    found: dict[str, Any] = {
        "message": error.message,
        "type": _TYPES.get(status, kind),
        "param": error.details.get("param"),
        "code": error.code.replace("-", "_"),
    }
    if error.hint is not None:
        found["hint"] = error.hint
    return found


def write_error(error: SteadError) -> bytes:
    """Encode an error body."""
    return msgspec.json.encode({"error": error_object(error)})


class OpenAIErrors:
    """The error half of every dialect of this protocol."""

    def write_error(self, error: SteadError) -> bytes:
        """Encode an error body."""
        return write_error(error)

    def read_error(self, status: int, body: bytes, retry_after: str | None) -> BackendError:
        """Turn an upstream's error answer into one of ours."""
        return read_error(status, body, retry_after)


_CODES: dict[int, tuple[str, int]] = {  # upstream status -> (our code, what our client is told)
    400: ("upstream-refused", 400), 404: ("model-not-found", 404), 413: ("upstream-refused", 413),
    422: ("upstream-refused", 422), 401: ("upstream-auth", 502), 403: ("upstream-auth", 502),
    408: ("upstream-timeout", 504), 504: ("upstream-timeout", 504),
    503: ("upstream-overloaded", 503), 529: ("upstream-overloaded", 503),
}  # fmt: skip


def read_error(status: int, body: bytes, retry_after: str | None) -> BackendError:
    """Turn an upstream's error answer into a typed error with its status and a body excerpt.

    The client's own faults keep their status; a refusal of our key does not, since the client's
    key is another.
    """
    shape = _try_error(body)
    message = (shape.message if shape else None) or excerpt(body) or "(no text)"
    details: dict[str, Any] = {"upstream_status": status, "body": excerpt(body)}
    if shape is not None and shape.param is not None:
        details["param"] = shape.param
    if status == 429:
        wait_s = seconds(retry_after)
        if wait_s is not None:
            details["retry_after_s"] = wait_s
        return RateLimited("rate-limited", f"the endpoint asks to wait: {message}", **details)
    code, ours = _CODES.get(status, ("upstream-failed", 502))
    if ours == 503 and (wait_s := seconds(retry_after)) is not None:
        details["retry_after_s"] = wait_s
    return BackendError(code, f"the endpoint answered {status}: {message}", status=ours, **details)


def _try_error(body: bytes) -> ErrorShape | None:
    try:
        error = decode_answer(_ERROR_DECODER, body).error
    except BackendError:
        return None
    return ErrorShape(error) if isinstance(error, str) else error


def seconds(value: str | None) -> float | None:
    """Return a Retry-After in seconds, capped at an hour; None for dates, signs and garbage."""
    if value is None or not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value.strip()):
        return None
    return min(float(value), 3600.0)


def raise_if_error(error: ErrorShape | str | None, body: bytes) -> None:
    """Raise when an answer of status 200 holds an error after all."""
    if error is not None:
        raise BackendError(
            "upstream-failed",
            f"the endpoint sent an error: {_words(error)}",
            upstream_status=200,
            body=excerpt(body),
        )


def _words(error: ErrorShape | str) -> str:
    return error if isinstance(error, str) else str(error.message)


def raise_if_answer_is_error(body: bytes) -> None:
    """Raise when a body of status 200 is an error object; anything else is left to the decoder."""
    if b'"error"' in body[:_ERROR_HEAD_BYTES]:
        shape = _try_error(body)
        raise_if_error(shape, body)


class Fallible(Struct):
    """An answer or event that may hold an error instead."""

    error: ErrorShape | str | UnsetType | None = UNSET


class OpenAIWriter(StreamWriter):
    """The end and the error of a stream, the same on every route."""

    def end(self) -> bytes:
        """Return the end marker."""
        return b"data: [DONE]\n\n"

    def error(self, error: SteadError) -> bytes:
        """Return the error event."""
        return sse.write(write_error(error))


class OpenAIReader(StreamReader):
    """The end and the error of a stream, the same on every route."""

    def decode(self, decoder: "msgspec.json.Decoder[W]", event: sse.Event) -> W | None:
        """Return the event's object, or None for the end marker. Raises: BackendError."""
        if event.data == b"[DONE]":
            self.ended = True
            return None
        found = decode_answer(decoder, event.data)
        if found.error is not UNSET:
            raise_if_error(found.error, event.data)
        return found
