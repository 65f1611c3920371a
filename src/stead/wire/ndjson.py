"""Lines of JSON as events: a parser for any split of the bytes, and a writer.

Knows nothing about what the lines mean. Source: https://github.com/ndjson/ndjson-spec, section 3
(a line feed ends a line, a carriage return before it is white space, empty lines are skipped).
"""

from stead.core.errors import BackendError
from stead.wire.sse import EVENT_LIMIT_BYTES, Event

_BOM = b"\xef\xbb\xbf"


class Parser:
    """Turn pieces of bytes into events without names.

    A line that the stream's end cuts off is dropped, as in event streams; `pending` tells of it.
    """

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._parts: list[bytes] = []  # of the unfinished line
        self._size = 0
        self._first = True

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished line are held."""
        return self._size > 0

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes; return the events they complete.

        Raises: BackendError("event-too-large") when one line exceeds the limit.
        """
        *ended, rest = piece.split(b"\n")
        found: list[Event] = []
        for line in ended:
            self._hold(line)
            self._end_line(found)
        self._hold(rest)
        return found

    def _hold(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._size += len(part)
        if self._size > self._limit:
            raise BackendError("event-too-large", f"an event exceeds {self._limit} bytes")

    def _end_line(self, found: list[Event]) -> None:
        line = b"".join(self._parts)
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if line := line.strip(b" \t\r"):
            found.append(Event(line))
        self._parts, self._size = [], 0


def write(data: bytes) -> bytes:
    """Return one event as bytes; `data` is JSON on one line."""
    return data + b"\n"


def with_member(line: bytes, name: str, value: bytes) -> bytes:
    """Return the line of an object that has members, with one more; `value` is JSON on one line."""
    return line.removesuffix(b"}\n") + b',"' + name.encode() + b'":' + value + b"}\n"
