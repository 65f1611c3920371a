"""Optimizers over float32 masters, and learning-rate schedules as functions of the step.

Knows nothing about models or losses. Masters: a parameter that is not float32 has a float32 copy
that the optimizer changes and that is rounded into the parameter after each step.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stead.core.errors import ConfigError

_EPSILON = 1e-8  # AdamW's default in every framework the documents name


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """Settings of the optimizer; the learning rate comes with each step."""

    name: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate for each step: warm-up, then a shape.

    `warmup` is a share of `total`, or a number of steps when 1 or more. Shapes: constant, linear
    and cosine fall to 0 at `total`; wsd is constant, then falls linearly over the last fifth.
    """

    shape: str
    peak: float
    warmup: float
    total: int

    def __call__(self, step: int) -> float:
        """Return the rate of the 0-based `step`. Raises: ConfigError("unknown-schedule")."""
        warm = round(self.warmup * self.total) if self.warmup < 1 else int(self.warmup)
        if step < warm:
            return self.peak * (step + 1) / (warm + 1)
        done = (step - warm) / max(1, self.total - warm)
        shapes = {
            "constant": 1.0,
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
            "wsd": min(1.0, (1.0 - done) / 0.2),
        }
        if self.shape not in shapes:
            raise ConfigError(
                "unknown-schedule", f"{self.shape!r} is no schedule (known: {', '.join(shapes)})"
            )
        return self.peak * shapes[self.shape]


class Optimizer:
    """AdamW or SGD over named parameters; decay on matrices only.

    All state is tensors by name, so that a checkpoint is one safetensors file.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], options: OptimOptions) -> None:
        self.options = options
        self.parameters = dict(named)
        self.masters = {
            n: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float())
            for n, p in self.parameters.items()
        }
        self._optimizer = self._build()

    def _build(self) -> torch.optim.Optimizer:
        matrices = [p for p in self.masters.values() if p.ndim >= 2]
        others = [p for p in self.masters.values() if p.ndim < 2]
        decay = self.options.weight_decay
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": others, "weight_decay": 0},
        ]
        groups = [g for g in groups if g["params"]]
        if self.options.name == "adamw":
            return torch.optim.AdamW(
                groups, lr=0.0, betas=self.options.betas, eps=_EPSILON, fused=self._can_fuse()
            )
        if self.options.name == "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=self.options.betas[0])
        raise ConfigError(
            "unknown-optimizer", f"{self.options.name!r} is no optimizer (known: adamw, sgd)"
        )

    def _can_fuse(self) -> bool:
        return all(p.device.type in ("cpu", "cuda") for p in self.masters.values())

    def step(self, gradients: dict[str, Tensor], lr: float) -> float:
        """Clip, apply one step of rate `lr` and return the gradient's norm before clipping.

        A norm that is not finite changes nothing: the caller decides what follows.
        """
        norm = total_norm(gradients.values())
        if not math.isfinite(norm):
            return norm
        limit = self.options.clip
        if limit > 0 and norm > limit:
            torch._foreach_mul_(list(gradients.values()), limit / (norm + 1e-6))
        for name, master in self.masters.items():
            # The fused kernel walks memory in order whatever the strides say, so they must agree.
            master.grad = gradients[name].contiguous()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.publish()
        return norm

    def publish(self) -> None:
        """Bring changed masters to the parameters, and tell everybody who keeps copies."""
        self._round()
        # Fused kernels write without counting; compute copies of the weights watch the count.
        torch.autograd.graph.increment_version(list(self.parameters.values()))

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
    def _round(self) -> None:
        for name, master in self.masters.items():
            if self.parameters[name] is not master:
                self.parameters[name].copy_(master)

    def weights(self) -> dict[str, Tensor]:
        """Return the float32 masters by parameter name."""
        return {n: m.detach() for n, m in self.masters.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, named "<parameter>:<slot>"."""
        found = {}
        for name, master in self.masters.items():
            for slot, value in self._optimizer.state.get(master, {}).items():
                if value is not None:
                    found[f"{name}:{slot}"] = torch.as_tensor(value)
        return found

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
    def restore(self, weights: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Put back what `weights` and `state` returned."""
        for name, master in self.masters.items():
            master.copy_(weights[name])
        self._round()
        for key, value in state.items():
            name, slot = key.rsplit(":", 1)
            master = self.masters[name]
            # AdamW counts its steps in a tensor on the host unless it is capturable or on CUDA.
            device = (
                value.device if slot == "step" and master.device.type == "cpu" else master.device
            )
            self._optimizer.state[master][slot] = value.clone().to(device)


def total_norm(gradients: Iterable[Tensor]) -> float:
    """Return the 2-norm over all gradients together, added up in float32."""
    norms = torch._foreach_norm(list(gradients), 2.0)
    return float(torch.stack([n.float() for n in norms]).norm()) if norms else 0.0
