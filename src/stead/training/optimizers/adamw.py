"""AdamW: two moments per weight and decoupled decay; the default.

Knows nothing about models. Source: arXiv:1711.05101, algorithm 2.
"""

from typing import TYPE_CHECKING

from stead.training import adam
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    from torch import Tensor


class AdamW(Optimizer):
    """The usual choice: two moments per weight.

    torch's fused kernel over all weights of a group at once.
    """

    by_element = True
    state_bytes = 8.0

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return zero moments."""
        return adam.fresh(master)

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step."""
        slots = [self.slots[n] for n in group.names]
        betas = (self.beta1, self.beta2)
        adam.update(self.weights_of(group), gradients, slots, lr, betas, group.decay)
