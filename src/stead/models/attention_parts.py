"""Segments of one shape, stacked so that their attention is computed at once; who sees whom.

Knows nothing about gradients or models. Legend: A segments of a group, H heads, K key heads, T tokens
of the batch, L tokens of a segment (filled up), P tokens it continues, M = P + L (filled up), D head
size.
"""

from collections.abc import Iterator, Sequence
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


def stacked(
    whole: Tensor, group: Group, *, with_prefix: bool = False, zeroed: bool = False
) -> Tensor:
    """Copy a group's rows, each after what it continues if wanted; what fills them up is finite.

    `zeroed`: it is zero. Shapes: whole [h, T, D] → [A, h, L, D], with the prefix [A, h, M, D].
    """
    tokens = group.seen if with_prefix else group.length
    if len(group.spans) == 1:
        return _laid_out(whole, group, tokens, with_prefix=with_prefix)
    h, T, D = whole.shape
    by_head, by_token, by_number = whole.stride()
    if by_number != 1 or by_head % D or by_token % D:
        whole = whole.contiguous()
        by_head, by_token, _ = whole.stride()
    rows = whole.as_strided((((h - 1) * by_head + (T - 1) * by_token) // D + 1, D), (D, 1))
    places = _places(group, h, by_head // D, by_token // D, with_prefix)
    found = rows.index_select(0, places).view(-1, h, tokens, D)
    if zeroed and any(b - a < group.length for a, b, _ in group.spans):
        for row, (a, b, _) in zip(found, group.spans, strict=True):
            row[:, b - a :] = 0
    return found


def _laid_out(whole: Tensor, group: Group, tokens: int, *, with_prefix: bool) -> Tensor:
    """Copy a group's only row, slice by slice: an index of a long row would be as large as the row."""
    out = whole.new_empty(1, whole.shape[0], tokens, whole.shape[2])
    low = 0
    for c, d in _spans(group.spans[0], with_prefix=with_prefix):
        out[0, :, low : low + d - c] = whole[:, c:d]
        low += d - c
    out[:, :, low:] = 0
    return out


def _spans(span: tuple[int, int, tuple[Span, ...]], *, with_prefix: bool) -> tuple[Span, ...]:
    a, b, prefix = span
    return (*prefix, (a, b)) if with_prefix else ((a, b),)


@lru_cache(maxsize=32)
def _places(group: Group, h: int, by_head: int, by_token: int, with_prefix: bool) -> Tensor:
    """Return where each number vector of `stacked` lies; beyond a row's end it is a first one."""
    length = group.seen if with_prefix else group.length
    tokens = torch.zeros(len(group.spans), length, dtype=torch.int32)
    for row, span in zip(tokens, group.spans, strict=True):
        own = torch.cat([torch.arange(c, d) for c, d in _spans(span, with_prefix=with_prefix)])
        row[: len(own)] = own
    heads = torch.arange(h, dtype=torch.int32)[None, :, None]
    return (tokens[:, None] * by_token + heads * by_head).flatten()


def unstacked(parts: Tensor, group: Group, first: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """Yield where rows' own tokens belong, and those. Shapes: parts [A, h, M, D] → [h, n, D] each.

    They begin at `first` in each row of `parts`. Rows that follow one another come together.
    """
    A, h, M, D = parts.shape
    if A == 1:
        a, b, _ = group.spans[0]
        yield slice(a, b), parts[0][:, first : first + b - a]
        return
    runs, places = _runs(group, h, M, first)
    flat = parts.reshape(-1, D).index_select(0, places).view(h, -1, D)
    low = 0
    for a, b in runs:
        yield slice(a, b), flat[:, low : low + b - a]
        low += b - a


@lru_cache(maxsize=32)
def _runs(group: Group, h: int, M: int, first: int) -> tuple[list[Span], Tensor]:
    """Return the runs of a group's own tokens, and where those lie in [A, h, M], by head."""
    runs: list[Span] = []
    own = []
    for i, (a, b, _) in enumerate(group.spans):
        own.append(torch.arange(b - a) + (i * h * M + first))
        if runs and runs[-1][1] == a:
            runs[-1] = (runs[-1][0], b)
        else:
            runs.append((a, b))
    heads = torch.arange(h)[:, None] * M
    return runs, (torch.cat(own)[None] + heads).flatten().int()


def bias(
    rows: int,
    columns: int,
    first: int,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return 0 where query `first + i` may see key `j`, -inf elsewhere. Shapes: [rows, columns].

    Kept for a CPU, whose lengths are filled up and whose blocks are short. A GPU makes one in no time,
    and one for each length of long rows would fill its memory.
    """
    make = _kept_bias if device.type == "cpu" else _bias
    return make(rows, columns, first, window, dtype, device)


def _bias(
    rows: int,
    columns: int,
    first: int,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    i = torch.arange(first, first + rows, device=device)[:, None]
    j = torch.arange(columns, device=device)[None, :]
    hidden = j > i
    if window is not None:
        hidden |= j <= i - window
    return torch.zeros(rows, columns, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)


_kept_bias = lru_cache(maxsize=256)(_bias)


def seen(keys: Tensor, a: int, b: int, prefix: Sequence[Span]) -> Tensor:
    """Return the keys (or values) that a segment may look at. Shapes: [K, T, D] → [K, P+L, D]."""
    if not prefix:
        return keys[:, a:b]
    return torch.cat([keys[:, c:d] for c, d in (*prefix, (a, b))], dim=1)
