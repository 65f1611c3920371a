"""Memory runs out: smaller parts, the same step, or a clean end with the sizes (TR6)."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import faults, training

from stead.core.errors import Interrupted, TrainingError
from stead.core.events import AnyEvent, Note
from stead.core.process import stop_requested
from stead.training.method import Columns, Loss, Model
from stead.training.methods.sft import SFT
from stead.values import PreparedData

SAYINGS = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return training.prepared(tmp_path_factory.mktemp("data") / "d", training.rows(48))


def start(model: Path, data: PreparedData, out: Path, **more: Any) -> dict[str, Any]:
    settings = {"batch_rows": 8, "adapter_config": {"dropout": 0.0}}
    return training.run(model, data, out, **settings | more)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def limit(monkeypatch: pytest.MonkeyPatch, rows: int, error: Exception, after: int = 0) -> None:
    """Let memory hold only `rows` rows, from the call `after` on."""
    real, calls = SFT.loss, iter(range(10**6))

    def loss(self: SFT, model: Model, batch: Columns) -> Loss:
        if len(batch["tokens"].starts) - 1 > rows and next(calls) >= after:
            raise error
        return real(self, model, batch)

    monkeypatch.setattr(SFT, "loss", loss)


@pytest.mark.spec("001-044")
@pytest.mark.parametrize("error", SAYINGS, ids=["cpu", "python", "cuda"])
def test_the_same_rows_are_computed_in_smaller_parts(
    error: Exception, tiny_model: Path, data: PreparedData, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start(tiny_model, data, tmp_path / "free")
    events: list[AnyEvent] = []
    limit(monkeypatch, 3, error, after=2)

    start(tiny_model, data, tmp_path / "tight", emit=events.append)

    free, tight = log(tmp_path / "free"), log(tmp_path / "tight")
    assert [x["loss"] for x in tight] == pytest.approx([x["loss"] for x in free], rel=1e-6)
    assert [x.get("split", 1) for x in tight] == [1, 1, 4, 4, 4, 4]
    assert [x["tokens"] for x in tight] == [x["tokens"] for x in free]
    notes = [e.message for e in events if isinstance(e, Note) and e.code == "smaller-batches"]
    assert ["2 parts" in n or "4 parts" in n for n in notes] == [True, True]
    kept = json.loads((tmp_path / "tight" / "final" / "stead.json").read_text())["adjustments"]
    assert kept["splits"] == [[2, 2], [2, 4]]


def test_a_split_run_resumes_to_the_same_bytes(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault does not come back after the resume; the split stays."""
    more = {"adapter_config": {"dropout": 0.1}, "checkpoint_every": 4}
    with monkeypatch.context() as patch:
        limit(patch, 4, MemoryError(), after=2)
        whole = start(tiny_model, data, tmp_path / "whole", **more)
    out, draws = tmp_path / "stopped", (1, 2, 3, 5)

    for step in draws:

        def stop(event: AnyEvent, step: int = step) -> None:
            if getattr(event, "done", None) == step:
                stop_requested.set()

        with monkeypatch.context() as patch:
            limit(patch, 4, MemoryError(), after=0 if step == 3 else 10**6)
            with pytest.raises(Interrupted):
                start(tiny_model, data, out, resume=step > 1, emit=stop, **more)
        stop_requested.clear()
    last = start(tiny_model, data, out, resume=True, **more)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert (out / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def test_when_nothing_helps_the_error_names_the_sizes(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 0, MemoryError())

    with pytest.raises(TrainingError) as caught:
        start(tiny_model, data, tmp_path)

    assert caught.value.code == "out-of-memory"
    assert caught.value.details["rows"] == 1
    assert "cut in 8" in caught.value.message
    assert str(caught.value.hint).startswith(f"stead train {tmp_path / 'run.yaml'} -s trainer.grad")


def test_other_runtime_errors_are_not_taken_for_memory(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 0, RuntimeError("shapes cannot be multiplied"))

    with pytest.raises(RuntimeError, match="shapes"):
        start(tiny_model, data, tmp_path)


@pytest.mark.spec("001-044")
def test_a_real_limit_of_the_address_space_is_survived(tiny_model: Path, tmp_path: Path) -> None:
    rows = [([5 + i % 200] * 250, [0] * 4 + [1] * 246) for i in range(64)]
    data = training.prepared(tmp_path / "d", rows)

    def run(name: str, room: int | None) -> None:
        if room is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + room
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        start(tiny_model, data, tmp_path / name, batch_rows=64, max_steps=1, epochs=9.0,
              adapter="full", adapter_config={}, logits_chunk=10**6)  # fmt: skip

    assert faults.in_child(lambda: run("free", None)) == 0
    assert faults.in_child(lambda: run("tight", 60 << 20)) == 0
    free, split = log(tmp_path / "free"), log(tmp_path / "tight")
    assert split[0].get("split", 1) > 1
    assert [x["loss"] for x in split] == pytest.approx([x["loss"] for x in free], rel=1e-6)
