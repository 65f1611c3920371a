"""Server-sent events: a parser for any split of the bytes, and a writer.

Knows nothing about what the events mean. Source: WHATWG HTML, section 9.2 (event stream format).
"""

from typing import NamedTuple

from stead.core.errors import BackendError

EVENT_LIMIT_BYTES = 8 * 2**20
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `data` holds the lines joined by a line feed, undecoded; `name` "" is a message."""

    data: bytes
    name: str = ""
    id: str | None = None


class Parser:
    """Turn pieces of bytes into events.

    Lines end in CR, LF or CRLF, also when the pair is split between two pieces. An event that the
    stream's end cuts off is dropped, as the standard says; `pending` tells that there was one.
    """

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._rest = b""
        self._skip_lf = False
        self._first = True
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._id: str | None = None

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are held."""
        return bool(self._rest or self._data)

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes; return the events they complete.

        Raises: BackendError("event-too-large") when one event exceeds the limit.
        """
        found: list[Event] = []
        if self._data or self._name or self._first or self._skip_lf or b"\r" in piece:
            lines = self._lines(piece)
            self._rest = lines.pop()
            self._take(lines, found)
        else:
            self._take_blocks(piece, found)
        if self._size + len(self._rest) > self._limit:
            raise BackendError("event-too-large", f"an event exceeds {self._limit} bytes")
        return found

    def _take_blocks(self, piece: bytes, found: list[Event]) -> None:
        """Take whole events at once, as nearly every server sends them: one data line, line feeds only."""
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block:
                if len(block) > self._limit:
                    raise BackendError("event-too-large", f"an event exceeds {self._limit} bytes")
                found.append(Event(block[6:], "", self._id))
            else:
                self._take([*block.split(b"\n"), b""], found)

    def _take(self, lines: list[bytes], found: list[Event]) -> None:
        for line in lines:
            if line:
                self._field(line)
            else:
                self._end_event(found)

    def _lines(self, piece: bytes) -> list[bytes]:
        """Split at every line end; the last item is the unfinished line."""
        if self._skip_lf and piece:
            piece = piece.removeprefix(b"\n")
            self._skip_lf = False
        if b"\r" in piece:
            self._skip_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = (self._rest + piece).split(b"\n")
        if self._first and len(lines) > 1:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._limit:
                raise BackendError("event-too-large", f"an event exceeds {self._limit} bytes")
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")

    def _end_event(self, found: list[Event]) -> None:
        if self._data:
            found.append(Event(b"\n".join(self._data), self._name, self._id))
        self._data, self._size, self._name = [], 0, ""


def write(data: bytes, name: str = "", id_: str | None = None) -> bytes:
    """Return one event as bytes; line ends inside `data` become further data lines."""
    head = f"event: {name}\n".encode() if name else b""
    if id_ is not None:
        head += f"id: {id_}\n".encode()
    if b"\n" in data or b"\r" in data:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
    return head + b"data: " + data + b"\n\n"


def comment(text: str = "") -> bytes:
    """Return a comment line, which keeps a connection open and means nothing."""
    return f": {text}\n\n".encode()
