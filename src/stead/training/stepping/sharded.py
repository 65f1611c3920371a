"""Training with each process holding a share of the decoder layers (FSDP2, fully sharded).

Knows nothing about methods or files. Weights of a layer are gathered for its forward and backward
pass and let go again; what is trained beside them (adapters, heads) and the embeddings are whole
everywhere, and their gradients are added up. Masters and optimizer state follow the shares, so they
shrink with the world; a checkpoint holds whole tensors, so another world size can read it.
Source: arXiv:2304.11277; torch.distributed.fsdp.fully_shard.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from stead.core.errors import ConfigError
from stead.models.adapter import Adapter
from stead.training.method import Columns, Method
from stead.training.stepping.step import Part, Stepper
from stead.training.stepping.world import World

_LAYER_LISTS = ("layers", "h", "blocks")  # what architectures call their stack


@dataclass(slots=True)
class Shares:
    """Which trained parameters this process holds a part of; all are whole in a world that shares nothing."""

    world: World
    sources: dict[str, nn.Parameter] = field(default_factory=dict)  # the model's own parameters

    def local(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[tuple[str, nn.Parameter]]:
        """Return this process's parts of parameters, sharing their memory; whole ones as they are."""
        self.sources = dict(named)
        return [(n, _local(p)) for n, p in self.sources.items()]

    def is_share(self, name: str) -> bool:
        """Say whether a parameter is spread over the processes."""
        return isinstance(self.sources.get(name), DTensor)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return whole tensors for parts, by "parameter" or "parameter:slot". All must call it."""
        return {k: self._gather(k.rsplit(":", 1)[0], t) for k, t in tensors.items()}

    def cut(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's parts of whole tensors."""
        return {k: self._cut(k.rsplit(":", 1)[0], t) for k, t in tensors.items()}

    def norm(self, gradients: Iterable[Tensor]) -> float:
        """Return the 2-norm over all gradients of all processes; in the order of the parameters."""
        squares = [0.0, 0.0]  # of shares, of whole tensors
        for name, gradient in zip(self.sources, gradients, strict=True):
            squares[0 if self.is_share(name) else 1] += float(gradient.double().square().sum())
        return math.sqrt(self.world.add_numbers(squares[:1])[0] + squares[1])

    def _gather(self, name: str, share: Tensor) -> Tensor:
        like = self.sources.get(name)
        if not isinstance(like, DTensor) or share.ndim == 0:
            return share
        together = DTensor.from_local(
            share, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
        )
        gathered: Tensor = together.full_tensor()
        return gathered

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        if not self.is_share(name) or tensor.ndim == 0:
            return tensor
        parts = tensor.chunk(self.world.size)
        return parts[self.world.rank] if self.world.rank < len(parts) else tensor[:0]


def _local(parameter: nn.Parameter) -> nn.Parameter:
    if not isinstance(parameter, DTensor):
        return parameter
    return nn.Parameter(parameter.to_local().detach(), requires_grad=parameter.requires_grad)


def check(
    method: Method, adapter: Adapter, optimizer: Any, trainer: Any
) -> None:  # Any: a class; settings
    """Refuse what needs whole weights. Raises: ConfigError("not-sharded")."""
    why = None
    if trainer.ema is not None or trainer.keep_best:
        why = "trainer.ema and trainer.keep_best keep whole weights"
    elif method.rollout:
        why = "the method writes answers while it trains"
    elif type(adapter).after_step is not Adapter.after_step:
        why = "the adapter changes weights between steps"
    elif adapter.needs_whole:
        why = "the adapter rounds whole matrices"
    elif not optimizer.by_element:
        why = f"the optimizer {trainer.optimizer!r} looks at whole matrices"
    if why is not None:
        raise ConfigError(
            "not-sharded", f"launch.sharding is full, but {why}; whole weights are in no process",
            hint="stead train --set launch.sharding=none",
        )  # fmt: skip


def shard(model: Any, world: World) -> None:  # Any: a transformers model
    """Spread the decoder's layers over the processes. Raises: ConfigError("not-shardable").

    Weights that are trained in another type than the layer's own stay whole.
    """
    decoder = model.get_decoder()
    layers = next((getattr(decoder, n) for n in _LAYER_LISTS if hasattr(decoder, n)), None)
    if layers is None:
        raise ConfigError(
            "not-shardable", f"{type(model).__name__} has no list of layers that could be spread",
            hint="stead train --set launch.sharding=none",
        )  # fmt: skip
    mesh = init_device_mesh(next(model.parameters()).device.type, (world.size,))
    for layer in layers:
        main = next(p.dtype for p in layer.parameters() if not p.requires_grad or p.ndim > 1)
        beside = {p for n, p in layer.named_parameters() if p.dtype != main or ".lora_" in n}
        fully_shard(layer, mesh=mesh, ignored_params=beside)


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight whole, by name. All processes must call it."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        value = parameter.detach()
        found[name] = value.full_tensor() if isinstance(value, DTensor) else value
    return found


class ShardedStepper(Stepper):
    """Steps whose passes all processes make together, with as many micro-batches each."""

    shares: Shares

    def _share(self, count: int) -> list[int]:
        mine = super()._share(count)
        return mine + [-1] * (math.ceil(count / self.world.size) - len(mine))

    def _part(self, step: int, index: int, columns: Columns, weight: float) -> Part:
        """Gradients come through `backward`: gathering and spreading hang on its hooks."""
        counts = index >= 0
        with self._draw(step, max(index, 0)):
            loss = self.method.loss(self.learner, columns)
            (loss.total * (self.scaler.scale / weight if counts else 0.0)).backward()
        gradients = [self._taken(name) for name in self._names]
        return (
            Part(float(loss.total.detach()), gradients, loss.values)
            if counts
            else Part(0.0, gradients, {})
        )

    def _taken(self, name: str) -> Tensor | None:
        source = self.shares.sources[name]
        grad, source.grad = source.grad, None
        if not isinstance(grad, DTensor):
            return None if grad is None else torch.as_tensor(grad)
        # The hooks average over the processes (gloo knows no other factor); a step is a sum.
        summed: Tensor = grad.to_local().mul_(self.world.size)
        return summed

    def _add_up(self, gradients: list[Tensor]) -> None:
        """Add what is whole: parts were added by the backward pass."""
        self.world.add(
            [g for n, g in zip(self._names, gradients, strict=True) if not self.shares.is_share(n)]
        )
