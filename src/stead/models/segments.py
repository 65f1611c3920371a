"""Where rows lie in a flattened batch, and which of them continue another one.

Knows nothing about tokens or attention's arithmetic. A row with a parent sees the parent's tokens
(and the parent's own parent's) before its own: a prompt is computed once for all its answers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Span = tuple[int, int]


class Segments(NamedTuple):
    """Row i is [starts[i], starts[i+1]); `parents[i]` is an earlier row, or -1. Empty: no parents.

    `idle` tokens behind the last row belong to none: they see nothing, and nobody looks at them.
    """

    starts: tuple[int, ...]
    parents: tuple[int, ...] = ()
    idle: int = 0

    @property
    def end(self) -> int:
        """Where the last row ends and idle tokens begin."""
        return self.starts[-1]

    @classmethod
    def of(cls, batch: Any) -> "Segments":  # Any: a FlatBatch, with or without `parents`
        """Read the rows of a batch."""
        parents: Sequence[int] = getattr(batch, "parents", ())
        return cls(tuple(int(s) for s in batch.starts), tuple(int(p) for p in parents))

    @property
    def branched(self) -> bool:
        """Say whether any row continues another."""
        return any(p >= 0 for p in self.parents)

    def spans(self) -> Iterator[tuple[int, int, tuple[Span, ...]]]:
        """Yield (begin, end, prefix) of each row; the prefix is the ancestors' spans, root first."""
        for i in range(len(self.starts) - 1):
            yield self.starts[i], self.starts[i + 1], self.prefix(i)

    def prefix(self, row: int) -> tuple[Span, ...]:
        """Return the spans that `row` continues."""
        found: list[Span] = []
        parent = self.parents[row] if self.parents else -1
        while parent >= 0:
            found.append((self.starts[parent], self.starts[parent + 1]))
            parent = self.parents[parent]
        return tuple(reversed(found))

    def continuing(self, first: int) -> "Segments":
        """Put a row of `first` tokens in front, which every row without a parent continues."""
        parents = self.parents if self.parents else (-1,) * (len(self.starts) - 1)
        starts = (0, *(first + s for s in self.starts))
        return Segments(starts, (-1, *(p + 1 for p in parents)), self.idle)

    def filled(self, more: int) -> "Segments":
        """Add `more` idle tokens."""
        return self._replace(idle=self.idle + more)
