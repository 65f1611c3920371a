"""Cross-entropy over the vocabulary, computed in chunks so that [N, V] never exists at once.

Knows nothing about which tokens count or what the loss is for. Legend: N labelled tokens, E hidden
size, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stead.models import products
from stead.models.exponentials import blocks, exponentials
from stead.models.scratch import scratch

_STEP = 64  # rows of a product on a CPU: oneDNN compiles a kernel for each new shape


@dataclass(frozen=True, slots=True)
class Head:
    """The output layer: logits = cap(hidden·weightᵀ·scale + bias)."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits. Shapes: [..., E] → [..., V]."""
        out = products.linear(hidden, self.weight, self.bias)
        if self.scale != 1.0:
            out = out * self.scale
        if self.softcap is not None:
            out = torch.tanh(out / self.softcap) * self.softcap
        return out

    @property
    def is_plain(self) -> bool:
        """Say whether logits are just hidden·weightᵀ."""
        return self.bias is None and self.scale == 1.0 and self.softcap is None


def cross_entropy_sum(
    hidden: Tensor, head: Head, labels: Tensor, chunk: int, smoothing: float = 0.0
) -> Tensor:
    """Return the summed negative log-likelihood of `labels`, as a float32 scalar.

    Shapes: hidden [N, E], labels [N]. Units: nats. `chunk` tokens have logits at the same time.
    `smoothing` is the share of each label given to all words alike (arXiv:1512.00567, section 7);
    it goes the plain way, which is slower.
    """
    hidden, head = _without_gradient(hidden, head)
    if head.is_plain and smoothing == 0.0:
        total: Tensor = ChunkedCrossEntropy.apply(hidden, head.weight, labels, chunk)
        return total
    return sum(
        (
            torch.utils.checkpoint.checkpoint(_direct, h, head, y, smoothing, use_reentrant=False)
            for h, y in zip(hidden.split(chunk), labels.split(chunk), strict=True)
        ),
        torch.zeros((), device=hidden.device),
    )


def _direct(hidden: Tensor, head: Head, labels: Tensor, smoothing: float) -> Tensor:
    return torch.nn.functional.cross_entropy(
        head.logits(hidden).float(), labels, reduction="sum", label_smoothing=smoothing
    )


def token_log_probs(hidden: Tensor, head: Head, labels: Tensor, chunk: int) -> Tensor:
    """Return each label's log-probability, with gradient; `chunk` tokens have logits at a time.

    Shapes: hidden [N, E], labels [N] → [N], float32. Units: nats.
    """
    hidden, head = _without_gradient(hidden, head)
    if head.is_plain:
        found: Tensor = ChunkedLogProbs.apply(hidden, head.weight, labels, chunk)
        return found
    parts = [
        torch.utils.checkpoint.checkpoint(_direct_log_probs, h, head, y, use_reentrant=False)
        for h, y in zip(hidden.split(chunk), labels.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def _direct_log_probs(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    logits = head.logits(hidden).float()
    return -torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def _without_gradient(hidden: Tensor, head: Head) -> tuple[Tensor, Head]:
    """Cut both off the graph where no gradient is wanted: a function cannot see `no_grad` inside."""
    if torch.is_grad_enabled():
        return hidden, head
    return hidden.detach(), replace(head, weight=head.weight.detach())


class ChunkedCrossEntropy(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """Loss and gradient in one pass over the logits; the backward pass only multiplies."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        """Shapes: hidden [N, E], weight [V, E], labels [N] → scalar float32."""
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight: Tensor | None = None
        if wants_weight:
            chunk = max(chunk, _rows_like_a_gradient(weight))
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            part = filled(hidden[rows])
            n = labels[rows].shape[0]
            logits = product(part, weight)
            gradient = wants_hidden or wants_weight
            losses = _label_losses_(logits[:n], labels[rows], gradient=gradient)
            total += losses.double().sum().cpu()
            logits[n:] = 0
            if grad_hidden is not None:
                grad_hidden[rows] = products.mm(logits, weight)[:n]
            if wants_weight:
                grad_weight = _added(grad_weight, products.mm(logits.t(), part))
        ctx.weight_dtype = weight.dtype
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total.float().to(hidden.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients found in the forward pass."""
        grad_hidden, grad_weight = ctx.saved_tensors
        h = None if grad_hidden is None else grad_hidden * grad.to(grad_hidden.dtype)
        w = (
            None
            if grad_weight is None
            else (grad_weight * grad.to(grad_weight.dtype)).to(ctx.weight_dtype)
        )
        return h, w, None, None


def _rows_like_a_gradient(weight: Tensor) -> int:
    """Return how many tokens' logits take as much memory as the weight's float32 gradient."""
    return max(1, int(weight.shape[1]) * 4 // int(weight.element_size()))


def _added(total: Tensor | None, more: Tensor) -> Tensor:
    """Add up chunks' gradients in float32; a single one stays as it is."""
    return more if total is None else total.float().add_(more)


class ChunkedLogProbs(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """The log-probability of each label, by itself: what is done with them is known only later.

    With a frozen head one pass is enough: the gradient that reaches a token's hidden state is that of
    its own log-probability, a vector found on the way, times one number. A trained head needs the
    logits again, because its gradient adds up over tokens.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        """Shapes: hidden [N, E], weight [V, E], labels [N] → [N] float32."""
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        one_pass = wants_hidden and not wants_weight
        slope = torch.empty_like(hidden) if one_pass else None
        found = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            n = labels[rows].shape[0]
            logits = product(filled(hidden[rows]), weight)
            found[rows] = -_label_losses_(logits[:n], labels[rows], gradient=one_pass)
            if slope is not None:
                logits[n:] = 0
                slope[rows] = products.mm(logits, weight)[:n].neg_()
        ctx.chunk = chunk
        again = (hidden, weight, labels) if wants_weight else (None, None, None)
        ctx.save_for_backward(slope, *again)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Shapes: grad [N] → hidden's and weight's own."""
        slope, hidden, weight, labels = ctx.saved_tensors
        if weight is None:
            found = None if slope is None else (slope * grad[:, None]).to(slope.dtype)
            return found, None, None, None
        d_hidden = torch.empty_like(hidden)
        d_weight: Tensor | None = None
        chunk = max(ctx.chunk, _rows_like_a_gradient(weight))
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            part, n = filled(hidden[rows]), labels[rows].shape[0]
            logits = product(part, weight)
            _label_losses_(logits[:n], labels[rows], gradient=True)
            logits[:n] *= -grad[rows, None]
            logits[n:] = 0
            d_hidden[rows] = products.mm(logits, weight)[:n]
            d_weight = _added(d_weight, products.mm(logits.t(), part))
        return d_hidden, None if d_weight is None else d_weight.to(weight.dtype), None, None


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """Return rows·weightᵀ in memory that the next call of this thread overwrites. Shapes: [n, V]."""
    shape = (rows.shape[0], weight.shape[0])
    out = scratch("logits", shape, rows.dtype, rows.device)
    return products.mm(rows, weight.t(), out)


def filled(rows: Tensor) -> Tensor:
    """Add zero rows up to a multiple of `_STEP`. Shapes: [n, E] → [n', E]."""
    more = -rows.shape[0] % _STEP if rows.device.type == "cpu" else 0
    return torch.nn.functional.pad(rows, (0, 0, 0, more)) if more else rows


def _label_losses_(logits: Tensor, labels: Tensor, *, gradient: bool) -> Tensor:
    """Return each label's negative log-likelihood; `logits` are used up.

    With `gradient` they become softmax − one-hot, in place. Shapes: logits [n, V], labels [n] → [n],
    float32. Row blocks are small enough to stay in cache.
    """
    picked = logits.gather(1, labels[:, None]).float()
    log_sums = torch.empty_like(picked)
    for rows in blocks(logits):
        values, sums, shift, _ = exponentials(logits[rows])
        log_sums[rows] = sums.log() + shift
        if gradient:
            logits[rows] = values.mul_(sums.reciprocal_())
    if gradient:
        logits[torch.arange(len(labels), device=labels.device), labels] -= 1
    return (log_sums - picked).squeeze(1)
