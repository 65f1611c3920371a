"""The nearest known name to one that was typed wrongly.

Knows nothing about what the names mean.
"""

from collections.abc import Iterable


def distance(a: str, b: str) -> int:
    """Count insertions, deletions, substitutions and swaps of neighbors that turn `a` into `b`.

    Source: optimal string alignment, Damerau, CACM 7(3), 1964.
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was most likely meant to be, or None when none is near.

    Ties go to the name of equal first letter, then of nearest length, then to the alphabet. Up to
    two fifths of the letters (at least one) may differ.
    """

    def rank(candidate: str) -> tuple[int, bool, int, str]:
        return (
            distance(name.lower(), candidate.lower()),
            candidate[:1] != name[:1],
            abs(len(candidate) - len(name)),
            candidate,
        )

    best = min(known, key=rank, default=None)
    if best is None or rank(best)[0] > max(1, 2 * max(len(best), len(name)) // 5):
        return None
    return best
