"""Describe a gemma.cpp weights file (`.sbs`) from its header.

Knows nothing about running it. Source: gemma.cpp compression/blob_store.cc: magic, number of blobs, file
size; then 16 bytes of name per blob, then its offset and size; blobs back to back, padded to 256 bytes.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from stead.core import files
from stead.core.errors import ModelError
from stead.core.paths import Home
from stead.hub import fingerprint, untrusted
from stead.hub.info import ModelInfo

MAGIC = b"SBS\n"
_ALIGN = 256
_BLOBS = 1 << 16  # the largest published model has fewer than 2,000
_TYPES = {"B": ("bf16", 2.0), "F": ("fp32", 4.0), "$": ("sfp", 1.0), "2": ("nuq", 0.5)}
_SIZES = {18: "2b", 28: "7b"}  # layers of Gemma 1; gemma.cpp gemma/configs.h
_TOKENIZERS = ("tokenizer.spm", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class Header:
    """The blobs of a file: name → (offset, bytes)."""

    blobs: dict[str, tuple[int, int]]

    @property
    def layers(self) -> int:
        """How many layers have a feed-forward part."""
        return sum(name[1:].startswith("gating_ein_") for name in self.blobs)


def read(path: Path) -> Header:
    """Read the table of a file in the layout of 2024. Raises: ModelError("bad-sbs" | "truncated")."""
    with untrusted.opened(path) as (file, size):
        head = file.read(16)
        if len(head) < 16 or head[:4] != MAGIC:
            raise ModelError("bad-sbs", f"{str(path)!r} does not begin as a .sbs file")
        count, total = struct.unpack("<IQ", head[4:])
        if not 0 < count <= _BLOBS:
            raise ModelError("bad-sbs", f"{str(path)!r} says that it has {count} blobs")
        if total != size:
            raise ModelError(
                "truncated", f"{str(path)!r} has {size} bytes, its header says {total}"
            )
        table = file.read(32 * count)
    if len(table) < 32 * count:
        raise ModelError("truncated", f"{str(path)!r} ends within its table")
    blobs = {}
    expected = _padded(16 + 32 * count)
    for i in range(count):
        name = table[16 * i : 16 * i + 16].rstrip(b"\0").decode("ascii", errors="replace")
        offset, length = struct.unpack_from("<QQ", table, 16 * (count + i))
        if offset != expected or offset + length > total:
            raise ModelError(
                "bad-sbs", f"the blob {name!r} of {str(path)!r} is not where it should be"
            )
        blobs[name] = (offset, length)
        expected = _padded(offset + length)
    return Header(blobs)


def describe(path: Path, home: Home) -> ModelInfo:
    """Return the facts of a file. Raises: ModelError as `read` does."""
    header = read(path)
    kinds: dict[str, float] = {}
    for name, (_, length) in header.blobs.items():
        kind, width = _TYPES.get(name[:1], ("unknown", 1.0))
        kinds[kind] = kinds.get(kind, 0.0) + length / width
    return ModelInfo(
        path=path,
        kind="sbs",
        architecture="GemmaForCausalLM",
        family="gemma",
        parameters=int(sum(kinds.values())),
        dtype=max(kinds, key=lambda kind: kinds[kind]),
        size_bytes=path.stat().st_size,
        hash=files.hash_value({"sbs": fingerprint.of(path, home)}),
        layers=header.layers,
        has_tokenizer=tokenizer_of(path) is not None,
        has_template=True,
        config={"variant": variant(path, header)},
    )


def variant(path: Path, header: Header) -> str:
    """Return the name by which gemma.cpp calls the model: 2b-it, 2b-pt, 7b-it or 7b-pt.

    The size follows from the layers; the file's name says `pt`, else it is instruction-tuned.
    Raises: ModelError("bad-sbs") for other numbers of layers.
    """
    if header.layers not in _SIZES:
        raise ModelError("bad-sbs", f"{str(path)!r} has {header.layers} layers, not 18 or 28")
    words = path.stem.lower().replace("_", "-").split("-")
    return f"{_SIZES[header.layers]}-{'pt' if 'pt' in words else 'it'}"


def tokenizer_of(path: Path) -> Path | None:
    """Return the tokenizer beside the weights, or None."""
    return next((p for n in _TOKENIZERS if (p := path.parent / n).is_file()), None)


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
