"""The seam for how gradients become steps: float32 masters, one clip, named state, a file per rule.

Knows nothing about models or losses. Masters: a parameter that is not float32 has a float32 copy
that the rule changes and that is rounded into the parameter after each step. Light: the rules reach
torch on first use.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stead.core.errors import CheckpointError
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = lazy("torch", extra="train")

Rates = Mapping[str, float] | Callable[[str], float] | None
"""Parameter name → multiplier of the learning rate; a name that is missing has 1."""


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """Settings of a rule; None means the rule's own. The learning rate comes with each step."""

    betas: tuple[float, float] | None = None
    momentum: float | None = None
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share a rate multiplier and a decay, by name."""

    names: tuple[str, ...]
    rate: float
    decay: float


class Optimizer(ABC):
    """A rule over named parameters; the file name is the rule's name. Decay falls on matrices only.

    All state is tensors by name, so that a checkpoint is one safetensors file and a restored
    optimizer goes on with the same bits. A rule does its work in `fresh` and `update`.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    by_element: ClassVar[bool] = (
        False  # an update of one number needs no other number: can be sharded
    )
    state_bytes: ClassVar[float]  # per trained parameter, for the plan
    table_bytes: ClassVar[float | None] = None  # per number of a table of words, where it differs
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    momentum: ClassVar[float] = 0.9
    lr_factor: ClassVar[float] = 1.0  # of AdamW's learning rate, when nobody gave one

    def __init__(
        self,
        named: "Iterable[tuple[str, nn.Parameter]]",
        options: OptimOptions | None = None,
        rates: Rates = None,
    ) -> None:
        self.options = OptimOptions() if options is None else options
        self.parameters = dict(named)
        self.masters: dict[str, Tensor] = {
            n: p if p.dtype == torch.float32 else p.detach().float()
            for n, p in self.parameters.items()
        }
        self.beta1, self.beta2 = self.betas if self.options.betas is None else self.options.betas
        given = self.options.momentum
        self.mu = self.momentum if given is None else given
        self.groups = self._grouped(rates)
        self.slots = {n: self.fresh(n, m.detach()) for n, m in self.masters.items()}
        self.norm: Callable[[Iterable[Tensor]], float] = total_norm

    def _grouped(self, rates: Rates) -> tuple[Group, ...]:
        found: dict[tuple[float, float], list[str]] = {}
        for name, master in self.masters.items():
            decay = self.options.weight_decay if master.ndim >= 2 else 0.0
            found.setdefault((rate_of(rates, name), decay), []).append(name)
        return tuple(Group(tuple(names), *key) for key, names in found.items())

    @abstractmethod
    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return the state of one parameter before the first step, by slot."""

    @abstractmethod
    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Change the masters of `group` by one step of rate `lr`; gradients are float32, in order."""

    def weights_of(self, group: Group) -> "list[Tensor]":
        """Return the group's masters, in order."""
        return [self.masters[n] for n in group.names]

    def slot(self, group: Group, slot: str) -> "list[Tensor]":
        """Return one slot of each of the group's parameters, in order."""
        return [self.slots[n][slot] for n in group.names]

    def step(self, gradients: "dict[str, Tensor]", lr: float) -> float:
        """Clip, apply one step of rate `lr` and return the gradient's norm before clipping.

        A norm that is not finite changes nothing: the caller decides what follows.
        """
        norm = self.norm(gradients.values())
        if not math.isfinite(norm):
            return norm
        limit = self.options.clip
        if limit > 0 and norm > limit:
            torch._foreach_mul_(list(gradients.values()), limit / (norm + 1e-6))
        with torch.no_grad():
            for group in self.groups:
                # Fused kernels walk memory in order whatever the strides say, so they must agree.
                found = [gradients[n].contiguous() for n in group.names]
                self.update(group, found, lr * group.rate)
        self.publish()
        return norm

    def publish(self) -> None:
        """Round changed masters into the parameters, and tell everybody who keeps copies."""
        with torch.no_grad():
            for name, master in self.masters.items():
                if self.parameters[name] is not master:
                    self.parameters[name].copy_(master)
        # Fused kernels write without counting; compute copies of the weights watch the count.
        torch.autograd.graph.increment_version(list(self.parameters.values()))

    def weights(self) -> "dict[str, Tensor]":
        """Return the float32 masters by parameter name."""
        return {n: m.detach() for n, m in self.masters.items()}

    def put(self, weights: "Mapping[str, Tensor]") -> None:
        """Replace the masters' values, and round them into the parameters."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(weights[name])
        self.publish()

    def state(self) -> "dict[str, Tensor]":
        """Return the rule's tensors, named "<parameter>:<slot>"."""
        return {f"{n}:{slot}": t for n, slots in self.slots.items() for slot, t in slots.items()}

    def restore(self, weights: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> None:
        """Put back what `weights` and `state` returned.

        Raises: CheckpointError("foreign-state") when they are another rule's, or of other weights;
        nothing is changed then.
        """
        own = self.state()
        _same_form("weight", self.masters, weights)
        _same_form("optimizer state", own, state)
        self.put(weights)
        for key, tensor in own.items():
            tensor.copy_(state[key])


def _same_form(what: str, own: "Mapping[str, Tensor]", saved: "Mapping[str, Tensor]") -> None:
    strangers = sorted(own.keys() ^ saved.keys())
    other = [n for n in own if n in saved and own[n].shape != saved[n].shape]
    if not strangers and not other:
        return
    why = (
        f"{strangers[0]!r} has no counterpart" if strangers
        else f"{other[0]!r} is {list(saved[other[0]].shape)} there and {list(own[other[0]].shape)} here"
    )  # fmt: skip
    raise CheckpointError(
        "foreign-state",
        f"the saved {what} is another one: {why}; no --resume-level can go on from it",
        hint="stead train RECIPE --out another-folder",
    )


def rate_of(rates: Rates, name: str) -> float:
    """Return the multiplier of one parameter."""
    if rates is None:
        return 1.0
    return float(rates(name) if callable(rates) else rates.get(name, 1.0))


def total_norm(gradients: "Iterable[Tensor]") -> float:
    """Return the 2-norm over all gradients together, added up in float32."""
    norms = torch._foreach_norm(list(gradients), 2.0)
    return float(torch.stack([n.float() for n in norms]).norm()) if norms else 0.0
