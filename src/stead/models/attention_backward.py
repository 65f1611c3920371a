"""The gradient of attention inside segments, weights recomputed block by block of queries.

Knows nothing about models or autograd. Segments of one shape (the answers to one prompt) are computed
at once. Legend: as `attention_parts`; R = H/K queries' heads per key head, n queries of a block, m keys.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stead.models.attention_parts import STEP, Group, bias, filled, groups, stacked, unstacked
from stead.models.products import narrow
from stead.models.segments import Segments, Span

_BLOCK = 256  # queries per block: bounds memory to A·H·256·M numbers


def attend_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, segments: Segments, scale: float,
    window: int | None, into: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Write the gradients of q, k, v into `into`.

    torch's own CPU kernel takes four times as long on rows of some hundred tokens (docs/log.md).
    Shapes: q and grad [H, T, D], k and v [K, T, D].
    """
    dq, dk, dv = into
    if segments.branched:  # many rows add to the same keys: in float32, rounded once
        dk, dv = (torch.zeros(t.shape, dtype=torch.float32) for t in (dk, dv))
    for group in groups(segments):
        sums = _group_backward(q, k, v, grad, group, scale, window, dq)
        for whole, part in zip((dk, dv), sums, strict=True):
            _spread(whole, part, group, add=segments.branched)
    if segments.branched:
        into[1].copy_(dk)
        into[2].copy_(dv)
    if segments.idle:
        for whole in into:
            whole[:, segments.end :] = 0


def _group_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, group: Group, scale: float,
    window: int | None, dq: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Write dq of a group's rows; return dk and dv of what each saw [A, K, M, D].

    Filled rows change nothing: their gradient is zero, and no real query sees a later key.
    """
    queries, grads = stacked(q, group), stacked(grad, group, zeroed=True)
    keys, values = (stacked(t, group, with_prefix=True).flatten(0, 1) for t in (k, v))
    if narrow(q):
        queries, grads, keys, values = (t.float() for t in (queries, grads, keys, values))
    queries.mul_(scale)  # once here, not in every product
    A, H, L, D = queries.shape
    M = group.seen
    out = queries.new_empty(0)
    sums: tuple[Tensor, Tensor] | None = None
    for block, low, last in _blocks(group, window):
        # what comes before the block is seen by all of it
        hidden = low if window is not None else (group.before + block.start) // STEP * STEP
        n, first = block.stop - block.start, group.before + block.start - hidden
        rule = bias(n, last - hidden, first, window, queries.dtype, q.device)
        qb, gb = (t[:, :, block].reshape(len(keys), -1, D) for t in (queries, grads))
        dqb, *found = _block_backward(qb, gb, keys[:, low:last], values[:, low:last], rule)
        if (n, last - low) == (L, M):  # all at once: nothing to add up
            out, sums = dqb.view(A, H, L, D), (found[0], found[1])
            break
        if sums is None:
            out = torch.empty_like(queries)
            sums = (torch.zeros_like(keys, dtype=torch.float32), torch.zeros_like(keys, dtype=torch.float32))  # fmt: skip
        out[:, :, block] = dqb.view(A, H, n, D)
        for whole, part in zip(sums, found, strict=True):
            whole[:, low:last] += part
    for where, part in unstacked(out.mul_(scale), group):
        dq[:, where] = part
    assert sums is not None  # noqa: S101 - for the type checker: L > 0
    return sums[0].view(A, -1, M, D), sums[1].view(A, -1, M, D)


def _blocks(group: Group, window: int | None) -> Iterator[tuple[slice, int, int]]:
    """Yield blocks of queries with the first key that any of them sees, and the end of the last."""
    for i in range(0, group.length, _BLOCK):
        end = min(i + _BLOCK, group.length)
        last = min(group.seen, filled(group.before + end))
        low = 0 if window is None else max(0, (group.before + i - window + 1) // STEP * STEP)
        yield slice(i, end), low, last


def _block_backward(
    q: Tensor, grad: Tensor, k: Tensor, v: Tensor, rule: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dq, dk and dv of one block. `rule` is added to the last of each query's scores.

    Shapes: q and grad [B, R·n, D], k and v [B, m, D], rule [n, up to m] → as q, k, v.
    """
    n, m = len(rule), k.shape[1]
    scores = torch.bmm(q, k.transpose(1, 2))
    scores.view(len(q), -1, n, m)[..., m - rule.shape[1] :] += rule
    weights = torch.softmax(scores, -1)
    d_weights = torch.bmm(grad, v.transpose(1, 2))
    d_scores = torch._softmax_backward_data(d_weights, weights, -1, q.dtype)
    return (
        torch.bmm(d_scores, k),
        torch.bmm(d_scores.transpose(1, 2), q),
        torch.bmm(weights.transpose(1, 2), grad),
    )


def _spread(whole: Tensor, parts: Tensor, group: Group, *, add: bool) -> None:
    """Bring the gradients of what a group saw back to where those keys lie. Shapes: [K, T, D]."""
    shared = group.spans[0][2]
    if all(prefix == shared for _, _, prefix in group.spans):
        _put(whole, parts[:, :, : group.before].sum(0, dtype=torch.float32), shared, add=add)
    else:
        for part, (_, _, prefix) in zip(parts, group.spans, strict=True):
            _put(whole, part, prefix, add=add)
    for where, part in unstacked(parts, group, group.before):
        if add:
            whole[:, where] += part
        else:
            whole[:, where] = part


def _put(whole: Tensor, part: Tensor, spans: tuple[Span, ...], *, add: bool) -> None:
    low = 0
    for c, d in spans:
        piece = part[:, low : low + d - c]
        if add:
            whole[:, c:d] += piece
        else:
            whole[:, c:d] = piece
        low += d - c
