"""Weight-decomposed low-rank layers: a trained length for every row of the adapted weight.

Knows nothing about which layers are adapted. Source: arXiv:2402.09353 eq. 5 and §4.3 (the norm is a
constant for the gradient). Legend: K inputs, N outputs, R rank.
"""

import torch
from torch import Tensor, nn

from stead.models.layers.lowrank import LowRankLinear, current_draw


class DoraLinear(LowRankLinear):
    """y = m · (x·Wᵀ + scaling · x·Aᵀ·Bᵀ) / |W + scaling·B·A| (+ b), rows of W scaled to length m."""

    lora_magnitude_vector: nn.Parameter

    def begin(self, rank: int, init: str, generator: torch.Generator) -> None:
        """Make A and B, and m as the lengths that the rows of W have."""
        super().begin(rank, init, generator)
        self.register_buffer("squares", self.row_squares(), persistent=False)
        self.lora_magnitude_vector = nn.Parameter(self.norm())

    def row_squares(self) -> Tensor:
        """Return the squared length of each row of W, in float32. Shapes: [N]."""
        found: Tensor = self.weight.detach().float().square().sum(1)
        return found

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
    def norm(self) -> Tensor:
        """Return the row lengths of W + s·B·A without making that matrix. Shapes: [N].

        |w + s·b·A|² = |w|² + 2s·b·(A·w) + s²·b·(A·Aᵀ)·b, per row w of W and b of B.
        """
        A, B, s = self.lora_A.float(), self.lora_B.float(), self.lora.scaling
        bias = 0.0 if self.bias is None else self.bias.float()
        crossed = self.base(A.to(self.number)).float() - bias  # A·Wᵀ [R, N]
        squares = self.squares + 2 * s * (crossed.t() * B).sum(1) + s * s * ((B @ (A @ A.t())) * B).sum(1)  # fmt: skip
        return squares.clamp_min(0).sqrt()

    @property
    def number(self) -> torch.dtype:
        """The type the frozen weight is multiplied in."""
        return self.weight.dtype

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        out = self.base(input)
        if current_draw().plain:
            return out
        x = self.dropped(input)
        turned = out if x is input else self.base(x)
        product = turned if self.bias is None else turned - self.bias
        scale = (self.lora_magnitude_vector / self.norm()).to(out.dtype)
        return out + (scale - 1) * product + scale * self.added(x)
