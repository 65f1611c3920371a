"""How far a student's next-token distribution is from a teacher's, chunk by chunk, with gradient.

Knows nothing about methods or where a teacher comes from. Legend: N labelled tokens, n of a chunk, E
hidden size, V vocabulary, K teacher tokens kept. [N, V] never exists at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stead.models.loss import Head
from stead.models.measure import Measure

ChunkLoss = Callable[[Tensor, slice], Tensor]
"""Student logits [n, V] in float32 and which rows they are → summed loss."""


def divergence(student: Tensor, teacher: Tensor, measure: Measure) -> Tensor:
    """Return the divergence at each token, at the measure's temperature. Units: nats.

    Shapes: logits [n, V] both → [n]. With `top_k`, all other tokens are one more outcome: the value
    is then a lower bound of the whole (data processing), and equal for top_k = V.
    Source: arXiv:2306.13649 eq. 1 and 2; jsd is β·KL(p‖m) + (1−β)·KL(q‖m), m = β·p + (1−β)·q.
    """
    log_q = torch.log_softmax(student / measure.temperature, -1)
    log_p = torch.log_softmax(teacher / measure.temperature, -1)
    if measure.top_k is not None and measure.top_k < log_p.shape[-1]:
        log_p, index = log_p.topk(measure.top_k, -1)
        log_q = log_q.gather(-1, index)
        log_p, log_q = _with_rest(log_p), _with_rest(log_q)
    if measure.kind == "forward_kl":
        return _kl(log_p, log_q)
    if measure.kind == "reverse_kl":
        return _kl(log_q, log_p)
    beta = measure.beta
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _with_rest(logs: Tensor) -> Tensor:
    """Add the log-probability of everything else as a last outcome."""
    rest = 1.0 - logs.exp().sum(-1, keepdim=True)
    return torch.cat((logs, rest.clamp(min=1e-12).log()), -1)


def chunked_sum(hidden: Tensor, head: Head, loss: ChunkLoss, chunk: int) -> Tensor:
    """Return the sum of `loss` over chunks of logits, as a float32 scalar with gradient.

    Shapes: hidden [N, E]. The gradients of hidden states and head are found in the same pass, so
    logits are computed once and never kept.
    """
    total: Tensor = _Chunked.apply(hidden, head.weight, head.bias, head, loss, chunk)
    return total


class _Chunked(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Head,
        loss: ChunkLoss, chunk: int,
    ) -> Tensor:  # fmt: skip
        needs = ctx.needs_input_grad[:3]
        w = weight.detach().requires_grad_(needs[1])
        b = None if bias is None else bias.detach().requires_grad_(needs[2])
        own = replace(head, weight=w, bias=b)
        grads: list[Tensor | None] = [
            torch.zeros_like(t, dtype=torch.float32) if need and t is not None else None
            for t, need in zip((hidden, weight, bias), needs, strict=True)
        ]
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            h = hidden[rows].detach().requires_grad_(needs[0])
            with torch.set_grad_enabled(any(needs)):
                part = loss(own.logits(h).float(), rows)
            total += part.detach().double().cpu()
            _accumulate(part, (h, w, b), grads, rows)
        ctx.save_for_backward(*grads)
        ctx.dtypes = [None if t is None else t.dtype for t in (hidden, weight, bias)]
        return total.float().to(hidden.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            None if g is None else (g * grad).to(dtype)
            for g, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*found, None, None, None)


def _accumulate(
    part: Tensor, leaves: tuple[Tensor | None, ...], grads: list[Tensor | None], rows: slice
) -> None:
    """Add one chunk's gradients to the sums: hidden states by row, head as a whole."""
    wanted = [i for i, g in enumerate(grads) if g is not None]
    if not wanted:
        return
    found = torch.autograd.grad(part, [leaves[i] for i in wanted])
    for i, more in zip(wanted, found, strict=True):
        into = grads[i]
        if into is not None:
            (into[rows] if i == 0 else into).add_(more)


@dataclass(slots=True)
class Distance:
    """The chunk loss of distillation; adds up its two parts for the log.

    `vocabulary` is the number of first tokens that both models know: padded tables may differ.
    """

    measure: Measure
    labels: Tensor  # int64 [N]
    teacher_hidden: Tensor  # [N, E']
    teacher_head: Head
    vocabulary: int
    smoothing: float = 0.0  # of the labels
    cross_entropy: float = 0.0
    divergence: float = 0.0

    def __call__(self, logits: Tensor, rows: slice) -> Tensor:
        """Return the summed loss of a chunk. Shapes: logits [n, V]."""
        m = self.measure
        with torch.no_grad():
            taught = self.teacher_head.logits(self.teacher_hidden[rows]).float()
        apart = divergence(logits[:, : self.vocabulary], taught[:, : self.vocabulary], m).sum()
        self.divergence += float(apart.detach())
        total = (1 - m.alpha) * m.temperature**2 * apart
        if m.alpha:
            ce = torch.nn.functional.cross_entropy(
                logits, self.labels[rows], reduction="sum", label_smoothing=self.smoothing
            )
            self.cross_entropy += float(ce.detach())
            total = total + m.alpha * ce
        return total
