"""With a distance to the starting model, each method finds the known best policy.

The best policy of E[r] − β·KL(π ‖ π_ref) is π ∝ π_ref·exp(r/β) (arXiv:2305.18290 eq. 4). On three
words it is known exactly, and whole runs of the real loop end there.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import rl

BETA = 0.5
COMMON = {"num_generations": 64, "max_completion_length": 1, "watch": {"enabled": False}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {"beta": BETA, "scale_rewards": "none", "loss_type": "grpo"}),
    "grpo-k2": ("grpo", {"beta": BETA, "scale_rewards": "none", "kl_estimator": "k2", "use_bias_correction_kl": False}),
    "dr_grpo": ("grpo", {"beta": BETA, "scale_rewards": "none", "loss_type": "dr_grpo"}),
    "rloo": ("rloo", {"beta": BETA}),
    "rloo-twice": ("rloo", {"beta": BETA, "num_iterations": 2}),
    "ppo": ("ppo", {"kl_coef": BETA, "num_iterations": 2}),
}  # fmt: skip


def best(reference: torch.Tensor, beta: float) -> torch.Tensor:
    worth = torch.tensor([rl.WORTH[w] for w in rl.WORDS], dtype=torch.float64)
    return torch.softmax(reference.log() + worth / beta, -1)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Total variation."""
    return float((one - other).abs().sum() / 2)


def learn(tmp_path: Path, name: str, more: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.set_num_threads(1)
    model = rl.toy_model(tmp_path / "toy")
    data = rl.toy_rows(tmp_path / "rows", model)
    settings = COMMON | {"rewards": [{"function": "tests.fakes.rl:worth"}]} | more
    rl.run(
        model, data, tmp_path / "run", name, method_config=settings, adapter="full", lr=0.03,
        epochs=1000.0, max_steps=100, batch_rows=1, weight_decay=0.0, warmup=0.0,
    )  # fmt: skip
    return rl.policy(model), rl.policy(tmp_path / "run" / "final")


SLOW = [pytest.param(c, marks=pytest.mark.slow) for c in CASES if c not in ("grpo", "rloo", "ppo")]


@pytest.mark.spec("002-020")
@pytest.mark.parametrize("case", ["grpo", "rloo", "ppo", *SLOW])
def test_the_policy_becomes_the_known_optimum(case: str, tmp_path: Path) -> None:
    name, more = CASES[case]

    before, after = learn(tmp_path, name, more)

    wanted = best(before, BETA)
    assert apart(before, wanted) > 0.1, "the optimum must be somewhere else than the start"
    assert apart(after, wanted) <= 0.02


@pytest.mark.slow
def test_an_uncorrected_k3_ends_at_the_optimum_of_the_other_divergence(tmp_path: Path) -> None:
    """Its gradient is that of KL(π_ref ‖ π): known, and why the correction is on by default.

    There π(r − m) = β·(π − π_ref) with m = E[r], so π = β·π_ref / (β + m − r).
    """
    more = {"beta": BETA, "scale_rewards": "none", "use_bias_correction_kl": False}

    before, after = learn(tmp_path, "grpo", more)

    worth = torch.tensor([rl.WORTH[w] for w in rl.WORDS], dtype=torch.float64)
    low, high = float(worth.max()) - BETA, float(worth.max())
    for _ in range(60):  # the probabilities add up to 1 at exactly one m
        mean = (low + high) / 2
        other = BETA * before / (BETA + mean - worth)
        low, high = (mean, high) if other.sum() > 1 else (low, mean)
    assert apart(after, other) < 0.01 < apart(after, best(before, BETA))
