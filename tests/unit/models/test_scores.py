"""Log-probabilities and entropies in one pass are those of plain autograd, and so is the gradient."""

import pytest
import torch

from stead.models.loss import Head
from stead.models.scores import token_scores


def case(tied: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(4)
    hidden = torch.randn(37, 16, generator=draw)
    weight = torch.randn(50, 16, generator=draw)
    return hidden.requires_grad_(), weight.requires_grad_(tied), torch.arange(37) % 50


def direct(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logs = torch.log_softmax(hidden @ weight.t() / temperature, -1)
    return logs.gather(1, labels[:, None])[:, 0], -(logs.exp() * logs).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("trains_head", [False, True])
def test_values_and_gradients_are_those_of_autograd(temperature: float, trains_head: bool) -> None:
    hidden, weight, labels = case(trains_head)
    factors = torch.linspace(-2, 3, 37)
    wanted = [hidden, weight] if trains_head else [hidden]

    values, entropies = token_scores(hidden, Head(weight), labels, 10, temperature)
    right, disorder = direct(hidden, weight, labels, temperature)

    torch.testing.assert_close(values, right, atol=1e-5, rtol=1e-5)  # float32 sums of 50 numbers
    torch.testing.assert_close(entropies, disorder.detach(), atol=1e-5, rtol=1e-5)
    assert not entropies.requires_grad
    found = torch.autograd.grad((values * factors).sum(), wanted)
    expected = torch.autograd.grad((right * factors).sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("shift", [-300.0, 0.0, 300.0])
def test_logits_beyond_float32s_exponents_lose_nothing(shift: float) -> None:
    """exp(300) is infinite and exp(-300) zero; the distribution is the same wherever logits lie."""
    hidden, weight, labels = case()
    hidden = torch.cat((hidden, torch.ones(37, 1)), 1)
    weight = torch.cat((weight, torch.full((50, 1), shift)), 1)

    values, entropies = token_scores(hidden.detach().requires_grad_(), Head(weight), labels, 10)

    right, disorder = direct(hidden.double(), weight.double(), labels, 1.0)
    # float32 logits near 300 are 3e-5 apart
    torch.testing.assert_close(values.double(), right, atol=2e-4, rtol=0)
    torch.testing.assert_close(entropies.double(), disorder.detach(), atol=2e-4, rtol=0)


def test_finite_differences_agree() -> None:
    hidden, weight, labels = case()
    values, _ = token_scores(hidden, Head(weight), labels, 16)
    exact = torch.autograd.grad(values.sum(), hidden)[0][3, 5]
    step = 1e-2  # float32: smaller steps lose digits
    slopes = []
    for sign in (1, -1):
        moved = hidden.detach().clone()
        moved[3, 5] += sign * step
        slopes.append(float(token_scores(moved, Head(weight), labels, 16)[0].double().sum()))

    assert float(exact) == pytest.approx((slopes[0] - slopes[1]) / (2 * step), abs=1e-3)


def test_without_labels_there_is_nothing_and_no_fault() -> None:
    hidden, weight, _ = case()

    values, entropies = token_scores(hidden[:0], Head(weight), torch.zeros(0, dtype=torch.long), 8)

    assert (values.shape, entropies.shape) == ((0,), (0,))
    assert values.requires_grad
