"""Chunked cross-entropy against torch's own, and its memory."""

import pytest
import torch

from stead.models.loss import Head, cross_entropy_sum, token_log_probs


@pytest.mark.parametrize(
    ("scale", "cap", "size"), [(1.0, None, 1.0), (1.0, None, 100.0), (2.0, 5.0, 1.0)]
)
@pytest.mark.parametrize("chunk", [3, 64])
def test_loss_and_gradients_are_those_of_torch(
    scale: float, cap: float | None, size: float, chunk: int
) -> None:
    torch.manual_seed(0)
    hidden = (torch.randn(10, 16) * size).requires_grad_()
    weight = torch.randn(33, 16, requires_grad=True)
    labels = torch.randint(0, 33, (10,))
    head = Head(weight, scale=scale, softcap=cap)

    total = cross_entropy_sum(hidden, head, labels, chunk)
    found = torch.autograd.grad(total * 0.5, (hidden, weight))

    expected = torch.nn.functional.cross_entropy(head.logits(hidden), labels, reduction="sum")
    reference = torch.autograd.grad(expected * 0.5, (hidden, weight))
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, two in zip(found, reference, strict=True):
        assert torch.allclose(one, two, atol=1e-5 * size)


def test_log_probs_add_up_to_the_loss() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(9, 8), torch.randn(20, 8)
    labels = torch.randint(0, 20, (9,))

    found = token_log_probs(hidden, Head(weight), labels, 4)

    assert float(-found.sum()) == pytest.approx(
        float(cross_entropy_sum(hidden, Head(weight), labels, 4)), rel=1e-6
    )


def test_memory_does_not_grow_with_tokens_times_vocabulary() -> None:
    weight = torch.randn(4000, 8)
    largest = {}
    for count in (64, 1024):
        hidden = torch.randn(count, 8, requires_grad=True)
        labels = torch.randint(0, 4000, (count,))
        with torch.profiler.profile(profile_memory=True) as profile:
            cross_entropy_sum(hidden, Head(weight), labels, 64).backward()
        largest[count] = max(e.cpu_memory_usage for e in profile.events())

    assert largest[1024] < 1.5 * largest[64]
