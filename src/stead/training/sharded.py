"""Training with each process holding a share of the decoder layers (FSDP2, fully sharded).

Knows nothing about methods or files. Weights of a layer are gathered for its forward and backward
pass and let go again; what is trained beside them (adapters, heads) and the embeddings are whole
everywhere, and their gradients are added up. Masters and optimizer state follow the shares, so they
shrink with the world; a checkpoint holds whole tensors, so another world size can read it.
Source: arXiv:2304.11277; torch.distributed.fsdp.fully_shard.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from stead.core.errors import ConfigError
from stead.training.method import Columns
from stead.training.optim import Optimizer, OptimOptions
from stead.training.step import Part, Stepper
from stead.training.world import World

_BY_ELEMENT = ("adamw", "sgd", "lion")  # an update of one number needs no other number
_LAYER_LISTS = ("layers", "h", "blocks")  # what architectures call their stack


def shard(model: nn.Module, decoder: nn.Module, world: World, device: torch.device) -> None:
    """Spread the decoder's layers over the processes. Raises: ConfigError("not-shardable").

    Weights that are trained in another type than the layer's own stay whole.
    """
    layers = next((getattr(decoder, n) for n in _LAYER_LISTS if hasattr(decoder, n)), None)
    if layers is None:
        raise ConfigError(
            "not-shardable", f"{type(model).__name__} has no list of layers that could be spread",
            hint="stead train --set launch.sharding=none",
        )  # fmt: skip
    mesh = init_device_mesh(device.type, (world.size,))
    for layer in layers:
        main = next(p.dtype for p in layer.parameters())
        whole = {p for p in layer.parameters() if p.dtype != main}
        made = fully_shard(layer, mesh=mesh, ignored_params=whole)
        made.set_gradient_divide_factor(1.0)  # the loop divides by the step's weight itself


def local(parameter: nn.Parameter) -> nn.Parameter:
    """Return this process's share of a parameter, sharing its memory; a whole one as it is."""
    if not isinstance(parameter, DTensor):
        return parameter
    return nn.Parameter(parameter.to_local().detach(), requires_grad=parameter.requires_grad)


def whole(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight whole, by name. All processes must call it."""
    state = {}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        value = parameter.detach()
        state[name] = value.full_tensor() if isinstance(value, DTensor) else value
    return state


class ShardedOptimizer(Optimizer):
    """The optimizer over shares; its state goes out and comes in whole."""

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], options: OptimOptions, world: World
    ) -> None:
        if options.name not in _BY_ELEMENT:
            raise ConfigError(
                "optimizer-not-sharded",
                f"the optimizer {options.name!r} needs whole matrices, which no process has when "
                f"launch.sharding is full (use one of: {', '.join(_BY_ELEMENT)})",
                hint="stead train --set launch.sharding=none",
            )
        found = dict(named)
        self._shapes = {n: p for n, p in found.items() if isinstance(p, DTensor)}
        self._world = world
        super().__init__([(n, local(p)) for n, p in found.items()], options)

    def weights(self) -> dict[str, Tensor]:
        """Return the whole float32 masters by parameter name."""
        return {n: self._gather(n, t) for n, t in super().weights().items()}

    def state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, whole."""
        return {k: self._gather(k.rsplit(":", 1)[0], t) for k, t in super().state().items()}

    def restore(self, weights: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Take this process's share of what any world saved."""
        super().restore(
            {n: self._cut(n, t) for n, t in weights.items()},
            {k: self._cut(k.rsplit(":", 1)[0], t) for k, t in state.items()},
        )

    def _gather(self, name: str, share: Tensor) -> Tensor:
        like = self._shapes.get(name)
        if like is None or share.ndim == 0:
            return share
        together = DTensor.from_local(
            share, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
        )
        gathered: Tensor = together.full_tensor()
        return gathered

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        if name not in self._shapes or tensor.ndim == 0:
            return tensor
        parts = tensor.chunk(self._world.size)
        return parts[self._world.rank] if self._world.rank < len(parts) else tensor[:0]


class ShardedStepper(Stepper):
    """Steps whose passes all processes make together, with as many micro-batches each."""

    def _share(self, count: int) -> list[int]:
        """Return this process's micro-batches; -1 stands for one that counts nothing."""
        mine = super()._share(count)
        return mine + [-1] * (math.ceil(count / self.world.size) - len(mine))

    def _part(self, step: int, index: int, columns: Columns, weight: float) -> Part:
        with self.learner.draw(self._seed, self._place(step, max(index, 0))):
            loss = self.method.loss(self.learner, columns)
            scale = 0.0 if index < 0 else self.scaler.scale / weight
            (loss.total * scale).backward()
        gradients = []
        for name, parameter in self._sources.items():
            grad = parameter.grad
            share = grad.to_local() if isinstance(grad, DTensor) else grad
            like = self.optimizer.parameters[name]
            gradients.append(torch.zeros_like(like, dtype=torch.float32) if share is None else share)
            parameter.grad = None
        if index < 0:
            return Part(0.0, gradients, {})
        return Part(float(loss.total.detach()), gradients, loss.values)

    def follow(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        """Be told the model's own parameters, whose gradients are collected."""
        self._sources = dict(named)

    def _add_up(self, gradients: list[Tensor]) -> None:
        """Shares were added by the backward pass; only whole tensors are left to add."""
        self.world.add([g for n, g in zip(self._names, gradients, strict=True) if not self._is_share(n)])

    def _is_share(self, name: str) -> bool:
        return isinstance(self._sources[name], DTensor)

    def _norm(self, gradients: dict[str, Tensor]) -> float:
        squares = [0.0, 0.0]  # of shares, of whole tensors
        for name, gradient in gradients.items():
            squares[0 if self._is_share(name) else 1] += float(gradient.double().square().sum())
        return math.sqrt(self.world.add_numbers(squares[:1])[0] + squares[1])
