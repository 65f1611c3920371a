"""A run whose newest checkpoint was damaged ends as the one nobody touched; one without its best weights says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import training

from stead.core.errors import CheckpointError
from stead.core.events import AnyEvent, Note, Progress
from stead.values import PreparedData

OWN = {"checkpoint_every": 2, "keep": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return training.prepared(tmp_path_factory.mktemp("data") / "rows", training.rows(16, seed=1), training.rows(3, seed=2))  # fmt: skip


def killed(model: Path, data: PreparedData, out: Path, after: int, **own: Any) -> None:
    """Train until step `after` is done, then end without saving."""

    def die(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(model, data, out, emit=die, **own)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def other_fingerprint(data: bytes) -> bytes:
    """Still JSON, but of another run."""
    config = json.loads(data)["fingerprint"]["config"]
    return data.replace(config.encode(), config[::-1].encode())


@pytest.mark.parametrize("damage", [half, other_fingerprint, lambda data: b""])
def test_a_damaged_state_file_is_passed_over_before_it_is_believed(
    damage: Callable[[bytes], bytes], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    whole = training.run(tiny_model, data, tmp_path / "whole", **OWN)
    killed(tiny_model, data, tmp_path / "run", 5, **OWN)
    state = tmp_path / "run" / "checkpoints" / "step-00000004" / "state.json"
    state.write_bytes(damage(state.read_bytes()))
    events: list[AnyEvent] = []

    last = training.run(tiny_model, data, tmp_path / "run", resume=True, emit=events.append, **OWN)

    assert [e.code for e in events if isinstance(e, Note)] == ["checkpoint-changed-file", "resumed"]
    assert last["weights_sha256"] == whole["weights_sha256"]


BEST = OWN | {"keep_best": True, "eval_every": 1, "lr": 1e-3, "warmup": 7, "schedule": "constant"}


def test_the_checkpoint_before_a_damaged_one_still_has_its_best_weights(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The held-out rows are learnt, so each step is the best and no checkpoint's best is the present one."""
    rows = training.rows(16, seed=1)
    data = training.prepared(tmp_path / "rows", rows, rows)
    own = OWN | {"keep_best": True, "eval_every": 1, "adapter": "full", "lr": 1e-3}
    whole = training.run(tiny_model, data, tmp_path / "whole", **own)
    killed(tiny_model, data, tmp_path / "run", 7, **own)
    kept = sorted(p.name[-1] for p in (tmp_path / "run" / "best").iterdir())
    damaged = tmp_path / "run" / "checkpoints" / "step-00000006" / "optimizer.safetensors"
    damaged.write_bytes(half(damaged.read_bytes()))

    last = training.run(tiny_model, data, tmp_path / "run", resume=True, **own)

    assert kept == ["2", "4", "6", "7"]
    assert last["resumed_after"] == 4
    assert (last["best_step"], last["weights_sha256"]) == (whole["best_step"], whole["weights_sha256"])  # fmt: skip


def test_best_weights_that_are_damaged_are_told_before_the_run_goes_on(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    killed(tiny_model, data, out, 5, **BEST)
    best = json.loads((out / "checkpoints" / "step-00000004" / "state.json").read_text())["callbacks"]["best"]["step"]  # fmt: skip
    damaged = out / "best" / f"step-{best:08d}" / "model.safetensors"
    damaged.write_bytes(half(damaged.read_bytes()))
    log = (out / "metrics.jsonl").read_bytes()

    with pytest.raises(CheckpointError, match=f"of step {best}, cannot be used") as found:
        training.run(tiny_model, data, out, resume=True, **BEST)

    assert found.value.code == "no-best-weights"
    assert found.value.hint is not None
    assert (out / "metrics.jsonl").read_bytes() == log
    last = training.run(
        tiny_model, data, out, resume="best-effort", **(BEST | {"keep_best": False})
    )
    assert last["resume_level"] == "best-effort"


def test_what_killed_writers_left_is_removed(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    killed(tiny_model, data, out, 5, **OWN)
    (out / ".partial-0123456789ab").mkdir()
    (out / ".partial-0123456789ab" / "model.safetensors").write_bytes(b"half")
    (out / ".result.json.partial-01234567").write_bytes(b"{")

    training.run(tiny_model, data, out, resume=True, **OWN)

    assert [p.name for p in out.rglob("*.partial-*")] == []
    assert (out / "final").is_dir()


def test_damaged_decisions_of_a_run_are_told(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    killed(tiny_model, data, out, 3, **OWN)
    (out / "adjustments.json").write_bytes(b'{"splits": [')

    with pytest.raises(CheckpointError, match=r"adjustments\.json' is damaged") as found:
        training.run(tiny_model, data, out, resume=True, **OWN)

    assert found.value.code == "bad-adjustments"
    assert found.value.hint == f"rm {out / 'adjustments.json'}"
