"""Judge one answer; the same scorers serve evaluation and, as rewards, training.

Knows nothing about models, data sets or reports. Light: a scorer's library loads on first use.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from stead.core.errors import ConfigError, EvaluationError
from stead.core.registry import Registry


@dataclass(frozen=True, slots=True)
class Sample:
    """What a scorer sees of one example. `logprobs` are natural logs of the reference's tokens.

    `meta` holds the extra columns of the row; `meta["where"]` names the row in errors.
    """

    prompt: str
    answer: str
    reference: str
    logprobs: tuple[float, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns


@dataclass(frozen=True, slots=True)
class Score:
    """One sample's value, and the sums a corpus-level aggregate needs (e.g. n-gram counts)."""

    value: float
    stats: tuple[float, ...] = ()

    @property
    def sums(self) -> tuple[float, ...]:
        """What is added up over samples: `stats`, or (value, 1) for a plain mean."""
        return self.stats if self.stats else (self.value, 1.0)


class Scorer(ABC):
    """Score samples one by one, then aggregate.

    The file name is the scorer's name. `needs` says what the evaluation must obtain: a generated
    answer, or log-probabilities of the reference. The aggregate is `combine(sum of Score.sums)`, so
    a bootstrap resamples by adding up, without judging again; a scorer whose aggregate is no
    function of sums overrides `aggregate` itself, and is resampled by calling it.
    """

    needs: ClassVar[Literal["answer", "logprobs"]] = "answer"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    binary: ClassVar[bool] = False  # every value is 0 or 1: proportions have their own statistics
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def score(self, sample: Sample) -> Score:
        """Judge one sample. Raises: EvaluationError when it cannot be computed, never 0 instead."""

    def combine(self, sums: Sequence[float]) -> float:
        """Turn the added-up `Score.sums` into the reported number; the mean unless overridden."""
        return float(sums[0] / sums[1])

    def aggregate(self, scores: Sequence[Score]) -> float:
        """Combine scores into the reported number. Raises: EvaluationError without any score."""
        if not scores:
            raise EvaluationError("metric-failed", "there is no score to aggregate")
        return self.combine([sum(column) for column in zip(*(s.sums for s in scores), strict=True)])

    @property
    def needs_reference(self) -> bool:
        """Whether the row's own answer takes part in the judgement."""
        return True

    @classmethod
    def with_option(cls, option: str) -> "Scorer":
        """Make the variant written `name:option`. Raises: ConfigError unless overridden."""
        raise ConfigError(
            "unknown-option", f"the metric {cls.__name__!r} has no options, got {option!r}"
        )

    def signature(self) -> str:
        """Say the choices behind the number (normalization, smoothing, …); "" when there are none."""
        return ""


def failed(
    metric: str, sample: Sample, why: str, *, instead: str = "exact_match"
) -> EvaluationError:
    """Return the error of a metric that cannot judge `sample`; `instead` names metrics that can."""
    where = str(sample.meta.get("where", "?"))
    return EvaluationError(
        "metric-failed", f"{metric} cannot be computed for {where}: {why}",
        hint=f"stead evaluate --metrics {instead}", metric=metric, row=where,
    )  # fmt: skip


_ALIASES = {"rouge": ("rouge1", "rouge2", "rougeL")}


def scorers() -> Registry[Scorer]:
    """Return the registry of metrics: built-in files, entry points `stead.scorer`, plugins."""
    return _REGISTRY


_REGISTRY: Registry[Scorer] = Registry(
    "scorer", "stead.scoring.scorers", "stead.scoring.scorer:Scorer"
)


def expand(names: Sequence[str]) -> list[str]:
    """Replace aliases ("rouge" is rouge1, rouge2, rougeL) and drop repeats, keeping the order."""
    flat = [metric for name in names for metric in _ALIASES.get(name, (name,))]
    return list(dict.fromkeys(flat))


def create(names: Sequence[str]) -> dict[str, Scorer]:
    """Make the scorers called `names`, aliases expanded; `exact_match:squad` picks a variant.

    Raises: ConfigError("unknown-scorer") with the nearest name; ConfigError("unknown-option");
    ConfigError("no-metrics"); MissingDependency.
    """
    made = {name: _create(name) for name in expand(names)}
    if not made:
        raise ConfigError("no-metrics", "no metric is named", hint="stead evaluate --help")
    return made


def _create(name: str) -> Scorer:
    plain, colon, option = name.partition(":")
    return _REGISTRY.get(plain).with_option(option) if colon else _REGISTRY.create(plain)
