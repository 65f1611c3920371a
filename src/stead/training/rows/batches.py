"""Prepared rows → micro-batches, cut for the lanes that work side by side.

Knows nothing about models. A micro-batch's rows are dealt to the lanes by length, longest first, so
that the lanes end together.
"""

from collections.abc import Sequence
from typing import Any

from stead.data.pack import Batch, TokenStore, make_batch
from stead.values import PreparedData


class Columns:
    """The columns of one split, opened once."""

    def __init__(self, prepared: PreparedData, split: str, names: Sequence[str]) -> None:
        self.prepared, self.split = prepared, split
        self.stores = {name: TokenStore.open(prepared, split, name) for name in names}
        first = next(iter(self.stores.values()))
        self.rows = len(first)
        self.lengths = sum(store.lengths for store in self.stores.values())

    def batch(self, rows: Sequence[int]) -> dict[str, Batch]:
        """Flatten the same rows of every column."""
        return {name: make_batch(store, rows) for name, store in self.stores.items()}

    def deal(self, rows: Sequence[int], lanes: int, lengths: Any = None) -> list[list[int]]:
        """Share rows among at most `lanes` parts of about equal cost; order inside as given.

        `lengths`: what each row of the split costs, an int array; None: its tokens in all columns.
        """
        if lanes == 1 or len(rows) == 1:
            return [list(rows)]
        parts: list[list[int]] = [[] for _ in range(min(lanes, len(rows)))]
        sizes = [0] * len(parts)
        cost = self.lengths if lengths is None else lengths
        for row in sorted(rows, key=lambda r: (-int(cost[r]), r)):
            least = sizes.index(min(sizes))
            parts[least].append(row)
            sizes[least] += int(cost[row])
        place = {row: i for i, row in enumerate(rows)}
        return [sorted(part, key=place.__getitem__) for part in parts]
