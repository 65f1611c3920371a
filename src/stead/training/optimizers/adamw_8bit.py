"""AdamW whose moments are bytes: a quarter of the state, the same steps within its rounding.

Knows nothing about models. Blocks of 256 values share a scale; a byte picks a value of a table that
is dense near 0. Plain torch, so it runs anywhere and resumes with the same bits. Source:
arXiv:2110.02861, sections 2.1 and 2.2.
"""

from functools import cache
from typing import TYPE_CHECKING

from stead.core.lazy import lazy
from stead.training import adam
from stead.training.optimizer import Group, Optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch", extra="train")

_BLOCK = 256  # as the paper's reference implementation for optimizers
_SMALL = 4096  # weights with fewer values keep float32 moments, as there
_EXPONENTS = 7


class AdamW8bit(Optimizer):
    """AdamW in two bytes per weight instead of eight; small tensors stay as they are."""

    state_bytes = 2.1

    def fresh(self, name: str, master: "Tensor") -> "dict[str, Tensor]":
        """Return zero moments."""
        if master.numel() < _SMALL:
            return adam.fresh(master)
        found = {"step": torch.zeros((), dtype=torch.float32)}
        for slot, signed in (("exp_avg", True), ("exp_avg_sq", False)):
            codes, scales = quantize(torch.zeros_like(master), signed=signed)
            found |= {f"{slot}_codes": codes, f"{slot}_scales": scales}
        return found

    def update(self, group: Group, gradients: "list[Tensor]", lr: float) -> None:
        """Apply one step to each large weight, then AdamW's to the small ones."""
        small = [i for i, n in enumerate(group.names) if "exp_avg" in self.slots[n]]
        adam.update(
            [self.masters[group.names[i]] for i in small], [gradients[i] for i in small],
            [self.slots[group.names[i]] for i in small], lr, (self.beta1, self.beta2), group.decay,
        )  # fmt: skip
        for i, name in enumerate(group.names):
            if "exp_avg" not in self.slots[name]:
                self._update(name, gradients[i], lr, group.decay)

    def _update(self, name: str, gradient: "Tensor", lr: float, decay: float) -> None:
        slots, weight = self.slots[name], self.masters[name]
        slots["step"] += 1
        step = float(slots["step"])
        first = _read(slots, "exp_avg", gradient, signed=True).lerp_(gradient, 1.0 - self.beta1)
        second = _read(slots, "exp_avg_sq", gradient, signed=False).mul_(self.beta2)
        second.addcmul_(gradient, gradient, value=1.0 - self.beta2)
        root = second.sqrt().div_((1.0 - self.beta2**step) ** 0.5).add_(adam.EPSILON)
        weight.mul_(1.0 - lr * decay)
        weight.addcdiv_(first, root, value=-lr / (1.0 - self.beta1**step))
        _write(slots, "exp_avg", first, signed=True)
        _write(slots, "exp_avg_sq", second, signed=False)


def _read(slots: "dict[str, Tensor]", slot: str, like: "Tensor", *, signed: bool) -> "Tensor":
    flat = dequantize(slots[f"{slot}_codes"], slots[f"{slot}_scales"], signed=signed)
    return flat[: like.numel()].view(like.shape)


def _write(slots: "dict[str, Tensor]", slot: str, values: "Tensor", *, signed: bool) -> None:
    codes, scales = quantize(values, signed=signed)
    slots[f"{slot}_codes"].copy_(codes)
    slots[f"{slot}_scales"].copy_(scales)


@cache
def table(*, signed: bool) -> "Tensor":
    """Return the 256 values a byte can mean, ascending, largest 1: the dynamic data type.

    Each power of ten from 10⁻⁶ to 1 has twice as many values as the one below it. Source:
    arXiv:2110.02861, section 1.3 and figure 2.
    """
    found = [0.0, 1.0]
    for i in range(_EXPONENTS):
        edges = torch.linspace(0.1, 1.0, 2 ** (i if signed else i + 1) + 1)
        means = 10.0 ** (i - _EXPONENTS + 1) * (edges[:-1] + edges[1:]) / 2.0
        found += means.tolist() + ((-means).tolist() if signed else [])
    return torch.tensor(sorted(found), dtype=torch.float32)


@cache
def _table_on(device: "torch.device", *, signed: bool) -> "Tensor":
    return table(signed=signed).to(device)


def quantize(values: "Tensor", *, signed: bool) -> "tuple[Tensor, Tensor]":
    """Return a byte per value (padded to whole blocks) and each block's largest magnitude.

    Shapes: any → [n·256] uint8, [n] float32. The nearest value of the table is taken.
    """
    flat = torch.nn.functional.pad(values.reshape(-1), (0, -values.numel() % _BLOCK))
    blocks = flat.view(-1, _BLOCK)
    scales = blocks.abs().amax(1)
    known = _table_on(values.device, signed=signed)
    middles = (known[1:] + known[:-1]) / 2.0
    parts = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return torch.bucketize(parts, middles).to(torch.uint8).view(-1), scales


def dequantize(codes: "Tensor", scales: "Tensor", *, signed: bool) -> "Tensor":
    """Return the values that codes and scales stand for, padding included. Shapes: [n·256], [n] → [n·256]."""
    known = _table_on(codes.device, signed=signed)
    return (known[codes.long()].view(-1, _BLOCK) * scales[:, None]).view(-1)
