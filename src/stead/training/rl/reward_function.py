"""A reward from a function of the user: called by its parameters' names, its answer checked.

Knows nothing about weights or other rewards. The code runs as the user; whatever it does wrong is said
with the reward's name and the rows.
"""

import asyncio
import inspect
import traceback
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from stead.core.errors import ConfigError, SteadError, TrainingError
from stead.training.rl import reward_columns
from stead.training.rl.reward_source import Answered, Reward

_SHOWN = 80  # characters of what a function returned, in an error


class FunctionReward(Reward):
    """A function `f(prompts, completions, **columns) -> list of numbers`, or an `async` one.

    It is given, by name and only if it asks: `prompts` and `completions` (texts), `messages`,
    `references`, `stopped`, `counts` (tokens), and any extra column of the rows, each a list with one
    entry per answer; None in rows without one of `columns`. The lists are its own to change.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], columns: Collection[str] = ()
    ) -> None:
        super().__init__(name)
        if not callable(function):
            raise ConfigError("unknown-function", f"the reward {name!r} is {repr(function)[:_SHOWN]}, no function")  # fmt: skip
        self._function = function
        self._columns = frozenset(columns)
        try:
            self._asks = reward_columns.of(function)
        except (TypeError, ValueError) as error:
            raise ConfigError("unknown-function", f"the reward {name!r} cannot be called: {error}") from error  # fmt: skip

    def try_out(self, columns: Collection[str] | None) -> None:
        """Refuse a function that asks for other columns than these; None: nobody knows them.

        Raises: ConfigError("reward-column").
        """
        if columns is not None:
            reward_columns.check(self.name, self._asks, columns)

    def __call__(self, answers: Sequence[Answered]) -> list[float]:
        """Call the function once for all answers."""
        values = self._arguments(answers)
        asks = self._asks
        reward_columns.check(self.name, asks, values)
        wanted = (*asks.required, *asks.optional)
        chosen = values if asks.takes_all else {n: values[n] for n in wanted if n in values}
        try:
            given = _whole(self._function(**chosen))
        except SteadError:
            raise
        except SystemExit as error:
            raise self._failed(answers, error) from error
        except Exception as error:  # house: broad-except - the user's own code may raise anything
            raise self._failed(answers, error) from error
        return self._numbers(given, answers)

    def _numbers(self, given: Any, answers: Sequence[Answered]) -> list[float]:  # Any: the user's
        try:
            found = None if isinstance(given, str | bytes | dict | set) else list(given)
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
        except (
            TypeError,
            ValueError,
            RuntimeError,
            OverflowError,
        ):  # RuntimeError: torch's tensors
            pass
        raise self._odd(f"returned {repr(value)[:_SHOWN]}{row}, which is no number")

    def _odd(self, what: str) -> TrainingError:
        return TrainingError(
            "reward-not-numbers", f"the reward {self.name!r} {what}", reward=self.name
        )

    def _arguments(self, answers: Sequence[Answered]) -> dict[str, list[Any]]:
        columns = sorted(self._columns.union(*(one.columns for one in answers)))
        return {name: [_own(one.columns.get(name)) for one in answers] for name in columns} | {
            "prompts": [one.prompt for one in answers],
            "completions": [one.completion for one in answers],
            "messages": [one.messages for one in answers],
            "references": [one.reference for one in answers],
            "stopped": [one.stopped for one in answers],
            "counts": [one.tokens for one in answers],
        }

    def _failed(self, answers: Sequence[Answered], error: BaseException) -> TrainingError:
        first, last = answers[0].where, answers[-1].where
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
        place = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return TrainingError(
            "reward-raised",
            f"the reward {self.name!r} raised {type(error).__name__}{place} for rows {first} to {last}: {error}",
            reward=self.name,
        )


def _whole(given: Any) -> Any:  # Any: what the user returned
    """Wait for a coroutine, and draw a generator: what they raise is the function's."""
    if isinstance(given, Coroutine):
        given = asyncio.run(given)
    return list(given) if inspect.isgenerator(given) else given


def _own(cell: Any) -> Any:  # Any: a JSON value
    """Copy a cell that the function might change: the answers to one prompt share it."""
    return list(cell) if isinstance(cell, list) else cell
