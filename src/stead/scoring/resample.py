"""Draws with replacement from a counter: the same seed gives the same draws on every machine.

Knows nothing about what is drawn. numpy does the arithmetic; no generator has a state.
"""

from typing import TYPE_CHECKING, Any

from stead.core import seeds
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

Array = Any  # numpy's arrays; their types are not known to the light rooms
_GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's increment, Steele et al., OOPSLA 2014


def bits(seed: int, name: str, count: int) -> Array:
    """Return `count` random 64-bit integers for use `name`. Source: splitmix64."""
    start = np.uint64(seeds.stream(seed, 0, name))
    with np.errstate(over="ignore"):
        z = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def indices(seed: int, name: str, draws: int, n: int) -> Array:
    """Return `draws` samples of n row numbers with replacement. Shape: [draws, n], int64."""
    unit = (bits(seed, name, draws * n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (unit * n).astype(np.int64).reshape(draws, n)


def counts(drawn: Array, n: int) -> Array:
    """Return how often each row was drawn. Shapes: [draws, n] of indices to [draws, n] of counts."""
    draws = drawn.shape[0]
    flat = (drawn + np.arange(draws)[:, None] * n).ravel()
    return np.bincount(flat, minlength=draws * n).reshape(draws, n).astype(np.float64)


def coins(seed: int, name: str, draws: int, n: int) -> Array:
    """Return fair coins as 0.0 or 1.0. Shape: [draws, n]."""
    return (bits(seed, name, draws * n) >> np.uint64(63)).astype(np.float64).reshape(draws, n)
