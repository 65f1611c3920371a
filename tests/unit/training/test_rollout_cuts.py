"""How the answers of a step are shared among lanes: a prompt is computed once where that is cheaper."""

import numpy as np
import pytest

from stead.training.rl.rollout_buffer import Buffer, Written


def buffer(prompts: int, each: int = 4) -> Buffer:
    answers = [Written((1, 2, 3), (-1.0, -1.0, -1.0), True) for _ in range(prompts * each)]
    rows = [[5] * 6 for _ in range(prompts)]
    return Buffer(list(range(prompts)), rows, answers, np.repeat(np.arange(prompts), each))


@pytest.mark.parametrize(
    ("prompts", "budget", "cuts"),
    [
        (1, 100, [(0, 4)]),  # both lanes would compute the one prompt
        (1, 17, [(0, 2), (2, 4)]),  # 6 + 4 · 3 tokens do not fit
        (2, 100, [(0, 4), (4, 8)]),  # a prompt for each lane
    ],
)
def test_one_prompt_stays_whole_where_it_fits(
    prompts: int, budget: int, cuts: list[tuple[int, int]]
) -> None:
    found = buffer(prompts)

    assert found.cuts(0, len(found.answers), budget, lanes=2) == cuts


def test_one_lane_cuts_by_the_budget_alone() -> None:
    assert buffer(2).cuts(0, 8, 100, lanes=1) == [(0, 8)]
