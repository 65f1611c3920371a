"""The disk that a plan measures is the one the run will write to."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stead.app import forks, supervise, sweeps
from stead.app.plans import make_plan
from stead.core import room
from stead.core.errors import ResourceError
from stead.core.events import ignore
from stead.core.paths import Home


@pytest.fixture
def asked(home: Home, tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(f'{{"instruction": "Say {n}", "output": "{n}"}}' for n in range(20)))
    return {"model": {"path": str(tiny_model)}, "data": {"path": str(rows)}, "method": "sft", "adapter": "lora"}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A device of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts a device")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "stead-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a device")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_run_that_its_own_device_cannot_hold_is_refused(
    asked: dict[str, Any], small: Path
) -> None:
    with pytest.raises(ResourceError, match="0 MiB are free") as caught:
        make_plan(asked, {"out": str(small / "not" / "yet" / "run")})

    assert caught.value.code == "not-enough-disk"


def test_every_way_to_train_measures_the_device_of_its_folder(
    asked: dict[str, Any], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {tmp_path / "a": 10 << 30, tmp_path / "b": 20 << 30, home.root: 30 << 30}
    real = shutil.disk_usage
    for place in sizes:
        place.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda p: real(p)._replace(free=sizes[p]) if p in sizes else real(p))  # fmt: skip
    source = tmp_path / "source"
    made = make_plan(asked, {"out": str(source)})
    made.write(source / "plan.json")
    trained: list[Any] = []

    def train(spec: Any, *more: Any) -> dict[str, Any]:
        trained.append(spec["plan"])
        return {}

    monkeypatch.setattr(supervise, "train", train)

    forked = forks.fork(source, {}, out=tmp_path / "b" / "fork")
    request = sweeps.SweepRequest(made.config, ("trainer.lr=1e-4,1e-3",))
    sweeps.train_trial(request, 0, {}, tmp_path / "a" / "sweep" / "trials" / "000", ignore)

    assert _free(make_plan(asked)) == 30 << 30
    assert _free(make_plan(asked, {"out": str(tmp_path / "a" / "run")})) == 10 << 30
    assert _free(forked) == 20 << 30
    assert trained[0]["hardware"]["disk_free_bytes"] == 10 << 30
    assert forked.hash == made.hash


def test_what_a_resumed_run_holds_counts_as_free(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda place: 1 << 30)
    run = tmp_path / "run"
    made = make_plan(asked, {"out": str(run)})
    (run / "checkpoints" / "step-00000002").mkdir(parents=True)
    (run / "checkpoints" / "step-00000002" / "model").write_bytes(b"x" * 5000)
    (run / "artifacts").mkdir()
    (run / "artifacts" / "m.gguf").write_bytes(b"x" * 300)
    before = _free(make_plan(asked, {"out": str(run)}))

    made.write(run / "plan.json")

    assert (before, _free(make_plan(asked, {"out": str(run)}))) == (1 << 30, (1 << 30) + 5000)


def _free(plan: Any) -> int:
    return int(plan.hardware["disk_free_bytes"])
