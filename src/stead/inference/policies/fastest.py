"""Ask the candidate first that has been fastest lately, and try the others now and then.

Knows nothing about prices. Times are moving averages of what was measured here; a failure counts as a slow
answer, so that a candidate in trouble moves back and is found again by exploring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from stead.core import seeds
from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig, Seen


class FastestConfig(PolicyConfig):
    """Settings of `fastest`."""

    type: Literal["fastest"] = "fastest"
    first_weight: float = Field(
        default=0.5, ge=0, le=1,
        description="weight of the time to the first content; the rest is that of the whole answer",
    )  # fmt: skip
    memory: float = Field(
        default=0.8, ge=0, lt=1, description="weight of the past in the moving average"
    )
    explore: float = Field(
        default=0.05, ge=0, le=1, description="share of requests that ask another candidate first"
    )
    failure_s: float = Field(default=30.0, ge=0, description="seconds that a failure counts as")
    seed: int = Field(default=0, ge=0, description="seed of the choice of what to explore")


@dataclass(slots=True)
class _Average:
    first_s: float
    whole_s: float


class Fastest(Policy):
    """By measured time; candidates never measured come first."""

    config: FastestConfig

    def __init__(self, config: FastestConfig) -> None:
        super().__init__(config)
        self._averages: dict[str, _Average] = {}
        self._asked = 0

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates by time, or with another one in front to explore it."""
        found = sorted(candidates, key=self._time_s)
        self._asked += 1
        if len(found) > 1 and self._drawn("whether") < self.config.explore:
            chosen = 1 + int(self._drawn("which") * (len(found) - 1))
            found.insert(0, found.pop(chosen))
        return found

    def note(self, seen: Seen) -> None:
        """Take a measurement in."""
        whole_s = seen.seconds if seen.ok else max(seen.seconds, self.config.failure_s)
        first_s = whole_s if seen.first_s is None or not seen.ok else seen.first_s
        old = self._averages.get(seen.candidate)
        if old is None:
            self._averages[seen.candidate] = _Average(first_s, whole_s)
            return
        kept = self.config.memory
        old.first_s = kept * old.first_s + (1 - kept) * first_s
        old.whole_s = kept * old.whole_s + (1 - kept) * whole_s

    def _time_s(self, candidate: Candidate) -> float:
        known = self._averages.get(candidate.name)
        if known is None:
            return -1.0
        weight = self.config.first_weight
        return weight * known.first_s + (1 - weight) * known.whole_s

    def _drawn(self, what: str) -> float:
        return seeds.stream(self.config.seed, self._asked, f"fastest-{what}") / 2**63
