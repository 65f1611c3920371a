"""Share requests among candidates by weights; the others follow, by weight again, for fallback.

Knows nothing about how candidates do.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from stead.core import seeds
from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig


class WeightedConfig(PolicyConfig):
    """Settings of `weighted`."""

    type: Literal["weighted"] = "weighted"
    weights: dict[str, float] = Field(
        default={},
        description="weight by candidate name; one that is not named has 1, 0 comes last",
    )
    seed: int = Field(default=0, ge=0, description="seed of the draws")


class Weighted(Policy):
    """By draws without putting back."""

    config: WeightedConfig

    def __init__(self, config: WeightedConfig) -> None:
        super().__init__(config)
        self._asked = 0

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates as drawn."""
        self._asked += 1
        rest, found = list(candidates), list[Candidate]()
        while rest:
            found.append(rest.pop(self._draw(rest, len(found))))
        return found

    def _draw(self, rest: Sequence[Candidate], place: int) -> int:
        weights = [max(0.0, self.config.weights.get(c.name, 1.0)) for c in rest]
        point = seeds.stream(self.config.seed, self._asked, f"weighted-{place}") / 2**63
        point *= sum(weights)
        for i, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return i
        return 0  # all weights are 0
