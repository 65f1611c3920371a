"""Randomness and row order from counters: the same (seed, step, name) always gives the same numbers.

Knows nothing about torch or data; nothing here has state, so there is nothing to save for a resume.
"""

import hashlib
import struct

_MASK64 = (1 << 64) - 1


def stream(seed: int, step: int, name: str) -> int:
    """Return a 63-bit seed for use `name` at `step`: hash(seed, step, name).

    63 bits, because torch and numpy both accept it without a sign question.
    """
    data = struct.pack("<qq", seed, step) + name.encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def _mix(value: int) -> int:
    """Scramble 64 bits (splitmix64 finalizer, Steele et al., OOPSLA 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK64
    return value ^ (value >> 31)


def permute(seed: int, epoch: int, i: int, n: int) -> int:
    """Return the row at position `i` of epoch `epoch`: a permutation of 0..n-1, computed per index.

    A four-round Feistel network over the next even power of two, walked until the value is
    below n (cycle walking: Black and Rogaway, CT-RSA 2002, section 3). Raises ValueError unless
    0 <= i < n.
    """
    if not 0 <= i < n:
        raise ValueError(f"index {i!r} is outside 0..{n - 1}")
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = [stream(seed, epoch, f"permute-{r}") for r in range(4)]
    value = i
    while True:
        left, right = value >> half, value & mask
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        value = (left << half) | right
        if value < n:
            return value


def permutation(seed: int, epoch: int, n: int) -> list[int]:
    """Return all of `permute` for 0..n-1 at once, for small n."""
    return [permute(seed, epoch, i, n) for i in range(n)]


def mixed(key: int, n: int) -> list[int]:
    """Return the numbers below `n` in an order that `key` decides."""
    return sorted(range(n), key=lambda i: _mix(i ^ key))
