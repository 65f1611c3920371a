"""Read what a safetensors file holds from its header, without its weights and without trusting it.

Knows nothing about models. Format: 8 bytes little-endian length, a JSON header, then the data with
no holes (safetensors README, section "Format"; the limits are its own or stricter).
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from stead.core.errors import ModelError
from stead.hub import untrusted
from stead.hub.tensor_entry import Tensor

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip  # source: safetensors/src/tensor.rs, enum Dtype
_HEADER_BYTES = 16 << 20  # 100 MB in the library; ours keeps reading below a second
_DIMS = 16


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of one file by name, and the free text beside them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read(path: Path) -> Header:
    """Read and check the header of a safetensors file.

    Raises: UnsafeError("pickle-refused") for a pickle or zip under this name;
    ModelError("truncated" | "bad-safetensors" | "bad-json") with the value that is wrong.
    """
    with untrusted.opened(path) as (file, size):
        head = file.read(9)
        length = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else 0
        plausible = head[8:9] == b"{" and length <= _HEADER_BYTES
        if not plausible and untrusted.looks_pickled(head):
            raise untrusted.refuse_pickle(path)
        if len(head) < 9:
            raise _bad(path, f"it has {size} bytes; even an empty one has 10", "truncated")
        if length > _HEADER_BYTES:
            raise _bad(path, f"its header claims {length} bytes; at most {_HEADER_BYTES} are read")
        if 8 + length > size:
            raise _bad(path, f"its header claims {length} bytes, the file has {size}", "truncated")
        if head[8:9] != b"{":
            raise _bad(path, f"its header begins with {head[8:9]!r}, not '{{'")
        file.seek(8)
        raw = untrusted.parse_json(file.read(length), str(path))
    metadata = _metadata(path, raw.pop("__metadata__", {}))
    start = 8 + length
    tensors = {name: _tensor(path, name, entry, start) for name, entry in raw.items()}
    _check_layout(path, tensors, start, size)
    return Header(tensors, metadata)


def _bad(path: Path, reason: str, code: str = "bad-safetensors") -> ModelError:
    return ModelError(code, f"{str(path)!r} is not a whole safetensors file: {reason}")


def _metadata(path: Path, raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(v, str) for v in raw.values()):
        raise _bad(path, "__metadata__ is not a map of text to text")
    return raw


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62  # type(): True is an int to isinstance


def _tensor(path: Path, name: str, entry: Any, start: int) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"tensor {name[:80]!r} has not exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _bad(path, f"tensor {name[:80]!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or len(shape) > _DIMS or not all(map(_count, shape)):
        raise _bad(path, f"tensor {name[:80]!r} has the shape {str(shape)[:80]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_count, offsets)):
        raise _bad(path, f"tensor {name[:80]!r} has the offsets {str(offsets)[:80]}")
    begin, end = offsets
    bits = prod(shape) * BITS[dtype]
    if bits % 8 or bits // 8 != end - begin:
        raise _bad(
            path,
            f"tensor {name[:80]!r} of {dtype} {shape} needs {bits // 8} bytes, "
            f"its offsets give {end - begin}",
        )
    return Tensor(dtype, tuple(shape), start + begin, start + end)


def _check_layout(path: Path, tensors: dict[str, Tensor], start: int, size: int) -> None:
    """Check that the tensors fill the data exactly: no hole, no overlap, nothing after the last."""
    position = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            kind = "overlaps the one before it" if tensor.begin < position else "leaves a hole"
            raise _bad(path, f"tensor {name[:80]!r} {kind} at byte {tensor.begin - start}")
        position = tensor.end
    if position > size:
        raise _bad(path, f"its tensors end at byte {position}, the file has {size}", "truncated")
    if position < size:
        raise _bad(path, f"{size - position} bytes follow the last tensor")
