"""What happens during a stage, as numbered JSON lines that a parent can follow.

Knows nothing about stages' meaning. A worker emits to a file; a terminal, store or page reads it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec


class Event(msgspec.Struct, tag_field="event", tag=str.lower, kw_only=True, frozen=True):
    """The common part: `stage` names the work, for instance "train" or "export"."""

    stage: str


class Started(Event, frozen=True, kw_only=True):
    """A stage began; `total` units of `unit` are to be done, if known."""

    total: int | None = None
    unit: str = "step"
    info: dict[str, Any] = {}  # Any: JSON values; msgspec copies the default per instance


class Progress(Event, frozen=True, kw_only=True):
    """`done` of the stage's units are done; `values` are measurements, named with their unit."""

    done: int
    values: dict[str, float] = {}


class Note(Event, frozen=True, kw_only=True):
    """Something the user should know; level is "info" or "warning"."""

    message: str
    level: str = "info"
    code: str = ""


class Sampled(Event, frozen=True, kw_only=True):
    """What the model answers after `done` steps: {"step", "prompt", "answer", "tokens", "stopped"} each."""

    done: int
    answers: list[dict[str, Any]] = []  # Any: JSON values


class Saved(Event, frozen=True, kw_only=True):
    """A folder or file was committed."""

    path: str
    what: str = ""


class Finished(Event, frozen=True, kw_only=True):
    """The stage ended well; `result` is its summary in JSON values."""

    result: dict[str, Any] = {}


class Failed(Event, frozen=True, kw_only=True):
    """The stage ended with an error, as `SteadError.to_dict` gives it."""

    error: dict[str, Any] = {}


AnyEvent = Started | Progress | Note | Sampled | Saved | Finished | Failed
Emit = Callable[[AnyEvent], None]


def ignore(_: AnyEvent) -> None:
    """Drop an event: the default subscriber."""


class EventLog:
    """Append events to a file as JSON lines `{"seq", "time", "event", …}`.

    One writer per file. After a crash the next writer goes on with the next number; a torn last
    line is cut off first. Subscribers are called in the order they were added, after the write.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._subscribers: list[Emit] = []
        self._seq = _repair(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the log

    def subscribe(self, subscriber: Emit) -> None:
        """Call `subscriber` for every event from here on."""
        self._subscribers.append(subscriber)

    def __call__(self, event: AnyEvent) -> None:
        """Write one event and tell the subscribers."""
        head = {"seq": self._seq, "time": round(self._clock(), 3)}
        line = json.dumps(head | msgspec.to_builtins(event), ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._seq += 1
        for subscriber in self._subscribers:
            subscriber(event)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _repair(path: Path) -> int:
    """Cut a torn last line; return the next sequence number."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end != len(data):
        os.truncate(path, end)
    lines = data[:end].splitlines()
    return int(json.loads(lines[-1])["seq"]) + 1 if lines else 0


_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def parse(line: bytes | str) -> AnyEvent:
    """Read one line of an event log back. Raises msgspec.ValidationError when it is not one."""
    return _DECODER.decode(line)


def complete(path: Path) -> int:
    """Return the size of a log's complete lines; what a full disk or a power cut tore off comes after them.

    Units: bytes. Whoever goes on writing cuts it off (`_repair`), so a reader begins here and not at the file's end.
    """
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0


def follow(path: Path, offset: int = 0) -> Iterator[tuple[int, AnyEvent]]:
    """Yield (offset after the line, event) for each complete line from byte `offset` on."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, parse(line)
