"""Token sequences on disk and the padding-free micro-batches cut from them.

Knows nothing about text or models.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stead.core import seeds
from stead.core.lazy import lazy
from stead.values import PreparedData

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")


class TokenStore:
    """One column of one split, memory-mapped."""

    def __init__(self, tokens: Any, mask: Any, offsets: Any) -> None:
        self._tokens, self._mask, self._offsets = tokens, mask, offsets
        self.lengths = np.diff(offsets).astype(np.int32)

    @classmethod
    def open(cls, prepared: PreparedData, split: str, column: str = "tokens") -> "TokenStore":
        """Map the files of a column."""
        stem = prepared.path / f"{split}.{column}"
        offsets = np.fromfile(f"{stem}.offsets.bin", dtype=np.int64)
        if len(offsets) < 2:
            return cls(np.empty(0, np.uint32), np.empty(0, np.uint8), np.zeros(1, np.int64))
        return cls(
            np.memmap(f"{stem}.tokens.bin", np.uint32, "r"),
            np.memmap(f"{stem}.mask.bin", np.uint8, "r"),
            offsets,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, i: int) -> Any:
        """Return row i's tokens."""
        return self._tokens[self._offsets[i] : self._offsets[i + 1]]

    def mask(self, i: int) -> Any:
        """Return row i's mask."""
        return self._mask[self._offsets[i] : self._offsets[i + 1]]


@dataclass(frozen=True, slots=True)
class Batch:
    """A flattened micro-batch."""

    tokens: Any
    labels: Any
    positions: Any
    starts: Any
    rows: tuple[int, ...]


def make_batch(store: TokenStore, rows: Any) -> Batch:
    """Flatten rows."""
    tokens, labels, positions, starts = [], [], [], [0]
    for i in rows:
        t = store.tokens(i).astype(np.int64)
        y = np.full(len(t), -100, np.int64)
        y[:-1] = np.where(store.mask(i)[1:] == 1, t[1:], -100)
        tokens.append(t)
        labels.append(y)
        positions.append(np.arange(len(t)))
        starts.append(starts[-1] + len(t))
    return Batch(
        np.concatenate(tokens),
        np.concatenate(labels),
        np.concatenate(positions),
        np.array(starts, np.int32),
        tuple(int(r) for r in rows),
    )


def plan_batches(
    lengths: Any,
    *,
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
    seed: int,
    epoch: int,
    shuffle: bool = True,
) -> list[Any]:
    """Cut rows into micro-batches."""
    n = len(lengths)
    order = [seeds.permute(seed, epoch, i, n) for i in range(n)] if shuffle else list(range(n))
    if batch_rows is not None:
        return [np.array(order[i : i + batch_rows]) for i in range(0, n, batch_rows)]
    found, part, size = [], [], 0
    for i in order:
        if part and size + int(lengths[i]) > (batch_tokens or 0):
            found.append(np.array(part))
            part, size = [], 0
        part.append(i)
        size += int(lengths[i])
    if part:
        found.append(np.array(part))
    return found
