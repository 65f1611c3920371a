"""NEFTune: uniform noise on the embeddings of training rows, from a counter instead of a generator.

Knows nothing about losses or steps. Source: arXiv:2310.05914, algorithm 1: each value of a row of L
tokens and width E gets noise from ±α/√(L·E). Legend: T tokens of a micro-batch, E hidden size.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stead.core import seeds
from stead.models.layers.lowrank import Draw


def noisy(
    embedded: Tensor, positions: Tensor, starts: Sequence[int], alpha: float, draw: Draw
) -> Tensor:
    """Return embeddings with the noise of (seed, step) added. Shapes: [T, E], [T] → [T, E].

    `starts` has the rows' borders; a row's L counts from its sequence's beginning, so a row that
    continues another has the noise of the whole.
    """
    generator = torch.Generator(device="cpu")
    generator.manual_seed(seeds.stream(draw.seed, draw.step, "neftune"))
    noise = torch.rand(embedded.shape, generator=generator, dtype=torch.float32).mul_(2.0).sub_(1.0)
    for a, b in pairwise(starts):
        length = int(positions[b - 1]) + 1
        noise[a:b] *= alpha / (length * embedded.shape[1]) ** 0.5
    return embedded + noise.to(device=embedded.device, dtype=embedded.dtype)
