"""Parquet files, read in batches of rows.

Knows nothing about columns. Extension types are refused: readers of them have run code of the file.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stead.core.errors import DataError
from stead.core.lazy import lazy
from stead.data.reader import COLUMN_LIMIT, BadRow, Reader, Record, check_fields
from stead.data.section import Source

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa = lazy("pyarrow", extra="data")
    pc = lazy("pyarrow.compute", extra="data")
    pq = lazy("pyarrow.parquet", extra="data")

_MAGIC = b"PAR1"
_BATCH = 1024  # rows decoded at a time, fewer where a column's values may be large
_LEAST = 4
_TOGETHER_BYTES = (
    256 << 20
)  # that a batch may unfold to: a value stored once can stand in every row
_LARGE_BYTES, _RATIO = 64 << 20, 100  # real texts shrink to a tenth, bombs to a thousandth
_MOST_BYTES = 1 << 30
_ROWS_PER_BYTE, _FEW_ROWS = 10, 1_000_000


class Parquet(Reader):
    """Reads `.parquet`; a row's place is its number in the file."""

    suffixes = (".parquet", ".pq")
    requires = ("pyarrow",)

    def recognize(self, path: str, head: bytes) -> str | None:
        """Ask for the magic bytes."""
        return "Parquet by its magic bytes" if head.startswith(_MAGIC) else None

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per row. Raises: DataError("bad-parquet" | "extension-type" | "unfolds-too-far")."""
        name = source.path.rsplit("/", 1)[-1]
        number, unfolded = 0, 0
        try:
            with pq.ParquetFile(source.path) as file:
                _check_schema(source.path, file.schema_arrow)
                rows, most = _bounds(source.path, file.metadata)
                for batch in file.iter_batches(batch_size=rows):
                    unfolded += sum(map(_bytes, batch.columns))
                    if unfolded > most:
                        raise _bomb(source.path, f"unfolds to more than {most} bytes of rows")
                    for row in batch.to_pylist():
                        number += 1
                        yield check_fields(_plain(row), f"{name}:{number}")
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                "bad-parquet", f"{source.path!r} after row {number}: {error}"
            ) from error


def _bounds(path: str, found: "pq.FileMetaData") -> tuple[int, int]:
    """Return how many rows are decoded together, and the most bytes that all may unfold to.

    Raises: DataError("unfolds-too-far") for a bomb.
    """
    packed, largest = 1, 1
    for group in map(found.row_group, range(found.num_row_groups)):
        for column in map(group.column, range(found.num_columns)):
            size, small = column.total_uncompressed_size, column.total_compressed_size
            packed += small
            largest = max(largest, size)
            if size > _LARGE_BYTES and size > _RATIO * small:
                raise _bomb(path, f"unfolds {small} bytes to {size} in one column")
    if found.num_rows > max(_FEW_ROWS, _ROWS_PER_BYTE * packed):
        raise _bomb(path, f"holds {found.num_rows} rows in {packed} bytes")
    rows = max(_LEAST, min(_BATCH, _TOGETHER_BYTES // largest))
    return rows, max(_MOST_BYTES, 10 * _RATIO * packed)


def _bytes(column: "pa.Array") -> int:
    """Return what a column's values take when each stands by itself."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary
        is_text = pa.types.is_string(values.type) or pa.types.is_binary(values.type)
        if not is_text or not len(values):
            return int(column.nbytes)
        total = pc.sum(pc.binary_length(values).take(column.indices)).as_py()
        return int(total) if total is not None else 0
    if pa.types.is_struct(kind):
        return sum(map(_bytes, column.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _bytes(column.flatten())
    return int(column.nbytes)


def _bomb(path: str, words: str) -> DataError:
    return DataError("unfolds-too-far", f"{path!r} {words}")


def _check_schema(path: str, schema: "pa.Schema") -> None:
    if len(schema) > COLUMN_LIMIT:
        message = f"{path!r} has {len(schema)} columns (the limit is {COLUMN_LIMIT})"
        raise DataError("too-many-columns", message)
    for column in schema:
        metadata = column.metadata if column.metadata is not None else {}
        named = b"ARROW:extension:name" in metadata
        if named or isinstance(column.type, pa.BaseExtensionType):
            message = f"{path!r}: the column {column.name!r} has the extension type {column.type}"
            raise DataError("extension-type", message)


def _plain(value: Any) -> Any:  # Any: Arrow's Python values to JSON values
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, datetime | date | time | timedelta | Decimal):
        return str(value)
    return value
