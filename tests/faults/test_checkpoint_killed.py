"""A writer killed, starved or struck at every call leaves a checkpoint that loads (CK1, CK3)."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tests.fakes import faults

from stead.core.errors import ResourceError
from stead.core.events import ignore
from stead.models import checkpoint

GROUPS = ("model", "optimizer")


def state(step: int) -> checkpoint.State:
    tensors = {g: {"w": torch.full((300,), float(step)), "b": torch.ones(3)} for g in GROUPS}
    return checkpoint.State(tensors, {"step": step})


def save(folder: Path, step: int, keep: int = 3) -> None:
    checkpoint.save(folder, step, state(step), ignore)
    checkpoint.retire(folder, keep)


SAVES: dict[str, tuple[tuple[int, ...], Callable[[Path], None]]] = {
    "first": ((), lambda folder: save(folder, 2)),
    "next": ((2,), lambda folder: save(folder, 4)),
    "retention": ((2, 4), lambda folder: save(folder, 6, keep=1)),
}


def loads(folder: Path) -> int | None:
    """Return the step that a resume would choose, having compared every value of it."""
    found = checkpoint.newest(folder, ignore)
    if found is None:
        return None
    loaded = checkpoint.load(found, GROUPS)
    assert loaded.values == {"step": found.step}
    for group in GROUPS:
        assert loaded.tensors[group]["w"].unique().tolist() == [float(found.step)]
    return found.step


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # a forked child has no other threads


def before(case: str, tmp_path: Path) -> Path:
    folder = tmp_path / "before"
    for step in SAVES[case][0]:
        save(folder, step)
    return folder


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("case", SAVES)
def test_killed_at_every_call_the_last_good_checkpoint_loads(case: str, tmp_path: Path) -> None:
    steps, write = SAVES[case]
    source, ends, number = before(case, tmp_path), [], 0
    last, new = (steps[-1] if steps else None), (steps[-1] + 2 if steps else 2)

    while True:
        folder = copied(source, tmp_path / "run")

        def victim(folder: Path = folder, number: int = number) -> None:
            with faults.at_call(number, faults.die):
                write(folder)

        status = faults.in_child(victim)
        ends.append(loads(folder))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        assert ends[-1] in (last, new)
        assert not list(folder.glob(".partial-*"))
        number += 1
        save(folder, new)  # the resumed run comes to the same step and saves it

    assert number > 10
    assert ends[0] == last
    assert ends[-1] == new
    assert ends == sorted(ends, key=lambda step: -1 if step is None else step)  # never back


@pytest.mark.parametrize(
    ("case", "number"),
    [
        ("first", faults.QUOTA), ("next", faults.NO_SPACE), ("retention", faults.NO_SPACE),
        ("retention", faults.BROKEN),
    ],
)  # fmt: skip
def test_a_disk_that_is_full_or_fails_at_any_call_is_a_typed_error(
    case: str, number: int, tmp_path: Path
) -> None:
    steps, write = SAVES[case]
    source = before(case, tmp_path)
    last, new = (steps[-1] if steps else None), (steps[-1] + 2 if steps else 2)
    with faults.at_call(-1, faults.die) as calls:
        write(copied(source, tmp_path / "count"))
    seen = set()

    for ordinal in range(len(calls)):
        folder = copied(source, tmp_path / "run")
        try:
            with faults.at_call(ordinal, faults.failing(number)):
                write(folder)
        except ResourceError as error:
            seen.add(error.code)
        assert loads(folder) in (last, new)
        assert not list(folder.glob(".partial-*"))
        save(folder, new)
        assert loads(folder) == new

    assert seen == {"disk-error" if number == faults.BROKEN else "disk-full"}


def test_a_tensor_file_that_is_cut_while_written_is_never_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.save_file

    def torn(tensors: dict[str, torch.Tensor], path: Path) -> None:
        write(tensors, path)
        path.write_bytes(path.read_bytes()[:100])
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    save(tmp_path, 2)
    monkeypatch.setattr(checkpoint, "save_file", torn)
    with pytest.raises(ResourceError, match="no space left"):
        save(tmp_path, 4)

    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]
    assert loads(tmp_path) == 2
