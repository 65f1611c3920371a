"""Estimators against sums over whole distributions, and losses against finite differences."""

import pytest
import torch

from stead.training.rl.policy import Clip, by_answer, clipped, clipped_value_loss, divergence


def distributions(size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    one, other = torch.randn(2, size, generator=draw, dtype=torch.float64)
    return torch.log_softmax(one, -1), torch.log_softmax(other, -1)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_estimator_is_unbiased_over_every_token(estimator: str) -> None:
    new, reference = distributions()
    exact = float((new.exp() * (new - reference)).sum())

    expected = float((new.exp() * divergence(new, reference, estimator)).sum())  # type: ignore[arg-type]

    assert expected == pytest.approx(exact, rel=1e-12)


def test_k2_and_k3_are_never_negative_and_k1_can_be() -> None:
    new, reference = distributions()

    assert float(divergence(new, reference, "k2").min()) >= 0
    assert float(divergence(new, reference, "k3").min()) >= 0
    assert float(divergence(new, reference, "k1").min()) < 0


def gradient_of(kind: str) -> torch.Tensor:
    """Return the gradient by logits that a loss has on average over drawn tokens."""
    _, reference = distributions()
    logits = torch.randn(6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    logits.requires_grad_()
    new = torch.log_softmax(logits, -1)
    drawn = new.exp().detach()  # tokens are drawn: their frequency has no gradient
    ratio = (new - new.detach()).exp()
    terms = {
        "exact": new.exp() * (new - reference),
        "other": reference.exp() * (reference - new),
        "k1": drawn * divergence(new, reference, "k1"),
        "k2": drawn * divergence(new, reference, "k2"),
        "k3": drawn * divergence(new, reference, "k3"),
        "k3-corrected": drawn * divergence(new, reference, "k3") * ratio,
    }
    return torch.autograd.grad(terms[kind].sum(), logits)[0]


@pytest.mark.parametrize(
    ("loss", "wanted"), [("k2", "exact"), ("k3-corrected", "exact"), ("k3", "other")]
)
def test_the_gradient_of_a_loss_is_that_of_a_divergence(loss: str, wanted: str) -> None:
    torch.testing.assert_close(gradient_of(loss), gradient_of(wanted), atol=1e-12, rtol=1e-10)


def test_k1_as_a_loss_has_no_gradient_at_all() -> None:
    assert float(gradient_of("k1").abs().max()) < 1e-15


def test_clipping_by_hand() -> None:
    """Ratios 2, 2, 0.5, 0.5 and 1.1 with advantages of both signs, bounds 0.8 and 1.2."""
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5, 1.1])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 3.0])

    loss, outside = clipped(ratio.log(), advantage, Clip(0.2, 0.2))

    assert loss.tolist() == pytest.approx([-1.2, 2.0, -0.5, 0.8, -3.3])
    assert outside.tolist() == [True, False, False, True, False]


def test_a_higher_bound_and_a_largest_ratio() -> None:
    ratio = torch.tensor([1.25, 9.0])

    higher, outside = clipped(ratio.log(), torch.tensor([1.0, -1.0]), Clip(0.2, 0.28, most=4.0))

    assert higher.tolist() == pytest.approx([-1.25, 4.0])
    assert not outside.any()


def test_a_clipped_token_has_no_gradient_and_others_that_of_the_ratio() -> None:
    new = torch.tensor([1.0, 0.1], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([1.0, 2.0], dtype=torch.float64)

    loss, _ = clipped(new, advantage, Clip(0.2, 0.2))
    found = torch.autograd.grad(loss.sum(), new)[0]

    assert found.tolist() == pytest.approx([0.0, -2.0 * 2.718281828459045**0.1])


def test_finite_differences_agree_with_every_loss() -> None:
    draw = torch.Generator().manual_seed(3)
    old, reference, advantage, value = torch.randn(4, 8, generator=draw, dtype=torch.float64) * 0.2
    new = (old + 0.1 * torch.randn(8, generator=draw, dtype=torch.float64)).requires_grad_()
    losses = {
        "clipped": lambda x: clipped(x - old, advantage, Clip(0.2, 0.2))[0].sum(),
        "k2": lambda x: divergence(x, reference, "k2").sum(),
        "k3": lambda x: (divergence(x, reference, "k3") * (x - old).exp()).sum(),
        "value": lambda x: clipped_value_loss(x, old, value, 0.2)[0].sum(),
    }
    for loss in losses.values():
        exact = torch.autograd.grad(loss(new), new)[0]
        step = 1e-6
        for i in range(8):
            shift = torch.zeros(8, dtype=torch.float64)
            shift[i] = step
            with torch.no_grad():
                slope = (loss(new + shift) - loss(new - shift)) / (2 * step)
            assert float(exact[i]) == pytest.approx(float(slope), abs=1e-4)


def test_the_value_loss_by_hand() -> None:
    """A value 1 above the old one counts as 0.2 above it, when that is the larger error."""
    loss, moved = clipped_value_loss(
        torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0]), 0.2
    )

    assert loss.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 2.0**2])
    assert moved.tolist() == [True, False]


def test_tokens_are_added_up_by_answer() -> None:
    found = by_answer(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 2]), 3)

    assert found.tolist() == [1.0, 0.0, 6.0]
