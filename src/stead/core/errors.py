"""The exception tree: what can go wrong, said once, with a code, a place and a next step.

Knows nothing about language models or surfaces; a surface maps `http_status` and `exit_status`.

    SteadError
    ├── UsageError              refused input: the caller can mend it           exit 2, 400
    │   ├── ConfigError         a setting, recipe key or option
    │   ├── DataError           rows, columns, files of a data set
    │   ├── ModelError          a model folder or file that is broken or unsupported
    │   ├── UnsafeError         a path, file or template that could do harm
    │   └── NotFound            a name or file that is not there                       404
    ├── MissingDependency       an optional library is not installed            exit 1, 501
    ├── ResourceError           disk, memory, port, permission                  exit 1, 507
    ├── TrainingError           the run failed (NaN, out of memory, hang)       exit 1, 500
    ├── CheckpointError         a checkpoint is torn, foreign or unreadable     exit 1, 500
    ├── EvaluationError         a score could not be computed                   exit 1, 500
    ├── ExportError             a conversion failed or would lie                exit 1, 500
    ├── BackendError            a model endpoint failed                         exit 1, 502
    │   ├── BackendTimeout      the deadline passed                                    504
    │   ├── RateLimited         the endpoint asks to wait, or a limit of ours does     429
    │   └── BudgetExceeded      a limit in money, ours; asking again at once is no use 429
    ├── ProcessError            a child process died                            exit 1, 500
    └── Interrupted             SIGINT or SIGTERM; what was done is saved       exit 130
"""

import shlex
from typing import Any, ClassVar


class SteadError(Exception):
    """The root: every error stead raises on purpose has a code, a message and maybe a hint.

    `code` is stable kebab-case, documented in docs/reference/errors.md and tested.
    `hint` is a command that can be pasted and run, or None.
    """

    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details  # Any: plain JSON values, checked by to_dict's users

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders; keyword-only state needs an explicit rebuild.
        return (_rebuild, (type(self), self.code, self.message, self.hint, self.details))

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain JSON values: type, code, message, hint, details."""
        return {
            "type": type(self).__name__,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


def _rebuild(
    kind: type[SteadError], code: str, message: str, hint: str | None, details: dict[str, Any]
) -> SteadError:
    return kind(code, message, hint=hint, **details)


class UsageError(SteadError):
    """Refused input: nothing was changed, the caller can mend it."""

    http_status = 400
    exit_status = 2


class ConfigError(UsageError):
    """A setting, recipe key or option is wrong."""


class DataError(UsageError):
    """A data set cannot be read as asked."""


class ModelError(UsageError):
    """A model folder or file is broken or not supported."""


class UnsafeError(UsageError):
    """A path, file or template could do harm and is refused."""


class NotFound(UsageError):  # noqa: N818 - the word users know from HTTP
    """A name or file is not there."""

    http_status = 404


class MissingDependency(SteadError):  # noqa: N818 - reads better in tracebacks
    """An optional library is not installed; the hint is the install line."""

    http_status = 501


class ResourceError(SteadError):
    """Disk, memory, a port or a permission is missing."""

    http_status = 507


class TrainingError(SteadError):
    """A training run failed; what was saved stays."""


class CheckpointError(SteadError):
    """A checkpoint is torn, foreign or unreadable."""


class EvaluationError(SteadError):
    """A score could not be computed; never reported as a number."""


class ExportError(SteadError):
    """A conversion failed, or its result would not be the model."""


class BackendError(SteadError):
    """A model endpoint failed."""

    http_status = 502


class BackendTimeout(BackendError):  # noqa: N818 - a time-out, by its usual name
    """The deadline of a request passed."""

    http_status = 504


class RateLimited(BackendError):  # noqa: N818 - the state, by its usual name
    """The endpoint, or a limit of ours, asks to wait; `details["retry_after_s"]` says how long."""

    http_status = 429


class BudgetExceeded(BackendError):  # noqa: N818 - the state, by its usual name
    """A limit in money would be passed; nothing was sent.

    `details["retry_after_s"]` says when the budget begins anew, where it does.
    """

    http_status = 429


class ProcessError(SteadError):
    """A child process died or could not start."""


class Interrupted(SteadError):  # noqa: N818 - a state, not a fault
    """SIGINT or SIGTERM arrived; what was done is saved."""

    exit_status = 130


def not_allowed(error: PermissionError) -> ResourceError:
    """Return what a refusal of the system means: the place, and the command that shows who may use it."""
    if error.filename is None:  # no file: a process, a port
        return ResourceError("not-allowed", f"this user may not do that: {error.strerror}")
    place = str(error.filename)
    return ResourceError(
        "not-allowed", f"{place!r} may not be used by this user: {error.strerror}",
        hint=f"ls -ld {shlex.quote(place)}", path=place,
    )  # fmt: skip


def error_types() -> dict[str, type[SteadError]]:
    """Return every error class by name, so that a parent can rebuild a child's error."""
    found: dict[str, type[SteadError]] = {}
    todo: list[type[SteadError]] = [SteadError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo.extend(kind.__subclasses__())
    return found


def from_dict(data: dict[str, Any]) -> SteadError:
    """Rebuild the error that `to_dict` described; an unknown type becomes the root."""
    kind = error_types().get(str(data.get("type")), SteadError)
    return kind(
        str(data.get("code", "unknown")),
        str(data.get("message", "")),
        hint=data.get("hint"),
        **(data.get("details") or {}),
    )
