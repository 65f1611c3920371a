"""The lines of a batch's input and output files.

Knows nothing about running them. Source: the published OpenAPI description of the OpenAI API, schemas
BatchRequestInput and BatchRequestOutput.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from stead.core.errors import SteadError
from stead.wire.dialect import Dialect, status_of

_LINE_BYTES = 32 * 2**20
_ERRORS = 100  # told of one file


class Line(msgspec.Struct):
    """One request of a batch; `body` as the client wrote it."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_LINE = msgspec.json.Decoder(Line)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of an input file that hold something."""
    with path.open("rb") as file:
        while line := file.readline(_LINE_BYTES):
            if line.strip():
                yield line


def read(path: Path) -> Iterator[Line]:
    """Yield the requests of a file that `check` has found right."""
    return map(_LINE.decode, lines(path))


def check(path: Path, endpoint: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many requests a file holds, and what is wrong with them, a few errors at most."""
    seen: set[str] = set()
    wrong: list[dict[str, Any]] = []
    count = 0
    for count, raw in enumerate(lines(path), 1):
        found = _fault(raw, endpoint, seen)
        if found is not None and len(wrong) < _ERRORS:
            wrong.append(found | {"line": count})
        if count > limit:
            wrong.append(_error("too_many_requests", f"more than {limit} requests"))
            break
    if not count:
        wrong.append(_error("empty_file", "the input file holds no request"))
    return count, wrong


def _fault(raw: bytes, endpoint: str, seen: set[str]) -> dict[str, Any] | None:
    try:
        line = _LINE.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return _error("invalid_json_line", f"this line is no request: {error}")
    if line.method != "POST":
        return _error("invalid_method", f"the method is {line.method[:20]!r}, not 'POST'", "method")
    if line.url != endpoint:
        return _error("mismatched_url", f"the url is {line.url[:100]!r}, not {endpoint!r}", "url")
    if line.custom_id in seen:
        words = f"the custom_id {line.custom_id[:100]!r} is there twice"
        return _error("duplicate_custom_id", words, "custom_id")
    seen.add(line.custom_id)
    return None


def _error(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": None}


def answer(custom_id: str, request_id: str, status: int, body: bytes) -> bytes:
    """Return the output line of an answered request."""
    response = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body)}
    return _written(custom_id, response, None)


def failure(custom_id: str, request_id: str, dialect: Dialect, error: SteadError) -> bytes:
    """Return the output line of a request that was answered with an error."""
    return answer(custom_id, request_id, status_of(error), dialect.write_error(error))


def expired(custom_id: str) -> bytes:
    """Return the output line of a request that was not reached in time."""
    words = "this request could not be executed before the completion window expired"
    return _written(custom_id, None, {"code": "batch_expired", "message": words})


def _written(custom_id: str, response: Any, error: Any) -> bytes:  # Any: JSON values
    line = {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return msgspec.json.encode(line) + b"\n"
