"""A finished run records what it needed, the next plan tells the error; the machine is measured once."""

import json
from pathlib import Path
from typing import Any

import pytest

from stead.app.plans import make_plan
from stead.core.events import Note
from stead.core.paths import Home
from stead.planning import history, machine
from stead.planning.plan import Plan

pytest.importorskip("torch")


@pytest.fixture
def plan(tiny_model: Path, tmp_path: Path) -> Plan:
    rows = tmp_path / "rows.jsonl"
    lines = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(40)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return make_plan(
        {
            "model": {"path": str(tiny_model), "dtype": "fp32"}, "data": {"path": str(rows)},
            "trainer": {"epochs": 1.0, "batch_tokens": 256, "proofs": False, "trackers": []},
            "out": str(tmp_path / "run"),
        }
    )  # fmt: skip


def test_a_finished_run_teaches_the_next_forecast(plan: Plan, home: Path) -> None:
    from stead.pipeline import stages

    done = stages.train(plan)
    records = history.read(Home(home))
    again = make_plan(plan.config)

    measured = done.meta["measured"]
    assert measured["whole"]
    assert measured["steps"] == done.meta["steps"] == plan.forecast.steps
    assert measured["tokens"] == pytest.approx(plan.forecast.tokens, rel=0.01)  # split by its share
    assert measured["peak_bytes"] >= measured["begun_bytes"] > 0
    assert 0 < measured["step_s"] <= measured["loop_s"] <= measured["stage_s"]
    assert len(records) == 1
    assert records[0]["said"] == plan.forecast.said
    assert records[0]["needed"]["seconds"] > 0
    assert again.forecast.past.runs == 1
    assert again.forecast.past.time is not None
    assert again.forecast.past.tokens == pytest.approx(0.0, abs=0.01)
    assert again.forecast.past.disk is not None
    assert again.forecast.past.disk < 0.25


def test_a_run_that_was_finished_before_is_not_recorded_twice(plan: Plan, home: Path) -> None:
    from stead.pipeline import stages

    stages.train(plan)
    again = stages.train(plan, resume=True)

    assert "measured" not in again.meta
    assert len(history.read(Home(home))) == 1


@pytest.mark.spec("002-011")
def test_the_machine_is_measured_once_and_again_when_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.models import probe as probing
    from stead.pipeline.gauge import probe

    monkeypatch.setattr(probing, "_SPAN_S", 0.001)
    monkeypatch.setattr(probing, "_COPIED", 1 << 14)
    monkeypatch.setattr(probing, "_WIDTHS", (32, 64))
    notes: list[Any] = []

    first = probe("cpu", "fp32", "cpu x", 2, emit=notes.append)
    second = probe("cpu", "fp32", "cpu x", 2, emit=notes.append)
    probe("cpu", "fp32", "cpu x", 2, again=True, emit=notes.append)

    assert first == second
    assert [type(n) for n in notes] == [Note, Note]
    assert all(rate > 0 for rate in (*first["gflops"].values(), first["bytes_per_s"]))
    assert machine.entry("cpu x", "fp32", 2) in machine.read(Home(home))
