"""Logging: one set-up for console and files, JSON when asked, secrets taken out of every line.

Knows nothing about what is logged. `logging` itself is the interface: one logger per module, named
`stead.…`. The loggers `stead.access`, `stead.training`, `stead.performance` and `stead.audit` have
files of their own. A record with `ready=True` holds finished lines, already without secrets.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal, TextIO

from stead.core.secret import redact

ROOT = "stead"
FILES: Mapping[str, tuple[str, int, str]] = {
    # name: (logger, least level, file below the log folder)
    "error": ("stead", logging.ERROR, "app/error.log"),
    "access": ("stead.access", logging.INFO, "app/access.log"),
    "training": ("stead.training", logging.INFO, "models/training.log"),
    "performance": ("stead.performance", logging.INFO, "system/performance.log"),
    "audit": ("stead.audit", logging.INFO, "audit/audit.log"),
}
_QUIET = tuple(logger for logger, _, _ in FILES.values() if logger != ROOT)  # not on the console
_FILE_BYTES = 10 << 20
_KEPT = 5
_COLORS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_fields: ContextVar[Mapping[str, Any]] = ContextVar("stead_log_fields", default={})  # noqa: B039


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged where; `folder` None means no files."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    folder: Path | None = None
    console: bool = True


def set_up(config: LogConfig, stream: TextIO | None = None) -> None:
    """Attach stead's handlers; a second call replaces them, so none is ever there twice.

    `stream` is the console, stderr by default; color only on a terminal and without NO_COLOR.
    """
    tear_down()
    root = logging.getLogger(ROOT)
    root.setLevel(config.level.upper())
    root.propagate = False
    if config.console:
        _attach(root, _console(config, sys.stderr if stream is None else stream))
    if config.folder is not None:
        for name, (logger, level, file) in FILES.items():
            _attach(logging.getLogger(logger), _file(config, name, config.folder / file, level))


def tear_down() -> None:
    """Remove and close the handlers that `set_up` attached, and only those."""
    for name in (ROOT, *_QUIET):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if str(h.name).startswith("stead:")]:
            logger.removeHandler(handler)
            handler.close()
    logging.getLogger(ROOT).propagate = True


def _attach(logger: logging.Logger, handler: logging.Handler) -> None:
    if logger.name != ROOT:
        logger.setLevel(logging.INFO)  # its file wants it, however quiet the console is
    logger.addHandler(handler)


def _console(config: LogConfig, stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.name = "stead:console"
    color = stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JsonLines() if config.format == "json" else Text(color=color))
    handler.setLevel(config.level.upper())
    handler.addFilter(lambda record: not record.name.startswith(_QUIET))
    return handler


def _file(config: LogConfig, name: str, path: Path, level: int) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = RotatingFileHandler(
        path, maxBytes=_FILE_BYTES, backupCount=_KEPT, encoding="utf-8", delay=True
    )
    handler.name = f"stead:{name}"
    handler.setLevel(level)
    handler.setFormatter(JsonLines() if config.format == "json" else Text(color=False))
    return handler


def _extras(record: logging.LogRecord) -> dict[str, Any]:  # Any: JSON values
    return {**_fields.get(), **getattr(record, "fields", {})}


class Text(logging.Formatter):
    """`time level logger: message  key=value`, one record per line, secrets removed."""

    def __init__(self, *, color: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._color = color

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Render all but a fault's traceback: one line, whatever the values hold."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        if getattr(record, "ready", False):
            return record.getMessage()
        text = super().format(record)
        for key, value in _extras(record).items():
            text += f"  {key}={one_line(str(value))}"
        text = redact(text)
        code = _COLORS.get(record.levelname) if self._color else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


class JsonLines(logging.Formatter):
    """One JSON object per record: time (seconds), level, logger, message, error, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        if getattr(record, "ready", False):
            return record.getMessage()
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return one_line(json.dumps(_clean(line), ensure_ascii=False, default=str))


def one_line(text: str) -> str:
    """Return a text whose line ends and control characters are escaped as JSON does: nobody forges a second line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _clean(value: Any) -> Any:  # Any: JSON values
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


@contextmanager
def fields(**added: Any) -> Iterator[None]:  # Any: JSON values
    """Add fields to every record logged inside, also in called functions and awaited tasks."""
    token = _fields.set({**_fields.get(), **added})
    try:
        yield
    finally:
        _fields.reset(token)


@contextmanager
def timed(
    logger: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Log the start and the end of `what` with its duration; a failure is logged and goes on up."""
    start = clock()
    logger.info("%s: started", what)
    try:
        yield
    except BaseException as error:
        logger.error("%s: failed after %.3f s (%s)", what, clock() - start, type(error).__name__)
        raise
    logger.info("%s: done in %.3f s", what, clock() - start)
