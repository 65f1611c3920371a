"""What a sweep may try: one parameter per key of the recipe, as choices or as a range.

Knows nothing about recipes or samplers. Try: `parse("trainer.lr=1e-5:1e-3:log")`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stead.config import load
from stead.core import seeds
from stead.core.errors import ConfigError

Values = dict[str, Any]  # Any: JSON values, by dotted key
_POINTS = 5  # of a range in a grid, when nobody said how many


@dataclass(frozen=True, slots=True)
class Param:
    """One key. `choices`, or a range from `low` to `high`; a range of whole numbers gives such."""

    key: str
    choices: tuple[Any, ...] = ()  # Any: JSON values
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    points: int = _POINTS

    def at(self, share: float) -> Any:  # Any: a JSON value
        """Return the value at `share` (0 to 1, 1 excluded) of the choices or the range."""
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            found = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            found = self.low + share * (self.high - self.low)
        return round(found) if self.whole else found

    def grid(self) -> list[Any]:  # Any: JSON values
        """Return the choices, or the range's points with both ends."""
        if self.choices:
            return list(self.choices)
        if self.points == 1 or self.low == self.high:
            return [self.at(0.0)]
        return list(dict.fromkeys(self.at(i / (self.points - 1)) for i in range(self.points)))

    def edges(self) -> list[Any]:  # Any: JSON values
        """Return the values that must be valid for all to be: every choice, or both ends."""
        return list(self.choices) if self.choices else [self.at(0.0), self.at(1.0)]


def parse(text: str) -> Param:
    """Read `key=a,b,c` or `key=low:high[:log][:points]`.

    Raises: ConfigError("bad-parameter") with the form that is wanted.
    """
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise _bad(text)
    parts = values.split(":")
    ends = [load.value(p) for p in parts[:2]]
    if len(parts) < 2 or not all(_is_number(e) for e in ends):
        return Param(key.strip(), tuple(load.value(v.strip()) for v in values.split(",")))
    return _range(text, key.strip(), ends, parts[2:])


def _range(text: str, key: str, ends: Sequence[Any], rest: Sequence[str]) -> Param:
    counts = [int(r) for r in rest if r.isdigit()]
    low, high = ends
    log = "log" in rest
    strange = [r for r in rest if r != "log" and not r.isdigit()]
    if strange or low > high or (log and low <= 0) or len(counts) > 1 or counts == [0]:
        raise _bad(text)
    whole = all(isinstance(e, int) for e in ends)
    return Param(key, (), low, high, log, whole, counts[0] if counts else _POINTS)


def _is_number(value: Any) -> bool:  # Any: a JSON value
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bad(text: str) -> ConfigError:
    return ConfigError(
        "bad-parameter",
        f"{text!r} is no parameter: KEY=A,B,C or KEY=LOW:HIGH[:log][:POINTS]",
        hint="stead sweep --help",
    )


def combinations(space: Sequence[Param]) -> list[Values]:
    """Return the whole grid, the last parameter changing fastest."""
    keys = [p.key for p in space]
    return [
        dict(zip(keys, row, strict=True)) for row in itertools.product(*(p.grid() for p in space))
    ]


def draw(space: Sequence[Param], seed: int, number: int) -> Values:
    """Return random values: a function of seed and trial number alone."""
    return {p.key: p.at(seeds.stream(seed, number, p.key) / 2**63) for p in space}


def shown(values: Mapping[str, Any]) -> str:
    """Return values in one line."""
    return "  ".join(f"{k}={f'{v:.4g}' if isinstance(v, float) else v}" for k, v in values.items())
