"""JSON Lines: one object per line, read line by line.

Knows nothing about columns.
"""

from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from stead.data.reader import LINE_LIMIT, BadRow, Reader, Record, check_fields, place
from stead.data.section import Source


class JsonLines(Reader):
    """Reads `.jsonl`: strict JSON, so NaN and Infinity are bad rows."""

    suffixes = (".jsonl", ".ndjson")

    def recognize(self, path: str, head: bytes) -> str | None:
        """Ask that the first complete lines are objects of their own."""
        lines = [line for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
        found = 0
        for line in lines[:20]:
            if line.lstrip().startswith(b"{") and _is_json(line):
                found += 1
        if found == 0 or found * 2 < min(len(lines[:20]), 20):
            whole_line = len(lines) == 1 and head.lstrip().startswith(b"{")
            return "one object per line" if whole_line and path.endswith(".jsonl") else None
        return "one JSON object per line"

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per non-empty line."""
        decode = msgspec.json.Decoder().decode
        with open(source.path, "rb") as file:
            number = 0
            while line := file.readline(LINE_LIMIT):
                number += 1
                where = place(source.path, number)
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
                    _skip_line(file)
                    yield BadRow(where, "row-too-long", f"more than {LINE_LIMIT} bytes in one line")
                elif line.strip():
                    yield _row(decode, line, where)


def _row(decode: Callable[[bytes], Any], line: bytes, where: str) -> Record | BadRow:
    try:
        return check_fields(decode(line), where)
    except RecursionError:
        return BadRow(where, "too-deep", "nested too deeply")
    except UnicodeDecodeError as error:
        return BadRow(where, "wrong-encoding", f"not UTF-8: {error.reason} at byte {error.start}")
    except msgspec.DecodeError as error:
        return BadRow(where, "bad-json", str(error))


def _skip_line(file: IO[bytes]) -> None:
    while True:
        part = file.readline(LINE_LIMIT)
        if not part or part.endswith(b"\n"):
            return


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
