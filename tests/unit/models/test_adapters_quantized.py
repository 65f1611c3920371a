"""Rounding against bitsandbytes, bit for bit; memory that falls; gradients through restored weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.fakes import matrix, training

from stead.config.kinds import registry
from stead.config.recipe import read_recipe
from stead.core.errors import ConfigError, ModelError
from stead.models import merge
from stead.models.adapter import Origin
from stead.models.layers import layers, quantize
from stead.models.layers.quantized import QuantizedLinear
from stead.models.load import load_model

# PEFT 0.21 asks transformers 5.23 for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")

IDS = torch.arange(5, 25)[None]
SHAPES = [(64, 64), (7, 96), (33, 50), (3, 5), (300, 512)]


def size_bytes(model: torch.nn.Module) -> int:
    """Count the bytes of all distinct parameters and buffers of the decoder layers."""
    held = [*model.model.layers.parameters(), *model.model.layers.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in held}.values())


def adapted(folder: Path, dtype: Any = "fp32", **settings: Any) -> Any:
    loaded = load_model(folder, dtype=dtype, device="cpu")
    config = registry("adapter").config_of("qlora")(**settings)
    adapter = registry("adapter").create("qlora", config=config)
    adapter.wrap(loaded.model, layers, 1)
    torch.manual_seed(2)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return loaded, adapter


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_and_scales_are_those_of_bitsandbytes(
    kind: str, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(5)
    weight = torch.randn(shape).to(dtype)

    codes, scales = quantize.quantize_4bit(weight, kind)
    theirs, state = functional.quantize_4bit(weight, blocksize=64, quant_type=kind)

    assert torch.equal(codes, theirs.view(-1))
    assert torch.equal(scales, state.absmax)
    if shape[1] == 96:  # bitsandbytes 0.50 restores such rows with the scales of other blocks
        return
    back = quantize.dequantize_4bit(codes, scales, kind, weight.shape, dtype)
    assert torch.equal(back, functional.dequantize_4bit(theirs, state).to(dtype))


def test_doubly_rounded_scales_are_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(6)
    weight = torch.randn(300, 512)

    _, scales = quantize.quantize_4bit(weight, "nf4")
    codes, largest, mean = quantize.quantize_scales(scales)
    _, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)  # fmt: skip

    assert torch.equal(quantize.dynamic_map(), state.state2.code)
    assert torch.equal(mean, state.offset)
    assert torch.equal(largest, state.state2.absmax)
    apart = (codes.int() - state.absmax.int()).abs()
    assert int(apart.max()) <= 1  # at a tie between two codes either is right
    assert int(apart.sum()) <= 0.002 * codes.numel()


def test_rows_in_int8_are_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(7)
    weight = torch.randn(33, 50)

    codes, largest = quantize.quantize_rows(weight)
    theirs, row_stats, _ = functional.int8_vectorwise_quant(weight.clone())

    assert torch.equal(codes, theirs)
    assert torch.equal(largest, row_stats)


@pytest.mark.parametrize(
    ("kind", "error"), [("nf4", 0.16), ("fp4", 0.18), ("int8", 0.01)]
)  # half the widest gap of the code, as a share of the block's largest number
def test_no_weight_moves_further_than_half_a_gap(kind: str, error: float) -> None:
    torch.manual_seed(8)
    layer = torch.nn.Sequential(torch.nn.Linear(128, 32, bias=False))
    weight = layer[0].weight.detach().clone()

    layers.quantize(layer, ["0"], kind=kind, double=False, errors={})

    off = (layer[0].dense(torch.float32) - weight).abs().max()
    assert 0 < float(off) <= error * float(weight.abs().max())


@pytest.mark.spec("003-032", "002-025")
@pytest.mark.parametrize(
    ("settings", "share"),
    [({"bits": 4}, 0.31), ({"bits": 4, "double_quant": False}, 0.34), ({"bits": 8}, 0.59)],
)  # of bf16: 4.5 or 4.1 of 16 bits, and 8.3; norms, A and B (float32) of the tiny model on top
def test_the_frozen_weights_take_a_share_of_their_memory(
    settings: dict[str, Any], share: float, tiny_model: Path
) -> None:
    whole = size_bytes(load_model(tiny_model, dtype="bf16", device="cpu").model)
    loaded, _ = adapted(tiny_model, "bf16", r=1, target_modules=("q_proj",), **settings)

    assert size_bytes(loaded.model) <= share * whole
    assert isinstance(loaded.model.model.layers[0].mlp.up_proj, QuantizedLinear)


def test_gradients_are_those_of_the_restored_weight(tiny_model: Path) -> None:
    loaded, _ = adapted(tiny_model, r=2)
    layer = loaded.model.model.layers[0].mlp.down_proj
    layer.bias = torch.nn.Parameter(torch.randn(layer.out_features), requires_grad=False)
    x = torch.randn(3, layer.in_features, requires_grad=True)
    twin = x.detach().clone().requires_grad_(True)

    layer(x).square().sum().backward()
    product = layer.lora_B @ layer.lora_A * layer.lora.scaling
    weight = layer.dense(torch.float32) + product
    (twin @ weight.t() + layer.bias).square().sum().backward()

    assert torch.allclose(x.grad, twin.grad, rtol=1e-4, atol=1e-4)  # sums over 64 outputs, squared


def test_no_restored_weight_is_kept_for_the_backward_pass(tiny_model: Path) -> None:
    loaded, _ = adapted(tiny_model, target_modules=("q_proj",))
    layer = loaded.model.model.layers[0].mlp.down_proj
    kept: list[int] = []

    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        layer(torch.randn(2, layer.in_features, requires_grad=True))

    assert kept == []


@pytest.mark.spec("002-019", "003-074")
@pytest.mark.parametrize(
    "settings", [{"bits": 4}, {"bits": 8}, {"quant_type": "fp4", "dora": True}, {"init": "loftq"}]
)
def test_a_saved_adapter_gives_the_function_back_over_a_base_rounded_again(
    settings: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    loaded, adapter = adapted(tiny_model, **settings)
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    again = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        assert torch.equal(again.model(input_ids=IDS).logits, loaded.model(input_ids=IDS).logits)


def test_peft_loads_it_over_the_full_base(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded, adapter = adapted(tiny_model, bits=8)
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    theirs = PeftModel.from_pretrained(base, tmp_path)

    with torch.no_grad():
        gap = theirs(input_ids=IDS).logits - loaded.model(input_ids=IDS).logits
    assert float(gap.abs().max()) < 0.05  # eight bits of each weight


def test_a_merge_goes_into_the_full_base_and_is_recorded(tiny_model: Path, tmp_path: Path) -> None:
    from stead.core import manifest

    loaded, adapter = adapted(tiny_model, bits=4)
    (tmp_path / "a").mkdir()
    adapter.save(loaded.model, layers, tmp_path / "a", Origin(tiny_model))
    events: list[Any] = []

    made = merge.merge(tiny_model, tmp_path / "a", tmp_path / "out", emit=events.append)

    assert any(getattr(e, "code", "") == "merged-unrounded" and "nf4" in e.message for e in events)
    assert "nf4" in str(made.meta["notes"])
    assert manifest.verify(tmp_path / "out")
    merged = load_model(tmp_path / "out", dtype="fp32", device="cpu")
    plain = load_model(tiny_model, dtype="fp32", device="cpu")
    down = "model.layers.0.mlp.down_proj"
    layer = loaded.model.get_submodule(down)
    product = layer.lora_B @ layer.lora_A * layer.lora.scaling
    expected = plain.model.get_submodule(down).weight + product
    assert torch.allclose(merged.model.get_submodule(down).weight, expected, atol=1e-6)


@pytest.mark.spec("003-011")
@pytest.mark.parametrize(
    "given", [{"bits": 8, "quant_type": "nf4"}, {"bits": 4, "quant_type": "int8"}]
)
def test_four_and_eight_bits_together_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"4-bit and 8-bit loading are both on") as caught:
        read_recipe({"adapter": {"type": "qlora", **given}})

    assert caught.value.code == "both-quantizations"


def test_a_base_that_is_adapted_already_is_refused(tiny_model: Path) -> None:
    loaded, adapter = adapted(tiny_model)

    with pytest.raises(ModelError) as caught:
        adapter.wrap(loaded.model, layers, 1)

    assert caught.value.code == "already-adapted"


@pytest.mark.parametrize("name", ["qlora", "lora"])
def test_a_base_in_eight_bits_is_not_trained_in_four_on_top(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    loaded.model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    rows = training.prepared(tmp_path / "rows", training.rows(4))

    with pytest.raises(ModelError, match=r"bitsandbytes.*load_in_8bit.*full precision") as caught:
        matrix.train(loaded, rows, tmp_path / "run", method="sft", adapter=name, base_hash="")

    assert caught.value.code == "base-quantized"


def test_pissa_needs_whole_weights() -> None:
    with pytest.raises(ValidationError, match="full precision"):
        registry("adapter").config_of("qlora")(init="pissa")


def test_loftq_begins_with_the_largest_directions_of_the_rounding_error(tiny_model: Path) -> None:
    plain = load_model(tiny_model, dtype="fp32", device="cpu").model
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    config = registry("adapter").config_of("qlora")(init="loftq", r=4, rank_pattern={"q_proj": 2})
    adapter = registry("adapter").create("qlora", config=config)

    adapter.wrap(loaded.model, layers, 1)

    for name, rank in (("self_attn.q_proj", 2), ("mlp.down_proj", 4)):
        layer = loaded.model.model.layers[0].get_submodule(name)
        lost = plain.model.layers[0].get_submodule(name).weight - layer.dense(torch.float32)
        left = lost - layer.lora_B @ layer.lora_A * layer.lora.scaling
        singular = torch.linalg.svdvals(lost.detach())
        expected = float(singular[rank:].square().sum())  # Eckart-Young
        assert float(left.detach().square().sum()) == pytest.approx(expected, rel=1e-3)
    assert not adapter.switches_off()


@pytest.mark.parametrize(("name", "more"), [("lora", {}), ("qlora", {"dora": True})])
def test_loftq_goes_with_a_rounded_base_and_plain_products(name: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="loftq"):
        registry("adapter").config_of(name)(init="loftq", **more)
