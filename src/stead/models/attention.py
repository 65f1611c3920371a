"""Exact causal attention inside each segment of a flattened batch, without padding or a T×T mask.

Knows nothing about models; transformers calls it under the name "stead". Legend: T tokens of all
segments, L tokens of one, H heads, K key heads, G query heads per key head, D head size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stead.core.errors import ModelError
from stead.models.attention_backward import attend_backward
from stead.models.attention_parts import Group, bias, groups, seen, stacked, unstacked
from stead.models.segments import Segments

NAME = "stead"


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


def _by_segment(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float,
    window: int | None, softcap: float | None, dropout: float,
) -> Tensor:  # fmt: skip
    """Attend by autograd's own operations: any device, soft caps and dropout. [H, T, D] → same."""
    parts = []
    for a, b, prefix in segments.spans():
        one = (q[None, :, a:b], seen(k, a, b, prefix)[None], seen(v, a, b, prefix)[None])
        if softcap is not None:
            parts.append(_capped(*one, scale, window, softcap, dropout)[0])
        else:
            rule = _rule(one[0], one[1], window)
            parts.append(sdpa(*one, dropout_p=dropout, scale=scale, enable_gqa=True, **rule)[0])
    parts.append(q.new_zeros(q.shape[0], segments.idle, q.shape[2]))
    return torch.cat(parts, dim=1)


def _rule(query: Tensor, keys: Tensor, window: int | None) -> dict[str, Any]:  # Any: sdpa's options
    """Say who sees whom: sdpa's own causal rule where it fits, else a bias."""
    rows, columns = query.shape[2], keys.shape[2]
    if rows == columns and (window is None or rows <= window):
        return {"is_causal": True}
    return {"attn_mask": bias(rows, columns, columns - rows, window, query.dtype, query.device)}


def _capped(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float, dropout: float
) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.tanh(q @ k.transpose(-1, -2) * (scale / cap)) * cap
    rows, columns = q.shape[2], k.shape[2]
    scores = scores + bias(rows, columns, columns - rows, window, q.dtype, q.device)
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
    """Attend inside each segment, no gradient kept; write into `out` if given. Idle tokens give 0.

    Shapes: q and out [H, T, D], k and v [K, T, D].
    """
    if out is None:
        out = torch.empty(q.shape[1], q.shape[0], q.shape[2], dtype=q.dtype).transpose(0, 1)
    for group in groups(segments):
        if group.before and len(group.spans) > 1:  # the answers to one prompt
            _attend_group(q, k, v, group, scale, window, out)
            continue
        for a, b, prefix in group.spans:
            one = (q[None, :, a:b], seen(k, a, b, prefix)[None], seen(v, a, b, prefix)[None])
            found = sdpa(*one, scale=scale, enable_gqa=True, **_rule(one[0], one[1], window))
            out[:, a:b] = found[0]
    out[:, segments.end :] = 0
    return out


def _attend_group(
    q: Tensor, k: Tensor, v: Tensor, group: Group, scale: float, window: int | None, out: Tensor
) -> None:
    """Write what segments of one shape attend to, computed in one call. Shapes: as `attend`."""
    queries = stacked(q, group)
    keys, values = (stacked(t, group, with_prefix=True) for t in (k, v))
    rule = bias(group.length, group.seen, group.before, window, q.dtype, q.device)
    found = sdpa(queries, keys, values, scale=scale, enable_gqa=True, attn_mask=rule)
    for where, part in unstacked(found, group):
        out[:, where] = part


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
