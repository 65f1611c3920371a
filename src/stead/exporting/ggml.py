"""Quantize rows with llama.cpp's own code: `ggml_quantize_chunk` of the xllamacpp wheel, by ctypes.

Knows nothing about models or files; the only door to ctypes. The wheel's library holds ggml itself,
so K-quants need no compiler and are bit-equal to llama-quantize's. Source: ggml/include/ggml.h.
"""

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stead.core.errors import ExportError, MissingDependency
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy("numpy", extra="local")

# enum ggml_type, and (values per block, bytes per block) of ggml-common.h: both are file format.
TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q5_0": 6, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14,
    "BF16": 30,
}  # fmt: skip
BLOCKS = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q5_0": (32, 22),
    "Q8_0": (32, 34), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
}  # fmt: skip
_SYMBOLS = ("ggml_quantize_chunk", "ggml_row_size", "ggml_type_name")


def size_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor of ggml type `kind`; rows must be whole blocks."""
    values, size = BLOCKS[kind]
    count = 1
    for n in shape:
        count *= n
    return count // values * size


def library_path() -> Path:
    """Find the shared library inside the installed wheel, without importing the wheel.

    Raises: MissingDependency("not-installed").
    """
    for entry in sys.path:
        folder = Path(entry) / "xllamacpp"
        for suffix in ("so", "pyd", "dylib"):
            found = sorted(folder.glob(f"xllamacpp*.{suffix}"))
            if found:
                return found[0]
    raise MissingDependency(
        "not-installed",
        "quantizing needs the library 'xllamacpp', which is not installed",
        hint="pip install 'stead[local]'",
    )


@cache
def _library() -> ctypes.CDLL:
    """Load the library and check its ABI: the names and sizes it gives must be the ones we write.

    Raises: ExportError("ggml-abi") when it speaks another dialect of the format.
    """
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        quantize, row_size, type_name = (getattr(library, name) for name in _SYMBOLS)
    except (OSError, AttributeError) as error:
        raise ExportError("ggml-abi", f"{str(path)!r} does not offer ggml: {error}") from error
    type_name.restype, type_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    row_size.restype, row_size.argtypes = ctypes.c_size_t, [ctypes.c_int, ctypes.c_int64]
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    for kind, number in TYPES.items():
        name, size = type_name(number).decode().upper(), row_size(number, 256)
        if (name, size) != (kind, size_bytes(kind, (256,))):
            raise ExportError(
                "ggml-abi",
                f"{str(path)!r} says type {number} is {name!r} with {size} bytes per 256",
            )
    return library


def quantize(rows: "npt.NDArray[np.float32]", kind: str) -> bytes:
    """Return the rows in ggml type `kind` (a quantized one).

    Shapes: [rows, columns], columns a multiple of the type's block.
    Raises: ExportError("row-size") for a partial block, ExportError("not-finite") for NaN or infinity.
    """
    block, _ = BLOCKS[kind]
    flat = np.ascontiguousarray(rows, dtype=np.float32).reshape(-1, rows.shape[-1])
    count, columns = flat.shape
    if columns % block:
        raise ExportError("row-size", f"rows of {columns} values do not fill blocks of {block}")
    if not bool(np.isfinite(flat).all()):
        raise ExportError("not-finite", "a weight is NaN or infinite; it cannot be quantized")
    target = np.empty(size_bytes(kind, flat.shape), dtype=np.uint8)
    written = _library().ggml_quantize_chunk(
        TYPES[kind], flat.ctypes.data, target.ctypes.data, 0, count, columns, None
    )
    if written != target.nbytes:
        raise ExportError("ggml-abi", f"ggml wrote {written} bytes, expected {target.nbytes}")
    return bytes(target.tobytes())
