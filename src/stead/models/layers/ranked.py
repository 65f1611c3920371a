"""Low-rank layers as P·Λ·Q with a trained singular value for each direction, for AdaLoRA.

Knows nothing about how the rank is shared among layers. Source: arXiv:2303.10512 eq. 3. Legend: K
inputs, N outputs, R rank; PEFT's names are used: A is Q [R, K], E is Λ [R, 1], B is P [N, R].
"""

import torch
from torch import Tensor, nn

from stead.models import products
from stead.models.layers.lowrank import LowRankLinear

_DEVIATION = 0.02  # of A and B at the start: the authors' code and PEFT


class RankedLinear(LowRankLinear):
    """y = x·Wᵀ (+ b) + scaling · drop(x)·(A∘E)ᵀ·Bᵀ."""

    lora_E: nn.Parameter  # noqa: N815 - the name in PEFT's files

    def begin(self, rank: int, init: str, generator: torch.Generator) -> None:
        """Make A and B normal and E zero; there is no other way to begin."""
        device = self.weight.device
        A = torch.empty(rank, self.in_features).normal_(0, _DEVIATION, generator=generator)
        B = torch.empty(self.out_features, rank).normal_(0, _DEVIATION, generator=generator)
        self.lora_A, self.lora_B = nn.Parameter(A.to(device)), nn.Parameter(B.to(device))
        self.lora_E = nn.Parameter(torch.zeros(rank, 1, device=device))

    def added(self, x: Tensor) -> Tensor:
        """Return the scaled product of inputs after dropout. Shapes: [..., K] → [..., N]."""
        low = products.linear(x, (self.lora_A * self.lora_E).to(x.dtype))
        return products.linear(low, self.lora_B.to(x.dtype) * self.lora.scaling)
