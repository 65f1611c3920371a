"""Tensors of a safetensors folder, read one at a time, and a writer that never holds two of them.

Knows nothing about models or adapters. Light: needs numpy only, because a bfloat16 is the upper half
of a float32. Format: 8 bytes little-endian header length, JSON header, data (safetensors README,
"Format"). Peak memory of any loop over a folder is one tensor.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from stead.core import files
from stead.core.errors import ModelError
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy("numpy", extra="data")

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_HEADER_MAX_BYTES = 100_000_000  # the reference implementation's own limit
FLOAT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
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


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Return the tensors and metadata that a safetensors file declares, checked against its size.

    Raises: ModelError("bad-safetensors") with the reason: torn, too long, overlap, hole, no JSON.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(_HEADER_MAX_BYTES, max(size - 8, 0)):
            raise _bad(path, f"its header length is {length}, the file has {size} bytes")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        found = {name: _entry(path, name, item, 8 + length) for name, item in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(path, f"its header is damaged ({error})") from error
    _check_layout(path, found, 8 + length, size)
    return found, metadata


def _entry(path: Path, name: str, item: dict[str, Any], base: int) -> TensorInfo:
    start, end = item["data_offsets"]
    shape = tuple(int(n) for n in item["shape"])
    info = TensorInfo(name, str(item["dtype"]), shape, path, base + int(start), base + int(end))
    width = FLOAT_BYTES.get(info.dtype)
    count = 1
    for n in shape:
        count *= n
    if min(shape, default=0) < 0 or (width is not None and count * width != info.size_bytes):
        raise ValueError(f"{name!r} of shape {list(shape)} does not fill {info.size_bytes} bytes")
    return info


def _check_layout(path: Path, found: dict[str, TensorInfo], base: int, size: int) -> None:
    """Refuse overlaps, holes and bytes outside the file."""
    at = base
    for info in sorted(found.values(), key=lambda i: (i.start, i.end)):
        if info.start != at or info.end < info.start:
            raise _bad(path, f"{info.name!r} starts at byte {info.start}, expected {at}")
        at = info.end
    if at != size:
        raise _bad(path, f"its tensors end at byte {at}, the file has {size} bytes")


def _bad(path: Path, why: str) -> ModelError:
    return ModelError("bad-safetensors", f"{str(path)!r} cannot be read: {why}", path=str(path))


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one model folder (one file, or several with an index)."""

    folder: Path
    tensors: dict[str, TensorInfo]

    @classmethod
    def open(cls, folder: Path) -> "Weights":
        """Read the headers of a folder's weight files.

        Raises: ModelError("no-weights" | "bad-safetensors" | "missing-shard").
        """
        return cls(folder, {n: i for path in weight_files(folder) for n, i in _infos(path)})

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


def _infos(path: Path) -> Iterator[tuple[str, TensorInfo]]:
    yield from read_header(path)[0].items()


def weight_files(folder: Path) -> list[Path]:
    """Return a folder's safetensors files in order. Raises: ModelError("no-weights" | …)."""
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(files.read_json(index)["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError("bad-index", f"{str(index)!r} is damaged: {error}") from error
        paths = [folder / Path(str(name)).name for name in names]
        absent = [p for p in paths if not p.is_file()]
        if absent:
            raise ModelError("missing-shard", f"{str(absent[0])!r} of the index is not there")
        return paths
    if not (folder / SINGLE).is_file():
        raise ModelError("no-weights", f"{str(folder)!r} has neither {SINGLE!r} nor {INDEX!r}")
    return [folder / SINGLE]


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
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, dtype, shape in plan:
        size = FLOAT_BYTES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts aligned to 8, as the reference writer does
    file.write(struct.pack("<Q", len(text)) + text)
    for (name, _, _), raw in zip(plan, data, strict=True):
        start, end = header[name]["data_offsets"]
        if len(raw) != end - start:
            raise ValueError(f"{name!r} gave {len(raw)} bytes, its shape needs {end - start}")
        file.write(raw)
