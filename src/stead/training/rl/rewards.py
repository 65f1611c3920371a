"""Rewards: scorers, functions of the user, reward models and judges, weighted and added up.

Knows nothing about advantages, batches or models' insides: prompts and answers in, numbers out. A
reward that fails stops the run with its name and the row; it never becomes 0.
"""

import math
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from stead.config.kinds import Section
from stead.core.errors import ConfigError, TrainingError
from stead.core.lazy import named, require_named
from stead.messages import Message
from stead.models.heads import reward_head
from stead.planning.facts import DataFacts
from stead.scoring import scorer as scoring
from stead.training.method import Find
from stead.training.rl import reward_columns
from stead.training.rl.judge import Judge, JudgeSettings
from stead.training.rl.reward_function import FunctionReward
from stead.training.rl.reward_source import Answered, Reward


class RewardSpec(Section):
    """One part of the reward: exactly one source, and its weight in the sum.

    A text alone is a scorer's name, or with a colon a function: `exact_match`, `rewards.py:short`.
    """

    scorer: str | None = Field(default=None, description="a scorer's name, e.g. exact_match; lower-is-better ones count negatively")  # fmt: skip
    function: str | None = Field(default=None, description="module:function or file.py:function, called with prompts, completions and the columns it names")  # fmt: skip
    model: str | None = Field(default=None, description="the folder of a reward model")
    judge: JudgeSettings | None = Field(default=None, description="a model behind an endpoint that grades answers")  # fmt: skip
    weight: float = Field(default=1.0, description="factor in the sum of rewards")
    name: str | None = Field(default=None, description="the name in the log; default: the source's")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:  # Any: not yet checked
        if not isinstance(value, str):
            return value
        return {"function" if ":" in value else "scorer": value}  # no scorer's name has a colon

    @model_validator(mode="after")
    def _one_source(self) -> "RewardSpec":
        given = [
            n for n in ("scorer", "function", "model", "judge") if getattr(self, n) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"a reward has exactly one of scorer, function, model, judge; got {given}"
            )
        return self

    @property
    def title(self) -> str:
        """The name in the log."""
        if self.name is not None:
            return self.name
        if self.function is not None:
            return self.function.rpartition(":")[2]
        if self.scorer is not None:
            return self.scorer
        return "judge" if self.model is None else Path(self.model).name


def _scorer(name: str) -> scoring.Scorer:
    """Make a scorer that judges answers. Raises: ConfigError, as `scoring.create`."""
    found = scoring.create([name])[name]
    if found.needs != "answer":
        raise ConfigError("reward-scorer", f"{name!r} judges log-probabilities, not answers")
    return found


class ScorerReward(Reward):
    """A scorer of `scoring/`, with the row's last assistant turn as the reference."""

    def __init__(self, name: str, scorer: str) -> None:
        super().__init__(name)
        self._scorer = _scorer(scorer)
        self._sign = 1.0 if self._scorer.higher_is_better else -1.0

    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Score each answer."""
        found = []
        for one in answers:
            meta = {**one.columns, "where": one.where, "stopped": one.stopped, "tokens": one.tokens}
            sample = scoring.Sample(one.prompt, one.completion, one.reference, meta=meta)
            found.append(self._sign * self._scorer.score(sample).value)
        return found


class ModelReward(Reward):
    """A reward model: higher is what its training pairs preferred."""

    def __init__(self, name: str, model: Any) -> None:  # Any: models/reward.RewardModel
        super().__init__(name)
        self._model = model

    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Score each conversation with its answer as the last turn."""
        chats = [(*a.messages, Message("assistant", a.completion)) for a in answers]
        return [float(x) for x in self._model.score(chats)]


class JudgeReward(Reward):
    """A judge's grades."""

    def __init__(self, name: str, judge: Judge) -> None:
        super().__init__(name)
        self._judge = judge

    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Ask for a grade of each answer."""
        return self._judge.grades([(a.prompt, a.completion, a.reference) for a in answers])


OpenModel = Callable[[str], Any]  # Any: models/reward.RewardModel
Scores = dict[str, list[float]]


class Rewards:
    """All rewards of a run. `score` returns each part and the weighted sum."""

    def __init__(self, parts: Sequence[tuple[Reward, float]]) -> None:
        self.parts = list(parts)

    @classmethod
    def open(
        cls, specs: Sequence[RewardSpec], open_model: OpenModel, columns: Collection[str] = ()
    ) -> "Rewards":
        """Make the rewards named in a recipe; a row without one of `columns` has None there.

        Raises: what finding a source raises.
        """
        return cls([(_make(s, open_model, columns), s.weight) for s in specs])

    def score(self, answers: Sequence[Answered]) -> tuple[list[float], Scores]:
        """Return the weighted sum per answer, and every part by name.

        Raises: TrainingError("reward-length" | "reward-not-finite" | "reward-raised").
        """
        parts: Scores = {}
        total = [0.0] * len(answers)
        for reward, weight in self.parts:
            found = reward(answers)
            _check(reward.name, found, answers)
            parts[reward.name] = found
            total = [t + weight * x for t, x in zip(total, found, strict=True)]
        return total, parts


def require(specs: Sequence[RewardSpec], find: Find) -> None:
    """Refuse rewards that cannot be made; nothing is loaded, and no function's file is run.

    Raises: ConfigError("no-rewards" | "same-reward" | "unknown-scorer" | "reward-scorer" |
    "bad-function-name" | "unknown-function"), ModelError("no-reward-head"), and what `find` raises.
    """
    if not specs:
        raise ConfigError(
            "no-rewards",
            "the method learns from rewards, and method.rewards names none",
            hint="stead train RECIPE --set 'method.rewards=[exact_match]'",
        )
    titles = [s.title for s in specs]
    twice = sorted({t for t in titles if titles.count(t) > 1})
    if twice:
        raise ConfigError("same-reward", f"two rewards are called {twice[0]!r}; give one a name")
    for spec in specs:
        if spec.scorer is not None:
            _scorer(spec.scorer)
        if spec.function is not None:
            require_named(spec.function)
        if spec.model is not None:
            reward_head(find(spec.model))


def require_rows(specs: Sequence[RewardSpec], rows: DataFacts, source: str) -> None:
    """Refuse rewards that ask for what no row of `source` has; no function's file is run.

    Raises: ConfigError("reward-column" | "reward-reference").
    """
    for spec in specs:
        if spec.scorer is not None and rows.answered == 0 and _scorer(spec.scorer).needs_reference:
            raise ConfigError(
                "reward-reference",
                f"the reward {spec.title!r} compares with the row's own answer, and no row of {source!r} "
                "has one",
                hint=f"stead data inspect {shlex.quote(source)}",
            )
        if spec.function is not None:
            reward_columns.require(spec.title, reward_columns.written(spec.function), rows, source)


def try_out(specs: Sequence[RewardSpec], columns: Collection[str] | None) -> None:
    """Import functions and ask judges once, before a model is loaded; None: columns are unknown.

    Raises: what making a reward raises; ConfigError("reward-column"), and as `Judge.try_out`.
    """
    for spec in specs:
        if spec.function is not None:
            FunctionReward(spec.title, named(spec.function)).try_out(columns)
        if spec.judge is not None:
            Judge(spec.judge).try_out()


def _make(spec: RewardSpec, open_model: OpenModel, columns: Collection[str]) -> Reward:
    if spec.scorer is not None:
        return ScorerReward(spec.title, spec.scorer)
    if spec.function is not None:
        return FunctionReward(spec.title, named(spec.function), columns)
    if spec.model is not None:
        return ModelReward(spec.title, open_model(spec.model))
    assert spec.judge is not None  # noqa: S101 - one of the four is given
    return JudgeReward(spec.title, Judge(spec.judge))


def _check(name: str, found: Sequence[float], answers: Sequence[Answered]) -> None:
    if len(found) != len(answers):
        raise TrainingError(
            "reward-length",
            f"the reward {name!r} returned {len(found)} numbers for {len(answers)} answers "
            f"(rows {answers[0].where} to {answers[-1].where})",
            reward=name,
        )
    for value, one in zip(found, answers, strict=True):
        if not math.isfinite(value):
            raise TrainingError(
                "reward-not-finite",
                f"the reward {name!r} is {value} for row {one.where} (answer: {one.completion[:80]!r})",
                reward=name,
                row=one.where,
            )
