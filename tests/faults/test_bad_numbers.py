"""NaN, infinity and jumps: seen in the same step, the policy obeyed, weights always finite (TR5)."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import training
from tests.fakes.bad_numbers import FAULTS

from stead.core.errors import Interrupted, TrainingError
from stead.core.events import AnyEvent, Note
from stead.core.process import stop_requested
from stead.training.method import Columns, Loss, Model
from stead.training.methods.sft import SFT
from stead.values import PreparedData

MARK = 299  # a token that no other row has
STEPS, BAD, EVERY = 12, 9, 4  # the marked row is in 0-based step 9; saved are 4 and 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    rows = [(list(t), m) for t, m in training.rows(2 * STEPS, vocabulary=298)]
    rows[2 * BAD][0][0] = MARK
    return training.prepared(tmp_path_factory.mktemp("data") / "d", rows)


@pytest.fixture
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One sample spoils what is computed of it."""
    real, spoil = SFT.loss, FAULTS[request.param]

    def loss(self: SFT, model: Model, batch: Columns) -> Loss:
        found = real(self, model, batch)
        marked = bool((torch.as_tensor(batch["tokens"].tokens) == MARK).any())
        return Loss(spoil(found.total)) if marked else found

    monkeypatch.setattr(SFT, "loss", loss)
    return str(request.param)


def start(model: Path, data: PreparedData, out: Path, **more: Any) -> dict[str, Any]:
    settings = {"shuffle": False, "checkpoint_every": EVERY, "adapter_config": {"dropout": 0.1}}
    return training.run(model, data, out, **settings | more)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def policy(fault: str, name: str) -> dict[str, str]:
    return {"on_spike": name} if fault == "jump" else {"on_nan": name}


def finite(out: Path) -> bool:
    files = [*out.rglob("adapter_model.safetensors"), *out.rglob("model.safetensors")]
    return bool(files) and all(
        bool(t.isfinite().all()) for path in files for t in load_file(path).values()
    )


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_stop_ends_in_the_same_step_and_spoils_nothing(
    fault: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        start(tiny_model, data, tmp_path, **policy(fault, "stop"))

    assert caught.value.code in ("loss-not-finite", "gradient-not-finite", "loss-spike")
    assert caught.value.details["step"] == BAD + 1
    assert len(log(tmp_path)) == BAD + 1
    assert finite(tmp_path)


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_skip_leaves_out_exactly_that_step(
    fault: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    result = start(tiny_model, data, tmp_path, **policy(fault, "skip"))

    assert [line["step"] for line in log(tmp_path)] == list(range(1, STEPS + 1))
    assert [line["step"] for line in log(tmp_path) if "skipped" in line] == [BAD + 1]
    assert finite(tmp_path)
    assert math.isfinite(result["final_loss"])


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_rewind_leaves_out_all_rows_since_the_last_checkpoint(
    fault: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    events: list[AnyEvent] = []

    start(tiny_model, data, tmp_path, emit=events.append, **policy(fault, "rewind"))

    left_out = [line["step"] for line in log(tmp_path) if "skipped" in line]
    assert left_out == [9, 10]  # from the checkpoint of step 8 to the bad step
    assert [line["step"] for line in log(tmp_path)] == list(range(1, STEPS + 1))
    assert finite(tmp_path)
    assert "rewound" in [e.code for e in events if isinstance(e, Note)]


@pytest.mark.parametrize(
    ("fault", "name"), [("nan", "skip"), ("jump", "rewind")], indirect=["fault"]
)
def test_a_run_with_a_fault_that_is_stopped_everywhere_ends_with_the_same_bytes(
    fault: str, name: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    whole = start(tiny_model, data, tmp_path / "whole", **policy(fault, name))
    out, resume = tmp_path / "stopped", False

    for step in (3, 9, 11):  # between checkpoints, before, at and after the fault

        def stop(event: AnyEvent, step: int = step) -> None:
            if getattr(event, "done", None) == step:
                stop_requested.set()

        with pytest.raises(Interrupted):
            start(tiny_model, data, out, resume=resume, emit=stop, keep=1, **policy(fault, name))
        stop_requested.clear()
        resume = True
    last = start(tiny_model, data, out, resume=True, keep=1, **policy(fault, name))

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert (out / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert last["resume_level"] == "exact"


@pytest.mark.parametrize("fault", ["jump"], indirect=True)
def test_a_jump_is_told_and_learnt_from_by_default(
    fault: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    events: list[AnyEvent] = []

    start(tiny_model, data, tmp_path, emit=events.append)

    notes = [e for e in events if isinstance(e, Note) and e.code == "loss-spike"]
    assert len(notes) == 1
    assert f"step {BAD + 1}" in notes[0].message
    assert not any("skipped" in line for line in log(tmp_path))


def test_a_run_without_usable_numbers_is_given_up(
    tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SFT.loss
    monkeypatch.setattr(SFT, "loss", lambda *a: Loss(real(*a).total * math.nan))

    with pytest.raises(TrainingError) as caught:
        start(tiny_model, data, tmp_path, on_nan="skip")

    assert caught.value.code == "not-recovering"


def test_weights_that_are_no_numbers_are_not_saved(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """A step so large that float32 overflows: the norm was fine, the result is not."""
    with pytest.raises(TrainingError) as caught:
        start(tiny_model, data, tmp_path, adapter="full", adapter_config={}, lr=1e38, clip=0.0,
              schedule="constant", warmup=0, weight_decay=1.0, checkpoint_every=1)  # fmt: skip

    assert caught.value.code in ("weights-not-finite", "loss-not-finite", "gradient-not-finite")
    assert not [p for p in tmp_path.rglob("model.safetensors") if not finite(tmp_path)]
