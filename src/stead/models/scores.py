"""Log-probabilities of chosen tokens and the entropy at each, with one pass over the vocabulary.

Knows nothing about methods. Legend: N tokens, E hidden size, V vocabulary. The gradient of a token's
log-probability with respect to its hidden state is a vector of E numbers; it is found beside the
value, so the backward pass only multiplies and no logits are computed twice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stead.models.loss import Head, filled, product
from stead.models.scratch import scratch

_CACHED_NUMBERS = 1 << 17  # float32 numbers per inner step: twice 512 KiB, stays in a core's cache


def token_scores(
    hidden: Tensor, head: Head, labels: Tensor, chunk: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the labels (with gradient) and entropies (without), float32.

    The distribution is softmax(logits / temperature). Shapes: hidden [N, E], labels [N] → [N], [N].
    Units: nats. `chunk` tokens have logits at the same time.
    """
    if labels.shape[0] == 0:
        empty = hidden.new_zeros(0, dtype=torch.float32)
        return empty + 0 * hidden.float().sum(), empty
    if head.is_plain and not head.weight.requires_grad:
        found: tuple[Tensor, Tensor] = TokenScores.apply(
            hidden, head.weight, labels, chunk, temperature
        )
        return found
    parts = [
        checkpoint(_direct, h, head, y, temperature, use_reentrant=False)
        for h, y in zip(hidden.split(chunk), labels.split(chunk), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]).detach()


def _direct(
    hidden: Tensor, head: Head, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    logs = torch.log_softmax(head.logits(hidden).float() / temperature, -1)
    entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(1, labels[:, None]).squeeze(1), entropy.detach()


class TokenScores(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """Value and gradient direction in one pass; the backward pass multiplies row by row."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Shapes: hidden [N, E], weight [V, E], labels [N] → [N], [N], float32."""
        wants = ctx.needs_input_grad[0]
        N = labels.shape[0]
        scores = torch.empty(2, N, dtype=torch.float32, device=hidden.device)
        direction = torch.empty_like(hidden) if wants else None
        for start in range(0, N, chunk):
            rows = slice(start, start + chunk)
            n = labels[rows].shape[0]
            logits = product(filled(hidden[rows]), weight)
            scores[:, rows] = _score_(logits[:n], labels[rows], temperature, keep=wants)
            if direction is not None:
                logits[n:] = 0
                direction[rows] = torch.mm(logits, weight)[:n]
        ctx.save_for_backward(direction)
        ctx.temperature = temperature
        values, entropies = scores[0].clone(), scores[1].clone()
        ctx.mark_non_differentiable(entropies)
        return values, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Scale each row's direction by its gradient."""
        (direction,) = ctx.saved_tensors
        if direction is None:
            return None, None, None, None, None
        scaled = direction * (grad / -ctx.temperature).to(direction.dtype)[:, None]
        return scaled, None, None, None, None


def _score_(logits: Tensor, labels: Tensor, temperature: float, *, keep: bool) -> Tensor:
    """Return log-probabilities and entropies; with `keep` replace logits by softmax − one-hot.

    Shapes: logits [n, V], labels [n] → [2, n]. Row blocks are small enough to stay in cache.
    """
    n, V = logits.shape
    step = max(1, _CACHED_NUMBERS // V) if logits.device.type == "cpu" else n
    found = torch.empty(2, n, dtype=torch.float32, device=logits.device)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        part = logits[rows]
        x = scratch("scores", part.shape, torch.float32, part.device).copy_(part)
        if temperature != 1.0:
            x /= temperature
        x -= x.amax(1, keepdim=True)
        index = labels[rows, None]
        picked = x.gather(1, index)
        e = torch.exp(x, out=scratch("weights", part.shape, torch.float32, part.device))
        sums = e.sum(1, keepdim=True)
        log_sums = sums.log()
        found[0, rows] = (picked - log_sums).squeeze(1)
        found[1, rows] = (log_sums - x.mul_(e).sum(1, keepdim=True) / sums).squeeze(1)
        if keep:
            part.copy_(e.mul_(sums.reciprocal_()))
            part.scatter_add_(1, index, part.new_full((1, 1), -1.0).expand(part.shape[0], 1))
    return found
