"""CSV and TSV with a header line.

Knows nothing about columns. The delimiter is the one that cuts the header into most cells.
"""

import csv
from collections.abc import Iterator
from typing import Protocol

from stead.core.errors import DataError
from stead.data.reader import COLUMN_LIMIT, LINE_LIMIT, BadRow, Reader, Record, place
from stead.data.section import Source


class Rows(Protocol):
    """What `csv.reader` gives: lists of cells, and the line it stands at."""

    @property
    def line_num(self) -> int:
        """Lines read so far."""

    def __next__(self) -> list[str]: ...


_DELIMITERS = ",\t;|"


class Csv(Reader):
    """Reads `.csv` and `.tsv`: quoted cells may hold line breaks; every row has the header's cells."""

    suffixes = (".csv", ".tsv")

    def recognize(self, path: str, head: bytes) -> str | None:
        """Ask that the first rows have as many cells as the header, and more than one."""
        text = head.decode("utf-8-sig", errors="ignore")
        delimiter = _delimiter(text)
        try:
            lines = text.splitlines(keepends=True)[:20]
            rows = list(csv.reader(lines, delimiter=delimiter)) or [[]]
        except csv.Error:
            return None
        named = path.lower().endswith(self.suffixes)
        widths = {len(row) for row in rows[:-1] if row}
        if named or (
            len(rows) > 2 and len(widths) == 1 and len(rows[0]) > 1 and _is_header(rows[0])
        ):
            return f"a table with {len(rows[0])} columns cut by {delimiter!r}"
        return None

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per row. Raises: DataError("wrong-encoding" | "bad-header")."""
        csv.field_size_limit(LINE_LIMIT)
        try:
            with open(source.path, encoding="utf-8-sig", newline="") as file:
                delimiter = _delimiter(file.read(1 << 16))
                file.seek(0)
                yield from _rows(source.path, csv.reader(file, delimiter=delimiter, strict=True))
        except UnicodeDecodeError as error:
            raise DataError(
                "wrong-encoding",
                f"{source.path!r} is not UTF-8: {error.reason} at byte {error.start} of a block",
                hint=f"iconv -f WINDOWS-1252 -t UTF-8 {source.path} > utf8.csv",
            ) from error


def _delimiter(text: str) -> str:
    header = text.splitlines()[0] if text.strip() else ""
    return max(_DELIMITERS, key=header.count)


def _is_header(cells: list[str]) -> bool:
    return all(c.strip() and len(c) < 64 for c in cells) and len(set(cells)) == len(cells)


def _rows(path: str, reader: "Rows") -> Iterator[Record | BadRow]:
    header: list[str] | None = None
    while True:
        where = place(path, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(where, "bad-csv", str(error))
            continue
        if header is None:
            header = _header(cells, where)
        elif not cells:
            continue
        elif len(cells) != len(header):
            reason = f"{len(cells)} cells, but the header has {len(header)}"
            yield BadRow(where, "cell-count", reason)
        else:
            yield Record(where, dict(zip(header, cells, strict=True)))


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    double = sorted({n for n in names if names.count(n) > 1}) if len(names) <= COLUMN_LIMIT else []
    if len(names) > COLUMN_LIMIT or double or not any(names):
        what = f"the column {double[0]!r} twice" if double else f"{len(names)} columns"
        raise DataError("bad-header", f"{where}: the header has {what}")
    return names
