"""What distillation adds up over tokens: plain settings, without the arithmetic. Light.

Knows nothing about models.
"""

from dataclasses import dataclass
from typing import Literal

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]


@dataclass(frozen=True, slots=True)
class Measure:
    """alpha · cross-entropy + (1 − alpha) · T² · divergence, summed over the labelled tokens.

    T² keeps the divergence's gradient at the size of the cross-entropy's (arXiv:1503.02531 §2).
    `beta` is the teacher's share in the mixture of jsd; `top_k` the teacher tokens told apart.
    """

    kind: Divergence = "forward_kl"
    temperature: float = 1.0
    alpha: float = 0.5
    beta: float = 0.5
    top_k: int | None = None
