"""The plan as text: intervals, verdicts, the error of past forecasts."""

from dataclasses import replace

import pytest

from stead.cli import plan_view
from stead.config.run import RunConfig
from stead.planning.plan import Forecast, Interval, PastError, Plan

MIB = 1 << 20
PLAN = Plan(
    config=RunConfig(model={"path": "m"}, data={"path": "d"}),
    origins={"model.path": "call"},
    model={"architecture": "A", "parameters": 7, "dtype": "fp32", "hash": "m"},
    data={"rows": 1, "eval_rows": 0, "tokens": 9, "label_tokens": 5, "lengths": {"max": 9}, "hash": "d"},
    hardware={},
    forecast=Forecast(
        Interval(90 * MIB, 100 * MIB, 120 * MIB), Interval(8, 10, 14), Interval(MIB, 2 * MIB, 3 * MIB),
        step_seconds=Interval(0.4, 0.5, 0.7), steps=20, tokens=1234,
        memory_parts={"weights": Interval(50 * MIB, 60 * MIB, 70 * MIB), "tiny": Interval(0, 1, 2)},
        time_parts={"products": Interval(1, 2, 3)}, basis={"memory_bytes": "b", "seconds": "s"},
    ),
    verdicts=(
        {"allow": "memory", "verdict": "may not fit", "have_bytes": 110 * MIB, "hint": "stead plan -s x=1"},
        {"allow": "disk", "verdict": "fits", "have_bytes": 500 * MIB},
    ),
)  # fmt: skip


def test_every_part_that_matters_has_its_interval() -> None:
    shown = plan_view.render(PLAN)

    assert "memory    100 MiB (90 MiB to 120 MiB)  may not fit (110 MiB free)" in shown
    assert "weights          60 MiB (50 MiB to 70 MiB)" in shown
    assert "tiny" not in shown
    assert "steps     20, 1,234 tokens" in shown
    assert "time      10 s (8 s to 14 s), a step 0.5 s (0.4 s to 0.7 s)" in shown
    assert "hint: stead plan -s x=1" in shown


@pytest.mark.parametrize(
    ("past", "words"),
    [
        (PastError(), "no finished run to compare with"),
        (PastError(12, 0.04, 0.18), "over your last 12 runs here, the median error was: memory 4%, time 18%"),
        (PastError(1, None, 0.5), "over your last run here, the median error was: time 50%"),
    ],
)  # fmt: skip
def test_the_error_of_past_forecasts_is_printed_beside_the_next(
    past: PastError, words: str
) -> None:
    shown = plan_view.render(replace(PLAN, forecast=replace(PLAN.forecast, past=past)))

    assert words in shown


def test_a_card_without_a_recorded_run_is_unverified() -> None:
    unverified = replace(PLAN, forecast=replace(PLAN.forecast, verified=False))

    assert "unverified" in plan_view.render(unverified)
    assert "unverified" not in plan_view.render(PLAN)


def test_the_forecast_survives_its_json() -> None:
    found = Forecast.from_dict(PLAN.forecast.to_dict())

    assert found == PLAN.forecast


def test_a_forecast_of_an_older_plan_is_read() -> None:
    old = {
        "memory_bytes": [1, 2, 3], "seconds": [1, 2, 3], "disk_bytes": [1, 2, 3], "steps": 4,
        "memory_parts": {"weights": 5}, "basis": {}, "raw": {"memory_bytes": 2.0},
    }  # fmt: skip

    found = Forecast.from_dict(old)

    assert (found.steps, found.memory_bytes.expected, found.memory_parts) == (4, 2, {})
