"""Warn when the reward rises for the wrong reason: answers grow, repeat, copy, empty out or collapse.

Knows nothing about rewards or texts; it compares each step's signs with the run's own beginning.
Rewards that are only watched (weight 0) are a second opinion: falling, they are a sign too. It warns
once per sign and stops nothing.
"""

import math
from collections.abc import Sequence
from typing import Any

from stead.core.events import Note
from stead.training.callback import Callback, Run, StepOutcome
from stead.training.rl.reward_signs import WatchSettings

_PREFIX = "answers/"
_SAID = {
    "length": "answers grow longer",
    "truncated": "answers run into the length limit",
    "repetition": "answers repeat themselves",
    "empty": "answers are empty",
    "copy": "answers copy the prompt",
    "digits": "answers fill up with digits",
    "marks": "answers fill up with punctuation",
    "keyword": "answers are stuffed with one word",
    "same": "answers have become the same",
    "kl": "the model has moved far from where it began",
}


class WatchReward(Callback):
    """Keep the mean of the first steps and a running mean of every sign."""

    def __init__(self, settings: WatchSettings, watched: Sequence[str] = ()) -> None:
        self.settings = settings
        self._watched = frozenset(watched)
        self._first: dict[str, list[float]] = {}
        self._now: dict[str, float] = {}
        self._warned: list[str] = []

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Take in one step's values, and warn when a sign has come up with the reward."""
        signs = _signs(outcome.values)
        signs |= {n: v for n, v in outcome.values.items() if n in self._watched}
        if "reward" not in signs:
            return
        warming = len(self._first.get("reward", ())) < self.settings.warmup
        for name, value in signs.items():
            if warming:
                self._first.setdefault(name, []).append(value)
            keep = self.settings.decay if name in self._now else 0.0
            self._now[name] = keep * self._now.get(name, 0.0) + (1 - keep) * value
        if warming or not self._reward_rose():
            return
        for name in sorted(signs.keys() - {"reward"} - set(self._warned)):
            if self._is_up(name):
                self._warned.append(name)
                run.emit(self._note(name, run.step))

    def _reward_rose(self) -> bool:
        first = self._first["reward"]
        rise = self._now["reward"] - _mean(first)
        return rise > max(self.settings.sigmas * _deviation(first), 1e-6)

    def _is_up(self, name: str) -> bool:
        s, now = self.settings, self._now[name]
        before = _mean(self._first.get(name, [0.0]))
        if name == "length":
            return now >= s.longer * before
        if name in self._watched:
            return before - now > max(s.sigmas * _deviation(self._first[name]), 1e-6)
        if name == "kl":
            return now >= s.kl
        return now >= s.bound and now - before >= s.rise

    def _note(self, name: str, step: int) -> Note:
        before, now = _mean(self._first.get(name, [0.0])), self._now[name]
        reward = f"{_mean(self._first['reward']):.3g} to {self._now['reward']:.3g}"
        said = _SAID.get(name, "a reward that is only watched fell")
        message = (
            f"step {step}: the reward rose from {reward} while {said} "
            f"({name}: {before:.3g} to {now:.3g}); read some answers before you trust it"
        )
        kind = "opinion" if name in self._watched else name
        return Note(stage="train", message=message, level="warning", code=f"reward-hacking-{kind}")

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the beginning, the running means and what was said."""
        return {"first": self._first, "now": self._now, "warned": self._warned}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Put them back."""
        self._first, self._now, self._warned = state["first"], state["now"], state["warned"]


def _signs(values: dict[str, float]) -> dict[str, float]:
    found = {k.removeprefix(_PREFIX): v for k, v in values.items() if k.startswith(_PREFIX)}
    found |= {name: values[name] for name in ("reward", "kl", "truncated") if name in values}
    if "completion_length" in values:
        found["length"] = values["completion_length"]
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: list[float]) -> float:
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
