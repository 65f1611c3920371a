"""Games with the reward are warned of while they happen; honest runs are left alone.

The whole set (seven games, 20 honest runs) is `tools/campaigns/rl.py`; here two games and one honest run.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import rl

from stead.core.events import AnyEvent, Note
from stead.messages import Message
from stead.training.callback import Run, StepOutcome
from stead.training.callbacks.reward_hacking import WatchReward
from stead.training.rl.reward_signs import WatchSettings, signs
from stead.training.rl.reward_source import Answered

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "sign", [s if s in ("empty", "digits") else pytest.param(s, marks=SLOW) for s in rl.HACKS]
)
def test_a_planted_game_is_warned_of_within_100_steps(
    sign: str, tiny_model: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)

    told = rl.planted(tiny_model, tmp_path, sign)

    assert sign in told


@pytest.mark.parametrize(
    "reward", [r if r == "letters" else pytest.param(r, marks=SLOW) for r in rl.CLEAN]
)
def test_an_honest_run_is_not_warned_of(reward: str, tiny_model: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)

    assert rl.honest(tiny_model, tmp_path, reward, seed=1, steps=20) == []


def watched(values: list[dict[str, float]], **settings: Any) -> list[str]:
    notes: list[AnyEvent] = []
    run = Run(total=99, emit=notes.append, save=lambda: None, evaluate=lambda: None)
    watch = WatchReward(WatchSettings(**({"warmup": 3, "decay": 0.0} | settings)))
    for step in values:
        run.step += 1
        watch.after_step(run, StepOutcome(0.0, 0.0, 0.0, 1, 1.0, values=step))
    return [n.code for n in notes if isinstance(n, Note)]


def steps(name: str, before: float, after: float, rise: float = 1.0) -> list[dict[str, float]]:
    first = [{"reward": 0.01 * i, name: before} for i in range(3)]
    return first + [{"reward": rise, name: after}] * 3


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("answers/digits", 0.1, 0.6), ("completion_length", 10, 18), ("kl", 0.0, 2.5),
        ("truncated", 0.0, 0.9), ("answers/same", 0.2, 0.7),
    ],
)  # fmt: skip
def test_a_sign_that_comes_up_with_the_reward_is_told_once(
    name: str, before: float, after: float
) -> None:
    assert len(watched(steps(name, before, after))) == 1


@pytest.mark.parametrize(
    ("name", "before", "after", "rise"),
    [
        ("answers/digits", 0.1, 0.6, 0.0),  # the reward did not rise
        ("answers/digits", 0.5, 0.6, 1.0),  # it was like that from the beginning
        ("answers/digits", 0.1, 0.45, 1.0),  # it is still rare
        ("completion_length", 10, 15, 1.0),
        ("kl", 0.0, 1.5, 1.0),
    ],
)
def test_what_is_no_game_is_left_alone(name: str, before: float, after: float, rise: float) -> None:
    assert watched(steps(name, before, after, rise)) == []


@pytest.mark.parametrize(("after", "codes"), [(0.2, ["reward-hacking-opinion"]), (0.9, [])])
def test_a_second_opinion_that_falls_is_a_sign(after: float, codes: list[str]) -> None:
    notes: list[AnyEvent] = []
    run = Run(total=99, emit=notes.append, save=lambda: None, evaluate=lambda: None)
    watch = WatchReward(WatchSettings(warmup=3, decay=0.0), watched=["rewards/true"])

    for step in steps("rewards/true", 0.8, after):
        watch.after_step(run, StepOutcome(0.0, 0.0, 0.0, 1, 1.0, values=step))

    assert [n.code for n in notes if isinstance(n, Note)] == codes


def test_what_was_said_survives_a_kill() -> None:
    first, second = WatchReward(WatchSettings()), WatchReward(WatchSettings())
    run = Run(total=9, emit=lambda _: None, save=lambda: None, evaluate=lambda: None)
    for step in steps("answers/digits", 0.1, 0.9):
        first.after_step(run, StepOutcome(0.0, 0.0, 0.0, 1, 1.0, values=step))

    second.restore(first.state())

    assert second.state() == first.state()


def test_runs_without_rewards_are_none_of_its_business() -> None:
    assert watched([{"penalty": 1.0}] * 9) == []


def test_the_signs_of_an_answer() -> None:
    texts = ["", "12 !!", "two plus two", "two two"]
    ids = [[2], [5, 6, 7], [8, 9, 8, 9, 8], [1, 1, 1]]
    answers = [Answered("r:1", (Message("user", "say two plus two"),), t) for t in texts]

    found = signs(answers, ids)

    assert found["empty"] == 0.25
    assert found["repetition"] == pytest.approx((0 + 0 + 0.5 + 0.5) / 4)
    assert found["copy"] == pytest.approx((0 + 0 + 1 + 0) / 4)
    assert found["digits"] == pytest.approx(0.4 / 4)
    assert found["marks"] == pytest.approx(0.4 / 4)
    assert found["keyword"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert found["same"] == 0.0
