"""The gradient of attention inside segments, weights recomputed block by block of queries.

Knows nothing about models or autograd. Segments of one shape (the answers to one prompt) are computed
at once. Legend: as `attention_parts`; R = H/K queries' heads per key head, n queries of a block, m keys.
"""

import torch
from torch import Tensor

from stead.models.attention_parts import STEP, Group, bias, groups, stacked
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


def _group_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, group: Group, scale: float,
    window: int | None, dq: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Write dq of a group's rows; return dk and dv of what each saw, float32 [A, K, M, D].

    Filled rows change nothing: their gradient is zero, and no real query sees a later key.
    """
    queries = stacked(q, group).mul_(scale)  # scaled once here, not in every product
    grads = stacked(grad, group)
    keys, values = (stacked(t, group, with_prefix=True).flatten(0, 1) for t in (k, v))
    A, H, L, D = queries.shape
    M = group.seen
    out = torch.empty_like(queries)
    d_keys, d_values = (torch.zeros(keys.shape, dtype=torch.float32) for _ in "kv")
    for i in range(0, L, _BLOCK):
        end = min(i + _BLOCK, L)
        last = min(M, -(-(group.before + end) // STEP) * STEP)
        low = 0 if window is None else max(0, (group.before + i - window + 1) // STEP * STEP)
        n = end - i
        qb, gb = (t[:, :, i:end].reshape(len(keys), -1, D) for t in (queries, grads))
        kb, vb = keys[:, low:last], values[:, low:last]
        scores = torch.bmm(qb, kb.transpose(1, 2)).view(A, H, n, last - low)
        # what comes before the block is seen by all of it
        hidden = low if window is not None else (group.before + i) // STEP * STEP
        scores[..., hidden - low :] += bias(
            n, last - hidden, group.before + i - hidden, window, q.dtype, q.device
        )
        weights = torch.softmax(scores, -1).view(len(keys), -1, last - low)
        d_weights = torch.bmm(gb, vb.transpose(1, 2))
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, q.dtype)
        out[:, :, i:end] = torch.bmm(d_scores, kb).view(A, H, n, D)
        d_keys[:, low:last] += torch.bmm(d_scores.transpose(1, 2), qb)
        d_values[:, low:last] += torch.bmm(weights.transpose(1, 2), gb)
    out.mul_(scale)
    for (a, b, _), row in zip(group.spans, out, strict=True):
        dq[:, a:b] = row[:, : b - a]
    return d_keys.view(A, -1, M, D), d_values.view(A, -1, M, D)


def _spread(whole: Tensor, parts: Tensor, group: Group, *, add: bool) -> None:
    """Bring the gradients of what a group saw back to where those keys lie. Shapes: [K, T, D]."""
    shared = group.spans[0][2]
    together = len(group.spans) > 1 and all(s[2] == shared for s in group.spans)
    if together:
        _put(whole, parts[:, :, : group.before].sum(0), shared, add=add)
    for part, (a, b, prefix) in zip(parts, group.spans, strict=True):
        if together:
            _put(whole, part[:, group.before :], ((a, b),), add=add)
        else:
            _put(whole, part, (*prefix, (a, b)), add=add)


def _put(whole: Tensor, part: Tensor, spans: tuple[Span, ...], *, add: bool) -> None:
    low = 0
    for c, d in spans:
        piece = part[:, low : low + d - c]
        if add:
            whole[:, c:d] += piece
        else:
            whole[:, c:d] = piece
        low += d - c
