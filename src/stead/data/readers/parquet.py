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
    import pyarrow.parquet as pq
else:
    pa = lazy("pyarrow", extra="data")
    pq = lazy("pyarrow.parquet", extra="data")

_MAGIC = b"PAR1"
_BATCH = 1024  # rows decoded at a time


class Parquet(Reader):
    """Reads `.parquet`; a row's place is its number in the file."""

    suffixes = (".parquet", ".pq")
    requires = ("pyarrow",)

    def recognize(self, path: str, head: bytes) -> str | None:
        """Ask for the magic bytes."""
        return "Parquet by its magic bytes" if head.startswith(_MAGIC) else None

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per row. Raises: DataError("bad-parquet" | "extension-type")."""
        name = source.path.rsplit("/", 1)[-1]
        number = 0
        try:
            with pq.ParquetFile(source.path) as file:
                _check_schema(source.path, file.schema_arrow)
                for batch in file.iter_batches(batch_size=_BATCH):
                    for row in batch.to_pylist():
                        number += 1
                        yield check_fields(_plain(row), f"{name}:{number}")
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                "bad-parquet", f"{source.path!r} after row {number}: {error}"
            ) from error


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
