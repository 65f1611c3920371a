"""The seam for policies: in which order the candidates of a request are asked.

Knows nothing about requests' rules, privacy or failures: it is given the candidates that may and can.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from stead.core.registry import Registry
from stead.inference.candidate import Candidate, Request


class PolicyConfig(BaseModel):
    """Settings of a policy; a subclass adds its own and narrows `type`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: str
    hedge_after_s: float | None = Field(
        default=None,
        gt=0,
        description="ask the next candidate too when the first has given nothing for so many seconds",
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """How a candidate did: `first_s` until the first content (None: answered whole), `seconds` in all."""

    candidate: str
    ok: bool
    seconds: float
    first_s: float | None = None


class Policy(ABC):
    """Order candidates. `order` returns each candidate once; it must not wait.

    `primary`: the first candidate as written is meant to answer, so that its absence is told.
    """

    primary: ClassVar[bool] = False
    config: PolicyConfig

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config

    @abstractmethod
    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return all candidates, the one to ask first in front."""

    def note(self, seen: Seen) -> None:
        """Be told how a candidate did."""
        return


POLICIES: Registry[Policy] = Registry(
    "policy", "stead.inference.policies", base="stead.inference.policy:Policy"
)


def make(name: str, **settings: object) -> Policy:
    """Make a policy from its name and settings.

    Raises: ConfigError("unknown-policy" | …) for a name or a setting that is not known.
    """
    config = POLICIES.config_of(name)
    return POLICIES.create(name, config=config(type=name, **settings))
