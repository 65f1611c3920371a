"""Ask the cheapest candidate first: price times the tokens of the prompt and of the answer asked for.

Knows nothing about quality. Tokens of the prompt are estimated; what runs here costs nothing; a candidate
without a known price comes last.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig


class CheapestConfig(PolicyConfig):
    """Settings of `cheapest`."""

    type: Literal["cheapest"] = "cheapest"
    answer_tokens: int = Field(
        default=256, ge=0, description="tokens of an answer when the request sets no limit"
    )


class Cheapest(Policy):
    """By cost, equal ones as written."""

    config: CheapestConfig

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates by cost."""

        def cost(candidate: Candidate) -> float:
            most = candidate.most(request, self.config.answer_tokens)
            return float("inf") if most is None else most

        return sorted(candidates, key=cost)
