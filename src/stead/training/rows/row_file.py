"""The rows of a prepared split as they were read, found by their number. Memory does not grow with texts.

Knows nothing about what rows are for. The files are `data/prepare`'s `<split>.rows.jsonl`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stead.core.errors import DataError
from stead.core.lazy import lazy
from stead.data.row import Row
from stead.values import PreparedData

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")


class RowFile:
    """The rows of one split. Raises: DataError("no-split") when there are none."""

    def __init__(self, prepared: PreparedData, split: str) -> None:
        self._path = prepared.path / f"{split}.rows.jsonl"
        if not self._path.is_file():
            raise DataError("no-split", f"the prepared data has no {self._path.name!r}")
        self._places = _places(self._path)
        self._decoder = msgspec.json.Decoder(Row)

    def __len__(self) -> int:
        return len(self._places) - 1

    def __getitem__(self, number: int) -> Row:
        """Return one row; documents only by their beginning."""
        with open(self._path, "rb") as file:
            file.seek(int(self._places[number]))
            return self._decoder.decode(file.readline())


def _places(path: Path) -> Any:  # Any: int64 [rows + 1]
    """Return where each line begins, and the end."""
    ends, total = [0], 0
    with open(path, "rb") as file:
        for line in file:
            total += len(line)
            ends.append(total)
    return np.array(ends, dtype=np.int64)
