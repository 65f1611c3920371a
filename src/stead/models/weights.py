"""Tensors of a safetensors folder, read one at a time, and a writer that never holds two of them.

Knows nothing about models or adapters. Light: needs numpy only, because a bfloat16 is the upper half
of a float32. Format: 8 bytes little-endian header length, JSON header, data (safetensors README,
"Format"). Peak memory of any loop over a folder is one tensor.
"""

import json
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.hub import safetensors_header, shards

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy("numpy", extra="data")

SINGLE = "model.safetensors"
FLOAT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
# In the order in which the reference writer lays tensors out, the last first (safetensors, `Dtype`).
TYPE_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "F64": 8, "I64": 8}  # fmt: skip
DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: file, byte range inside it, type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor in its file."""
        return self.end - self.start


class Tensors(Protocol):
    """Anything that gives named float tensors: a folder, or a folder with an adapter laid over it."""

    def names(self) -> list[str]:
        """Return every tensor's name, in file order."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        ...

    def dtype(self, name: str) -> str:
        """Return a tensor's stored type: "F32", "F16" or "BF16"."""
        ...

    def float32(self, name: str) -> "npt.NDArray[np.float32]":
        """Return a tensor as float32."""
        ...


def read_file(path: Path) -> dict[str, TensorInfo]:
    """Return the tensors of one file, its header checked first.

    Raises: ModelError("truncated" | "bad-safetensors" | "bad-json"); UnsafeError("pickle-refused").
    """
    found = safetensors_header.read(path).tensors
    return {n: TensorInfo(n, t.dtype, t.shape, path, t.begin, t.end) for n, t in found.items()}


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one model folder (one file, or several with an index)."""

    folder: Path
    tensors: dict[str, TensorInfo]

    @classmethod
    def open(cls, folder: Path) -> "Weights":
        """Read the headers of a folder's weight files.

        Raises: ModelError("no-weights" | "bad-safetensors" | "missing-shard" | …), UnsafeError.
        """
        tensors: dict[str, TensorInfo] = {}
        for path in shards.read(folder).paths:
            tensors |= read_file(path)
        return cls(folder, tensors)

    def names(self) -> list[str]:
        """Return every tensor's name, in file order."""
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape. Raises: ModelError("missing-tensor")."""
        return self._info(name).shape

    def dtype(self, name: str) -> str:
        """Return a tensor's type as its file spells it, for instance "BF16"."""
        return self._info(name).dtype

    def float32(self, name: str) -> "npt.NDArray[np.float32]":
        """Read a tensor as float32. Raises: ModelError("base-quantized") when it is no float."""
        info = self._info(name)
        if info.dtype not in FLOAT_BYTES:
            raise ModelError(
                "base-quantized",
                f"{name!r} of {str(info.file)!r} has type {info.dtype!r}, not F32, F16 or BF16",
            )
        with open(info.file, "rb") as file:
            file.seek(info.start)
            raw = file.read(info.size_bytes)
        return decode(raw, info.dtype).reshape(info.shape)

    def _info(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise ModelError(
                "missing-tensor", f"{str(self.folder)!r} has no tensor {name!r}", tensor=name
            )
        return self.tensors[name]


def decode(raw: bytes, dtype: str) -> "npt.NDArray[np.float32]":
    """Return stored little-endian floats as a flat float32 array."""
    if dtype == "F32":
        return np.frombuffer(raw, "<f4")
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def encode(array: "npt.NDArray[np.float32]", dtype: str) -> bytes:
    """Return float32 values as stored bytes of `dtype`, rounded to nearest even.

    Raises: ModelError("overflow") when a finite value has no float16.
    """
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    if dtype == "F32":
        return bytes(flat.tobytes())
    if dtype == "F16":
        with np.errstate(over="ignore"):
            half = flat.astype("<f2")
        if bool(np.any(np.isinf(half) & np.isfinite(flat))):
            peak = float(np.max(np.abs(flat)))
            raise ModelError("overflow", f"a weight of {peak:.6g} does not fit float16 (65504)")
        return bytes(half.tobytes())
    bits = flat.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    nan = np.isnan(flat)
    if bool(nan.any()):
        rounded = np.where(nan, np.uint16(0x7FC0), rounded).astype("<u2")
    return bytes(rounded.tobytes())


def write_safetensors(
    file: IO[bytes],
    plan: Sequence[tuple[str, str, tuple[int, ...]]],
    data: Iterable[bytes],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write tensors `plan` (name, type, shape) whose bytes `data` yields in the same order.

    Raises: ValueError when a tensor's bytes do not fit its declared shape.
    """
    text, sizes = safetensors_head(plan, metadata)
    file.write(text)
    for (name, _, _), size, raw in zip(plan, sizes, data, strict=True):
        if len(raw) != size:
            raise ValueError(f"{name!r} gave {len(raw)} bytes, its shape needs {size}")
        file.write(raw)


def safetensors_head(
    plan: Sequence[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str] | None = None
) -> tuple[bytes, list[int]]:
    """Return what stands before the data of tensors `plan` (name, type, shape), and the bytes of each."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    sizes = [TYPE_BYTES[dtype] * math.prod(shape) for _, dtype, shape in plan]
    at = 0
    for (name, dtype, shape), size in zip(plan, sizes, strict=True):
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # data starts aligned to 8, as the reference writer does
    return struct.pack("<Q", len(text)) + text, sizes
