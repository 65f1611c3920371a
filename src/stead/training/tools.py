"""What a run lends to its method: the model, its rows, a folder, and the model as it began.

Knows nothing about what a method does with them.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stead.core.errors import ModelError
from stead.core.events import Emit
from stead.messages import Sampling
from stead.models import rollout
from stead.models.adapter import Adapter
from stead.models.learner import Learner
from stead.training.batches import Columns
from stead.training.rollout_buffer import Written
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

    def write(
        self, prompts: Sequence[Sequence[int]], each: Sequence[Sequence[int]], sampling: Sampling,
        stop_ids: Sequence[int],
    ) -> list[list[Written]]:  # fmt: skip
        """Answer prompt i once per seed in `each[i]`, with the weights as they are."""
        found = rollout.write(self.loaded, prompts, each, sampling, stop_ids)
        return [[Written(w.ids, w.logprobs, w.stopped) for w in group] for group in found]

    def reward_model(self, folder: Path) -> Any:  # Any: models/reward.RewardModel
        """Open a reward model. Raises: ModelError."""
        raise ModelError("no-reward-head", f"{str(folder)!r} is no reward model")

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
        if self.adapter.can_switch_off or self._copy is not None:
            return
        self.model.close()
        model = copy.deepcopy(self.loaded.model).requires_grad_(False).eval()
        self.model.open()
        twin = LoadedModel(model, self.loaded.tokenizer, self.loaded.folder, self.loaded.device,
                           self.loaded.dtype, None, dict(self.loaded.meta))  # fmt: skip
        self._copy = Learner(twin, self.model.options)
