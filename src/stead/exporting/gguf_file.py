"""Write a GGUF file, version 3: header, metadata, tensor table, aligned data, one tensor in memory.

Knows nothing about models. Source: ggml/docs/gguf.md. Own writer, because it writes into an open
(atomic) file, needs no numpy and keeps the types of metadata explicit.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from stead.exporting import ggml

ALIGNMENT = 32  # general.alignment's default
_MAGIC, _VERSION = b"GGUF", 3
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


class U32(int):
    """An integer that is written as uint32 (llama.cpp reads sizes and ids as such)."""


Scalar = U32 | bool | float | str
Value = Scalar | Sequence[str] | Sequence[int] | Sequence[float]


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor to write: GGUF name, ggml type, shape as numpy has it (GGUF reverses it)."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of its data, without padding."""
        return ggml.size_bytes(self.kind, self.shape)


def head(metadata: dict[str, Value], tensors: Sequence[TensorPlan]) -> bytes:
    """Return everything before the data, padded to the alignment."""
    parts = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _value(value)]
    at = 0
    for tensor in tensors:
        dims = tuple(reversed(tensor.shape))
        parts.append(_string(tensor.name))
        parts.append(struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
        parts.append(struct.pack("<IQ", ggml.TYPES[tensor.kind], at))
        at += _padded(tensor.size_bytes)
    data = b"".join(parts)
    return data + bytes(_padded(len(data)) - len(data))


def size_bytes(metadata: dict[str, Value], tensors: Sequence[TensorPlan]) -> int:
    """Return the exact size of the file that `write` would make."""
    return len(head(metadata, tensors)) + sum(_padded(t.size_bytes) for t in tensors)


def write(
    file: IO[bytes],
    metadata: dict[str, Value],
    tensors: Sequence[TensorPlan],
    data: Iterable[bytes],
) -> None:
    """Write the file; `data` yields each tensor's bytes in the order of `tensors`.

    Raises: ValueError when the bytes of a tensor do not fit its plan.
    """
    file.write(head(metadata, tensors))
    for tensor, raw in zip(tensors, data, strict=True):
        if len(raw) != tensor.size_bytes:
            raise ValueError(
                f"{tensor.name!r} gave {len(raw)} bytes, its plan says {tensor.size_bytes}"
            )
        file.write(raw)
        file.write(bytes(_padded(len(raw)) - len(raw)))


def _padded(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    if isinstance(value, (bool, int, float, str)):
        kind, raw = _scalar(value)
        return struct.pack("<I", kind) + raw
    kinds = {_scalar(item)[0] for item in value}
    if len(kinds) != 1:
        raise ValueError(f"an array must have one type and at least one item, not {kinds}")
    items = b"".join(_scalar(item)[1] for item in value)
    return struct.pack("<IIQ", _ARRAY, kinds.pop(), len(value)) + items


def _scalar(value: bool | int | float | str) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, U32):
        return _UINT32, struct.pack("<I", value)
    if isinstance(value, int):
        return _INT32, struct.pack("<i", value)
    if isinstance(value, float):
        return _FLOAT32, struct.pack("<f", value)
    return _STRING, _string(value)
