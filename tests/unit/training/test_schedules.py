"""Schedules: shapes at known steps, against transformers' where it has the same, bounds for all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stead.core.errors import ConfigError
from stead.training.schedules import SHAPES, Schedule

TOTAL, WARM = 40, 5


def theirs(name: str, **more: object) -> list[float]:
    """Return transformers' rates; its warm-up begins at 0, so only what follows is comparable."""
    import transformers

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = getattr(transformers, f"get_{name}")(optimizer, num_warmup_steps=WARM, **more)
    rates = []
    for _ in range(TOTAL):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates[WARM:]


@pytest.mark.parametrize(
    ("shape", "name", "more", "own"),
    [
        ("linear", "linear_schedule_with_warmup", {"num_training_steps": TOTAL}, {}),
        ("cosine", "cosine_schedule_with_warmup", {"num_training_steps": TOTAL}, {}),
        ("constant", "constant_schedule_with_warmup", {}, {}),
        ("inverse_sqrt", "inverse_sqrt_schedule", {}, {}),
        ("cosine_restarts", "cosine_with_hard_restarts_schedule_with_warmup", {"num_training_steps": TOTAL, "num_cycles": 3}, {"cycles": 3}),
        ("polynomial", "polynomial_decay_schedule_with_warmup", {"num_training_steps": TOTAL, "power": 2.0, "lr_end": 0.0}, {"power": 2.0}),
    ],
)  # fmt: skip
def test_after_the_warm_up_rates_are_those_of_transformers(
    shape: str, name: str, more: dict[str, object], own: dict[str, float]
) -> None:
    schedule = Schedule(shape, 1.0, WARM, TOTAL, **own)  # type: ignore[arg-type]

    assert [schedule(s) for s in range(WARM, TOTAL)] == pytest.approx(
        theirs(name, **more), rel=1e-12
    )


def test_wsd_stays_and_falls_over_its_last_part() -> None:
    schedule = Schedule("wsd", 2.0, 0.0, 100, decay_share=0.1)

    assert {schedule(s) for s in range(90)} == {2.0}
    assert schedule(95) == pytest.approx(1.0)
    assert schedule(99) == pytest.approx(0.2)


def test_a_floor_holds_the_end_up() -> None:
    schedule = Schedule("cosine", 1.0, 0.0, 100, floor=0.1)

    assert schedule(0) == 1.0
    assert schedule(50) == pytest.approx(0.55)
    assert schedule(100) == pytest.approx(0.1)


def test_warm_up_is_a_share_or_a_number_of_steps_and_constant_may_go_without() -> None:
    assert [Schedule("constant", 1.0, 0.1, 40)(s) for s in (0, 3, 4)] == [0.2, 0.8, 1.0]
    assert [Schedule("constant", 1.0, 2, 40)(s) for s in (0, 1, 2)] == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )
    assert Schedule("constant", 1.0, 0.0, 40)(0) == 1.0


@given(
    shape=st.sampled_from(sorted(SHAPES)), warmup=st.floats(0, 30), total=st.integers(1, 200),
    floor=st.floats(0, 1), cycles=st.integers(1, 5), step=st.integers(0, 250),
)  # fmt: skip
def test_a_rate_lies_between_nothing_and_the_peak(
    shape: str, warmup: float, total: int, floor: float, cycles: int, step: int
) -> None:
    schedule = Schedule(shape, 3.0, warmup, total, floor=floor, cycles=cycles)

    assert 0.0 <= schedule(step) <= 3.0 + 1e-12
    assert math.isfinite(schedule(step))
    assert schedule(step) == schedule(step)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="no schedule"):
        Schedule("cosin", 1.0, 0.0, 10)(0)
