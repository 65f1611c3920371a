"""What a run decided about itself on the way: smaller parts after memory ran out, rows left out.

Knows nothing about why. Kept in `adjustments.json` from the moment of each decision, so that a run
that is killed right after it and resumed decides the same, and ends with the same bytes.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import CheckpointError

NAME = "adjustments.json"


@dataclass(slots=True)
class Adjustments:
    """`splits`: (step, parts) — from that 0-based step on each micro-batch is cut in so many parts;
    `skips`: (first, last) — 0-based steps whose rows are not learnt from.
    """

    path: Path
    writes: bool = True  # the leader of several processes
    splits: list[list[int]] = field(default_factory=list)
    skips: list[list[int]] = field(default_factory=list)

    def parts_at(self, step: int) -> int:
        """Return in how many parts each micro-batch of a step is cut."""
        return max((parts for first, parts in self.splits if first <= step), default=1)

    def is_skipped(self, step: int) -> bool:
        """Say whether a step's rows are left out."""
        return any(first <= step <= last for first, last in self.skips)

    def split(self, step: int) -> int:
        """Cut micro-batches in twice as many parts from `step` on; return how many."""
        parts = 2 * self.parts_at(step)
        self.splits.append([step, parts])
        self._write()
        return parts

    def skip(self, first: int, last: int) -> None:
        """Leave out the rows of the steps `first` to `last`."""
        self.skips.append([first, last])
        self._write()

    def cut(self, step: int, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Cut a step's micro-batches, neighbors together; a single row stays whole."""
        parts = self.parts_at(step)
        return [piece for micro in rows for piece in _pieces(list(micro), parts)]

    def values(self) -> dict[str, Any]:  # Any: JSON values
        """Return all decisions."""
        return {"splits": self.splits, "skips": self.skips}

    def clear(self) -> None:
        """Forget everything: a new run begins."""
        self.splits, self.skips = [], []
        if self.writes:
            self.path.unlink(missing_ok=True)

    def read(self, saved: dict[str, Any]) -> None:  # Any: JSON values
        """Take the file's decisions, or those that a checkpoint has kept when there is no file.

        Raises: CheckpointError("bad-adjustments") when the file is damaged.
        """
        try:
            found = files.read_json(self.path) if self.path.is_file() else saved
            self.splits, self.skips = found["splits"], found["skips"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "bad-adjustments",
                f"{str(self.path)!r} is damaged ({error}); without it the newest checkpoint's decisions count",
                hint=f"rm {shlex.quote(str(self.path))}",
            ) from error

    def _write(self) -> None:
        if self.writes:
            files.write_json(self.path, self.values())


def _pieces(rows: list[int], parts: int) -> list[list[int]]:
    count = min(parts, len(rows))
    ends = [len(rows) * i // count for i in range(count + 1)] if count else []
    return [rows[a:b] for a, b in pairwise(ends)]
