"""Causal attention as two batched matmuls: on CPU, bf16 and short blocks, faster than torch's SDPA (slow backward there).

Importing it registers "mathattn" with transformers. It handles training without padding or cache only: mask is ignored.
"""

from __future__ import annotations

import torch
from transformers import AttentionInterface


def mathattn(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object = None,
    scaling: float = 1.0,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Grouped-query causal attention; returns (batch, time, heads, width)."""
    batch, heads, time, width = query.shape
    kv = key.shape[1]
    query = (query * scaling).reshape(batch * kv, heads // kv * time, width)
    key, value = key.reshape(batch * kv, time, width), value.reshape(batch * kv, time, width)
    scores = torch.bmm(query, key.transpose(1, 2)).view(batch * kv, heads // kv, time, time)
    future = torch.full((time, time), float("-inf"), dtype=scores.dtype).triu_(1)
    weights = torch.softmax(scores + future, -1, dtype=scores.dtype)
    mixed = torch.bmm(weights.view(batch * kv, -1, time), value).view(batch, heads, time, width)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register("mathattn", mathattn)
