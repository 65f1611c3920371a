"""Whatever happens to a checkpoint on disk is found, named, and the one before it is used (CK2, CK6)."""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stead.core.errors import CheckpointError
from stead.core.events import AnyEvent, Note
from stead.models import checkpoint

GROUPS = ("model", "optimizer", "extra")
FLIPS = 12  # per file, besides one in each kilobyte
_COUNTED: dict[str, Any] = {"on": False, "events": []}


def _listen(event: str, arguments: Any) -> None:
    if _COUNTED["on"] and event.startswith("pickle."):
        _COUNTED["events"].append((event, arguments))


sys.addaudithook(_listen)  # can never be removed, so it listens only when asked


def save(parent: Path, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    tensors = {g: {"w": torch.randn(40, 30, generator=draw)} for g in GROUPS}
    values = {"step": step, "callbacks": {"guard": {"usual": [1.5, 2.25]}}}
    checkpoint.save(parent, step, checkpoint.State(tensors, values), lambda event: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of one run and one of another."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (2, 4):
        save(folder / "run", step)
    save(folder / "other", 5)
    return folder


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def chosen(parent: Path) -> tuple[int | None, str]:
    """Return the step that a resume chooses, and what it was told about others."""
    events: list[AnyEvent] = []
    found = checkpoint.newest(parent, events.append)
    told = " | ".join(e.message for e in events if isinstance(e, Note))
    return (None if found is None else found.step), told


FILES = ("model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json", "manifest.json")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found(name: str, source: Path, tmp_path: Path) -> None:
    run = shutil.copytree(source / "run", tmp_path / "run")
    path = run / "step-00000004" / name
    whole, draw = path.read_bytes(), random.Random(7)
    places = [draw.randrange(len(whole) * 8) for _ in range(FLIPS)]
    places += [kilobyte * 8192 + 3 for kilobyte in range(len(whole) // 1024)]

    for bit in places:
        flip(path, bit)
        step, told = chosen(run)
        assert (step, "step-00000004" in told, name in told) == (2, True, True), bit
        (run / "damaged-step-00000004").rename(run / "step-00000004")
        path.write_bytes(whole)

    assert chosen(run) == (4, "")


def _swap(run: Path, source: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        shutil.copy(run / "step-00000002" / name, run / "step-00000004" / name)


def _stale(run: Path, source: Path) -> None:
    shutil.copy(run / "step-00000002" / "manifest.json", run / "step-00000004" / "manifest.json")


def _foreign(run: Path, source: Path) -> None:
    shutil.copy(source / "other" / "step-00000005" / "manifest.json", run / "step-00000004")


def _renamed(run: Path, source: Path) -> None:
    shutil.rmtree(run / "step-00000004")
    shutil.copytree(run / "step-00000002", run / "step-00000004")


def _linked_folder(run: Path, source: Path) -> None:
    (run / "step-00000004").rename(run.parent / "elsewhere")
    (run / "step-00000004").symlink_to(run.parent / "elsewhere")


def _linked_file(run: Path, source: Path) -> None:
    path = run / "step-00000004" / "state.json"
    path.rename(run.parent / "state.json")
    path.symlink_to(run.parent / "state.json")


def _stranger(run: Path, source: Path) -> None:
    (run / "step-00000004" / "extra.bin").write_bytes(b"x")


DAMAGE: dict[str, Callable[[Path, Path], None]] = {
    f.__name__.strip("_"): f
    for f in (_swap, _stale, _foreign, _renamed, _linked_folder, _linked_file, _stranger)
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_mixed_up_folder_is_found(kind: str, source: Path, tmp_path: Path) -> None:
    run = shutil.copytree(source / "run", tmp_path / "run")

    DAMAGE[kind](run, source)

    step, told = chosen(run)
    assert step == 2
    assert "step-00000004" in told


@pytest.mark.parametrize("name", FILES)
def test_every_cut_empty_or_missing_file_is_found(name: str, source: Path, tmp_path: Path) -> None:
    run = shutil.copytree(source / "run", tmp_path / "run")
    path = run / "step-00000004" / name
    whole = path.read_bytes()

    for cut in {0, 1, len(whole) // 2, *range(4096, len(whole), 4096), len(whole) - 1, None}:
        path.unlink() if cut is None else path.write_bytes(whole[:cut])
        step, told = chosen(run)
        assert (step, "step-00000004" in told) == (2, True), cut
        (run / "damaged-step-00000004").rename(run / "step-00000004")
        path.write_bytes(whole)

    assert chosen(run) == (4, "")


@pytest.mark.spec("001-058")
def test_a_checkpoint_is_read_and_written_without_unpickling(tmp_path: Path) -> None:
    _COUNTED.update(on=True, events=[])
    try:
        save(tmp_path, 2)
        found = checkpoint.newest(tmp_path, lambda event: None)
        assert found is not None
        checkpoint.load(found, GROUPS)
    finally:
        _COUNTED["on"] = False

    assert _COUNTED["events"] == []
    assert {p.suffix for p in found.path.iterdir()} == {".safetensors", ".json"}


def test_nothing_is_deleted_while_the_newest_does_not_verify(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    newest = tmp_path / "step-00000003" / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.retire(tmp_path, 1)

    assert len(list(tmp_path.glob("step-*"))) == 3
