"""How a strategy saves time and money: cache, grouping, time-outs, parallel requests, retries.

Knows nothing about who does it.
"""

from typing import Annotated

from pydantic import Field

from stead.config.kinds import Section


class RetryPolicySection(Section):
    """When to ask the same endpoint again."""

    max_attempts: Annotated[int, Field(ge=1, le=21)] = Field(
        default=3, description="attempts in all, the first included"
    )
    backoff_multiplier: Annotated[float, Field(ge=1, le=10)] = Field(
        default=2.0, description="how much longer each wait may be than the one before"
    )
    max_backoff: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="longest wait between attempts in seconds"
    )


class Optimization(Section):
    """How to answer faster, cheaper and more reliably."""

    cache_enabled: bool = Field(
        default=False,
        description="answer equal requests of temperature 0 or with a seed from memory",
    )
    cache_ttl: Annotated[float, Field(gt=0)] = Field(
        default=3600.0, description="seconds an answer stays in the cache"
    )
    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="requests sent together; texts to embed join into one call"
    )
    batch_timeout: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=50.0, description="milliseconds to wait for more requests to send together"
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None,
        description="seconds a request may take in all, retries and fallbacks included",
    )
    parallel_requests: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="requests at work at once; more wait"
    )
    retry_policy: RetryPolicySection = Field(
        default=RetryPolicySection(), description="when to ask the same endpoint again"
    )
