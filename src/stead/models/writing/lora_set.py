"""Several LoRA adapters beside one base in memory; every row of a batch may use another one.

Knows nothing about requests. Adapters are read when first asked for and least recently used ones leave
when there are too many. A folder that is gone or has changed is noticed at the next request, so
copying a folder in or deleting it is the control. Legend: K inputs, N outputs, R rank, B rows.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stead.config.kinds import registry
from stead.core import files
from stead.core.errors import ModelError, NotFound
from stead.hub.adapter_folders import adapter_folders
from stead.models import lineage, peft_files, products
from stead.models.layers.lowrank import read_tensors
from stead.models.layers.packed import Packed
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 32  # adapters in memory; each is some per cent of its base
Pair = tuple["Tensor", "Tensor"]  # A [R, K] and B·scaling [N, R]
Stamp = tuple[int, int]


@dataclass(slots=True, eq=False)
class Lora:
    """One adapter's products by module name; two of them are equal only when they are the same."""

    name: str
    stamp: Stamp
    pairs: dict[str, Pair]
    _packed: dict[int, Pair | None] = field(default_factory=dict)

    def beside(self, packed: Packed, names: Sequence[str]) -> Pair | None:
        """Return the product for layers that share an input, or None without any.

        Shapes: A [ΣR, K], B [N, ΣR], block by block.
        """
        key = id(packed)
        if key not in self._packed:
            self._packed[key] = self._join(packed, names)
        return self._packed[key]

    def _join(self, packed: Packed, names: Sequence[str]) -> Pair | None:
        present = [self.pairs[n] for n in names if n in self.pairs]
        if not present:
            return None
        rank = sum(low.shape[0] for low, _ in present)
        up_NR = torch.zeros(packed.N, rank, dtype=packed.matrix.dtype)
        row = column = 0
        for name, linear in zip(names, packed.linears, strict=True):
            if name in self.pairs:
                part = self.pairs[name][1]
                up_NR[row : row + linear.out_features, column : column + part.shape[1]] = part
                column += part.shape[1]
            row += linear.out_features
        return torch.cat([low for low, _ in present]), up_NR


class LoraSet:
    """The adapters found in `places`: adapter folders, or folders of adapter folders."""

    def __init__(self, loaded: LoadedModel, places: Sequence[Path]) -> None:
        self._loaded = loaded
        self._places = list(places)
        self._held: dict[str, Lora] = {}
        self._hooked: set[str] = set()
        self._lock = Lock()

    def names(self) -> list[str]:
        """List the adapters there are now, sorted."""
        return sorted(self._folders())

    def get(self, name: str) -> Lora:
        """Return an adapter, read on demand.

        Raises: NotFound("adapter-not-found") with near names; ModelError("wrong-base" |
        "adapter-mismatch" | "adapter-unsupported" | "torn-weights").
        """
        with self._lock:
            folders = self._folders()
            for gone in self._held.keys() - folders.keys():
                del self._held[gone]
            if name not in folders:
                raise _unknown(name, folders)
            held = self._held.pop(name, None)
            if held is None or held.stamp != _stamp(folders[name]):
                held = read(self._loaded, folders[name], name)
            self._held[name] = held  # at the end: the last used
            for old in list(self._held)[:-_MOST]:
                del self._held[old]
            return held

    def is_ready(self, lora: Lora) -> bool:
        """Say whether the model's own layers would apply an adapter where `adapted` says so."""
        return lora.pairs.keys() <= self._hooked

    def make_ready(self, lora: Lora) -> None:
        """Let the model's own layers apply an adapter. Call while the model does not run."""
        for name in lora.pairs.keys() - self._hooked:
            self._loaded.model.get_submodule(name).register_forward_hook(_Added(name))
            self._hooked.add(name)

    def _folders(self) -> dict[str, Path]:
        return adapter_folders(self._places)


def read(loaded: LoadedModel, folder: Path, name: str) -> Lora:
    """Read an adapter of products only, onto no model.

    Raises: ModelError("adapter-unsupported") for other kinds; the rest as `LoraSet.get`.
    """
    stamp = _stamp(folder)
    data = files.read_json(folder / peft_files.CONFIG)
    lineage.check_base(loaded.folder, folder, data)
    config = registry("adapter").get("lora").read(folder)
    if config is None or config.dora or config.init == "pissa":
        kind = "pissa" if config is not None and config.init == "pissa" else data.get("peft_type")
        raise peft_files.unsupported(folder, "peft_type", "DORA" if config is not None and config.dora else kind)  # fmt: skip
    tensors = {
        peft_files.plain_name(key): tensor
        for key, tensor in read_tensors(folder / peft_files.WEIGHTS).items()
    }
    modules = sorted({n.rsplit(".lora_", 1)[0] for n in tensors})
    others = [n for n in tensors if not n.endswith((".lora_A.weight", ".lora_B.weight"))]
    if others:
        raise peft_files.unsupported(folder, "weights", others[0])
    peft_files.check_layers(loaded.model, modules, folder)
    pairs = {m: _pair(loaded, folder, tensors, m, config.scaling(m)) for m in modules}
    return Lora(name, stamp, pairs)


def _pair(
    loaded: LoadedModel, folder: Path, tensors: "dict[str, Tensor]", module: str, scaling: float
) -> Pair:
    linear = loaded.model.get_submodule(module)
    low, up = (tensors.get(f"{module}.lora_{x}.weight") for x in "AB")
    if low is None or up is None:
        raise peft_files.mismatch(folder, f"{module!r} has only one of its two matrices")
    wanted = ((low.shape[0], linear.in_features), (linear.out_features, low.shape[0]))
    if (tuple(low.shape), tuple(up.shape)) != wanted:
        raise peft_files.mismatch(
            folder,
            f"{module!r} is {tuple(low.shape)} and {tuple(up.shape)}, the model has {wanted}",
        )
    place = {"dtype": loaded.dtype, "device": loaded.device}
    return low.to(**place).contiguous(), (up.float() * scaling).to(**place).contiguous()


def _stamp(folder: Path) -> Stamp:
    path = folder / peft_files.WEIGHTS
    if not path.is_file():
        raise ModelError("torn-weights", f"{str(path)!r} is not there")
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _unknown(name: str, known: dict[str, Path]) -> NotFound:
    near = difflib.get_close_matches(name, known, n=1)
    ask = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(sorted(known)) if known else "none"
    return NotFound(
        "adapter-not-found",
        f"the adapter {name[:200]!r} is not here{ask} (here: {there})",
        param="model",
    )


class _Rows(local):
    def __init__(self) -> None:
        self.groups: list[tuple[Tensor | None, Lora]] = []


_rows = _Rows()  # per thread, as the model is


@contextmanager
def adapted(loras: Sequence[Any]) -> Iterator[None]:
    """Let row i of the model's input use `loras[i]` (None: the bare base) in this thread."""
    distinct = {id(one): one for one in loras if one is not None}.values()
    alone = len(distinct) == 1 and all(one is not None for one in loras)
    _rows.groups = [
        (None if alone else torch.tensor([i for i, x in enumerate(loras) if x is one]), one)
        for one in distinct
    ]
    try:
        yield
    finally:
        _rows.groups = []


@dataclass(frozen=True, slots=True)
class _Added:
    """Adds the rows' products to a linear layer's output. Shapes: [B, ..., K] → [B, ..., N]."""

    name: str

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: "Tensor") -> "Tensor":
        for rows, lora in _rows.groups:
            pair = lora.pairs.get(self.name)
            if pair is None:
                continue
            x = inputs[0] if rows is None else inputs[0][rows.to(output.device)]
            added = products.linear(products.linear(x, pair[0]), pair[1])
            if rows is None:
                output = output + added
            else:
                output = output.index_add(0, rows.to(output.device), added)
        return output
