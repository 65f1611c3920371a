"""Send a share of users to one candidate, the same users always: try a new model on some.

Knows nothing about how it does. Who asks is the request's user, else the key, else the request itself.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from stead.core import seeds
from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig


class CanaryConfig(PolicyConfig):
    """Settings of `canary`."""

    type: Literal["canary"] = "canary"
    candidate: str = Field(
        default="", description="name of the candidate to try; empty: the last one"
    )
    share: float = Field(default=0.05, ge=0, le=1, description="share of users that it answers")
    seed: int = Field(default=0, ge=0, description="another seed chooses other users")


class Canary(Policy):
    """The canary first for its users and last for all others, so that it still can help out."""

    config: CanaryConfig

    def __init__(self, config: CanaryConfig) -> None:
        super().__init__(config)
        self._asked = 0

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the canary and the others, in the order for this user."""
        named = self.config.candidate
        name = named if named or not candidates else candidates[-1].name
        canaries = [c for c in candidates if c.name == name]
        others = [c for c in candidates if c.name != name]
        return canaries + others if self._is_chosen(request) else others + canaries

    def _is_chosen(self, request: Request) -> bool:
        who = self._who(request)
        return seeds.stream(self.config.seed, 0, f"canary-{who}") < self.config.share * 2**63

    def _who(self, request: Request) -> str:
        if request.user:
            return f"user {request.user}"
        if request.call is not None:
            return f"key {request.call.key}" if request.call.key else f"call {request.call.id}"
        self._asked += 1
        return f"request {self._asked}"
