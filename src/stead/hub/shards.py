"""Read the headers of all safetensors files of a folder as one table of tensors.

Knows nothing about configurations. An index may only name files that lie beside it.
"""

from dataclasses import dataclass
from pathlib import Path

from stead.core.errors import ModelError, UnsafeError
from stead.hub import safetensors_header, untrusted
from stead.hub.tensor_entry import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight files of a folder, their tensors, and the pickles beside them that stay closed."""

    paths: tuple[Path, ...]
    tensors: dict[str, Tensor]
    ignored: tuple[str, ...]


def read(folder: Path) -> Weights:
    """Read every header of a folder.

    Raises: UnsafeError("pickle-refused") when pickles are all there is; ModelError("no-weights" |
    "missing-shard" | "bad-index" | "no-index").
    """
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in untrusted.PICKLE_SUFFIXES)
    if (folder / INDEX).exists():
        paths, tensors = _sharded(folder)
        return Weights(paths, tensors, tuple(pickles))
    found = sorted(folder.glob("*.safetensors"))
    if (folder / SINGLE).exists():
        found = [folder / SINGLE]
    if len(found) > 1:
        raise ModelError(
            "no-index", f"{str(folder)!r} has {len(found)} safetensors files and no {INDEX}"
        )
    if not found and pickles:
        raise untrusted.refuse_pickle(folder / pickles[0])
    if not found:
        raise ModelError(
            "no-weights",
            f"{str(folder)!r} has no safetensors file",
            hint=f"stead model discover {folder}",
        )
    return Weights((found[0],), safetensors_header.read(found[0]).tensors, tuple(pickles))


def _sharded(folder: Path) -> tuple[tuple[Path, ...], dict[str, Tensor]]:
    where = str(folder / INDEX)
    weight_map = untrusted.read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError("bad-index", f"{where!r} has no weight_map")
    tensors: dict[str, Tensor] = {}
    paths = []
    for shard in sorted({_basename(where, s) for s in weight_map.values()}):
        path = folder / shard
        if not path.is_file():
            raise ModelError("missing-shard", f"{where!r} names {shard!r}, which is not there")
        for name, tensor in safetensors_header.read(path).tensors.items():
            if weight_map.get(name) != shard:
                said = weight_map.get(name)
                raise ModelError("bad-index", f"{name!r} is in {shard!r}; {where!r} says {said!r}")
            tensors[name] = tensor
        paths.append(path)
    lost = sorted(weight_map.keys() - tensors.keys())
    if lost:
        raise ModelError("bad-index", f"{where!r} names {lost[0]!r}, which no shard holds")
    return tuple(paths), tensors


def _basename(where: str, shard: object) -> str:
    """Return a shard's name if it is a plain safetensors file name, else refuse."""
    plain = isinstance(shard, str) and shard.endswith(".safetensors") and shard[0] != "."
    if not isinstance(shard, str) or not plain or any(c in shard for c in "/\\\0:"):
        raise UnsafeError("outside", f"{where!r} names the shard {str(shard)[:100]!r}")
    return shard
