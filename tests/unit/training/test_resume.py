"""Exact resume: stopped anywhere, the final weights and the loss log have the same bytes."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.core.errors import (
    CheckpointError,
    ConfigError,
    Interrupted,
    ResourceError,
    TrainingError,
)  # fmt: skip
from stead.core.events import AnyEvent, Note, Saved
from stead.core.process import stop_requested
from stead.values import PreparedData

STEPS = 12
CASES = {
    "lora": {"adapter": "lora", "adapter_config": {"dropout": 0.1}},
    "full": {"adapter": "full", "lr": 1e-3},
    "accumulation": {"adapter": "lora", "adapter_config": {"dropout": 0.1}, "accumulation": 2},
    "pretrain": {"adapter": "full", "method": "pretrain", "lr": 1e-3},
    "bf16": {"adapter": "full", "dtype": "bf16", "lr": 1e-3},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedData]:
    folder = tmp_path_factory.mktemp("data")
    made = training.rows(24)
    every = [(t, [1] * len(t)) for t, _ in made]
    return {
        "messages": training.prepared(folder / "messages", made, made[:3]),
        "text": training.prepared(folder / "text", every, every[:3], kind="text"),
    }


def start(
    tiny_model: Path, data: dict[str, PreparedData], out: Path, case: str, **more: Any
) -> Any:
    settings = {"max_steps": STEPS, "epochs": 3.0, **CASES[case], **more}
    kind = "text" if case == "pretrain" else "messages"
    return training.run(tiny_model, data[kind], out, **settings)


def stop_after(step: int) -> Any:
    """Ask for a stop once `step` steps are done, as a signal handler does."""

    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


@pytest.mark.parametrize("case", CASES)
def test_stopped_after_every_step_ends_with_the_same_bytes(
    case: str, tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    whole = start(tiny_model, data, tmp_path / "whole", case)
    out = tmp_path / "stopped"

    for step in range(1, STEPS):
        with pytest.raises(Interrupted):
            start(tiny_model, data, out, case, resume=step > 1, emit=stop_after(step))
        stop_requested.clear()
    last = start(tiny_model, data, out, case, resume=True)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["eval_loss"] == whole["eval_loss"]
    log, expected = (p / "metrics.jsonl" for p in (out, tmp_path / "whole"))
    assert log.read_bytes() == expected.read_bytes()
    assert last["resume_level"] == "exact"


def test_dropout_and_seed_change_the_result(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    """The equality above would be empty if nothing depended on the random numbers."""
    hashes = {
        start(tiny_model, data, tmp_path / name, "lora", **more)["weights_sha256"]
        for name, more in (
            ("a", {}), ("b", {"seed": 1}), ("c", {"adapter_config": {"dropout": 0.0}})
        )
    }  # fmt: skip

    assert len(hashes) == 3


def test_a_signal_saves_at_that_very_step(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match="after step 5 of 12"):
        start(tiny_model, data, tmp_path, "lora", emit=stop_after(5))

    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


KILLED = """
import sys
import torch
from pathlib import Path
from stead.values import PreparedData
from tests.fakes import training
torch.set_num_threads(1)
model, data, out = map(Path, sys.argv[1:])
training.run(model, PreparedData.open(data), out, resume=True, max_steps=60, epochs=99.0,
             adapter_config={"dropout": 0.1}, checkpoint_every=1)
"""


@pytest.mark.spec("001-011", "001-046")
def test_killed_at_random_times_ends_with_the_same_bytes(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    """SIGKILL, checkpoints at every step, so that many kills fall into the writing of one."""
    place = data["messages"].path
    whole = training.run(
        tiny_model, data["messages"], tmp_path / "whole", max_steps=60, epochs=99.0,
        adapter_config={"dropout": 0.1}, checkpoint_every=1,
    )  # fmt: skip
    out, draw = tmp_path / "killed", random.Random(5)

    for _ in range(4):
        process = training.child(KILLED, str(tiny_model), str(place), str(out))
        seen = _steps(out)
        while process.poll() is None and _steps(out) <= seen:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = training.child(KILLED, str(tiny_model), str(place), str(out))
    _, error = process.communicate()

    assert process.returncode == 0, error.decode()[-2000:]
    final = out / "final" / "adapter_model.safetensors"
    expected = tmp_path / "whole" / "final" / "adapter_model.safetensors"
    assert final.read_bytes() == expected.read_bytes()
    assert (out / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert whole["steps"] == 60


def _steps(out: Path) -> int:
    log = out / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_damaged_checkpoints_are_passed_over_and_named(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    whole = start(tiny_model, data, tmp_path / "whole", "lora")
    with pytest.raises(Interrupted):
        start(tiny_model, data, tmp_path / "run", "lora", checkpoint_every=2, emit=stop_after(6))
    stop_requested.clear()
    weights = tmp_path / "run" / "checkpoints" / "step-00000006" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    events: list[AnyEvent] = []

    last = start(tiny_model, data, tmp_path / "run", "lora", checkpoint_every=2, resume=True,
                 emit=events.append)  # fmt: skip

    notes = [e.message for e in events if isinstance(e, Note)]
    assert any("step-00000006" in n and "model.safetensors" in n for n in notes)
    assert any("resumed after step 4" in n for n in notes)
    assert last["steps"] == whole["steps"]
    assert last["weights_sha256"] == whole["weights_sha256"]


def test_resume_with_nothing_saved_starts_at_the_beginning_and_says_so(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    events: list[AnyEvent] = []

    result = start(tiny_model, data, tmp_path, "lora", resume=True, emit=events.append)

    assert result["steps"] == STEPS
    assert any(isinstance(e, Note) and "starts at the beginning" in e.message for e in events)


def test_a_finished_run_is_not_trained_again(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    first = start(tiny_model, data, tmp_path, "lora")

    again = start(tiny_model, data, tmp_path, "lora", resume=True)

    assert again == first
    with pytest.raises(ConfigError, match="of another config; nothing is left"):
        start(tiny_model, data, tmp_path, "lora", resume=True, lr=1e-4)
    with pytest.raises(ConfigError, match="finished run"):
        start(tiny_model, data, tmp_path, "lora")


def test_changed_settings_are_refused_unless_the_level_is_lowered(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        start(tiny_model, data, tmp_path, "lora", emit=stop_after(3))
    stop_requested.clear()

    for allowed in (True, "same-order"):
        with pytest.raises(CheckpointError, match=r"trainer\.lr") as caught:
            start(tiny_model, data, tmp_path, "lora", lr=1e-4, resume=allowed)
        assert caught.value.code == "fingerprint-changed"
        assert caught.value.hint == f"stead runs resume {tmp_path} --resume-level best-effort"
    for other in (
        {"adapter_config": {"r": 3}},
        {"optimizer": "lion"},
    ):  # no level goes on with other tensors
        with pytest.raises(CheckpointError, match="no --resume-level") as caught:
            start(tiny_model, data, tmp_path, "lora", resume="best-effort", **other)
        assert caught.value.code == "foreign-state"
    result = start(tiny_model, data, tmp_path, "lora", lr=1e-4, resume="best-effort")

    assert result["resume_level"] == "best-effort"


def test_another_thread_count_is_another_numerical_environment(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        start(tiny_model, data, tmp_path, "lora", emit=stop_after(3))
    stop_requested.clear()
    torch.set_num_threads(2)

    with pytest.raises(CheckpointError, match="threads: 1 → 2"):
        start(tiny_model, data, tmp_path, "lora", resume=True)
    result = start(tiny_model, data, tmp_path, "lora", resume="same-order")

    assert result["resume_level"] == "same-order"


def test_two_trainers_cannot_hold_one_run(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    from stead.training.saving import lease

    with lease.held(tmp_path), pytest.raises(TrainingError) as caught:
        start(tiny_model, data, tmp_path, "lora")

    assert caught.value.code == "run-held"


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    from stead.models import checkpoint

    whole = start(tiny_model, data, tmp_path / "whole", "lora")
    write, count = checkpoint.save_file, iter(range(100))

    def full(*arguments: Any, **more: Any) -> None:
        if next(count) >= 7:  # three files per checkpoint: the third one fails in its second
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        write(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(ResourceError) as caught:
            start(tiny_model, data, tmp_path / "run", "lora", checkpoint_every=2)
    left = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    last = start(
        tiny_model, data, tmp_path / "run", "lora", checkpoint_every=2, resume="best-effort"
    )

    assert caught.value.code == "disk-full"
    assert caught.value.hint == f"stead runs resume {tmp_path / 'run'}"
    assert left == ["step-00000002", "step-00000004"]
    assert last["weights_sha256"] == whole["weights_sha256"]


def test_old_checkpoints_are_retired(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    events: list[AnyEvent] = []

    start(tiny_model, data, tmp_path, "lora", checkpoint_every=2, keep=2, emit=events.append)

    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000008", "step-00000010"]
    assert sum(isinstance(e, Saved) and e.what == "checkpoint" for e in events) == 5
