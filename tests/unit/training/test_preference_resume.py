"""Exact resume of the preference methods: stopped after every step, the bytes at the end are equal."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import preference, training
from tests.unit.training.test_world import losses, together

from stead.core.errors import Interrupted
from stead.core.events import AnyEvent, Progress
from stead.core.process import stop_requested
from stead.values import PreparedData

STEPS = 4
METHODS = ("dpo", "kto", "orpo", "reward")
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {"adapter_config": {"dropout": 0.1}, "lr": 5e-3},
    "full": {"lr": 1e-4},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedData]:
    folder = tmp_path_factory.mktemp("data")
    pairs = preference.prepared_pairs(
        folder / "pairs", preference.pairs(24), preference.pairs(3, seed=9), margins=[0.2] * 24
    )
    labelled = preference.prepared_labelled(
        folder / "labelled", preference.labelled(24), preference.labelled(4, seed=9)
    )
    return {"dpo": pairs, "orpo": pairs, "reward": pairs, "kto": labelled}


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == step:
            stop_requested.set()

    return watch


@pytest.mark.spec("002-021", "001-011")
@pytest.mark.parametrize(
    ("adapter", "accumulation"),
    [
        ("lora", 4),
        ("full", 1),
        pytest.param("lora", 1, marks=pytest.mark.slow),  # tests/contracts/test_matrix.py has it
        pytest.param("full", 4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_stopped_after_every_step_ends_with_the_same_bytes(
    method: str, adapter: str, accumulation: int, tiny_model: Path,
    data: dict[str, PreparedData], tmp_path: Path,
) -> None:  # fmt: skip
    def run(out: Path, **more: Any) -> dict[str, Any]:
        return training.run(
            tiny_model, data[method], out, method=method, adapter=adapter, max_steps=STEPS,
            epochs=9.0, accumulation=accumulation, **ADAPTERS[adapter], **more,
        )  # fmt: skip

    whole, out = run(tmp_path / "whole"), tmp_path / "stopped"
    for step in range(1, STEPS):
        with pytest.raises(Interrupted):
            run(out, resume=step > 1, emit=stop_after(step))
        stop_requested.clear()
    last = run(out, resume=True)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["eval_loss"] == whole["eval_loss"]
    assert last["resume_level"] == "exact"
    log, expected = (p / "metrics.jsonl" for p in (out, tmp_path / "whole"))
    assert log.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_dropout_changes_the_result(
    method: str, tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    """The equality above would be empty if no random number mattered."""
    hashes = {
        training.run(
            tiny_model, data[method], tmp_path / str(dropout), method=method, max_steps=3,
            adapter_config={"dropout": dropout},
        )["weights_sha256"]
        for dropout in (0.0, 0.1)
    }  # fmt: skip

    assert len(hashes) == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_few_steps_learn_the_preferences(
    method: str, tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    training.run(
        tiny_model, data[method], tmp_path / "run", method=method, max_steps=20, epochs=99.0,
        batch_rows=24, lr=1e-2, schedule="constant", adapter_config={"dropout": 0.0},
    )  # fmt: skip

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["loss"] < 0.9 * first["loss"]
    assert last["rewards/chosen"] - last["rewards/rejected"] > 0.05


@pytest.mark.slow
def test_two_processes_estimate_one_baseline(
    tiny_model: Path, data: dict[str, PreparedData], tmp_path: Path
) -> None:
    """KTO's baseline is that of the whole step, also of rows another process learns."""
    settings = {"method": "kto", "max_steps": 4}
    training.run(tiny_model, data["kto"], tmp_path / "one", accumulation=2, **settings)

    together(
        2, model=str(tiny_model), data=str(data["kto"].path), out=str(tmp_path / "two"),
        adapter="lora", resume=False, settings=settings,
    )  # fmt: skip

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=2e-6)
