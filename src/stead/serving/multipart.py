"""Forms with a file, read as they come: bounded fields, the file's bytes passed on in pieces.

Knows nothing about files on disk. Source: RFC 7578 (multipart/form-data), RFC 2046 section 5.1.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from stead.serving import guard

_BOUNDARY = re.compile(
    rb"multipart/form-data\s*;(?:.*;)?\s*boundary=(\"[^\"\r\n]{1,70}\"|[^\s;\"]{1,70})\s*(?:;.*)?",
    re.IGNORECASE,
)
_NAME = re.compile(rb"[;\s]name=\"([^\"\r\n]{1,100})\"", re.IGNORECASE)
_FILENAME = re.compile(rb"[;\s]filename=\"([^\"\r\n]{0,255})\"", re.IGNORECASE)
_HEADERS_BYTES = 8 * 1024  # of one part
_PREAMBLE_BYTES = 1024
_PARTS = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one field; `filename` None means a plain field. The last piece of it is `last`."""

    name: str
    filename: str | None
    data: bytes
    last: bool = False


def boundary_of(content_type: bytes) -> bytes:
    """Return what stands between the parts. Raises: RequestRefused 415, 400."""
    if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
        given = content_type[:100].decode("latin-1")
        raise guard.refused(
            415, "unsupported-media-type", f"the body is {given!r}, not 'multipart/form-data'"
        )
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None:
        raise _bad("the content type names no boundary")
    return found[1].strip(b'"')


async def pieces(body: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[Piece]:
    """Yield every part's bytes, in any split of the body. Raises: RequestRefused 400."""
    reader = _Reader(boundary)
    async for data in body:
        for piece in reader.feed(data):
            yield piece
    if not reader.ended:
        raise _bad("the form stops before its end")


class _Reader:
    """Takes bytes, gives pieces; holds back what may be the beginning of a boundary."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._rest = b"\r\n"  # the first boundary may stand at the very beginning
        self._part: tuple[str, str | None] | None = None
        self._parts = 0
        self._inside_head = False
        self.ended = False

    def feed(self, data: bytes) -> list[Piece]:
        found: list[Piece] = []
        self._rest += data
        while not self.ended and self._step(found):
            pass
        if self.ended:
            self._rest = b""
        return found

    def _step(self, found: list[Piece]) -> bool:
        """Do what the bytes at hand allow; return whether there may be more to do."""
        if self._inside_head:
            return self._head()
        at = self._rest.find(self._mark)
        if at < 0:
            self._pass_on(found)
            return False
        after = self._rest[at + len(self._mark) :]
        if len(after) < 2:
            return False  # the two bytes that tell the last boundary from another are not here yet
        if after[:2] not in (b"--", b"\r\n"):
            raise _bad("a boundary is followed by something else than a line's end")
        if self._part is not None:
            found.append(Piece(*self._part, self._rest[:at], last=True))
        elif at > _PREAMBLE_BYTES:
            raise _bad("there is too much before the first part")
        self._part = None
        self.ended = after[:2] == b"--"
        self._inside_head = not self.ended
        self._rest = after  # with the line's end: an empty head is then "\r\n\r\n"
        return self._inside_head

    def _pass_on(self, found: list[Piece]) -> None:
        keep = len(self._mark) - 1
        if self._part is None:
            if len(self._rest) > _PREAMBLE_BYTES + keep:
                raise _bad("there is too much before the first part")
        elif len(self._rest) > keep:
            found.append(Piece(*self._part, self._rest[:-keep]))
            self._rest = self._rest[-keep:]

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end > _HEADERS_BYTES or (end < 0 and len(self._rest) > _HEADERS_BYTES):
            raise _bad("the head of a part is too large")
        if end < 0:
            return False
        self._parts += 1
        if self._parts > _PARTS:
            raise _bad(f"the form has more than {_PARTS} parts")
        self._part = _names(self._rest[:end])
        self._rest = self._rest[end + 4 :]
        self._inside_head = False
        return True


def _names(head: bytes) -> tuple[str, str | None]:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:"):
            name, file = _NAME.search(line), _FILENAME.search(line)
            if name is None:
                break
            return name[1].decode("utf-8", "replace"), (
                None if file is None else file[1].decode("utf-8", "replace")
            )
    raise _bad("a part has no name")


def _bad(message: str) -> Exception:
    return guard.refused(400, "bad-form", message)
