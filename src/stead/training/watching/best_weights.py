"""The best weights of a run on disk: verified folders in `best/`, the newest and those that checkpoints name.

Knows nothing about losses; who is best is decided by the callback.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from stead.core import manifest
from stead.core.errors import CheckpointError
from stead.core.events import ignore
from stead.models import checkpoint
from stead.values import Checkpoint

_GROUP = "model"
_NAME = "best"  # the callback whose state names a step


class BestWeights:
    """Save and read float32 masters; `source` gives the present ones.

    What a checkpoint in `checkpoints` calls the best stays as long as the checkpoint does: the newest one may be
    damaged, or the run may go back behind it.
    """

    def __init__(
        self, folder: Path, source: Callable[[], Mapping[str, Tensor]], checkpoints: Path
    ) -> None:
        self._folder = folder
        self._source = source
        self._checkpoints = checkpoints

    def keep(self, step: int) -> None:
        """Commit the present weights as those of `step`, then delete all others that no checkpoint names."""
        state = checkpoint.State({_GROUP: self._source()}, {"step": step})
        checkpoint.save(self._folder, step, state, ignore)
        checkpoint.retire(self._folder, 1, self._named())

    def _named(self) -> set[int]:
        states = map(checkpoint.peek, self._checkpoints.glob(f"{checkpoint.PREFIX}*"))
        steps = [s["callbacks"].get(_NAME, {}).get("step") for s in states if s is not None]
        return {step for step in steps if step is not None}

    def drop_after(self, step: int) -> None:
        """Delete weights of later steps, and what a killed writer left."""
        checkpoint.clean(self._folder)
        checkpoint.forget_after(self._folder, step)

    def check(self, step: int) -> None:
        """Raise CheckpointError("no-best-weights") when those of `step` are damaged or gone."""
        path = self._path(step)
        try:
            manifest.verify(path, checkpoint.KIND)
        except CheckpointError as error:
            run = self._folder.parent
            recipe = f"{shlex.quote(str(run / 'run.yaml'))} --out {shlex.quote(str(run))}"  # it may have been moved
            raise CheckpointError(
                "no-best-weights",
                f"the best weights so far, of step {step}, cannot be used: {error.message}; "
                "without them the run can end with its last weights only",
                hint=f"stead train {recipe} -s trainer.keep_best=false --resume-level best-effort",
            ) from error

    def read(self, step: int) -> Mapping[str, Tensor]:
        """Read the weights of `step`. Raises: CheckpointError when they are damaged or gone."""
        self.check(step)
        found = Checkpoint.open(self._path(step))
        return checkpoint.load(found, (_GROUP,)).tensors[_GROUP]

    def _path(self, step: int) -> Path:
        return self._folder / f"{checkpoint.PREFIX}{step:08d}"
