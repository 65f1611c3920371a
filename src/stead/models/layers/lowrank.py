"""Linear layers with a trainable low-rank product beside a frozen weight.

Knows nothing about which layers get one or how they are saved. Legend: T tokens, K inputs,
N outputs, R rank.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stead.core import seeds
from stead.core.errors import ModelError
from stead.models import folder as model_folder
from stead.models import products
from stead.models.targets import targets


@dataclass(slots=True)
class Draw:
    """The counter that dropout masks come from: the same (seed, step) gives the same masks.

    `plain`: layers answer as they were before an adapter was put on, for a reference model.
    """

    seed: int = 0
    step: int = 0
    active: bool = False
    plain: bool = False


@dataclass(slots=True)
class LowRank:
    """Settings of one layer's product; `place` tells its dropout apart from other layers'."""

    scaling: float
    dropout: float
    place: str
    extra: dict[str, Any] = field(default_factory=dict)  # Any: caches of the fast paths


class _Current(local):
    def __init__(self) -> None:
        self.draw = Draw()


_current = _Current()  # per thread: lanes run micro-batches side by side


def set_draw(draw: Draw) -> Draw:
    """Set this thread's dropout counter; return the former one."""
    former = _current.draw
    _current.draw = draw
    return former


def current_draw() -> Draw:
    """Return this thread's dropout counter."""
    return _current.draw


def keep_mask(like: Tensor, share: float, place: str) -> Tensor | None:
    """Return the mask of kept inputs, scaled so that the mean stays; None when dropout is off.

    Shapes: as `like`. The share is rounded to 1/256, because a byte per input decides; the scale
    uses the rounded share, so the mean is exact.
    """
    draw = _current.draw
    dropped = round(share * 256)
    if not draw.active or dropped == 0:
        return None
    generator = torch.Generator(device="cpu")
    generator.manual_seed(seeds.stream(draw.seed, draw.step, place))
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    kept = words.view(torch.uint8)[: like.numel()].view(like.shape) >= dropped
    return kept.to(device=like.device, dtype=like.dtype).mul_(256 / (256 - dropped))


class LowRankLinear(nn.Linear):  # type: ignore[misc]  # torch is untyped here
    """y = x·Wᵀ (+ b) + scaling · drop(x)·Aᵀ·Bᵀ, with W frozen and A, B kept in float32.

    Made by changing the class of an existing linear layer, so that names, hooks and sharing stay.
    """

    lora: LowRank
    lora_A: nn.Parameter  # noqa: N815 - the name in PEFT's files
    lora_B: nn.Parameter  # noqa: N815

    def begin(self, rank: int, init: str, generator: torch.Generator) -> None:
        """Make the new weights: A as `init` says, B zero.

        Raises: ModelError("bad-init") for an init this kind of layer does not have.
        """
        starts = {"true": kaiming_start, "gaussian": gaussian_start, "pissa": pissa_start}
        if init not in starts:
            raise ModelError("bad-init", f"there is no init {init!r} (known: {', '.join(starts)})")
        A, B = starts[init](self, rank, generator)
        self.lora_A, self.lora_B = nn.Parameter(A), nn.Parameter(B)

    def base(self, x: Tensor) -> Tensor:
        """Apply the frozen layer. Shapes: [..., K] → [..., N]."""
        return products.linear(x, self.weight, self.bias)

    def added(self, x: Tensor) -> Tensor:
        """Return the scaled product of inputs after dropout. Shapes: [..., K] → [..., N]."""
        low = products.linear(x, self.lora_A.to(x.dtype))
        return products.linear(low, self.lora_B.to(x.dtype) * self.lora.scaling)

    def dropped(self, x: Tensor) -> Tensor:
        """Return the inputs after this step's dropout; the same tensor when there is none."""
        mask = keep_mask(x, self.lora.dropout, self.lora.place)
        return x if mask is None else x * mask

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., K] → [..., N]."""
        out = self.base(input)
        return out if _current.draw.plain else out + self.added(self.dropped(input))


Starts = tuple[Tensor, Tensor]


def kaiming_start(layer: LowRankLinear, rank: int, generator: torch.Generator) -> Starts:
    """Return A uniform in ±1/√K, which is PEFT's kaiming_uniform_(a=√5), and B zero."""
    bound = layer.in_features**-0.5
    A = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=generator)
    return _placed(layer, A, torch.zeros(layer.out_features, rank))


def gaussian_start(layer: LowRankLinear, rank: int, generator: torch.Generator) -> Starts:
    """Return A normal with deviation 1/R, as PEFT's "gaussian", and B zero."""
    A = torch.empty(rank, layer.in_features).normal_(0, 1 / rank, generator=generator)
    return _placed(layer, A, torch.zeros(layer.out_features, rank))


def pissa_start(layer: LowRankLinear, rank: int, generator: torch.Generator) -> Starts:
    """Return the R largest singular directions of the weight, and leave the rest in the weight.

    The function of the layer stays the same up to rounding. `extra["start"]` keeps both factors: what
    is saved is the difference from them. Source: arXiv:2404.02948 eq. 2-4.
    """
    weight = layer.weight.detach().float()
    A, B = largest_directions(weight / layer.lora.scaling, rank)
    rest = torch.addmm(weight, B, A, alpha=-layer.lora.scaling)
    layer.weight = nn.Parameter(rest.to(layer.weight.dtype), requires_grad=False)
    layer.lora.extra["start"] = (A.clone(), B.clone())
    return A, B


def largest_directions(matrix: Tensor, rank: int) -> Starts:
    """Return A and B with B·A the best product of this rank. Shapes: [N, K] → [R, K], [N, R]."""
    U, S, V = torch.linalg.svd(matrix, full_matrices=False)
    root = S[:rank].sqrt()
    return (root[:, None] * V[:rank]).contiguous(), (U[:, :rank] * root).contiguous()


def _placed(layer: LowRankLinear, A: Tensor, B: Tensor) -> Starts:
    device = next(iter([*layer.parameters(), *layer.buffers()])).device
    return A.to(device), B.to(device)


def detect_targets(model: nn.Module, wanted: str | tuple[str, ...]) -> list[str]:
    """Return the full names of the linear layers meant by `wanted`."""
    return targets(model, wanted)


def add_low_rank(
    model: nn.Module,
    names: list[str],
    *,
    rank: int,
    scaling: float,
    dropout: float,
    seed: int,
    init: str = "true",
    kind: Callable[[nn.Linear], type[LowRankLinear]] = lambda _: LowRankLinear,
) -> None:
    """Put a trainable product beside each named layer; `kind` chooses a layer's new class.

    Raises: ModelError("already-adapted").
    """
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, LowRankLinear):
            raise ModelError("already-adapted", f"the layer {name!r} has an adapter already")
        generator = torch.Generator().manual_seed(seeds.stream(seed, 0, f"lora_A.{name}"))
        layer.__class__ = kind(layer)
        layer.lora = LowRank(scaling, dropout, f"dropout.{name}")
        layer.begin(rank, init, generator)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises: ModelError("torn-weights")."""
    try:
        found: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError("torn-weights", f"{str(path)!r} cannot be read: {error}") from error
    return found


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, names sorted, so that equal weights give equal bytes."""
    ready = {n: tensors[n].detach().cpu().contiguous() for n in sorted(tensors)}
    save_file(ready, path, metadata=metadata)


def write_model(model: nn.Module, folder: Path, base: Path) -> None:
    """Write a whole model folder: weights, config, tokenizer."""
    model_folder.write_model(model, folder, base)
