"""Products of 16-bit numbers on processors that cannot multiply them: float32's, rounded once."""

import pytest
import torch
from torch import nn

from stead.models import attention_backward, products
from stead.models.segments import Segments


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without 16-bit arithmetic, whatever this one is."""
    monkeypatch.setattr(products, "_multiplies", lambda dtype: dtype == torch.float32)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.double() @ b.double()).bfloat16()


@pytest.mark.parametrize("size", [(5, 7, 3), (70, 33, 90), (1, 64, 1)])
@pytest.mark.parametrize("limit", [1 << 22, 900])
def test_a_product_is_rounded_once(
    slow: None, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int], limit: int
) -> None:
    monkeypatch.setattr(products, "_NUMBERS", limit)
    M, K, N = size
    a, b, turned = numbers(M, K), numbers(K, N), numbers(N, K).t()

    for right in (b, turned):
        exact = a.double() @ right.double()
        found = products.mm(a, right)
        assert found.dtype == torch.bfloat16
        half = torch.ldexp(torch.tensor(1.0, dtype=torch.float64), torch.frexp(exact).exponent - 9)
        # half a unit in the last place: two roundings, or sums kept in bf16, would be further off
        assert ((found.double() - exact).abs() <= half * 1.001 + 1e-5).all()


def test_sums_of_long_rows_are_not_kept_in_16_bits(
    slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_NUMBERS", 2000)
    ones = torch.ones(1, 5000, dtype=torch.bfloat16)

    assert (
        products.mm(ones, ones.t()).item() == 4992
    )  # the nearest of bf16; its own sum stops at 256


def test_results_go_where_they_are_wanted(slow: None) -> None:
    a, b = numbers(6, 8), numbers(8, 4)
    room = torch.zeros(6, 10, dtype=torch.bfloat16)

    products.mm(a, b, room[:, 3:7])
    assert torch.equal(room[:, 3:7], rounded(a, b))
    assert not room[:, :3].any()
    assert not room[:, 7:].any()
    base = numbers(6, 4)
    total = (base.double() + a.double() @ b.double()).bfloat16()
    assert torch.equal(products.addmm(base, a, b), total)
    assert torch.equal(products.addmm_(base, a, b), total)
    assert torch.equal(base, total)


def test_a_linear_layer_has_its_gradients(slow: None) -> None:
    layer = nn.Linear(24, 12).bfloat16()
    x = numbers(2, 5, 24).requires_grad_()
    products.linear(x, layer.weight, layer.bias).sum().backward()
    wide = nn.Linear(24, 12)
    wide.load_state_dict({k: v.float() for k, v in layer.state_dict().items()})
    y = x.detach().float().requires_grad_()
    wide(y).sum().backward()

    for found, exact in ((x, y), (layer.weight, wide.weight), (layer.bias, wide.bias)):
        assert torch.allclose(found.grad.float(), exact.grad, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("window", [None, 9])
def test_attentions_gradient_is_that_of_float32(slow: None, window: int | None) -> None:
    segments = Segments((0, 20, 50))
    q, k, v, grad = (numbers(h, 50, 8) for h in (4, 2, 2, 4))

    def gradients(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        into = tuple(torch.empty_like(t) for t in given[:3])
        attention_backward.attend_backward(*given, segments, 0.3, window, into)
        return into

    exact = gradients(*(t.float() for t in (q, k, v, grad)))
    for found, wanted in zip(gradients(q, k, v, grad), exact, strict=True):
        assert torch.equal(found, wanted.bfloat16())


def test_a_processor_with_16_bit_arithmetic_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_multiplies", lambda dtype: True)
    a, b = numbers(64, 96), numbers(96, 32)

    assert torch.equal(products.mm(a, b), torch.mm(a, b))
    assert not products.narrow(a)
