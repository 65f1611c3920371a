"""Segments of one shape, stacked so that their attention is computed at once; who sees whom.

Knows nothing about gradients or models. Legend: A segments of a group, H heads, K key heads, T tokens
of the batch, L tokens of a segment (filled up), P tokens it continues, M = P + L (filled up), D head
size.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from stead.models.segments import Segments, Span

STEP = 32  # lengths are filled up to this: oneDNN compiles a kernel for each new shape
_TOGETHER = 1 << 17  # scores per head of a group: with all heads about what a core's cache holds


class Group(NamedTuple):
    """Segments that continue `before` tokens each and have up to `length` tokens of their own."""

    spans: tuple[tuple[int, int, tuple[Span, ...]], ...]
    before: int
    length: int

    @property
    def seen(self) -> int:
        """Keys of a segment, filled up so that every query, a filled one too, sees one."""
        return filled(self.before + self.length)


def filled(length: int) -> int:
    """Return the next multiple of STEP."""
    return length + -length % STEP


@lru_cache(maxsize=64)
def groups(segments: Segments) -> tuple[Group, ...]:
    """Put segments of equal shape together, as many as are worth it. Their order is kept."""
    found: dict[tuple[int, int], list[tuple[int, int, tuple[Span, ...]]]] = {}
    for a, b, prefix in segments.spans():
        before = sum(d - c for c, d in prefix)
        found.setdefault((before, filled(b - a)), []).append((a, b, prefix))
    made = []
    for (before, length), spans in found.items():
        most = max(1, _TOGETHER // (length * filled(before + length)))
        made += [
            Group(tuple(spans[i : i + most]), before, length) for i in range(0, len(spans), most)
        ]
    return tuple(made)


def stacked(whole: Tensor, group: Group, *, with_prefix: bool = False) -> Tensor:
    """Copy a group's rows, each after what it continues if wanted, with zeros behind them.

    Shapes: whole [h, T, D] → [A, h, L, D], with the prefix [A, h, M, D].
    """
    h, _, D = whole.shape
    first, rows = (group.before, group.seen) if with_prefix else (0, group.length)
    out = whole.new_empty(len(group.spans), h, rows, D)
    for row, (a, b, prefix) in zip(out, group.spans, strict=True):
        low = 0
        for c, d in (*prefix, (a, b)) if with_prefix else ((a, b),):
            row[:, low : low + d - c] = whole[:, c:d]
            low += d - c
        if first + b - a < rows:
            row[:, first + b - a :] = 0
    return out


@lru_cache(maxsize=256)
def bias(
    rows: int,
    columns: int,
    first: int,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return 0 where query `first + i` may see key `j`, -inf elsewhere. Shapes: [rows, columns]."""
    i = torch.arange(first, first + rows, device=device)[:, None]
    j = torch.arange(columns, device=device)[None, :]
    hidden = j > i
    if window is not None:
        hidden |= j <= i - window
    return torch.zeros(rows, columns, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)


def seen(keys: Tensor, a: int, b: int, prefix: Sequence[Span]) -> Tensor:
    """Return the keys (or values) that a segment may look at. Shapes: [K, T, D] → [K, P+L, D]."""
    if not prefix:
        return keys[:, a:b]
    return torch.cat([keys[:, c:d] for c, d in (*prefix, (a, b))], dim=1)
