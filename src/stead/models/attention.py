"""Exact causal attention inside each segment of a flattened batch, without padding or a T×T mask.

Knows nothing about models; transformers calls it under the name "stead". Legend: T tokens of all
segments, L tokens of one, H heads, K key heads, G query heads per key head, D head size.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stead.core.errors import ModelError
from stead.models.segments import Segments, Span

NAME = "stead"
_STEP = 32  # lengths are filled up to this: oneDNN compiles a kernel for each new shape
_BLOCK = 256  # queries per block of the backward pass: bounds its memory to H·256·L numbers


def segment_attention(  # noqa: PLR0913, PLR0917 - transformers gives the signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    virtual: Sequence[tuple[Tensor, Tensor]] | None = None,
    **kwargs: Any,  # Any: transformers passes more than is needed
) -> tuple[Tensor, None]:
    """Attend inside each segment and what it continues; without `segments`, as transformers' sdpa.

    `virtual` holds each layer's keys and values that stand before all rows, [K, V, D] each.
    Shapes: query [1, H, T, D], key and value [1, K, T, D] → [1, T, H, D].
    Raises: ModelError("attention-unsupported") for what would not be exact (sinks, biases).
    """
    if segments is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise ModelError("attention-unsupported", f"packed rows cannot be exact with {name!r}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = query[0], key[0], value[0]
    first = 0
    if virtual is not None:
        pair = virtual[module.layer_idx]
        first = pair[0].shape[1]
        q, k, v, segments = _put_ahead(q, k, v, segments, pair)
    if softcap is not None or dropout > 0 or q.device.type != "cpu":
        out = _by_segment(q, k, v, segments, scale, sliding_window, softcap, dropout)
    else:
        out = SegmentAttention.apply(q, k, v, segments, scale, sliding_window)
    return out[:, first:].transpose(0, 1)[None], None


def _put_ahead(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, pair: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Segments]:
    """Lay a layer's virtual keys and values before a packed batch; their queries are zero.

    Shapes: query [H, T, D], key and value [K, T, D], each of the pair [K, V, D] → T becomes V + T.
    """
    more = pair[0].shape[1]
    nobody = query.new_zeros(query.shape[0], more, query.shape[2])
    return (
        torch.cat((nobody, query), 1),
        torch.cat((pair[0], key), 1),
        torch.cat((pair[1], value), 1),
        segments.continuing(more),
    )


AttentionInterface.register(NAME, segment_attention)


@lru_cache(maxsize=256)
def _bias(
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


def _by_segment(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float,
    window: int | None, softcap: float | None, dropout: float,
) -> Tensor:  # fmt: skip
    """Attend by autograd's own operations: any device, soft caps and dropout. [H, T, D] → same."""
    parts = []
    for a, b, prefix in segments.spans():
        one = (q[None, :, a:b], _seen(k, a, b, prefix)[None], _seen(v, a, b, prefix)[None])
        if softcap is not None:
            parts.append(_capped(*one, scale, window, softcap, dropout)[0])
        else:
            rule = _rule(one[0], one[1], window)
            parts.append(sdpa(*one, dropout_p=dropout, scale=scale, enable_gqa=True, **rule)[0])
    return torch.cat(parts, dim=1)


def _seen(keys: Tensor, a: int, b: int, prefix: tuple[Span, ...]) -> Tensor:
    """Return the keys (or values) that a segment may look at. Shapes: [K, T, D] → [K, P+L, D]."""
    if not prefix:
        return keys[:, a:b]
    return torch.cat([keys[:, c:d] for c, d in (*prefix, (a, b))], dim=1)


def _rule(query: Tensor, keys: Tensor, window: int | None) -> dict[str, Any]:  # Any: sdpa's options
    """Say who sees whom: sdpa's own causal rule where it fits, else a bias."""
    rows, columns = query.shape[2], keys.shape[2]
    if rows == columns and (window is None or rows <= window):
        return {"is_causal": True}
    return {"attn_mask": _bias(rows, columns, columns - rows, window, query.dtype, query.device)}


def _capped(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float, dropout: float
) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.tanh(q @ k.transpose(-1, -2) * (scale / cap)) * cap
    rows, columns = q.shape[2], k.shape[2]
    scores = scores + _bias(rows, columns, columns - rows, window, q.dtype, q.device)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
    return nn.functional.dropout(weights, dropout) @ v


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    segments: Segments,
    scale: float,
    window: int | None,
    out: Tensor | None = None,
) -> Tensor:
    """Attend inside each segment, no gradient kept; write into `out` if given.

    Shapes: q and out [H, T, D], k and v [K, T, D].
    """
    if out is None:
        out = torch.empty(q.shape[1], q.shape[0], q.shape[2], dtype=q.dtype).transpose(0, 1)
    for a, b, prefix in segments.spans():
        one = (q[None, :, a:b], _seen(k, a, b, prefix)[None], _seen(v, a, b, prefix)[None])
        found = sdpa(*one, scale=scale, enable_gqa=True, **_rule(one[0], one[1], window))
        out[:, a:b] = found[0]
    return out


def attend_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, segments: Segments, scale: float,
    window: int | None, into: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Write the gradients of q, k, v into `into`, recomputing the weights block by block.

    torch's own CPU kernel takes four times as long on rows of some hundred tokens (docs/log.md).
    Shapes: as `attend`; grad [H, T, D].
    """
    dq, dk, dv = into
    if segments.branched:  # many rows add to the same keys: in float32, rounded once
        dk, dv = (torch.zeros(t.shape, dtype=torch.float32) for t in (dk, dv))
    for a, b, prefix in segments.spans():
        keys, values = _seen(k, a, b, prefix), _seen(v, a, b, prefix)
        one = slice(a, b)
        dk_sum, dv_sum = _segment_backward(
            q[:, one], keys, values, grad[:, one], scale, window, dq[:, one]
        )
        _spread(dk, dk_sum, a, b, prefix, add=segments.branched)
        _spread(dv, dv_sum, a, b, prefix, add=segments.branched)
    if segments.branched:
        into[1].copy_(dk)
        into[2].copy_(dv)


def _spread(
    whole: Tensor, part: Tensor, a: int, b: int, prefix: tuple[Span, ...], *, add: bool
) -> None:
    """Bring a segment's gradient of what it saw back to where those keys lie."""
    low = 0
    for c, d in (*prefix, (a, b)):
        piece = part[:, low : low + d - c]
        if add:
            whole[:, c:d] += piece
        else:
            whole[:, c:d] = piece
        low += d - c


def _segment_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float, window: int | None, dq: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One segment, in blocks of queries; write dq, return dk and dv in float32.

    Zero rows fill it up: no real query sees a later key. Shapes: q [H, L, D], k and v [K, P+L, D].
    """
    length, seen = q.shape[1], k.shape[1]
    before = seen - length  # P
    q, grad = _filled(q) * scale, _filled(grad)  # scaled once here, not in every product
    H, L, D = q.shape
    k, v = (_filled(t, before + L) for t in (k, v))  # every query, a filled one too, sees a key
    K, M = k.shape[:2]
    dk_sum, dv_sum = (torch.zeros(K, M, D, dtype=torch.float32) for _ in "kv")
    for i in range(0, L, _BLOCK):
        end = min(i + _BLOCK, L)
        last = min(M, -(-(before + end) // _STEP) * _STEP)
        low = 0 if window is None else max(0, (before + i - window + 1) // _STEP * _STEP)
        n, m = end - i, last - low
        qb = q[:, i:end].reshape(K, H // K * n, D)
        gb = grad[:, i:end].reshape(K, H // K * n, D)
        kb, vb = k[:, low:last], v[:, low:last]
        scores = torch.bmm(qb, kb.transpose(1, 2)).view(H, n, m)
        hidden = low if window is not None else (before + i) // _STEP * _STEP  # all before are seen
        rule = _bias(n, last - hidden, before + i - hidden, window, q.dtype, q.device)
        scores[:, :, hidden - low :] += rule
        weights = torch.softmax(scores, -1).view(K, -1, m)
        d_weights = torch.bmm(gb, vb.transpose(1, 2))
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, q.dtype)
        d_queries = torch.bmm(d_scores, kb).view(H, n, D).mul_(scale)
        dq[:, i:end] = d_queries[:, : length - i]
        dk_sum[:, low:last] += torch.bmm(d_scores.transpose(1, 2), qb)
        dv_sum[:, low:last] += torch.bmm(weights.transpose(1, 2), gb)
    return dk_sum[:, :seen], dv_sum[:, :seen]


def _filled(part: Tensor, least: int = 0) -> Tensor:
    """Copy rows of heads, filled with zeros up to a multiple of `_STEP`. Shapes: [h, L, D]."""
    length = max(part.shape[1], least)
    more = length + -length % _STEP - part.shape[1]
    return nn.functional.pad(part, (0, 0, 0, more)).contiguous()


class SegmentAttention(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """`attend` with `attend_backward` as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float,
        window: int | None,
    ) -> Tensor:  # fmt: skip
        """Shapes: [H, T, D], [K, T, D] → [H, T, D]."""
        ctx.save_for_backward(q, k, v)
        ctx.rest = (segments, scale, window)
        return attend(q, k, v, segments, scale, window)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k and v."""
        q, k, v = ctx.saved_tensors
        into = (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v))
        segments, scale, window = ctx.rest
        attend_backward(q, k, v, grad, segments, scale, window, into)
        return (*into, None, None, None)
