"""A writer that is killed leaves its target absent or complete (RELIABILITY CK4)."""

import os
import signal
import sys
from pathlib import Path

import pytest

from stead.core import manifest, process
from stead.core.errors import CheckpointError, ResourceError
from stead.exporting.exporter import registry
from stead.exporting.source import Source
from stead.hub.inspect import inspect

_PROGRAM = """
import os, signal, sys
from pathlib import Path
from stead.exporting.exporter import registry
from stead.exporting.source import Source
model, out, name, quant, at = sys.argv[1:]
def die(event):
    if getattr(event, "done", None) == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
registry().create(name).export(Source.open(model), Path(out), quant=quant, emit=die)
"""


@pytest.mark.parametrize(("name", "quant"), [("gguf", "q8_0"), ("merged", "auto")])
@pytest.mark.parametrize("at", [1, 7, 21])
def test_a_killed_export_leaves_nothing_under_its_name(
    name: str, quant: str, at: int, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    argv = [sys.executable, "-c", _PROGRAM, str(tiny_model), str(out), name, quant, str(at)]

    status = process.spawn(argv, name="victim").wait(120)

    assert status == -signal.SIGKILL
    assert not out.exists()
    made = registry().create(name).export(Source.open(tiny_model), out, quant=quant)
    assert inspect(out).hash if made.format == "gguf" else manifest.verify(out)


class _FullDisk(OSError):
    def __init__(self) -> None:
        super().__init__(28, "No space left on device")


@pytest.mark.parametrize(("name", "quant"), [("gguf", "f16"), ("merged", "fp16")])
def test_a_disk_that_fills_up_is_a_typed_error_and_leaves_nothing(
    name: str, quant: str, tiny_model: Path, tmp_path: Path
) -> None:
    def full(event: object) -> None:
        if getattr(event, "done", 0) == 5:
            raise _FullDisk

    with pytest.raises(ResourceError) as caught:
        registry().create(name).export(
            Source.open(tiny_model), tmp_path / "out", quant=quant, emit=full
        )

    assert caught.value.code == "disk-full"
    assert os.listdir(tmp_path) == []


def test_a_changed_merged_folder_is_found_by_its_manifest(tiny_model: Path, tmp_path: Path) -> None:
    registry().create("merged").export(Source.open(tiny_model), tmp_path / "out")
    with (tmp_path / "out" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        manifest.verify(tmp_path / "out", "model")
