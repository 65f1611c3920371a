"""What a strategy may not pass: sizes, money, models, hardware, privacy.

Knows nothing about who keeps to them: `inference/compose` builds what does.
"""

from typing import Annotated, Literal

from pydantic import Field

from stead.config.kinds import Section
from stead.core.address import Place

Dollars = Annotated[float, Field(gt=0, le=1e9)]
Tokens = Annotated[int, Field(ge=1)]
Privacy = Literal["public", "private", "local_only"]


class Constraints(Section):
    """Limits of every request of a strategy, and of all of them together."""

    max_tokens: Tokens | None = Field(
        default=None, description="longest answer in tokens; a request for more gets this many"
    )
    max_output_tokens: Tokens | None = Field(
        default=None, description="as max_tokens; of the two the smaller counts"
    )
    max_input_tokens: Tokens | None = Field(
        default=None, description="longest prompt in tokens; a longer one is refused"
    )
    max_cost_per_request: Dollars | None = Field(
        default=None, description="US dollars one request may cost, its retries included"
    )
    daily_budget: Dollars | None = Field(
        default=None,
        description="US dollars per calendar day (UTC), by the ledger of the data directory",
    )
    monthly_budget: Dollars | None = Field(
        default=None,
        description="US dollars per calendar month (UTC), by the ledger of the data directory",
    )
    allowed_models: tuple[str, ...] | None = Field(
        default=None, description="only these; a name without tag allows every tag of it"
    )
    blocked_models: tuple[str, ...] = Field(
        default=(), description="never these; a name without tag blocks every tag of it"
    )
    requires_gpu: bool = Field(
        default=False, description="models that run on this machine need a GPU"
    )
    min_gpu_memory: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="GB of GPU memory that models on this machine need"
    )
    privacy_mode: Privacy = Field(
        default="public",
        description="where a request may go: anywhere; own machines and networks; this machine",
    )


PLACES: dict[Privacy, tuple[Place, ...]] = {
    "public": ("local", "private", "public"),
    "private": ("local", "private"),
    "local_only": ("local",),
}
"""Which places of an endpoint each privacy mode lets a request go to."""


def names_model(pattern: str, model: str) -> bool:
    """Say whether an entry of a model list means `model`: equal, or equal up to the tag."""
    return model == pattern or (":" not in pattern and model.partition(":")[0] == pattern)


def allows(constraints: Constraints, model: str) -> bool:
    """Say whether the model lists let `model` answer."""
    if any(names_model(p, model) for p in constraints.blocked_models):
        return False
    allowed = constraints.allowed_models
    return allowed is None or any(names_model(p, model) for p in allowed)
