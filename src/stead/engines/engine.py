"""The seam for engines: a program that loads one model and answers on an address of its own.

Knows nothing about requests. `start` returns when the engine answers, or raises what went wrong with
the program's last words; a child never outlives the process that started it.
"""

import json
import secrets
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec
import psutil

from stead.core import files, process
from stead.core.errors import ProcessError, SteadError, from_dict
from stead.core.lazy import installed
from stead.core.registry import Registry
from stead.values import Endpoint

_POLL_S = 0.02
_TAIL_LINES = 6
READY = "ready.json"
LOG = "engine.log"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can work here; if not, why, and the command that mends it."""

    ok: bool
    reason: str = ""
    hint: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is to load. `context` and `threads` None: the engine's own choice.

    `adapter` is put on for good; those in `adapters` (folders, or folders of them) are chosen by each
    request as `name:adapter`. `exact`: an answer alone and in company are computed with the same bits.
    `speculate`: the engine may guess tokens from a row's own text and check them together (transformers).
    """

    model: str
    name: str
    adapter: str | None = None
    adapters: tuple[str, ...] = ()
    exact: bool = False
    speculate: bool = True
    context: int | None = None
    parallel: int = 4
    threads: int | None = None
    gpu_layers: int | None = None  # -1: all of them
    pull: bool = False  # fetch it first when the engine's own store lacks it


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else's program: how to call it, what it finds in its environment, where it answers."""

    argv: list[str]
    environment: dict[str, str]
    url: str
    health: str


class ChildOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the program reads from its stdin: the order, its token, where to say it is ready."""

    order: Order
    token: str
    ready: str
    program: Program | None = None


class Engine(ABC):
    """One engine, running or not. Use from one thread; `start` and `stop` block."""

    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "local"
    # "gguf", "model", "adapter", "adapters" (by request), "exact" (same bits in any company)
    loads: ClassVar[frozenset[str]] = frozenset()
    lacks: ClassVar[frozenset[str]] = frozenset()  # what `inference/fill` adds
    keepalive: ClassVar[bool] = True  # False: each open connection costs the engine a thread
    prefix: ClassVar[str] = ""  # `prefix:…` names a model in the engine's own store
    sees: ClassVar[bool] = False  # whether some of its models read pictures
    drops: frozenset[str] = frozenset()  # fields of `Sampling` that it cannot obey
    ignores: ClassVar[frozenset[str]] = frozenset()  # of `GenerateRequest.extra`, the same
    estimates_usage: bool = False  # whether its token counts are guesses
    process_bytes: ClassVar[int] = 200 << 20  # what it takes before a model is in memory

    @classmethod
    def is_available(cls) -> Availability:
        """Say whether the libraries are there, importing none."""
        missing = [name for name in cls.requires if not installed(name)]
        if not missing:
            return Availability(ok=True)
        return Availability(
            ok=False,
            reason=f"not installed: {', '.join(missing)}",
            hint=f"pip install 'stead[{cls.extra}]'",
        )

    @abstractmethod
    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Start, wait until it answers, return the address.

        `folder` (made if absent, owner only) gets the log. Raises: ModelError("load-failed"), the
        program's own typed error, ProcessError("engine-died", "engine-slow").
        """

    @abstractmethod
    def is_alive(self) -> bool:
        """Say whether the program still runs."""

    @abstractmethod
    def stop(self) -> None:
        """Stop gently, then for good; safe to call twice."""

    def memory_bytes(self) -> int | None:
        """Return the resident bytes of the program now, or None when nobody can say."""
        return None


OURS_IGNORE = frozenset(
    {"reasoning_effort", "verbosity", "web_search_options", "parallel_tool_calls"}
)
"""Fields of `extra` that change an answer, and that our own programs have nothing to do with."""

ENGINES: Registry[Engine] = Registry(
    "engine", "stead.engines.kinds", base="stead.engines.engine:Engine"
)


class ProgramEngine(Engine):
    """An engine that is one of our own worker programs (`module`), tied to us by its stdin."""

    module: ClassVar[str]

    def __init__(self) -> None:
        self._child: process.Child | None = None
        self._folder: Path | None = None

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Start the program and wait until it answers."""
        self.stop()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready = folder / READY
        ready.unlink(missing_ok=True)
        token = secrets.token_urlsafe(32)
        tie = ChildOrder(
            order=order, token=token, ready=str(ready), program=self.program(order, token)
        )
        self._folder = folder
        self._child = process.spawn(
            process.python(self.module),
            name=f"engine {order.name}",
            log=folder / LOG,
            tie=msgspec.json.encode(tie) + b"\n",
        )
        try:
            url = self._wait(self._child, ready, order, time.monotonic() + timeout_s)
        except BaseException:
            self._end(keep_log=True)
            raise
        return Endpoint(url, order.name, token=token, pid=self._child.pid)

    def is_alive(self) -> bool:
        """Say whether the program still runs."""
        return self._child is not None and self._child.poll() is None

    def program(self, order: Order, token: str) -> Program | None:
        """Return the program that our worker is to run; None when the worker is the engine itself."""
        return None

    def memory_bytes(self) -> int | None:
        """Return the resident bytes of the program and its children."""
        return None if self._child is None else tree_bytes(self._child.pid)

    def stop(self) -> None:
        """Stop gently, then for good; the log of a good run goes with it."""
        self._end(keep_log=False)

    def last_words(self) -> str:
        """Return the end of the log."""
        log = None if self._folder is None else self._folder / LOG
        if log is None or not log.exists():
            return "(none)"
        lines = self.faults(log.read_text(errors="replace").strip().splitlines())
        return " | ".join(lines[-_TAIL_LINES:]) if lines else "(none)"

    def faults(self, lines: list[str]) -> list[str]:
        """Return the lines of a log that tell what went wrong; all of them unless overridden."""
        return lines

    def _wait(self, child: process.Child, ready: Path, order: Order, until: float) -> str:
        while time.monotonic() < until:
            status = child.poll()  # asked first: a file written before the end is then seen
            if ready.exists():
                said = files.read_json(ready)
                if "error" in said:
                    raise self._explained(from_dict(said["error"]), order)
                return str(said["url"])
            if status is not None:
                raise ProcessError(
                    "engine-died",
                    f"the engine for {order.model!r} ended with status {status}; "
                    f"last words: {self.last_words()}",
                    status=status,
                )
            time.sleep(_POLL_S)
        raise ProcessError(
            "engine-slow",
            f"the engine for {order.model!r} was not ready in time; last words: {self.last_words()}",
        )

    def _explained(self, error: SteadError, order: Order) -> SteadError:
        """Add the log's end to an error that only says that loading failed."""
        if error.code not in ("load-failed", "engine-died"):
            return error
        begin = f"{order.model!r} cannot be loaded: " if error.code == "load-failed" else ""
        return type(error)(
            error.code,
            f"{begin}{error.message}; last words: {self.last_words()}",
            hint=error.hint,
            **error.details,
        )

    def _end(self, *, keep_log: bool) -> None:
        child, folder = self._child, self._folder
        self._child = None
        if child is not None:
            child.stop()
        if folder is not None and folder.exists():
            (folder / READY).unlink(missing_ok=True)
            if not keep_log:
                (folder / LOG).unlink(missing_ok=True)
                if not any(folder.iterdir()):
                    folder.rmdir()


def tree_bytes(pid: int) -> int | None:
    """Return the resident bytes of a process and its children, or None when it is gone."""
    try:
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    total = 0
    for member in family:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += int(member.memory_info().rss)
    return total


def read_order(line: bytes) -> ChildOrder:
    """Decode what `start` wrote to the program's stdin."""
    return msgspec.json.decode(line, type=ChildOrder)


def describe(order: Order) -> str:
    """Return the order as one line, for logs."""
    return json.dumps(msgspec.to_builtins(order), ensure_ascii=False)
