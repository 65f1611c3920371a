"""Exact causal attention inside each segment of a flattened batch, without padding or a T×T mask.

Knows nothing about models; transformers calls it under the name "stead". Legend: T tokens of all
segments, L tokens of one, H heads, K key heads, G query heads per key head, D head size.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stead.core.errors import ModelError

NAME = "stead"
_STEP = 32  # lengths are filled up to this: oneDNN compiles a kernel for each new shape
_BLOCK = 512  # queries per block of the backward pass: bounds its memory to H·512·L numbers


def segment_attention(  # noqa: PLR0913, PLR0917 - transformers gives the signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    starts: Sequence[int] | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,  # Any: transformers passes more than is needed
) -> tuple[Tensor, None]:
    """Attend inside each segment [starts[i], starts[i+1]); without `starts`, as transformers' sdpa.

    Shapes: query [1, H, T, D], key and value [1, K, T, D] → [1, T, H, D].
    Raises: ModelError("attention-unsupported") for what would not be exact (sinks, biases).
    """
    if starts is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise ModelError("attention-unsupported", f"packed rows cannot be exact with {name!r}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = query[0], key[0], value[0]
    if softcap is not None or dropout > 0 or q.device.type != "cpu":
        out = _by_segment(q, k, v, starts, scale, sliding_window, softcap, dropout)
    else:
        out = SegmentAttention.apply(q, k, v, tuple(starts), scale, sliding_window)
    return out.transpose(0, 1)[None], None


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
    q: Tensor, k: Tensor, v: Tensor, starts: Sequence[int], scale: float,
    window: int | None, softcap: float | None, dropout: float,
) -> Tensor:  # fmt: skip
    """Attend by autograd's own operations: any device, soft caps and dropout. [H, T, D] → same."""
    parts = []
    for a, b in pairwise(starts):
        one = (q[None, :, a:b], k[None, :, a:b], v[None, :, a:b])
        if softcap is not None:
            parts.append(_capped(*one, scale, window, softcap, dropout)[0])
        elif window is not None and b - a > window:
            bias = _bias(b - a, b - a, 0, window, q.dtype, q.device)
            parts.append(
                sdpa(*one, attn_mask=bias, dropout_p=dropout, scale=scale, enable_gqa=True)[0]
            )
        else:
            parts.append(
                sdpa(*one, is_causal=True, dropout_p=dropout, scale=scale, enable_gqa=True)[0]
            )
    return torch.cat(parts, dim=1)


def _capped(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float, dropout: float
) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.tanh(q @ k.transpose(-1, -2) * (scale / cap)) * cap
    scores = scores + _bias(q.shape[2], q.shape[2], 0, window, q.dtype, q.device)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
    return nn.functional.dropout(weights, dropout) @ v


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Sequence[int],
    scale: float,
    window: int | None,
    out: Tensor | None = None,
) -> Tensor:
    """Attend inside each segment, no gradient kept; write into `out` if given.

    Shapes: q and out [H, T, D], k and v [K, T, D].
    """
    if out is None:
        out = torch.empty(q.shape[1], q.shape[0], q.shape[2], dtype=q.dtype).transpose(0, 1)
    for a, b in pairwise(starts):
        one = (q[None, :, a:b], k[None, :, a:b], v[None, :, a:b])
        if window is not None and b - a > window:
            bias = _bias(b - a, b - a, 0, window, q.dtype, q.device)
            found = sdpa(*one, attn_mask=bias, scale=scale, enable_gqa=True)
        else:
            found = sdpa(*one, is_causal=True, scale=scale, enable_gqa=True)
        out[:, a:b] = found[0]
    return out


def attend_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, starts: Sequence[int], scale: float,
    window: int | None, into: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Write the gradients of q, k, v into `into`, recomputing the weights block by block.

    torch's own CPU kernel takes four times as long on rows of some hundred tokens (docs/log.md).
    Shapes: as `attend`; grad [H, T, D].
    """
    dq, dk, dv = into
    for a, b in pairwise(starts):
        one = slice(a, b)
        _segment_backward(
            q[:, one], k[:, one], v[:, one], grad[:, one], scale, window,
            (dq[:, one], dk[:, one], dv[:, one]),
        )  # fmt: skip


def _segment_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float, window: int | None,
    into: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """One segment, in blocks of queries. Zero rows fill it up: no real query sees a later key."""
    dq, dk, dv = into
    length = q.shape[1]
    q, k, v, grad = (_filled(t) for t in (q, k, v, grad))
    H, L, D = q.shape
    K = k.shape[0]
    dk_sum, dv_sum = (torch.zeros(K, L, D, dtype=torch.float32) for _ in "kv")
    for i in range(0, L, _BLOCK):
        end = min(i + _BLOCK, L)
        low = 0 if window is None else max(0, (i - window + 1) // _STEP * _STEP)
        n, m = end - i, end - low
        qb = q[:, i:end].reshape(K, H // K * n, D)
        gb = grad[:, i:end].reshape(K, H // K * n, D)
        kb, vb = k[:, low:end], v[:, low:end]
        scores = torch.bmm(qb, kb.transpose(1, 2)).mul_(scale).view(H, n, m)
        scores += _bias(n, m, i - low, window, q.dtype, q.device)
        weights = torch.softmax(scores, -1).view(K, -1, m)
        d_weights = torch.bmm(gb, vb.transpose(1, 2))
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, q.dtype).mul_(scale)
        d_queries = torch.bmm(d_scores, kb).view(H, n, D)
        dq[:, i:end] = d_queries[:, : length - i]
        dk_sum[:, low:end] += torch.bmm(d_scores.transpose(1, 2), qb)
        dv_sum[:, low:end] += torch.bmm(weights.transpose(1, 2), gb)
    dk.copy_(dk_sum[:, :length])
    dv.copy_(dv_sum[:, :length])


def _filled(part: Tensor) -> Tensor:
    """Copy rows of heads, filled with zeros up to a multiple of `_STEP`. Shapes: [h, L, D]."""
    return nn.functional.pad(part, (0, 0, 0, -part.shape[1] % _STEP)).contiguous()


class SegmentAttention(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """`attend` with `attend_backward` as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, starts: tuple[int, ...], scale: float,
        window: int | None,
    ) -> Tensor:  # fmt: skip
        """Shapes: [H, T, D], [K, T, D] → [H, T, D]."""
        ctx.save_for_backward(q, k, v)
        ctx.rest = (starts, scale, window)
        return attend(q, k, v, starts, scale, window)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k and v."""
        q, k, v = ctx.saved_tensors
        into = (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v))
        starts, scale, window = ctx.rest
        attend_backward(q, k, v, grad, starts, scale, window, into)
        return (*into, None, None, None)
