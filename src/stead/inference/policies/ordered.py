"""Ask the candidates in the order in which they are written.

Knows nothing about them.
"""

from collections.abc import Sequence
from typing import Literal

from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig


class OrderedConfig(PolicyConfig):
    """Settings of `ordered`: none of its own."""

    type: Literal["ordered"] = "ordered"


class Ordered(Policy):
    """As written."""

    primary = True
    config: OrderedConfig

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates as they came."""
        return list(candidates)
