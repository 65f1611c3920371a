"""What a run lends to its method: the model, its rows, a folder, and the model as it began.

Knows nothing about what a method does with them.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stead.core.events import Emit
from stead.models.adapter import Adapter
from stead.models.learner import Learner
from stead.training.batches import Columns
from stead.values import LoadedModel


@dataclass(slots=True)
class Tools:
    """Made before the first step; `learner` is shared with the stepper."""

    model: Learner
    loaded: LoadedModel
    adapter: Adapter
    train: Columns
    held_out: Columns | None
    lanes: int
    seed: int
    folder: Path
    emit: Emit
    _copy: Learner | None = field(default=None)

    @contextmanager
    def reference(self) -> Iterator[Learner]:
        """Compute the model as it was before training: no adapter, no dropout, no gradient.

        An adapter that cannot be switched off needs a copy of the weights: call `keep_reference` in
        `setup`, before they change.
        """
        if self._copy is not None:
            with torch.no_grad(), self._copy.draw(0, 0, active=False):
                yield self._copy
            return
        with self.model.reference():
            yield self.model

    def keep_reference(self) -> None:
        """Make sure that `reference` will still be the starting model after the first step."""
        if self.adapter.switches_off() or self._copy is not None:
            return
        self.model.close()
        model = copy.deepcopy(self.loaded.model).requires_grad_(False).eval()
        self.model.open()
        twin = LoadedModel(model, self.loaded.tokenizer, self.loaded.folder, self.loaded.device,
                           self.loaded.dtype, None, dict(self.loaded.meta))  # fmt: skip
        self._copy = Learner(twin, self.model.options)
