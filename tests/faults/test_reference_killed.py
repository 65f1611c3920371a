"""A reference table killed or starved at every call that changes the disk is right afterwards."""

import shutil
import signal
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import faults

from stead.core.errors import ResourceError
from stead.core.events import ignore
from stead.training.teaching import reference
from stead.training.teaching.reference import Measure, reference_table

ROWS = 7
RIGHT = np.stack([np.arange(ROWS), -2.0 * np.arange(ROWS)], 1).astype(np.float32)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # a forked child has no other threads
    monkeypatch.setattr(reference, "_ROWS", 3)


def table(folder: Path) -> Any:
    """Compute a table whose numbers follow from the row alone; the model is an empty folder."""

    @contextmanager
    def start() -> Any:
        yield None

    loaded = SimpleNamespace(
        folder=folder / "model", dtype=torch.float32, device=torch.device("cpu"),
        model=torch.nn.Identity(),
    )  # fmt: skip
    tools = SimpleNamespace(
        folder=folder / "method", loaded=loaded, emit=ignore, lanes=1, reference=start,
        adapter=SimpleNamespace(
            config=SimpleNamespace(model_dump=lambda mode: {}), switches_off=lambda: True
        ),
        model=SimpleNamespace(draw=lambda *_, **__: nullcontext()),
    )  # fmt: skip
    store = SimpleNamespace(rows=ROWS, split="train", prepared=SimpleNamespace(hash="data"))
    measure = Measure(
        "rows", 2, np.full(ROWS, 5), lambda rows: {"rows": rows},
        lambda _, batch: torch.from_numpy(RIGHT[batch["rows"]]),
    )  # fmt: skip
    return reference_table(tools, store, measure)


def test_killed_at_every_call_the_table_is_right_when_the_run_goes_on(tmp_path: Path) -> None:
    number = 0

    while True:
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)

        def victim(folder: Path = folder, number: int = number) -> None:
            with faults.at_call(number, faults.die):
                table(folder)

        status = faults.in_child(victim)
        assert np.array_equal(table(folder), RIGHT)
        assert not list((folder / "method").glob(".partial-*"))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        number += 1

    assert number > 10


def test_a_full_disk_is_a_typed_error_and_loses_no_finished_part(tmp_path: Path) -> None:
    with faults.at_call(-1, faults.die) as calls:
        table(tmp_path / "count")
    seen = set()

    for number in range(len(calls)):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with faults.at_call(number, faults.failing(faults.NO_SPACE)):
                table(folder)
        except (ResourceError, OSError) as error:
            seen.add(getattr(error, "code", "plain"))
        assert np.array_equal(table(folder), RIGHT)

    assert "disk-full" in seen
