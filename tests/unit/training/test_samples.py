"""Answers written down while training: they change no bit of the run, and survive a stop with the same bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.config.run import SamplesSection
from stead.core.errors import Interrupted
from stead.core.events import AnyEvent, Sampled
from stead.core.process import stop_requested
from stead.values import PreparedData

ASKED = SamplesSection(prompts=("What is 2 plus 2?", "Say hello."), every=2, max_new_tokens=6)
DROPOUT = {"adapter_config": {"dropout": 0.1}}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    rows = training.rows(16)
    return training.prepared(tmp_path_factory.mktemp("data") / "rows", rows, rows[:2])


def told(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("more", [DROPOUT, {"adapter": "full"}, {"adapter": "prefix"}])
def test_samples_are_told_and_change_no_bit(
    more: dict[str, Any], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    heard = list[AnyEvent]()
    common = {"max_steps": 5, "epochs": 9.0, "lr": 0.05, **more}

    without = training.run(tiny_model, data, tmp_path / "without", **common)
    found = training.run(
        tiny_model, data, tmp_path / "with", samples=ASKED, emit=heard.append, **common
    )

    assert found["weights_sha256"] == without["weights_sha256"]
    lines = told(tmp_path / "with")
    assert [(x["step"], x["prompt"]) for x in lines] == [
        (step, prompt) for step in (0, 2, 4, 5) for prompt in ASKED.prompts
    ]
    assert all(1 <= x["tokens"] <= 6 for x in lines)
    assert len({x["answer"] for x in lines}) > 2  # the model has changed on the way
    events = [e for e in heard if isinstance(e, Sampled)]
    assert [a for e in events for a in e.answers] == lines


def test_a_stopped_run_ends_with_the_same_answers(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    common = {"max_steps": 6, "epochs": 9.0, "samples": ASKED, **DROPOUT}
    training.run(tiny_model, data, tmp_path / "whole", **common)
    out = tmp_path / "stopped"

    def stop(event: AnyEvent) -> None:
        if getattr(event, "done", None) == 4:
            stop_requested.set()

    with pytest.raises(Interrupted):
        training.run(tiny_model, data, out, emit=stop, **common)
    stop_requested.clear()
    with (out / "samples.jsonl").open("a") as file:  # of steps that a kill has undone
        file.write(json.dumps(told(out)[0] | {"step": 5}) + "\n")
    training.run(tiny_model, data, out, resume=True, **common)

    assert (out / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()  # fmt: skip
