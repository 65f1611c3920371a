"""Training state on disk: safetensors and JSON in a committed folder, verified when read.

Knows nothing about what the tensors mean. A folder is written once; the loader takes the newest one
that verifies and says which it passed over.
"""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stead.core import files, manifest
from stead.core.errors import CheckpointError
from stead.core.events import Emit, Note, Saved
from stead.models.weights import TYPE_BYTES, safetensors_head
from stead.values import Checkpoint

KIND = "checkpoint"
PREFIX = "step-"
STATE = "state.json"
_RETIRED = ".retired-"
_SUFFIX = ".safetensors"
_LARGE_BYTES = 8 << 20  # below, threads cost more than they save
_TYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64",
    torch.int64: "I64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds: groups of tensors by name, and JSON values."""

    tensors: Mapping[str, Mapping[str, Tensor]]  # group ("model", "optimizer") -> name -> tensor
    values: dict[str, Any]  # Any: JSON values


def save(parent: Path, step: int, state: State, emit: Emit) -> Checkpoint:
    """Commit `parent/step-00000042`.

    Raises: ResourceError("disk-full"), CheckpointError. Nothing half-written stays.
    """
    target = parent / f"{PREFIX}{step:08d}"
    if target.exists():
        return Checkpoint.open(target)  # the same step of the same run: nothing to add

    def fill(folder: Path) -> dict[str, str]:
        with translated(folder):
            known = _write(folder, state.tensors)
        files.write_json(folder / STATE, state.values)
        return known

    made = manifest.commit(target, KIND, fill, {"step": step})
    found = Checkpoint(target, step, made.hash, made.meta)
    emit(Saved(stage="train", path=str(target), what="checkpoint"))
    return found


def _write(folder: Path, groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """Write a file per group; return the hashes of those that were hashed while they were written."""
    ready = {
        g: {n: t.detach().cpu().contiguous() for n, t in sorted(tensors.items())}
        for g, tensors in groups.items()
    }
    every = [t for tensors in ready.values() for t in tensors.values()]
    plain = sys.byteorder == "little" and all(t.dtype in _TYPES for t in every)
    if not plain or sum(t.nbytes for t in every) < _LARGE_BYTES:
        for group, tensors in ready.items():
            save_file(tensors, folder / f"{group}{_SUFFIX}")
        return {}
    with ThreadPoolExecutor(len(ready), "write") as pool:
        hashes = {
            f"{g}{_SUFFIX}": pool.submit(manifest.write_hashed, folder / f"{g}{_SUFFIX}", _parts(tensors))
            for g, tensors in ready.items()
        }  # fmt: skip
        return {name: digest.result() for name, digest in hashes.items()}


def _parts(tensors: Mapping[str, Tensor]) -> list[memoryview | bytes]:
    """Return the same bytes that `save_file` writes, without copying the tensors."""
    order = list(TYPE_BYTES)
    listed = sorted(tensors.items(), key=lambda item: (-order.index(_TYPES[item[1].dtype]), item[0]))  # fmt: skip
    head, _ = safetensors_head([(n, _TYPES[t.dtype], tuple(t.shape)) for n, t in listed])
    return [head, *(memoryview(t.view(-1).view(torch.uint8).numpy()) for _, t in listed if t.numel())]  # fmt: skip


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn safetensors' own I/O errors back into OSError, so that a full disk is seen as one."""
    try:
        yield
    except SafetensorError as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            if f"os error {number}" in str(error):
                raise OSError(number, os.strerror(number), str(folder)) from error
        raise CheckpointError("not-written", f"cannot write to {str(folder)!r}: {error}") from error


def newest(parent: Path, emit: Emit) -> Checkpoint | None:
    """Return the newest checkpoint that verifies; each damaged one is told and set aside."""

    def rejected(folder: Path, error: CheckpointError) -> None:
        damaged.append(folder)
        emit(Note(stage="train", level="warning", code=f"checkpoint-{error.code}",
                  message=f"checkpoint {folder.name} is passed over: {error.message}"))  # fmt: skip

    clean(parent)
    damaged: list[Path] = []
    found = manifest.newest(parent, PREFIX, KIND, rejected, _own_step)
    for folder in damaged:  # kept for people, but out of the way of the same step's next save
        set_aside = parent / f"damaged-{folder.name}"
        shutil.rmtree(set_aside, ignore_errors=True)
        os.rename(folder, set_aside)
    return None if found is None else Checkpoint.open(found)


def _own_step(folder: Path, found: manifest.Manifest) -> None:
    """Refuse a folder that was renamed or copied to another step's name, or lies elsewhere."""
    if folder.is_symlink():
        raise CheckpointError("not-plain", f"{str(folder)!r} is a link")
    if folder.name != f"{PREFIX}{found.meta.get('step', -1):08d}":
        raise CheckpointError(
            "other-step",
            f"{str(folder)!r} holds step {found.meta.get('step')}, not what its name says",
        )


def peek(folder: Path) -> dict[str, Any] | None:  # Any: JSON values
    """Return a checkpoint's values without reading its tensors; None when the file is not the one that was written."""
    try:
        sealed = manifest.read(folder, KIND).files[STATE]["sha256"]
        if files.hash_file(folder / STATE) != sealed:
            return None
    except (CheckpointError, KeyError, OSError):
        return None
    found: dict[str, Any] = files.read_json(folder / STATE)
    return found


def clean(parent: Path) -> None:
    """Remove what a killed writer or retirement left behind."""
    if parent.is_dir():
        for left in [*parent.glob(".partial-*"), *parent.glob(_RETIRED + "*")]:
            shutil.rmtree(left, ignore_errors=True)


def load(checkpoint: Checkpoint, groups: tuple[str, ...]) -> State:
    """Read a verified checkpoint. Raises: CheckpointError("torn") naming the file."""
    tensors = {}
    for group in groups:
        path = checkpoint.path / f"{group}.safetensors"
        try:
            tensors[group] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError("torn", f"{str(path)!r} cannot be read: {error}") from error
    return State(tensors, files.read_json(checkpoint.path / STATE))


def retire(parent: Path, keep: int, also: Collection[int] = ()) -> None:
    """Delete all but the `keep` newest and the steps `also`, once the newest was read and verified.

    Raises: CheckpointError naming the newest's file that differs; then nothing is deleted.
    """
    wanted = {f"{PREFIX}{step:08d}" for step in also}
    with _typed(parent):
        there = sorted(parent.glob(PREFIX + "*"))
        old = [f for f in there[:-keep] if f.name not in wanted]
        if old:
            manifest.verify(there[-1], KIND)
            _delete(old)
            files.sync_folder(parent)


def forget_after(parent: Path, step: int) -> None:
    """Delete the checkpoints of later steps, newest first: the run goes another way from here."""
    last = f"{PREFIX}{step:08d}"
    _delete([f for f in sorted(parent.glob(PREFIX + "*"), reverse=True) if f.name > last])
    if parent.is_dir():
        files.sync_folder(parent)


def _delete(folders: Iterable[Path]) -> None:
    """Rename each folder first, so that a half-deleted one is never taken for a checkpoint."""
    for folder in folders:
        hidden = folder.with_name(_RETIRED + folder.name)
        os.rename(folder, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


@contextlib.contextmanager
def _typed(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.trouble(parent, error) from error
