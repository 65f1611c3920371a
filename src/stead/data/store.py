"""Writes prepared columns as flat binary files while they are made; `pack` reads them.

Knows nothing about rows' meaning. Files are written inside a folder that `core/manifest` commits.
"""

import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stead.core.closing import Closing
from stead.data.mask import Masked


def _bytes(kind: str, values: Sequence[int] | Sequence[float]) -> bytes:
    data = array(kind, values)
    if sys.byteorder == "big":
        data.byteswap()  # files are little-endian everywhere
    return data.tobytes()


class ColumnWriter(Closing):
    """Appends sequences to `<head>.{tokens,mask,offsets[,cuts]}.bin`.

    With `block` sequences are cut and joined into rows of exactly that many tokens (the last one what
    is left); `cuts` remembers where each piece begins, so that pieces never see one another.
    """

    def __init__(self, head: Path, block: int | None = None) -> None:
        self._block = block
        self._tokens = _open(head, "tokens")
        self._mask = _open(head, "mask")
        self._offsets = _open(head, "offsets")
        self._cuts = _open(head, "cuts") if block is not None else None
        self.rows = self.tokens = self.labels = 0
        self.lengths = array("i")
        self._room = 0 if block is None else block
        self._offsets.write(_bytes("q", [0]))

    def add(self, masked: Masked) -> None:
        """Append one sequence."""
        if self._block is None:
            self._piece(masked.ids, masked.mask)
            self._end_row()
            return
        at = 0
        while at < len(masked.ids):
            part = slice(at, at + self._room)
            assert self._cuts is not None  # noqa: S101 - for the type checker
            self._cuts.write(_bytes("q", [self.tokens]))
            self._piece(masked.ids[part], masked.mask[part])
            at += self._room
            self._room = self._block - (self.tokens - self._row_start())
            if self._room == 0:
                self._end_row()
                self._room = self._block

    def _row_start(self) -> int:
        return self.rows * self._block if self._block is not None else 0

    def _piece(self, ids: Sequence[int], mask: bytearray) -> None:
        self._tokens.write(_bytes("I", ids))
        self._mask.write(bytes(mask))
        self.tokens += len(ids)
        self.labels += mask.count(1, 1)  # a sequence's first token is predicted by nothing

    def _end_row(self) -> None:
        self._offsets.write(_bytes("q", [self.tokens]))
        self.rows += 1
        before = self._last
        self.lengths.append(self.tokens - before)
        self._last = self.tokens

    _last = 0

    def close(self) -> None:
        """End the last block and close the files."""
        if self._block is not None and self.tokens > self._row_start():
            self._end_row()
        for file in (self._tokens, self._mask, self._offsets, self._cuts):
            if file is not None:
                file.close()


def _open(head: Path, part: str) -> IO[bytes]:
    return open(f"{head}.{part}.bin", "xb")  # house: torn-file - manifest.commit publishes


class ScalarWriter:
    """Appends float32 numbers to `<head>.f32.bin`."""

    def __init__(self, head: Path) -> None:
        path = f"{head}.f32.bin"
        self._file = open(path, "xb")  # noqa: SIM115  house: torn-file - manifest.commit publishes

    def add(self, value: float) -> None:
        """Append one number."""
        self._file.write(_bytes("f", [value]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
