"""Ask the candidate first that did best in the user's own evaluations, the tuned model included.

Knows nothing about how scores came about: it reads the `report.json` of report folders. A report's own model
has `value` or `tuned`, the one it was compared with `base`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stead.config import load
from stead.core.errors import ConfigError
from stead.inference.candidate import Candidate, Request
from stead.inference.policy import Policy, PolicyConfig


class ByEvaluationConfig(PolicyConfig):
    """Settings of `by_evaluation`."""

    type: Literal["by_evaluation"] = "by_evaluation"
    reports: tuple[str, ...] = Field(
        default=(), description="report folders (or report.json files); later ones win"
    )
    metric: str = Field(default="", description="score to compare; empty: the first of each report")
    names: dict[str, str] = Field(
        default={}, description="candidate name by the model name in a report, where they differ"
    )
    within: float = Field(
        default=0.0,
        ge=0,
        description="scores this near to the best count as equal: then as written",
    )


class ByEvaluation(Policy):
    """By score; candidates without one come last, as written."""

    config: ByEvaluationConfig

    def __init__(self, config: ByEvaluationConfig) -> None:
        super().__init__(config)
        self.scores: dict[str, float] = {}  # greater is better, whatever the metric
        for path in config.reports:
            self.scores |= _read(Path(path), config.metric)

    def order(self, request: Request, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates by score."""
        scores = {c.name: self._score(c) for c in candidates}
        known = [s for s in scores.values() if s is not None]
        best = max(known, default=0.0)

        def distance(candidate: Candidate) -> float:
            score = scores[candidate.name]
            if score is None:
                return float("inf")
            return 0.0 if best - score <= self.config.within else best - score

        return sorted(candidates, key=distance)

    def _score(self, candidate: Candidate) -> float | None:
        """Return the score of a candidate by its name, its model, or the last part of a model's path."""
        for model, score in reversed(self.scores.items()):
            named = self.config.names.get(model, model)
            if named in (candidate.name, candidate.model) or Path(named).name == candidate.model:
                return score
        return None


def _read(path: Path, metric: str) -> dict[str, float]:
    """Return score by model. Raises: NotFound("no-file"), ConfigError("bad-report" | "no-score")."""
    file = path / "report.json" if path.is_dir() else path
    data = load.read(file).data
    metrics = data.get("metrics")
    if not isinstance(metrics, dict) or not metrics or not isinstance(data.get("model"), str):
        raise ConfigError("bad-report", f"{str(file)!r} is no evaluation report")
    name = metric if metric else next(iter(metrics))
    found = metrics.get(name)
    if not isinstance(found, dict):
        known = ", ".join(metrics)
        raise ConfigError("no-score", f"{str(file)!r} has no metric {name!r} (it has: {known})")
    sides = {data["model"]: found.get("tuned", found.get("value"))}
    if isinstance(data.get("against"), str):
        sides[data["against"]] = found.get("base")
    return _finite(sides, found)


def _finite(sides: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float]:
    sign = 1.0 if row.get("higher_is_better", True) else -1.0
    return {m: sign * float(v) for m, v in sides.items() if isinstance(v, int | float)}
