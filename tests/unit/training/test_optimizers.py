"""Optimizers: each against a reference or its formula, exact after a restore, rates per parameter."""

import math

import pytest
import torch
from torch import Tensor, nn

from stead.config.kinds import registry
from stead.core.errors import CheckpointError
from stead.training.optimizer import Optimizer, OptimOptions
from stead.training.optimizers import adamw_8bit, muon

OPTIMIZERS = registry("optimizer")
NAMES = OPTIMIZERS.names()
STEPS = 8
SHAPES = {
    "embed.weight": (40, 8),
    "wide.weight": (48, 96),
    "tall.weight": (20, 6),
    "norm.weight": (8,),
}


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    draw = torch.Generator().manual_seed(3)
    return {n: nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for n, s in SHAPES.items()}


def gradients(step: int, size: float = 1.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return {n: size * torch.randn(s, generator=draw) for n, s in SHAPES.items()}


def made(name: str, named: dict[str, nn.Parameter], **options: object) -> Optimizer:
    settings = {"clip": 0.0, "weight_decay": 0.1} | options
    optimizer: Optimizer = OPTIMIZERS.create(
        name, named=named.items(), options=OptimOptions(**settings)
    )  # type: ignore[arg-type]
    return optimizer


def reference(named: dict[str, nn.Parameter], kind: type, **settings: object) -> None:
    """Walk the same steps by a reference optimizer, decay on matrices only."""
    groups = [
        {"params": [p for p in named.values() if p.ndim == n], "weight_decay": decay}
        for n, decay in ((2, 0.1), (1, 0.0))
    ]
    other = kind(groups, **settings)
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            named[name].grad = gradient
        other.step()


def walked(optimizer: Optimizer, lr: float = 1e-2) -> dict[str, Tensor]:
    for step in range(STEPS):
        optimizer.step(gradients(step), lr)
    return optimizer.weights()


def test_adamw_is_torchs_fused_one_to_the_bit() -> None:
    expected = parameters()
    reference(expected, torch.optim.AdamW, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, fused=True)

    found = walked(made("adamw", parameters()))

    assert all(torch.equal(found[n], expected[n]) for n in SHAPES)


def test_sgd_without_decay_is_torchs() -> None:
    named, expected = parameters(), parameters()
    other = torch.optim.SGD(expected.values(), lr=1e-2, momentum=0.9)
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            expected[name].grad = gradient
        other.step()

    found = walked(made("sgd", named, weight_decay=0.0))

    for name in SHAPES:  # one rounding per step, in another order
        torch.testing.assert_close(found[name], expected[name].detach(), rtol=1e-6, atol=1e-6)


def test_sgd_decays_apart_from_the_gradient() -> None:
    """SGDW, arXiv:1711.05101, algorithm 1: the decay is not part of the momentum."""
    named = parameters()
    before = named["tall.weight"].detach().clone()
    optimizer = made("sgd", named)

    optimizer.step({n: torch.zeros(s) for n, s in SHAPES.items()}, 1e-2)

    torch.testing.assert_close(named["tall.weight"].detach(), before * (1 - 1e-2 * 0.1))
    assert float(optimizer.state()["tall.weight:momentum_buffer"].abs().sum()) == 0


def test_adafactor_is_that_of_transformers() -> None:
    from transformers.optimization import Adafactor

    expected = parameters()
    reference(
        expected, Adafactor, lr=1e-2, scale_parameter=False, relative_step=False, warmup_init=False
    )

    found = walked(made("adafactor", parameters()))

    for name in SHAPES:  # the same operations; a division by 1 is left out there
        torch.testing.assert_close(found[name], expected[name].detach(), rtol=1e-6, atol=1e-7)


def test_lion_follows_its_formula() -> None:
    """arXiv:2302.06675, algorithm 2, in float64 and element by element."""
    weight, moment = 0.75, 0.0
    named = {"w.weight": nn.Parameter(torch.full((2, 2), weight))}
    optimizer = made("lion", named)

    for gradient in (0.3, -2.0, 0.5, 0.1, -0.2):
        optimizer.step({"w.weight": torch.full((2, 2), gradient)}, 1e-2)
        update = math.copysign(1.0, 0.9 * moment + 0.1 * gradient)
        weight -= 1e-2 * (update + 0.1 * weight)
        moment = 0.99 * moment + 0.01 * gradient

    # a float32 rounding per step
    torch.testing.assert_close(
        named["w.weight"].detach(), torch.full((2, 2), weight), rtol=1e-6, atol=0
    )


def test_muon_is_torchs_on_matrices_and_adamw_on_the_rest() -> None:
    expected = parameters()
    matrices = [expected["wide.weight"], expected["tall.weight"]]
    other = torch.optim.Muon(
        matrices, lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            expected[name].grad = gradient
        other.step()
    adam = walked(made("adamw", parameters()))

    found = walked(made("muon", parameters()))

    assert torch.equal(found["wide.weight"], expected["wide.weight"])
    assert torch.equal(found["tall.weight"], expected["tall.weight"])
    assert torch.equal(found["embed.weight"], adam["embed.weight"])
    assert torch.equal(found["norm.weight"], adam["norm.weight"])


def test_muons_update_has_singular_values_near_one() -> None:
    draw = torch.randn(24, 64, generator=torch.Generator().manual_seed(1))

    values = torch.linalg.svdvals(muon.orthogonal(draw).float())

    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3  # the paper's band, bf16


def test_eight_bit_moments_lie_close_to_adamws_steps() -> None:
    named = parameters()
    start = {n: p.detach().clone() for n, p in named.items()}
    exact = walked(made("adamw", parameters()))

    found = walked(made("adamw_8bit", named))

    moved = (exact["wide.weight"] - start["wide.weight"]).norm()
    apart = (found["wide.weight"] - exact["wide.weight"]).norm()
    assert 0 < float(apart / moved) < 0.05  # 8 steps of a table that is right to about 3 %
    assert torch.equal(found["tall.weight"], exact["tall.weight"])  # small: float32 moments


def test_eight_bit_state_is_two_bytes_per_weight() -> None:
    weight = {"w.weight": nn.Parameter(torch.zeros(256, 256))}

    state = made("adamw_8bit", weight).state()

    bytes_ = sum(t.numel() * t.element_size() for t in state.values())
    assert bytes_ / 256**2 == pytest.approx(OPTIMIZERS.get("adamw_8bit").state_bytes, rel=0.05)


@pytest.mark.parametrize("signed", [True, False])
def test_a_byte_means_the_nearest_value_of_the_table(signed: bool) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(2)) ** 3
    values = values if signed else values.abs()
    table = adamw_8bit.table(signed=signed)

    codes, scales = adamw_8bit.quantize(values, signed=signed)
    back = adamw_8bit.dequantize(codes, scales, signed=signed)[:1000]

    assert table.shape == (256,)
    assert float(table.max()) == 1.0
    assert 0.0 in table
    per_value = scales.repeat_interleave(256)[:1000]
    nearest = (values / per_value)[:, None].sub(table).abs().min(1).values
    torch.testing.assert_close(
        (back / per_value - values / per_value).abs(), nearest, atol=1e-6, rtol=0
    )


def test_the_byte_table_is_that_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional", exc_type=ImportError)

    for signed in (True, False):
        theirs = functional.create_dynamic_map(signed=signed)
        torch.testing.assert_close(adamw_8bit.table(signed=signed), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_optimizer_goes_on_with_the_same_bits(name: str, dtype: torch.dtype) -> None:
    whole, first, second = (parameters(dtype) for _ in range(3))
    optimizer = made(name, whole)
    for step in range(STEPS):
        optimizer.step(gradients(step), 1e-2)
    stopped = made(name, first)
    for step in range(3):
        stopped.step(gradients(step), 1e-2)
    saved = {n: t.clone() for n, t in stopped.weights().items()}, {n: t.clone() for n, t in stopped.state().items()}  # fmt: skip

    resumed = made(name, second)
    resumed.restore(*saved)
    for step in range(3, STEPS):
        resumed.step(gradients(step), 1e-2)

    assert all(torch.equal(resumed.weights()[n], t) for n, t in optimizer.weights().items())
    assert all(torch.equal(resumed.state()[n], t) for n, t in optimizer.state().items())
    assert all(torch.equal(whole[n], second[n]) for n in SHAPES)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_of_zero_changes_nothing_and_half_a_rate_is_half(name: str) -> None:
    still, named = parameters(), parameters()
    rates = {"wide.weight": 0.5, "tall.weight": 0.0}
    options = OptimOptions(clip=0.0, weight_decay=0.0)
    before = {n: p.detach().clone() for n, p in named.items()}
    plain, halved = parameters(), OPTIMIZERS.create(name, named=named.items(), options=options, rates=rates)  # fmt: skip

    made(name, still).step(gradients(0), 0.0)
    OPTIMIZERS.create(name, named=plain.items(), options=options).step(gradients(0), 1e-2)
    halved.step(gradients(0), 1e-2)

    assert all(torch.equal(still[n], before[n]) for n in SHAPES)
    assert torch.equal(named["tall.weight"], before["tall.weight"])
    moved = named["wide.weight"].detach() - before["wide.weight"]
    whole = plain["wide.weight"].detach() - before["wide.weight"]
    torch.testing.assert_close(
        moved, whole / 2, rtol=1e-3, atol=1e-6
    )  # weights near 1 round the moves


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_clipped_together_and_strides_do_not_matter(name: str) -> None:
    odd, even = parameters(), parameters()
    turned = {
        n: g.t().contiguous().t() if g.ndim == 2 else g for n, g in gradients(0, 50.0).items()
    }

    norm = made(name, odd, clip=1.0).step(turned, 1e-2)
    made(name, even, clip=1.0).step(gradients(0, 50.0), 1e-2)

    expected = math.sqrt(sum(float(g.double().square().sum()) for g in gradients(0, 50.0).values()))
    assert norm == pytest.approx(expected, rel=1e-5)
    for n in SHAPES:
        torch.testing.assert_close(odd[n], even[n], rtol=1e-5, atol=1e-7)


def test_a_norm_that_is_no_number_changes_nothing() -> None:
    named, expected = parameters(), parameters()
    bad = gradients(0) | {"norm.weight": torch.full((8,), math.nan)}

    norm = made("adamw", named).step(bad, 1e-2)

    assert math.isnan(norm)
    assert all(torch.equal(named[n], expected[n]) for n in SHAPES)


def test_the_state_of_another_optimizer_is_refused() -> None:
    lion, adamw = made("lion", parameters()), made("adamw", parameters())

    with pytest.raises(CheckpointError, match="another one"):
        adamw.restore(lion.weights(), lion.state())


def test_options_reach_the_rule() -> None:
    assert (made("lion", parameters()).beta1, made("lion", parameters()).beta2) == (0.9, 0.99)
    assert made("muon", parameters()).mu == 0.95
    assert made("muon", parameters(), momentum=0.5).mu == 0.5
    assert made("adamw", parameters(), betas=(0.8, 0.9)).beta2 == 0.9
