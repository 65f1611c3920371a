"""What answers of several routes have in common, and the base of every request body.

Knows nothing about where values come from. Times are ISO-8601 in UTC with Z; durations `_s`, sizes `_bytes`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")
JobKind = Literal["run", "evaluation", "export", "download", "merge", "upload"]
JobState = Literal["queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]
_LARGEST = 2**63
_DEEPEST = 64
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[str | None, Query(max_length=200)]
Words = Annotated[str | None, Query(max_length=200)]
Json = dict[str, Any]  # Any: JSON values


class Body(BaseModel):
    """The base of what is sent: unknown keys, numbers without end and characters no store keeps are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:  # Any: JSON not yet checked
        _check(data, 0)
        return data


def _check(value: Any, depth: int) -> None:  # Any: JSON values
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_leaf(key)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    else:
        _check_leaf(value)


def _check_leaf(value: Any) -> None:  # Any: a JSON value
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("holds NUL or half of a surrogate pair")
    elif isinstance(value, int | float) and not -_LARGEST <= value < _LARGEST:
        raise ValueError("a number has more than 64 bits or is not finite")


class NewModel(Body):
    """A model to add: a ref such as `hf:org/name`, and the name it gets."""

    ref: str = Field(min_length=1, max_length=500)
    name: str | None = Field(default=None, max_length=96)


class Page(BaseModel, Generic[T]):
    """Part of a list; `next` is the `after` of the part that follows."""

    items: list[T]
    next: str | None = None
    total: int


class Problem(BaseModel):
    """Problem details of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    error_id: str
    param: str | None = None


class Fault(BaseModel):
    """Why something failed."""

    code: str
    message: str
    hint: str | None = None


class Job(BaseModel):
    """One job of the queue."""

    id: str
    kind: JobKind
    state: JobState
    title: str
    created: str
    started: str | None = None
    finished: str | None = None
    progress: float | None = None
    attempts: int
    priority: int
    error: Fault | None = None
    result: Json | None = None
    run: str | None = None
    owner: str | None = None


class Ordered(BaseModel):
    """Long work that was taken on."""

    job: Job


class Done(BaseModel):
    """A change that was made."""

    ok: Literal[True] = True


def iso(seconds: float) -> str:
    """Return a Unix time as ISO-8601 in UTC."""
    found = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return found.removesuffix("+00:00") + "Z"


def iso_or_none(seconds: float | None) -> str | None:
    """Return a Unix time as ISO-8601, None as None."""
    return None if seconds is None else iso(seconds)


def fault(error: Json | None) -> Fault | None:
    """Return a stored error as the part that people are told."""
    if error is None:
        return None
    hint = error.get("hint")
    return Fault(
        code=str(error.get("code", "unknown")), message=str(error.get("message", "")),
        hint=None if hint is None else str(hint),
    )  # fmt: skip
