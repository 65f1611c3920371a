"""One optimizer step: micro-batches → summed gradients → one change of the weights.

Knows nothing about data, callbacks or files. Lanes: micro-batches that run side by side, each on one
thread; their gradients are added in a fixed order, so the result does not depend on who was first.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stead.models.adapter import Adapter, Step
from stead.models.learner import Learner
from stead.training.callback import StepOutcome
from stead.training.method import Columns, Method
from stead.training.optimizer import Optimizer
from stead.training.stepping import oom
from stead.training.stepping.world import World

_PARTS = 1 << 20  # more parts than one step can have: keeps dropout counters of steps apart
_GROW_AFTER = 2000  # good steps before the fp16 loss scale doubles, as torch.amp.GradScaler


@dataclass(slots=True)
class Scaler:
    """Loss scaling for fp16, whose gradients would vanish; 1 and idle for other types."""

    active: bool
    scale: float = field(default=0.0)
    good: int = 0

    def __post_init__(self) -> None:
        """Start high, as torch.amp.GradScaler does."""
        if self.scale == 0.0:
            self.scale = 65536.0 if self.active else 1.0

    def update(self, *, finite: bool) -> None:
        """Halve after an overflow, double after many good steps."""
        if not self.active:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale = max(1.0, self.scale / 2)
        elif self.good == _GROW_AFTER:
            self.scale, self.good = self.scale * 2, 0


@dataclass(slots=True)
class Part:
    """What one micro-batch gave."""

    loss: float
    gradients: Sequence[Tensor | None]  # in order; None: no gradient
    values: dict[str, float]


class Sums:
    """Gradients added up in float32, in memory that is kept: fresh memory costs a page fault each 4 KiB."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._tensors: list[Tensor] = []
        self._written = False

    def clear(self) -> None:
        """Begin a new sum."""
        self._written = False

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Add one part's gradients, of whatever type; None is zero."""
        own = self._own()
        for tensor, gradient in zip(own, gradients, strict=True):
            if not self._written:
                tensor.zero_() if gradient is None else tensor.copy_(gradient)
            elif gradient is not None:
                tensor.add_(gradient)
        self._written = True

    def tensors(self) -> list[Tensor]:
        """Return the sums; zeros when nothing was added."""
        if not self._written:
            self.add([None] * len(self._parameters))
        return self._own()

    def _own(self) -> list[Tensor]:
        if not self._tensors and self._parameters:
            like = [torch.empty_like(p, dtype=torch.float32) for p in self._parameters]
            self._tensors = [t.contiguous() for t in like]
        return list(self._tensors)


@dataclass(slots=True)
class Sum:
    """What the parts of one step add up to: mean loss, its gradients in order, method's values.

    The gradients are the stepper's own memory: the next step overwrites them.
    """

    loss: float
    gradients: list[Tensor]
    values: dict[str, float]


def always(_loss: float) -> bool:
    """Let every step change the weights: the judge of a run without one."""
    return True


class Stepper:
    """Compute losses and change weights; everything it uses is passed in.

    `lanes` parts run at the same time. Use from one thread only.
    """

    def __init__(  # noqa: PLR0913 - everything it uses is passed in
        self, learner: Learner, method: Method, adapter: Adapter, optimizer: Optimizer, *,
        seed: int, lanes: int = 1, total: int = 0, world: World | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.learner = learner
        self.method = method
        self.adapter = adapter
        self.total = total
        self.world = World() if world is None else world
        self.optimizer = optimizer
        self.scaler = Scaler(active=learner.loaded.dtype == torch.float16)
        self._seed = seed
        self._learning = True
        self._clock = clock
        self._names = list(optimizer.parameters)
        self._parameters = list(optimizer.parameters.values())
        self._sums = Sums(self._parameters)
        self._pool = (
            ThreadPoolExecutor(lanes, "lane", torch.set_num_threads, (1,)) if lanes > 1 else None
        )

    def close(self) -> None:
        """End the lanes and give the model back; closing twice is allowed."""
        if self._pool is not None:
            self._pool.shutdown()
        self.learner.close()

    def run(
        self, step: int, parts: Sequence[Columns], lr: float,
        allow: Callable[[float], bool] = always,
    ) -> StepOutcome:  # fmt: skip
        """Do 0-based optimizer step `step` on its micro-batches.

        `allow(loss)` is asked before the weights change; False leaves them as they are.
        Raises: OutOfMemory while nothing was changed yet; TrainingError("out-of-memory") later.
        """
        began = self._clock()
        with oom.typed(f"step {step + 1}"):
            found = self.gradients(step, parts)
        with oom.typed(f"the change of the weights in step {step + 1}", final=True):
            self._add_penalty(found.gradients, found.values)
            norm, overflow = self._change(step, found, lr, allow)
        found.values.update(self.adapter.report())
        tokens = sum(int(c.starts[-1]) for p in parts for c in p.values())
        seconds = self._clock() - began
        skipped = not math.isfinite(norm)
        return StepOutcome(
            found.loss, norm, lr, tokens, seconds, skipped, found.values, overflow=overflow
        )

    def gradients(self, step: int, parts: Sequence[Columns], *, learning: bool = True) -> Sum:
        """Return the mean loss of all parts and its gradients; nothing changes.

        `learning`: with dropout, as in training; else without, so that only the rows decide.
        """
        weight = max(1.0, sum(self.method.weight(p) for p in parts))
        self.learner.model.train(learning)
        self._learning = learning

        def work(index: int) -> Part:
            return self._part(step, index, parts[max(index, 0)], weight)

        total = 0.0
        self._sums.clear()
        values: dict[str, float] = {}
        for part in self._map(work, self._share(len(parts))):
            total += part.loss
            self._sums.add(part.gradients)
            for name, value in part.values.items():
                values[name] = values.get(name, 0.0) + value / weight
        total, values = self._together(total, values)
        return Sum(total / weight, self._sums.tensors(), values)

    def evaluate(self, parts: Sequence[Columns]) -> float | None:
        """Return the mean loss over `parts` without learning; None when they have no labels."""
        weight = sum(self.method.weight(p) for p in parts)
        if weight == 0:
            return None
        self.learner.model.eval()

        def work(index: int) -> float:
            with torch.no_grad(), self.learner.draw(0, 0, active=False):
                loss = float(self.method.loss(self.learner, parts[max(index, 0)]).total)
                return loss if index >= 0 else 0.0

        total: float = sum(self._map(work, self._share(len(parts))))
        return self.world.add_numbers([total])[0] / weight

    def _share(self, count: int) -> list[int]:
        """Return which of `count` micro-batches this process computes; -1: one that counts nothing."""
        return self.world.mine(range(count))

    def _map(self, work: Callable[[int], Any], which: Sequence[int]) -> Iterator[Any]:
        if self._pool is None or len(which) == 1:  # one part has all threads to itself
            yield from map(work, which)
            return
        futures = deque(self._pool.submit(work, index) for index in which)
        try:
            while (
                futures
            ):  # what was handed on is not kept: a part's gradients are as large as the model
                yield futures.popleft().result()
        finally:  # after a fault nobody may go on using memory or the model
            for future in futures:
                future.cancel()
            wait(futures)

    def _together(self, total: float, values: dict[str, float]) -> tuple[float, dict[str, float]]:
        """Add up what all processes found; one that had no micro-batch brings zeros."""
        if self.world.size == 1:
            return total, values
        self._add_up(self._sums.tensors())
        names = self.world.union(values)
        summed = self.world.add_numbers([total, *(values.get(n, 0.0) for n in names)])
        return summed[0], dict(zip(names, summed[1:], strict=True))

    def _add_up(self, gradients: list[Tensor]) -> None:
        """Replace gradients by their sums over all processes."""
        self.world.add(gradients)

    def _part(self, step: int, index: int, columns: Columns, weight: float) -> Part:
        with self._draw(step, index):
            loss = self.method.loss(self.learner, columns)
            scaled = loss.total * (self.scaler.scale / weight)
            found = torch.autograd.grad(scaled, self._parameters, allow_unused=True)
        return Part(float(loss.total.detach()), found, loss.values)

    @contextmanager
    def _draw(self, step: int, index: int) -> Iterator[None]:
        """Let everything random of one micro-batch come from its number."""
        with self.learner.draw(self._seed, step * _PARTS + index, active=self._learning):
            if self._pool is None:  # layers of the model itself that draw from torch's generator
                number = (self._seed * 31 + step) * _PARTS + index
                _seed_generators(self.learner.loaded.device, number)
            yield

    def _add_penalty(self, gradients: list[Tensor], values: dict[str, float]) -> None:
        """Add the gradient of the adapter's own penalty, once per step."""
        penalty = self.adapter.penalty(self.learner.model)
        if penalty is None:
            return
        values["penalty"] = float(penalty.detach())
        scaled = penalty * self.scaler.scale
        for i, more in enumerate(torch.autograd.grad(scaled, self._parameters, allow_unused=True)):
            if more is not None:
                gradients[i] = gradients[i].float() + more.float()

    def _change(
        self, step: int, found: Sum, lr: float, allow: Callable[[float], bool]
    ) -> tuple[float, bool]:
        """Change the weights; return the gradient's norm (NaN: not allowed) and "fp16 overflowed"."""
        named = {n: g.float() for n, g in zip(self._names, found.gradients, strict=True)}
        scaled = self.scaler.active and self.scaler.scale > 1.0
        if self.scaler.active:
            torch._foreach_mul_(list(named.values()), 1.0 / self.scaler.scale)
        overflowed = scaled and not math.isfinite(found.loss)
        if not overflowed and not allow(found.loss):
            return math.nan, False
        norm = self.optimizer.step(named, lr)
        finite = math.isfinite(norm)
        if finite:
            weights = {n: m.detach() for n, m in self.optimizer.masters.items()}
            model, add = self.learner.model, self.world.add
            done = Step(model, weights, named, step + 1, self.total, add)
            if self.adapter.after_step(done):
                self.optimizer.publish()
        self.scaler.update(finite=finite)
        return norm, scaled and not finite


def _seed_generators(device: torch.device, number: int) -> None:
    """Seed torch's own generators: the CPU's, and that of the device, which draws there."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
