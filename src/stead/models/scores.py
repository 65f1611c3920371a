"""Log-probabilities of chosen tokens and the entropy at each, with one pass over the vocabulary.

Knows nothing about methods. Legend: N tokens, E hidden size, V vocabulary. The gradient of a token's
log-probability with respect to its hidden state is a vector of E numbers; it is found beside the
value, so the backward pass only multiplies and no logits are computed twice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stead.models import products
from stead.models.exponentials import blocks, exponentials
from stead.models.loss import Head, filled, product


def token_scores(
    hidden: Tensor, head: Head, labels: Tensor, chunk: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the labels (with gradient) and entropies (without), float32.

    The distribution is softmax(logits / temperature). Entropies are known where a gradient is wanted,
    and may be NaN elsewhere: a reference needs none. Shapes: hidden [N, E], labels [N] → [N], [N].
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
                direction[rows] = products.mm(logits, weight)[:n]
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

    Without, entropies are NaN. Shapes: logits [n, V], labels [n] → [2, n].
    """
    picked = logits.gather(1, labels[:, None]).float() / temperature
    log_sums, means = torch.empty_like(picked), torch.full_like(picked, torch.nan)
    for rows in blocks(logits):
        values, sums, shift, x = exponentials(logits[rows], temperature)
        log_sums[rows] = sums.log() + shift
        if keep:
            share = values.mul_(sums.reciprocal_())
            means[rows] = x.mul_(share).sum(1, keepdim=True)
            logits[rows] = share
    if keep:
        logits[torch.arange(len(labels), device=labels.device), labels] -= 1
    return torch.cat((picked - log_sums, log_sums - means), 1).t()
