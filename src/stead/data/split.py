"""Which rows are held out for evaluation: by hash, so that order and repetition change nothing.

Knows nothing about tokens. Rows that ask the same are on the same side, so nothing leaks.
"""

from array import array
from dataclasses import dataclass
from hashlib import blake2b

from stead.data.clean import content_key, prompt_key
from stead.data.row import Row

_ALL = 1 << 64


def _position(seed: int, key: bytes) -> int:
    """Return a number in [0, 2^64) from seed and content: the row's place on the dice."""
    digest = blake2b(key, digest_size=8, key=(seed & (_ALL - 1)).to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows below `limit` are held out. `by_prompt`: by what is asked, else by the whole content."""

    seed: int
    limit: int
    by_prompt: bool = True

    def is_eval(self, row: Row) -> bool:
        """Say whether a row is held out."""
        if self.limit == 0:
            return False
        key = prompt_key(row) if self.by_prompt else content_key(row)
        return _position(self.seed, key) < self.limit


class Chooser:
    """Sees every row once, then says the split that holds out the wanted share, to the row.

    Memory: 16 bytes per row.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._by_prompt = array("Q")
        self._by_content = array("Q")

    def see(self, row: Row) -> None:
        """Take note of one row."""
        self._by_prompt.append(_position(self._seed, prompt_key(row)))
        self._by_content.append(_position(self._seed, content_key(row)))

    def held_out(self, split: Split) -> list[bool]:
        """Say of each row seen, in order, whether a split holds it out."""
        seen = self._by_prompt if split.by_prompt else self._by_content
        return [position < split.limit for position in seen]

    def count(self, split: Split) -> int:
        """Return how many of the rows seen a split holds out."""
        return sum(self.held_out(split))

    def split(self, share: float) -> Split:
        """Return the split. At least one row is held out of two or more when `share` is above 0.

        Where few prompts are shared by many rows the share by prompt may be far off; then rows are
        split by whole content, which still never puts equal rows on both sides.
        """
        rows = len(self._by_prompt)
        wanted = min(rows - 1, max(1, round(share * rows))) if share > 0 and rows > 1 else 0
        if wanted == 0:
            return Split(self._seed, 0)
        found = Split(self._seed, _limit(self._by_prompt, wanted))
        got = self.count(found)
        if got < rows and wanted / 2 <= got <= wanted * 2:
            return found
        return Split(self._seed, _limit(self._by_content, wanted), by_prompt=False)


def _limit(positions: "array[int]", wanted: int) -> int:
    ordered = sorted(positions)
    return ordered[wanted - 1] + 1


def share_split(seed: int, share: float) -> Split:
    """Return the split for rows that can be read only once: the share is met on average."""
    return Split(seed, int(share * _ALL))
