"""What a sweep tries next: a function of seed, trial number and the trials that are done.

Knows nothing about recipes or how trials are run. Nothing is remembered here, so a sweep that is
taken up again asks the same questions as one that was never stopped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stead.app import search_space
from stead.app.search_space import Param, Values
from stead.core import lazy, seeds
from stead.core.errors import MissingDependency

if TYPE_CHECKING:
    import optuna
else:
    optuna = lazy.lazy("optuna", extra="sweep")

State = Literal["complete", "pruned", "failed"]
_RANDOM_FIRST = 6  # trials before the Parzen estimator has anything to estimate from


@dataclass(frozen=True, slots=True)
class Trial:
    """One finished trial. `reports` has the metric by step, as far as it was measured on the way."""

    number: int
    params: Values
    state: State
    value: float | None
    folder: str
    seconds: float = 0.0
    reports: dict[int, float] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return plain JSON values."""
        return asdict(self) | {"reports": {str(k): v for k, v in self.reports.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Trial":  # Any: JSON values
        """Read `to_dict`'s value back."""
        return cls(**data | {"reports": {int(k): v for k, v in data["reports"].items()}})


@dataclass(frozen=True, slots=True)
class Question:
    """What is known when the next trial is chosen."""

    space: Sequence[Param]
    seed: int
    number: int
    done: Sequence[Trial]
    minimize: bool


def grid(asked: Question) -> Values | None:
    """Return the next combination of the grid, or None after the last."""
    every = search_space.combinations(asked.space)
    return every[asked.number] if asked.number < len(every) else None


def random(asked: Question) -> Values:
    """Return independent draws."""
    return search_space.draw(asked.space, asked.seed, asked.number)


def tpe(asked: Question) -> Values:
    """Return what Optuna's tree-structured Parzen estimator asks. Source: NeurIPS 2011, Bergstra et al."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = seeds.stream(asked.seed, asked.number, "tpe") % 2**32
    sampler = optuna.samplers.TPESampler(seed=own, n_startup_trials=_RANDOM_FIRST)
    direction = "minimize" if asked.minimize else "maximize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    space = {p.key: _distribution(p) for p in asked.space}
    for trial in asked.done:
        study.add_trial(_past(trial, asked.space, space))
    found = study.ask(space).params
    return {p.key: p.choices[found[p.key]] if p.choices else found[p.key] for p in asked.space}


def _distribution(param: Param) -> Any:  # Any: one of Optuna's distributions
    if param.choices:
        return optuna.distributions.CategoricalDistribution(list(range(len(param.choices))))
    if param.whole:
        return optuna.distributions.IntDistribution(int(param.low), int(param.high), log=param.log)
    return optuna.distributions.FloatDistribution(param.low, param.high, log=param.log)


def _past(trial: Trial, space: Sequence[Param], distributions: dict[str, Any]) -> Any:
    """Return a finished trial as Optuna keeps it; choices by their place. Any: Optuna's own classes."""
    states = optuna.trial.TrialState
    state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[
        trial.state
    ]
    own = {p.key: trial.params[p.key] for p in space}
    params = {p.key: p.choices.index(own[p.key]) if p.choices else own[p.key] for p in space}
    return optuna.trial.create_trial(
        state=state, value=trial.value if trial.state == "complete" else None, params=params,
        distributions=distributions, intermediate_values=dict(trial.reports),
    )  # fmt: skip


SAMPLERS: dict[str, Callable[[Question], Values | None]] = {
    "tpe": tpe,
    "random": random,
    "grid": grid,
}


def require(name: str) -> None:
    """Refuse a sampler whose library is absent. Raises: MissingDependency("not-installed")."""
    if name == "tpe" and not lazy.installed("optuna"):
        raise MissingDependency(
            "not-installed",
            "the sampler 'tpe' needs 'optuna'; random and grid need nothing",
            hint="pip install 'stead[sweep]'",
        )


_ENOUGH = 4  # finished trials before one may be called bad


def is_hopeless(step: int, value: float, done: Sequence[Trial], *, minimize: bool) -> bool:
    """Say whether a trial at `step` is worse than the median of the finished ones at that step.

    Source: Vizier (KDD 2017), section 3.2.2, the median rule.
    """
    sign = 1.0 if minimize else -1.0
    others = sorted(
        sign * t.reports[step] for t in done if t.state == "complete" and step in t.reports
    )
    if len(others) < _ENOUGH:
        return False
    return not math.isfinite(value) or sign * value > others[len(others) // 2]
