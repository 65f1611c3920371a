"""Products of 16-bit numbers on processors that cannot multiply them: float32's, rounded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import families
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, PhiConfig

from stead.config.kinds import registry
from stead.data.pack import Batch
from stead.messages import Sampling
from stead.models import attention_backward, products
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.models.segments import Segments
from stead.models.writing import rollout
from stead.values import LoadedModel


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
        half = torch.ldexp(torch.ones_like(exact), torch.frexp(exact).exponent - 9)
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


class Slow(TorchDispatchMode):
    """Notes the products of 16-bit matrices that are left to torch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in {"mm", "addmm", "bmm", "baddbmm", "addmm_", "linear"}:
            own = [a for a in args if isinstance(a, torch.Tensor)]
            if any(a.dtype == torch.bfloat16 for a in own):
                self.seen.append(f"{name} {[list(a.shape) for a in own]}")
        return func(*args, **(kwargs or {}))


def answers(loaded: LoadedModel) -> None:
    rollout.write(loaded, [[1, 5, 6, 7], [1, 9]], [[1, 2], [3]], Sampling(max_tokens=3), [])


FAMILIES = {
    "llama": None,
    "gpt2": GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "phi": PhiConfig(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["full", "lora", "qlora", "ia3"])
def test_no_product_of_16_bit_numbers_is_left_to_torch(
    slow: None, family: str, adapter: str, tiny_model: Path, tmp_path: Path
) -> None:
    config = FAMILIES[family]
    base = tiny_model if config is None else families.saved(config, tiny_model, tmp_path / "base")
    loaded = load_model(base, dtype="bf16", device="cpu")
    known = registry("adapter")
    if adapter != "full":
        known.create(adapter, config=known.config_of(adapter)()).wrap(loaded.model, layers, 3)
    learner = Learner(loaded)
    tokens = torch.arange(5, 45).numpy()
    batch = Batch(tokens, tokens, np.r_[0:30, 0:10], np.array([0, 30, 40]), np.arange(2))

    with Slow() as torchs:
        loss, _ = learner.label_loss(batch)
        loss.backward()
    assert torchs.seen == []
    assert loss.item() / 40 == pytest.approx(np.log(320), abs=0.5)  # a fresh model knows nothing
    if family == "llama":
        with Slow() as torchs:
            answers(loaded)
        assert torchs.seen == []
