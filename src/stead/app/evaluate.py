"""Use cases of evaluation: measure one model, or two on the same rows, in a worker process.

Knows nothing about how scores are made or shown.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stead.app.runs import launch, new_id
from stead.core.errors import ConfigError
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.scoring import scorer


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What to measure. `against` is a model, or "base": `model` without its adapter."""

    model: str
    data: str
    metrics: tuple[str, ...]
    adapter: str | None = None
    against: str | None = None
    limit: int | None = None
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    reader: str = "auto"
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)  # role → column name
    dtype: str = "auto"
    device: str = "auto"


def evaluate(
    request: EvaluateRequest, out: Path | None = None, emit: Emit = ignore
) -> dict[str, Any]:  # Any: JSON values
    """Run the evaluation; its report files lie in `<out>/reports`.

    Raises: ConfigError before anything is loaded when a metric or option is wrong; else what the
    worker raises.
    """
    check(request)
    folder = Home.find().ensure().runs / new_id("evaluate") if out is None else out
    return launch("evaluate", asdict(request) | {"out": str(folder.resolve())}, folder, emit)


def check(request: EvaluateRequest) -> None:
    """Refuse what cannot work. Raises: ConfigError, MissingDependency."""
    scorer.create(request.metrics)
    if request.max_new_tokens < 1:
        raise ConfigError("bad-option", f"max_new_tokens is {request.max_new_tokens}, at least 1")
    if request.limit is not None and request.limit < 1:
        raise ConfigError("bad-option", f"limit is {request.limit}, at least 1")
    if not 0 <= request.temperature <= 5:
        raise ConfigError("bad-option", f"temperature is {request.temperature!r}, 0 to 5")
