"""Rewards: scorers, functions of the user, reward models and judges, weighted and added up.

Knows nothing about advantages, batches or models' insides: prompts and answers in, numbers out. A
reward that fails stops the run with its name and the row; it never becomes 0.
"""

import inspect
import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from stead.config.kinds import Section
from stead.core.errors import ConfigError, SteadError, TrainingError
from stead.core.lazy import named, require_named
from stead.messages import Message
from stead.models.heads import reward_head
from stead.scoring import scorer as scoring
from stead.training.method import Find
from stead.training.rl.judge import Judge, JudgeSettings

_SHOWN = 80  # characters of what a function returned, in an error


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


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer with everything a reward may look at. `completion` is without the end token."""

    where: str
    messages: tuple[Message, ...]
    completion: str
    reference: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values of extra columns
    stopped: bool = True
    tokens: int = 0

    @property
    def prompt(self) -> str:
        """The text of the last turn before the answer."""
        return self.messages[-1].text if self.messages else ""


class Reward(ABC):
    """One source of reward; `name` says which in logs and errors."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Return one number per answer."""


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


class FunctionReward(Reward):
    """A function `f(prompts, completions, **columns) -> list of numbers`.

    It is given, by name and only if it asks: `prompts` and `completions` (texts), `messages`,
    `references`, `stopped`, `counts` (tokens), and any extra column of the rows, each a list with one entry per answer.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        super().__init__(name)
        if not callable(function):
            raise ConfigError("unknown-function", f"the reward {name!r} is {repr(function)[:_SHOWN]}, no function")  # fmt: skip
        self._function = function
        parameters = inspect.signature(function).parameters
        self._any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._wants = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]

    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Call the function once for all answers."""
        values = self._arguments(answers)
        missing = [n for n in self._wants if n not in values and self._required(n)]
        if missing:
            raise TrainingError(
                "reward-column",
                f"the reward {self.name!r} asks for {missing[0]!r}, which the rows do not have "
                f"(they have {', '.join(sorted(values))})",
            )
        chosen = values if self._any else {n: values[n] for n in self._wants if n in values}
        try:
            given = self._function(**chosen)
            given = list(given) if inspect.isgenerator(given) else given
        except SteadError:
            raise
        except SystemExit as error:
            raise self._failed(answers, error) from error
        except Exception as error:  # house: broad-except - the user's own code may raise anything
            raise self._failed(answers, error) from error
        return self._numbers(given, answers)

    def _numbers(self, given: Any, answers: Sequence[Answered]) -> list[float]:  # Any: the user's
        try:
            found = None if isinstance(given, str | bytes) else list(given)
        except TypeError:
            found = None
        if found is None:
            raise self._odd(f"returned {repr(given)[:_SHOWN]}, not a list of one number per answer")
        rows = [f" for row {one.where}" for one in answers] + [""] * len(found)
        return [self._number(x, row) for x, row in zip(found, rows, strict=False)]

    def _number(self, value: Any, row: str) -> float:  # Any: what the user returned
        try:
            if not isinstance(value, str | bytes):
                return float(value)
        except (TypeError, ValueError):
            pass
        raise self._odd(f"returned {repr(value)[:_SHOWN]}{row}, which is no number")

    def _odd(self, what: str) -> TrainingError:
        return TrainingError(
            "reward-not-numbers", f"the reward {self.name!r} {what}", reward=self.name
        )

    def _required(self, name: str) -> bool:
        parameter = inspect.signature(self._function).parameters[name]
        return parameter.default is inspect.Parameter.empty

    def _arguments(self, answers: Sequence[Answered]) -> dict[str, list[Any]]:
        columns = sorted({name for one in answers for name in one.columns})
        return {name: [one.columns.get(name) for one in answers] for name in columns} | {
            "prompts": [one.prompt for one in answers],
            "completions": [one.completion for one in answers],
            "messages": [one.messages for one in answers],
            "references": [one.reference for one in answers],
            "stopped": [one.stopped for one in answers],
            "counts": [one.tokens for one in answers],
        }

    def _failed(self, answers: Sequence[Answered], error: BaseException) -> TrainingError:
        first, last = answers[0].where, answers[-1].where
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
        place = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return TrainingError(
            "reward-raised",
            f"the reward {self.name!r} raised {type(error).__name__}{place} for rows {first} to {last}: {error}",
            reward=self.name,
        )


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
    def open(cls, specs: Sequence[RewardSpec], open_model: OpenModel) -> "Rewards":
        """Make the rewards named in a recipe. Raises: what finding a source raises."""
        return cls([(_make(s, open_model), s.weight) for s in specs])

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


def _make(spec: RewardSpec, open_model: OpenModel) -> Reward:
    if spec.scorer is not None:
        return ScorerReward(spec.title, spec.scorer)
    if spec.function is not None:
        return FunctionReward(spec.title, named(spec.function))
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
