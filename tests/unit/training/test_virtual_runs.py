"""Runs that train virtual tokens: they learn, resume to the bit, and the answers come with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.core.errors import Interrupted
from stead.core.events import AnyEvent
from stead.core.process import stop_requested
from stead.messages import Sampling
from stead.models.load import load_model
from stead.models.writing.generate import generate

CASES: dict[str, dict[str, Any]] = {
    "p_tuning": {"tokens": 4, "encoder": "lstm", "hidden": 8},
    "prefix": {"tokens": 4, "projection": True, "hidden": 16},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


@pytest.mark.parametrize("case", CASES)
def test_a_run_learns_and_resumes_to_the_bit(case: str, tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", [([9, 9, 8, 7, 6, 5], [0, 1, 1, 1, 1, 1])] * 8)
    settings = {"adapter": case, "adapter_config": CASES[case], "epochs": 3.0, "lr": 0.1}

    whole = training.run(tiny_model, data, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        training.run(tiny_model, data, tmp_path / "cut", emit=stop_after(5), **settings)
    stop_requested.clear()
    last = training.run(tiny_model, data, tmp_path / "cut", resume=True, **settings)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["resume_level"] == "exact"
    assert whole["final_loss"] < whole["mean_loss"] - 0.03


def test_a_trained_prompt_answers_as_it_was_taught(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", [([9, 9, 8, 7, 6, 5], [0, 0, 1, 1, 1, 1])] * 8)

    training.run(tiny_model, data, tmp_path / "run", adapter="prefix", epochs=20.0, lr=0.1,
                 adapter_config={"tokens": 8})  # fmt: skip

    loaded = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path / "run" / "final")
    found = generate(loaded, [[9, 9]], Sampling(temperature=0, max_tokens=4))
    assert found[0].ids == (8, 7, 6, 5)
