"""JSON files: an array of objects, an object that holds one, or an object of equally long columns.

Knows nothing about columns. An array is decoded element by element, so memory is bounded by the
longest element.
"""

import json
import re
from collections.abc import Iterator
from typing import IO, Any, NoReturn

from stead.core.errors import DataError
from stead.data.reader import LINE_LIMIT, BadRow, Reader, Record, check_fields, place
from stead.data.section import Source

_CHUNK = 1 << 18  # characters read at a time
_SPACE = re.compile(r"[\s,]*")
_END = re.compile(r"\}\s*,?\s*\n")
_OBJECT_LIMIT = 512 << 20  # characters of a file whose root is an object: it is read whole


class Json(Reader):
    """Reads `.json`; NaN and Infinity are bad rows, as the standard says."""

    suffixes = (".json",)

    def recognize(self, path: str, head: bytes) -> str | None:
        """Ask for an array, or for an object that goes on past its first line."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"["):
            return "a JSON array"
        lines = start.splitlines()
        second = next((line for line in lines[1:] if line.strip()), b"")
        if start.startswith(b"{") and not second.lstrip().startswith(b"{"):
            return "a JSON object"
        return None

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per element. Raises: DataError("bad-json") when the file is cut off."""
        try:
            with open(source.path, encoding="utf-8-sig") as file:
                first = file.read(_CHUNK)
                if first.lstrip().startswith("["):
                    yield from _Array(source.path, file, first).rows()
                else:
                    yield from _rows_of_object(source.path, first + file.read(_OBJECT_LIMIT))
        except UnicodeDecodeError as error:
            raise DataError(
                "wrong-encoding",
                f"{source.path!r} is not UTF-8: {error.reason} at byte {error.start} of a block",
            ) from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


class _Array:
    """Decodes the elements of a JSON array from text that arrives in parts."""

    def __init__(self, path: str, file: IO[str], first: str) -> None:
        self._path, self._file = path, file
        self._text = first
        self._at = first.index("[") + 1
        self._line = 1 + first.count("\n", 0, self._at)
        self._ended = False

    def rows(self) -> Iterator[Record | BadRow]:
        while True:
            self._skip_space()
            if self._at >= len(self._text):
                if not self._more():
                    raise self._broken("the array is not closed: the file is cut off")
                continue
            if self._text[self._at] == "]":
                return
            yield self._element()

    def _element(self) -> Record | BadRow:
        line = self._line
        where = place(self._path, line)
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise self._broken("nested too deeply") from None
            except ValueError as error:
                if self._more():
                    continue
                return self._recover(where, error)
            if end >= len(self._text) and self._more():
                continue  # a number at the border may go on
            self._move(end)
            return check_fields(value, where)

    def _recover(self, where: str, error: ValueError) -> BadRow:
        """Skip to the next element that begins a line with a brace, if the fault lets us."""
        found = _END.search(self._text, self._at)
        if found is None:
            raise self._broken(str(error)) from error
        self._move(found.end())
        return BadRow(where, "bad-json", str(error))

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._move(found.end() if found else self._at)

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        if self._ended or len(self._text) - self._at > LINE_LIMIT:
            return False
        part = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._ended = not part
        self._text, self._at = self._text[self._at :] + part, 0
        return bool(part)

    def _broken(self, why: str) -> DataError:
        where = place(self._path, self._line)
        return DataError("bad-json", f"{where}: {why}", path=self._path, line=self._line)


def _rows_of_object(path: str, text: str) -> Iterator[Record | BadRow]:
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise DataError("bad-json", f"{place(path, 1)}: nested too deeply") from error
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError("bad-json", f"{place(path, line)}: {error}") from error
    rows = _list_inside(value)
    for number, row in enumerate(rows, 1):
        yield check_fields(row, f"{place(path, 1)}#{number}")


def _list_inside(value: dict[str, Any]) -> list[Any]:
    """Find the rows: a list of objects under some key, equally long columns, or the object itself."""
    lists = {k: v for k, v in value.items() if isinstance(v, list) and v}
    for inside in lists.values():
        if len(lists) == 1 and isinstance(inside[0], dict) and len(value) > 0:
            is_row = {"role", "from"} & inside[0].keys()
            if not is_row:
                return inside
    lengths = {len(v) for v in lists.values()}
    is_table = bool(lists) and len(lists) == len(value) and len(lengths) == 1
    if is_table and not any(isinstance(v[0], dict) for v in lists.values()):
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return [value]
