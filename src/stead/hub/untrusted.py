"""Read files of models that somebody else made: regular files only, bounded, never executed.

Knows nothing about tensors or configurations; `safetensors_header` and `gguf_header` build on it.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from stead.core.errors import ModelError, NotFound, UnsafeError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_JSON_BYTES = 32 << 20  # the largest config.json or index of a published model is below 10 MB
_DEPTH = 64  # nesting of a configuration; the deepest seen is 6


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield an open file and its size.

    Raises: NotFound("no-file"); UnsafeError("not-regular") for a folder, pipe, socket or device.
    """
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a pipe cannot stall
    except FileNotFoundError as error:
        raise NotFound("no-file", f"there is no file {str(path)!r}") from error
    except OSError as error:
        raise UnsafeError("not-regular", f"cannot open {str(path)!r}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UnsafeError("not-regular", f"{str(path)!r} is not a regular file")
    with open(descriptor, "rb") as file:
        yield file, status.st_size


def read_json(path: Path, limit_bytes: int = _JSON_BYTES) -> dict[str, Any]:  # Any: JSON values
    """Read a JSON object. Raises: ModelError("bad-json" | "too-large") naming the file."""
    with opened(path) as (file, size):
        if size > limit_bytes:
            raise ModelError(
                "too-large", f"{str(path)!r} has {size} bytes; at most {limit_bytes} are read"
            )
        data = file.read(limit_bytes)
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> dict[str, Any]:  # Any: JSON values
    """Parse a JSON object strictly: UTF-8, no duplicate keys, finite numbers, bounded depth.

    Raises: ModelError("bad-json") with the place and the reason.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        reason = str(error) if str(error) else type(error).__name__
        raise ModelError("bad-json", f"{where!r} is not valid JSON: {reason[:200]}") from error
    if not isinstance(value, dict):
        raise ModelError("bad-json", f"{where!r} holds a {type(value).__name__}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [
        child
        for item in level
        if isinstance(item, dict | list)
        for child in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
        if depth > _DEPTH:
            raise ValueError(f"nested deeper than {_DEPTH}")


def looks_pickled(head: bytes) -> bool:
    """Say whether a file's first bytes are those of a pickle, or of the zip that torch.save makes."""
    binary = len(head) > 2 and head[0] == 0x80 and head[1] <= 5  # PROTO opcode and its version
    return binary or head.startswith((b"PK\x03\x04", b"c__", b"cos\n", b"cposix\n", b"(dp", b"(lp"))


def refuse_pickle(path: Path) -> UnsafeError:
    """Return the refusal of a pickle file, with the way to convert it elsewhere."""
    return UnsafeError(
        "pickle-refused",
        f"{str(path)!r} is a pickle, which can run any code when opened; "
        "take a revision that has safetensors, or convert it on a machine you can lose",
        hint='python -c "import torch, safetensors.torch as s; s.save_file(torch.load('
        f"{path.name!r}, weights_only=True), 'model.safetensors')\"",
    )
