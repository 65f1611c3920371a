"""What a run lends to its method: the model, its rows, a folder, and the model as it began.

Knows nothing about what a method does with them.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from stead.core.errors import ConfigError, ModelError
from stead.core.events import Emit
from stead.hub.inspect import inspect, locate
from stead.messages import Sampling
from stead.models.adapter import Adapter, Origin
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import DTYPES, Dtype, load_model
from stead.models.reward import RewardModel
from stead.models.writing import rollout
from stead.models.writing.generate import Halt, stop_signal, to_the_end
from stead.training.rl.rollout_buffer import Written
from stead.training.rows.batches import Columns
from stead.values import LoadedModel

_NAMES: tuple[Dtype, ...] = ("fp32", "bf16", "fp16")


ToGguf = Callable[[Path, Path, str], None]  # a folder of weights, the file to write, its type


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
    to_gguf: ToGguf | None = None
    halt: Halt = stop_signal  # asked after every token that is written
    _copy: Learner | None = field(default=None)

    def write(
        self, prompts: Sequence[Sequence[int]], each: Sequence[Sequence[int]], sampling: Sampling,
        stop_ids: Sequence[int],
    ) -> list[list[Written]]:  # fmt: skip
        """Answer prompt i once per seed in `each[i]`, with the weights as they are."""
        found = rollout.write(self.loaded, prompts, each, sampling, stop_ids, halt=self.halt)
        return [[Written(w.ids, w.logprobs, w.stopped) for w in group] for group in found]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Write to the end, whatever is asked: a stop is seen after it, when the state can be saved."""
        former, self.halt = self.halt, to_the_end
        try:
            yield
        finally:
            self.halt = former

    def save(self, folder: Path) -> None:
        """Write the weights as they are: an adapter's folder, or a whole model's."""
        whole = self.adapter.kind == "model"
        if whole:
            self.model.close()  # fused layers hold weights in matrices of their own
        try:
            folder.mkdir(parents=True)
            self.adapter.save(self.loaded.model, layers, folder, Origin(self.loaded.folder))
        finally:
            if whole:
                self.model.open()

    def write_gguf(self, weights: Path, out: Path, quant: str) -> None:
        """Turn what `save` wrote into a GGUF file. Raises: ConfigError("no-gguf"), ExportError."""
        if self.to_gguf is None:
            raise ConfigError("no-gguf", "nobody here can write GGUF files for the sampler")
        self.to_gguf(weights, out, quant)

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
        self._copy = Learner(replace(self.loaded, model=model), self.model.options)

    def reward_model(self, folder: str) -> RewardModel:
        """Open a model that the method `reward` trained, in this run's number type and device."""
        dtype = next(name for name in _NAMES if DTYPES[name] == self.loaded.dtype)
        return RewardModel.open(folder, dtype=dtype, device=self.loaded.device.type)

    def twin(self) -> Learner:
        """Copy the trained model as it is; what is not trained is shared, so it stays small.

        Not fused: fused layers move weights about, and shared ones can be moved once only.
        """
        self.model.close()
        model = self.loaded.model
        shared = {id(p): p for p in model.parameters() if not p.requires_grad}
        made = copy.deepcopy(model, shared).eval()
        for parameter in made.parameters():
            parameter.requires_grad_(False)
        self.model.open()
        return Learner(replace(self.loaded, model=made), replace(self.model.options, fuse=False))

    def open_model(self, ref: str) -> Learner:
        """Load another model, frozen, on the device and in the number type of the trained one.

        An adapter brings its base. Raises: NotFound, ModelError("no-base" | …).
        """
        found = inspect(locate(ref))
        if found.kind == "adapter" and found.base is None:
            raise ModelError("no-base", f"the base of the adapter {ref!r} is not on this machine")
        adapter = found.path if found.kind == "adapter" else None
        folder = found.path if found.base is None else found.base
        name = next(n for n in _NAMES if DTYPES[n] == self.loaded.dtype)
        loaded = load_model(folder, dtype=name, device=self.loaded.device.type, adapter=adapter)
        loaded.model.requires_grad_(False)
        return Learner(loaded, replace(self.model.options, checkpointing=False))
