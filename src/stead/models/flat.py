"""What a flattened micro-batch must have, for models and for methods alike.

Knows nothing about who makes one; `data/pack.Batch` is the usual one. Light.
"""

from typing import Any, Protocol


class FlatBatch(Protocol):
    """A padding-free micro-batch, as `data/pack` makes it (arrays of the lengths it names).

    One with `parents: Sequence[int]` names the row that each row continues, or -1: models/segments.
    """

    @property
    def tokens(self) -> Any:  # Any: int64[T], numpy or torch
        """Ids. Shapes: [T]."""

    @property
    def labels(self) -> Any:
        """The next token where it is trained, else -100. Shapes: [T]."""

    @property
    def positions(self) -> Any:
        """0, 1, 2 … in each row; a row that continues another counts on. Shapes: [T]."""

    @property
    def starts(self) -> Any:
        """Where rows begin, and the end. Shapes: [S+1]."""
