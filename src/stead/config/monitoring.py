"""What a strategy tells about itself: log, metrics, traces, alerts.

Knows nothing about who writes them.
"""

from typing import Annotated, Literal

from pydantic import Field

from stead.config.kinds import Section


class Alert(Section):
    """When to raise an alarm."""

    type: Literal["latency", "error_rate"] = Field(description="what is watched")
    threshold: Annotated[float, Field(gt=0)] = Field(
        description="latency: milliseconds, the 95th of 100; error_rate: share of failed requests"
    )


class Monitoring(Section):
    """What is written down about requests."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="WARNING",
        description="least severity that the strategy logs; INFO tells each request, as the access log does",
    )
    log_format: Literal["json", "text"] = Field(default="text", description="form of a log line")
    metrics_enabled: bool = Field(default=True, description="count requests, errors and time")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        default=None, description="loopback port that shows the counts (Prometheus); 0: a free one"
    )
    trace_enabled: bool = Field(
        default=False, description="write down each attempt of the sampled requests"
    )
    trace_sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="share of requests that are traced"
    )
    alerts: tuple[Alert, ...] = Field(default=(), description="when to raise an alarm")
