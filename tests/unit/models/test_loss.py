"""Chunked cross-entropy against torch's own, and its memory."""

import pytest
import torch

from stead.models import scratch
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


@pytest.mark.parametrize("trained_head", [False, True])
@pytest.mark.parametrize(
    ("scale", "cap", "size"), [(1.0, None, 1.0), (1.0, None, 100.0), (2.0, 5.0, 1.0)]
)
def test_log_probs_and_their_gradients_are_those_of_torch(
    scale: float, cap: float | None, size: float, trained_head: bool
) -> None:
    """Each label's gradient arrives by itself: the weights of the sum are all different."""
    torch.manual_seed(0)
    hidden = (torch.randn(11, 16) * size).requires_grad_()
    weight = torch.randn(33, 16, requires_grad=trained_head)
    labels, upstream = torch.randint(0, 33, (11,)), torch.randn(11)
    head = Head(weight, scale=scale, softcap=cap)
    wanted = (hidden, weight) if trained_head else (hidden,)

    found = token_log_probs(hidden, head, labels, 4)
    gradients = torch.autograd.grad((found * upstream).sum(), wanted)

    expected = head.logits(hidden).log_softmax(-1).gather(1, labels[:, None])[:, 0]
    reference = torch.autograd.grad((expected * upstream).sum(), wanted)
    torch.testing.assert_close(found, expected, atol=1e-5 * size, rtol=1e-6)
    for one, two in zip(gradients, reference, strict=True):
        assert torch.allclose(one, two, atol=1e-5 * size)


def test_nothing_is_kept_for_a_gradient_that_nobody_wants() -> None:
    hidden, weight = torch.randn(9, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    labels = torch.randint(0, 20, (9,))

    with torch.no_grad(), torch.profiler.profile() as profile:
        token_log_probs(hidden, Head(weight), labels, 9)
        cross_entropy_sum(hidden, Head(weight), labels, 9)

    products = [e.count for e in profile.key_averages() if e.key == "aten::mm"]
    assert products == [2]  # the logits, once each


def test_no_label_at_all_is_an_empty_answer() -> None:
    hidden = torch.randn(0, 8, requires_grad=True)

    found = token_log_probs(hidden, Head(torch.randn(20, 8)), torch.zeros(0, dtype=torch.long), 4)

    assert found.shape == (0,)


def test_memory_does_not_grow_with_tokens_times_vocabulary() -> None:
    weight = torch.randn(4000, 8)
    largest = {}
    for count in (64, 1024):
        scratch._kept.buffers.clear()  # what other tests have left would not be counted
        hidden = torch.randn(count, 8, requires_grad=True)
        labels = torch.randint(0, 4000, (count,))
        with torch.profiler.profile(profile_memory=True) as profile:
            cross_entropy_sum(hidden, Head(weight), labels, 64).backward()
        largest[count] = max(e.cpu_memory_usage for e in profile.events())

    assert largest[1024] < 1.5 * largest[64]
