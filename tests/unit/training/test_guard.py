"""When a loss counts as a jump: by factor, spread and size, and told once per burst."""

from collections.abc import Sequence

import pytest

from stead.core.events import AnyEvent, Note
from stead.training.callback import Run, StepOutcome
from stead.training.callbacks.guard import GuardNumbers


def told(losses: Sequence[float], guard: GuardNumbers, begin: int = 0) -> list[int]:
    """Let a guard see these losses; return the steps it warned of."""
    events: list[AnyEvent] = []
    run = Run(total=len(losses), emit=events.append, save=lambda: None, evaluate=lambda: None)
    steps = []
    for number, loss in enumerate(losses, begin + 1):
        run.step, before = number, len(events)
        guard.after_step(run, StepOutcome(loss, 1.0, 1e-3, 10, 0.1))
        if len(events) > before:
            assert isinstance(events[-1], Note)
            steps.append(number)
    return steps


FALLING = [6.0 * 0.9**i for i in range(70)]  # ends near 0.004


@pytest.mark.parametrize(("loss", "warned"), [(0.06, False), (0.3, False), (3.0, True)])
def test_a_jump_near_zero_is_one_only_when_it_is_large_beside_the_first_losses(
    loss: float, warned: bool
) -> None:
    assert told([*FALLING, *[0.005] * 40, loss], GuardNumbers()) == ([111] if warned else [])


def test_a_burst_of_jumps_is_told_once() -> None:
    losses = [5.0] * 20 + [90.0] * 5 + [5.0] * 3 + [90.0] * 2 + [5.0] * 40 + [90.0]

    assert told(losses, GuardNumbers()) == [21, 71]


def test_a_resumed_run_tells_what_a_whole_one_tells() -> None:
    losses = [5.0] * 20 + [90.0] * 5
    first, second = GuardNumbers(), GuardNumbers()

    head = told(losses[:22], first)
    second.restore(first.state())

    assert head == [21]
    assert told(losses[22:], second, begin=22) == []
