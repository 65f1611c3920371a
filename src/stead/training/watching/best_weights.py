"""The best weights of a run on disk: one verified folder in `best/`, the newest.

Knows nothing about losses; who is best is decided by the callback.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from stead.core.events import ignore
from stead.models import checkpoint
from stead.values import Checkpoint

_GROUP = "model"


class BestWeights:
    """Save and read float32 masters; `source` gives the present ones."""

    def __init__(self, folder: Path, source: Callable[[], Mapping[str, Tensor]]) -> None:
        self._folder = folder
        self._source = source

    def keep(self, step: int, also: int | None) -> None:
        """Commit the present weights as those of `step`, then delete all others but those of `also`."""
        state = checkpoint.State({_GROUP: self._source()}, {"step": step})
        checkpoint.save(self._folder, step, state, ignore)
        checkpoint.retire(self._folder, 1, () if also is None else (also,))

    def drop_after(self, step: int) -> None:
        """Delete weights of later steps, and what a killed writer left."""
        checkpoint.clean(self._folder)
        checkpoint.forget_after(self._folder, step)

    def read(self, step: int) -> Mapping[str, Tensor]:
        """Read the weights of `step`. Raises: CheckpointError when they are damaged or gone."""
        found = Checkpoint.open(self._folder / f"{checkpoint.PREFIX}{step:08d}")
        return checkpoint.load(found, (_GROUP,)).tensors[_GROUP]
