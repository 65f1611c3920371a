"""The kinds of extension, each with its folder and base class, and one registry per kind.

Knows nothing about the extensions: names only, as strings, so that configs of every kind can be
checked in the base install. Commands, routes and pages are found by file name by their own room.
"""

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stead.core.errors import ConfigError
from stead.core.registry import Registry

KINDS: dict[str, tuple[str, str]] = {
    "source": ("stead.hub.sources", "stead.hub.source:Source"),
    "dialect": ("stead.wire.dialects", "stead.wire.dialect:Dialect"),
    "reader": ("stead.data.readers", "stead.data.reader:Reader"),
    "format": ("stead.data.formats", "stead.data.format:Format"),
    "backend": ("stead.inference.backends", "stead.inference.backend:Backend"),
    "policy": ("stead.inference.policies", "stead.inference.policy:Policy"),
    "hook": ("stead.inference.hook_kinds", "stead.inference.hooks:Hook"),
    "engine": ("stead.engines.kinds", "stead.engines.engine:Engine"),
    "launcher": ("stead.launch.kinds", "stead.launch.launcher:Launcher"),
    "scorer": ("stead.scoring.scorers", "stead.scoring.scorer:Scorer"),
    "benchmark": ("stead.evaluation.benchmarks", "stead.evaluation.benchmark:Benchmark"),
    "adapter": ("stead.models.adapters", "stead.models.adapter:Adapter"),
    "method": ("stead.training.methods", "stead.training.method:Method"),
    "trainer": ("stead.training.trainers", "stead.training.trainer:Trainer"),
    "optimizer": ("stead.training.optimizers", "stead.training.optimizer:Optimizer"),
    "tracker": ("stead.training.trackers", "stead.training.tracker:Tracker"),
    "callback": ("stead.training.callbacks", "stead.training.callback:Callback"),
    "exporter": ("stead.exporting.formats", "stead.exporting.exporter:Exporter"),
    "collector": ("stead.app.collectors", "stead.app.collector:Collector"),
}


class Section(BaseModel):
    """The base of everything people write: frozen, strict about keys, numbers are no switches."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_as_number(cls, value: Any, info: ValidationInfo) -> Any:  # Any: not yet checked
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and "bool" not in str(field.annotation):
            raise PydanticCustomError("bad_switch", "should be no switch")
        return value


@cache
def registry(kind: str) -> Registry[Any]:  # Any: the base class differs per kind
    """Return the one registry of `kind`. Raises: ConfigError("unknown-kind")."""
    if kind not in KINDS:
        raise ConfigError(
            "unknown-kind", f"there is no kind {kind!r} of extension (known: {', '.join(KINDS)})"
        )
    package, base = KINDS[kind]
    return Registry(kind, package, base)
