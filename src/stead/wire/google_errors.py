"""Errors of Google's protocols, both directions.

Knows nothing about one route. Source: google.rpc.Status and its details ErrorInfo and RetryInfo
(googleapis, google/rpc/error_details.proto), as the Gemini API sends them.
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError, RateLimited, SteadError
from stead.wire import openai_errors
from stead.wire.dialect import decode_answer, status_of


class _Detail(Struct, rename="camel"):
    reason: str = ""
    retry_delay: str | None = None


class _Error(Struct):
    message: str = ""
    details: list[_Detail] = []


class _ErrorBody(Struct):
    error: _Error


_ERROR = msgspec.json.Decoder(_ErrorBody)
_STATUS: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def write_error(error: SteadError) -> bytes:
    """Encode an error body."""
    status = status_of(error)
    inner = {"code": status, "message": error.message, "status": _STATUS.get(status, "INTERNAL")}
    return msgspec.json.encode({"error": inner})


def read_error(status: int, body: bytes, retry_after: str | None) -> BackendError:
    """Turn an upstream's error answer into one of ours.

    A wrong key is told with 400 here, and the wait of a rate limit in the body.
    """
    try:
        details = decode_answer(_ERROR, body).error.details
    except BackendError:
        details = []
    wrong_key = any(d.reason == "API_KEY_INVALID" for d in details)
    error = openai_errors.read_error(401 if wrong_key else status, body, retry_after)
    error.details["upstream_status"] = status
    delay = next((d.retry_delay for d in details if d.retry_delay is not None), None)
    wait_s = openai_errors.seconds(re.sub(r"s$", "", delay)) if delay is not None else None
    if isinstance(error, RateLimited) and wait_s is not None:
        error.details.setdefault("retry_after_s", wait_s)
    return error
