"""Weights on a grid: ggml's own numbers, straight-through gradients, fixed points."""

import numpy as np
import pytest
import torch

from stead.core.errors import ModelError
from stead.models.layers import layers
from stead.models.layers.grid import GridLinear, snap


def weights(rows: int = 6, columns: int = 96) -> torch.Tensor:
    draw = torch.Generator().manual_seed(2)
    found = torch.randn(rows, columns, generator=draw) * 0.05
    found[1] = 0
    found[2, :32] = found[2, :32].abs()
    return found


@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_0")])
def test_groups_of_32_are_ggufs_own_numbers(bits: int, kind: str) -> None:
    pytest.importorskip("xllamacpp")
    import gguf

    from stead.exporting import ggml

    raw = np.frombuffer(ggml.quantize(weights().numpy(), kind), dtype=np.uint8)
    expected = gguf.quants.dequantize(raw.reshape(6, -1), gguf.GGMLQuantizationType[kind])

    assert np.array_equal(snap(weights(), bits, 32).numpy(), expected)


@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_a_rounded_weight_changes_nothing(bits: int, group: int) -> None:
    once = snap(weights(), bits, group)

    assert torch.equal(snap(once, bits, group), once)
    assert len(torch.unique(once[0, : group or 96])) <= 2**bits
    assert not torch.equal(once, weights())


def test_the_gradient_passes_as_if_nothing_were_rounded() -> None:
    layer = torch.nn.Linear(96, 6)
    layer.weight.data = weights()
    model = torch.nn.Sequential(layer)
    x = torch.randn(5, 96)
    layers.add_grid(model, ["0"], bits=4, group=32, activations=False)

    y = model(x)
    grad = torch.autograd.grad(y.sin().sum(), layer.weight)[0]

    rounded = snap(weights(), 4, 32)
    torch.testing.assert_close(y, x @ rounded.t() + layer.bias)
    torch.testing.assert_close(grad, (y.cos().t() @ x))


def test_activations_are_rounded_row_by_row() -> None:
    layer = torch.nn.Linear(8, 3, bias=False)
    model = torch.nn.Sequential(layer)
    layers.add_grid(model, ["0"], bits=8, group=0, activations=True)
    x = torch.tensor([[1.27, 0.004, 0.016, 0, 0, 0, 0, 0], [127, 0.4, 0.6, 0, 0, 0, 0, 0]])

    with torch.no_grad():
        found = model(x)

    rounded = torch.tensor([[1.27, 0.0, 0.02, 0, 0, 0, 0, 0], [127.0, 0, 1, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(found, rounded @ layer.rounded().t())


def test_a_changed_weight_is_rounded_anew() -> None:
    layer = torch.nn.Linear(32, 2)
    layers.add_grid(torch.nn.Sequential(layer), ["0"], bits=8, group=32, activations=False)
    before = layer.rounded()

    with torch.no_grad():
        layer.weight.mul_(2)

    assert isinstance(layer, GridLinear)
    assert not torch.equal(layer.rounded(), before)


def test_rows_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(ModelError, match="30 weights cannot be cut into groups of 32"):
        snap(torch.zeros(2, 30), 8, 32)
