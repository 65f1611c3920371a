"""Errors as problem details (RFC 9457): the one error tree mapped to HTTP once, with nothing internal in it.

Knows nothing about routes. A fault of ours, or of what stands behind us, is told by its code and an id only;
the log has the rest under that id.
"""

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from stead.core.errors import MissingDependency, ResourceError, SteadError
from stead.core.ids import new_id
from stead.wire.dialect import status_of

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("stead.web")
_TOLD = (MissingDependency, ResourceError)  # faults that the user can mend: what is missing here
_MASKED = {"database-unavailable": "the store cannot be reached; ask again in a moment"}
"""Instead of messages that name hosts and what a driver said."""
_CODES = {404: "unknown-route", 405: "method-not-allowed", 413: "body-too-large"}


def problem(error: Exception, hide: Callable[[str], str] = str) -> JSONResponse:
    """Return the answer for any error that a route raised; `hide` leaves out of our words what others may not read."""
    if isinstance(error, SteadError):
        return _answer(*_of_ours(error, hide))
    if isinstance(error, RequestValidationError):
        return _answer(*_of_input(error))
    if isinstance(error, HTTPException):
        return _answer(*_of_framework(error))
    body = details(500, "internal", "the server could not do this")
    _LOG.error("request failed", exc_info=error, extra={"error_id": body["error_id"]})
    return _answer(500, body, {})


def details(
    status: int, code: str, detail: str, *, hint: str | None = None, param: str | None = None
) -> dict[str, Any]:  # Any: JSON values
    """Return the fields of a problem."""
    found: dict[str, Any] = {
        "type": f"urn:stead:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        "error_id": new_id(),
    }
    return found if param is None else found | {"param": param}


def _answer(status: int, body: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def _of_ours(
    error: SteadError, hide: Callable[[str], str]
) -> tuple[int, dict[str, Any], dict[str, str]]:
    status = status_of(error)
    shown = status < 500 or (isinstance(error, _TOLD) and error.code not in _MASKED)
    masked = _MASKED.get(error.code, "the server could not do this")
    detail = hide(error.message) if shown else masked
    param = error.details.get("param")
    body = details(
        status, error.code, detail,
        hint=hide(error.hint) if shown and error.hint is not None else None,
        param=str(param) if param is not None else None,
    )  # fmt: skip
    if "used_by" in error.details:
        body["used_by"] = error.details["used_by"]
    if not shown:
        _LOG.error("%s: %s", error.code, error.message, extra={"error_id": body["error_id"]})
    return status, body, headers_of(error, status)


def headers_of(error: SteadError, status: int) -> dict[str, str]:
    """Return what an error says in headers."""
    headers = {}
    wait_s = error.details.get("retry_after_s")
    if wait_s is not None:
        headers["Retry-After"] = str(math.ceil(float(wait_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _of_input(error: RequestValidationError) -> tuple[int, dict[str, Any], dict[str, str]]:
    first = error.errors()[0] if error.errors() else {"loc": (), "msg": "the request is not valid"}
    place = ".".join(str(part) for part in first["loc"])
    body = details(
        422, "invalid-request", f"{place[:200]}: {first['msg'][:300]}", param=place[:200]
    )
    return 422, body, {}


def _of_framework(error: HTTPException) -> tuple[int, dict[str, Any], dict[str, str]]:
    status = error.status_code
    code = _CODES.get(status, "bad-request" if status < 500 else "internal")
    detail = str(error.detail)[:300] if status < 500 else "the server could not do this"
    return status, details(status, code, detail), dict(error.headers or {})
