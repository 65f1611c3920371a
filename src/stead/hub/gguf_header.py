"""Read what a GGUF file holds from its header, without its weights and without trusting it.

Knows nothing about models. Versions 2 and 3, little-endian. Format: docs/gguf.md of ggml. Every count
and length is checked against the bytes that are left before anything is read or allocated.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from stead.core.errors import ModelError
from stead.hub import untrusted
from stead.hub.gguf_types import ARRAY, BOOL, SCALARS, STRING, TENSORS
from stead.hub.tensor_entry import Tensor

MAGIC = b"GGUF"
_WINDOW = 1 << 20
_KEY_BYTES = 65_535  # the format's own limit
_NAME_BYTES = 255  # ggml keeps 63; the format says 64
_STRING_BYTES = 4 << 20  # the longest known chat template is below 100 kB
_KEPT_BYTES = 32 << 20  # all strings kept together
_WALKED = 1 << 20  # strings in all arrays; a vocabulary with merges has below 800,000
_ENTRIES = 65_536  # keys, and tensors; the largest known model has below 3,000 of each
_U64 = struct.Struct("<Q")
_DIMS = 4  # GGML_MAX_DIMS
_SHOWN = 64  # longer arrays are kept as type and length only


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array of the metadata that is too long to keep: element type and length."""

    type: int
    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """Version, metadata and tensors of one file."""

    version: int
    metadata: dict[str, Any]  # Any: numbers, text, short lists, LongArray
    tensors: dict[str, Tensor]


class _Reader:
    """A cursor over a file of known size that refuses to pass its end; holds one window of it."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self.path, self.size, self.position = path, size, 0
        self.kept_bytes, self.walked = 0, 0
        self._file, self._window, self._start = file, b"", 0

    def bad(self, reason: str, code: str = "bad-gguf") -> ModelError:
        return ModelError(code, f"{str(self.path)!r} is not a sound GGUF file: {reason}")

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.position:
            raise self.bad(
                f"{what} needs {count} bytes at {self.position}, the file ends at {self.size}",
                "truncated",
            )

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        offset = self.position - self._start
        if offset < 0 or offset + count > len(self._window):
            self._file.seek(self.position)
            self._window, self._start, offset = (
                self._file.read(max(count, _WINDOW)),
                self.position,
                0,
            )
            if len(self._window) < count:  # the file shrank while it was read
                raise self.bad(f"{what} could not be read whole", "truncated")
        self.position += count
        return self._window[offset : offset + count]

    def skip(self, count: int, what: str) -> None:
        self.need(count, what)
        self.position += count

    def number(self, code: str, what: str) -> Any:  # Any: int, float or bool by `code`
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0]

    def count(self, what: str, *, each: int, most: int) -> int:
        """Read a count of things that take at least `each` bytes."""
        value: int = self.number("Q", what)
        if value > most:
            raise self.bad(f"{what} is {value}; at most {most} are read")
        self.need(value * each, what)
        return value

    def text(self, what: str, most: int) -> str:
        length = self.count(f"the length of {what}", each=1, most=most)
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self.bad(f"{what} is not UTF-8") from error

    def kept(self, what: str) -> str:
        """Read a text that is kept, within the budget of all kept texts."""
        value = self.text(what, _STRING_BYTES)
        self.kept_bytes += len(value)
        if self.kept_bytes > _KEPT_BYTES:
            raise self.bad(f"its texts have more than {_KEPT_BYTES} bytes together")
        return value

    def skip_texts(self, count: int, what: str) -> None:
        """Pass over `count` texts, within the budget of all passed texts."""
        self.walked += count
        if self.walked > _WALKED:
            raise self.bad(f"{what} has {count} texts; at most {_WALKED} are read in all")
        here, end = self.position, self.size
        for _ in range(count):  # a vocabulary is half a million rounds: no calls but these two
            offset = here - self._start
            if offset < 0 or offset + 8 > len(self._window):
                self.position = here
                self.need(8, what)
                self.take(8, what)
                offset = here - self._start
            here += 8 + _U64.unpack_from(self._window, offset)[0]
            if here > end:
                self.position = end
                self.need(here - end, what)
        self.position = here


def read(path: Path) -> Header:
    """Read and check the header of a GGUF file.

    Raises: ModelError("truncated" | "bad-gguf") with the value that is wrong;
    UnsafeError("pickle-refused") for a pickle under this name.
    """
    with untrusted.opened(path) as (file, size):
        head = file.read(16)
        if head[:4] != MAGIC:
            if untrusted.looks_pickled(head):
                raise untrusted.refuse_pickle(path)
            raise ModelError("bad-gguf", f"{str(path)!r} begins with {head[:4]!r}, not {MAGIC!r}")
        reader = _Reader(path, file, size)
        reader.skip(4, "the magic")
        version = _version(reader)
        tensor_count = reader.count("the number of tensors", each=0, most=_ENTRIES)
        key_count = reader.count("the number of keys", each=13, most=_ENTRIES)
        metadata = _metadata(reader, key_count)
        reader.need(tensor_count * 24, "the tensor list")
        tensors = _tensors(reader, tensor_count, _alignment(reader, metadata))
    return Header(version, metadata, tensors)


def _version(reader: _Reader) -> int:
    version: int = reader.number("I", "the version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
        why = " (big-endian files are not supported)" if swapped in (2, 3) else ""
        raise reader.bad(f"version {version}{why}; 2 and 3 are read")
    return version


def _metadata(reader: _Reader, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(count):
        key = reader.text("a key", _KEY_BYTES)
        reader.kept_bytes += len(key)
        if key in found:
            raise reader.bad(f"key {key[:80]!r} stands twice")
        kind = reader.number("I", f"the type of {key[:80]!r}")
        found[key] = _value(reader, kind, f"key {key[:80]!r}")
    return found


def _value(reader: _Reader, kind: int, what: str) -> Any:  # Any: see Header.metadata
    if kind == STRING:
        return reader.kept(what)
    if kind == ARRAY:
        return _array(reader, what)
    return _scalar(reader, kind, what)


def _scalar(reader: _Reader, kind: int, what: str) -> Any:
    if kind not in SCALARS:
        raise reader.bad(f"{what} has the unknown type {kind}")
    if kind == BOOL:
        value = reader.take(1, what)[0]
        if value > 1:
            raise reader.bad(f"{what} is the truth value {value}")
        return bool(value)
    return reader.number(SCALARS[kind], what)


def _array(reader: _Reader, what: str) -> Any:
    kind: int = reader.number("I", what)
    if kind == ARRAY:
        raise reader.bad(f"{what} is an array of arrays")
    if kind != STRING and kind not in SCALARS:
        raise reader.bad(f"{what} is an array of the unknown type {kind}")
    each = 8 if kind == STRING else struct.calcsize("<" + SCALARS[kind])
    count = reader.count(f"the length of {what}", each=each, most=1 << 40)
    if count <= _SHOWN:
        return [_value(reader, kind, what) for _ in range(count)]
    if kind == STRING:
        reader.skip_texts(count, what)
    else:
        reader.skip(count * each, what)
    return LongArray(kind, count)


def _alignment(reader: _Reader, metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 0 < value <= 1 << 20 or value & (value - 1):
        raise reader.bad(f"general.alignment is {value!r}, not a power of two")
    return value


def _tensors(reader: _Reader, count: int, alignment: int) -> dict[str, Tensor]:
    rough: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for _ in range(count):
        name = reader.text("a tensor's name", _NAME_BYTES)
        if name in rough:
            raise reader.bad(f"tensor {name!r} stands twice")
        rough[name] = _tensor(reader, name, alignment)
    start = -(-reader.position // alignment) * alignment  # the data begin at the next multiple
    tensors = {n: Tensor(d, s, start + o, start + o + b) for n, (d, s, o, b) in rough.items()}
    _check_layout(reader, tensors)
    return tensors


def _tensor(reader: _Reader, name: str, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
    """Read one tensor's line: type, shape, offset and size in bytes."""
    dims = reader.number("I", f"tensor {name!r}")
    if dims > _DIMS:
        raise reader.bad(f"tensor {name!r} has {dims} dimensions; ggml has at most {_DIMS}")
    shape = tuple(reader.number("Q", f"tensor {name!r}") for _ in range(dims))
    kind = reader.number("I", f"tensor {name!r}")
    offset = reader.number("Q", f"tensor {name!r}")
    if kind not in TENSORS:
        raise reader.bad(f"tensor {name!r} has the unknown type {kind}")
    dtype, block, block_bytes = TENSORS[kind]
    row = shape[0] if shape else 1
    elements = prod(shape)
    if 0 in shape or elements >= 1 << 63:
        raise reader.bad(f"tensor {name!r} has the shape {list(shape)}")
    if row % block:
        raise reader.bad(f"tensor {name!r} has rows of {row}, no multiple of {dtype}'s {block}")
    if offset % alignment:
        raise reader.bad(f"tensor {name!r} is at offset {offset}, not aligned to {alignment}")
    return dtype, shape, offset, elements // block * block_bytes


def _check_layout(reader: _Reader, tensors: dict[str, Tensor]) -> None:
    """Check that every tensor lies inside the file and none over another."""
    position, before = 0, ""
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin < position:
            raise reader.bad(f"tensor {name!r} overlaps {before!r}")
        if tensor.end > reader.size:
            raise reader.bad(
                f"tensor {name!r} ends at byte {tensor.end}, the file at {reader.size}", "truncated"
            )
        position, before = tensor.end, name
