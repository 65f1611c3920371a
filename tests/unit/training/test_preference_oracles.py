"""Closed forms: where DPO and reward models must end, and their gradients by finite differences.

The model is a table: one number per word (or per answer) that stands for a whole network, in
float64, so that only the loss is on trial.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stead.config.kinds import registry
from stead.training.teaching.preference import Judged, judged

REWARDS = torch.tensor([0.0, 0.8, -0.5], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, -0.3, 0.4], dtype=torch.float64).log_softmax(0)
BETA = 0.5
COUNT = 40_000  # sampled comparisons: the estimate's own error is then about 0.01


class Table:
    """A model over three words whose answers are one word long."""

    def __init__(self, words: torch.Tensor) -> None:
        self.words = words

    def label_log_probs(self, batch: Judged) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.from_numpy(np.array(batch.labels))
        place = (labels != -100).nonzero()[:, 0]
        return self.words.log_softmax(0)[labels[place]], place

    def hidden(self, batch: Judged) -> torch.Tensor:
        return torch.eye(3, dtype=self.words.dtype)[torch.from_numpy(np.array(batch.tokens))]


def method_for(name: str, **config: Any) -> Any:
    return registry("method").create(name, config=registry("method").config_of(name)(**config))


def row(word: int) -> tuple[list[int], list[int]]:
    return [0, word], [0, 1]


def comparisons() -> np.ndarray:
    """Return (chosen, rejected) words: two at random, the better one by Bradley–Terry."""
    draw = np.random.default_rng(5)
    first = draw.integers(0, 3, COUNT)
    second = (first + draw.integers(1, 3, COUNT)) % 3
    better = 1 / (1 + np.exp(-(REWARDS.numpy()[first] - REWARDS.numpy()[second])))
    won = draw.random(COUNT) < better
    return np.stack([np.where(won, first, second), np.where(won, second, first)], 1)


def batch_of(pairs: np.ndarray, **facts: Any) -> dict[str, Judged]:
    """Lay out pairs of one-word answers after the word 0, as `judged` does, but all at once."""
    words = pairs.reshape(-1)
    tokens, labels = np.zeros((len(words), 2), np.int64), np.full((len(words), 2), -100)
    tokens[:, 1] = labels[:, 0] = words
    starts = np.arange(len(words) + 1, dtype=np.int32) * 2
    flat = (tokens.reshape(-1), labels.reshape(-1), np.tile([0, 1], len(words)), starts)
    return {"pairs": Judged(*flat, tuple(range(len(pairs))), (-1,) * len(words), facts)}


def test_pairs_laid_out_at_once_are_those_of_the_methods() -> None:
    pairs = np.array([[0, 1], [2, 1]])

    quick, right = (
        batch_of(pairs)["pairs"],
        judged([[row(c), row(r)] for c, r in pairs], [0, 1], {}),
    )

    for name in ("tokens", "labels", "positions", "starts", "rows", "parents"):
        assert np.array_equal(getattr(quick, name), getattr(right, name)), name


def minimize(loss: Callable[[], torch.Tensor], weights: torch.Tensor) -> None:
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    optimizer.step(closure)


@pytest.mark.spec("002-021")
def test_dpo_ends_at_the_optimum_of_reward_and_divergence() -> None:
    """π ∝ π_ref·exp(r/β) (arXiv:2305.18290 eq. 4), from sampled comparisons alone."""
    pairs, method = comparisons(), method_for("dpo", beta=BETA)
    batch = batch_of(pairs, reference=REFERENCE.numpy()[pairs])
    words = REFERENCE.clone().requires_grad_()

    minimize(lambda: method.loss(Table(words), batch).total / COUNT, words)

    found = words.detach().softmax(0)
    optimum = (REFERENCE + REWARDS / BETA).softmax(0)
    assert float((found - optimum).abs().sum() / 2) <= 0.02
    assert float((REFERENCE.exp() - optimum).abs().sum() / 2) > 0.2  # it had a way to go


def test_a_reward_model_finds_the_rewards_that_made_the_comparisons() -> None:
    pairs, method = comparisons(), method_for("reward", use_margin=False)
    method.head = torch.nn.Parameter(torch.zeros(1, 3, dtype=torch.float64))
    batch = batch_of(pairs)

    minimize(lambda: method.loss(Table(REFERENCE), batch).total / COUNT, method.head)

    found = method.head.detach()[0]
    assert torch.allclose(found - found.mean(), REWARDS - REWARDS.mean(), atol=0.03)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("dpo", {}),
    ("dpo", {"label_smoothing": 0.1}),
    ("dpo", {"loss": "robust", "label_smoothing": 0.1}),
    ("dpo", {"loss": "ipo"}),
    ("dpo", {"loss": "hinge"}),
    ("dpo", {"loss": "simpo", "beta": 2.0}),
    ("dpo", {"loss": "apo_zero"}),
    ("dpo", {"loss": "apo_down"}),
    ("dpo", {"sft_weight": 0.5}),
    ("orpo", {"beta": 0.5}),
    ("kto", {"undesirable_weight": 2.0}),
]


@pytest.mark.parametrize(("name", "config"), CASES, ids=str)
def test_a_gradient_is_that_of_finite_differences(name: str, config: dict[str, Any]) -> None:
    method, pairs = method_for(name, **config), np.array([[0, 1], [2, 1], [0, 2]])
    if name == "kto":
        flat = judged([[row(0)], [row(1)], [row(2)]], range(3), {
            "reference": REFERENCE.numpy(), "label": np.array([1.0, 0.0, 1.0], np.float32),
        })  # fmt: skip
        facts = {**flat.facts, "baseline": np.float32(0.3)}
        own = Judged(flat.tokens, flat.labels, flat.positions, flat.starts, flat.rows, flat.parents, facts)  # fmt: skip
        batch = {"tokens": own}
    else:
        batch = batch_of(pairs, reference=REFERENCE.numpy()[pairs])
    words = torch.tensor([0.3, -0.7, 0.1], dtype=torch.float64, requires_grad=True)

    def total(w: torch.Tensor) -> torch.Tensor:
        return method.loss(Table(w), batch).total

    found = torch.autograd.grad(total(words), words)[0]

    step = 1e-5
    for i in range(3):
        e = torch.zeros(3, dtype=torch.float64)
        e[i] = step
        with torch.no_grad():
            expected = float((total(words + e) - total(words - e)) / (2 * step))
        assert float(found[i]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_gradient_of_the_reward_head_is_that_of_finite_differences() -> None:
    method = method_for("reward", centering=0.1)
    batch = batch_of(np.array([[0, 1], [2, 1]]), margin=np.array([0.5, 0.0], np.float32))
    head = torch.tensor([[0.4, -0.2, 0.9]], dtype=torch.float64)

    def total(h: torch.Tensor) -> torch.Tensor:
        method.head = torch.nn.Parameter(h)
        return method.loss(Table(REFERENCE), batch).total

    found = torch.autograd.grad(total(head), method.head)[0][0]

    for i in range(3):
        e = torch.zeros(1, 3, dtype=torch.float64)
        e[0, i] = 1e-5
        expected = float((total(head + e) - total(head - e)).detach() / 2e-5)
        assert float(found[i]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
