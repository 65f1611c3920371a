"""Files of weights and rows are mapped into memory, not read into it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.fakes import training

from stead.data.pack import TokenStore
from stead.models.load import load_model


def mapped(pid: int | str = "self") -> set[str]:
    """Return the files in a process's address space (proc_pid_maps(5))."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if line.count(" ") >= 5 and "/" in line}


@pytest.mark.spec("001-032")
def test_rows_are_views_of_their_file(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(8), training.rows(2, seed=9))

    store = TokenStore.open(data, "train", "tokens")

    assert isinstance(store.tokens(3), np.memmap)
    assert isinstance(store.mask(3), np.memmap)
    assert np.shares_memory(store.tokens(3), store.flat[1])


@pytest.mark.spec("001-032")
@pytest.mark.skipif(sys.platform != "linux", reason="not run: /proc is Linux's")
def test_weights_in_their_own_type_are_mapped(tiny_model: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")

    assert str((tiny_model / "model.safetensors").resolve()) in mapped()
    del loaded
