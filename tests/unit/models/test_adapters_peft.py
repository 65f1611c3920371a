"""Every adapter that PEFT has: the same numbers and gradients as PEFT's, and files both ways."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from stead.config.kinds import registry
from stead.models import peft_files
from stead.models.adapter import Origin
from stead.models.layers import layers
from stead.models.load import load_model

# PEFT 0.21 asks transformers 5.23 for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")

IDS = torch.arange(5, 25)[None]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # float32, sums of some hundred terms in another order
PATTERNS = {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 5}, "alpha_pattern": {"v_proj": 3.0}}  # fmt: skip
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {}),
    "rslora": ("lora", {"r": 4, "rslora": True}),
    "dora": ("lora", {"r": 4, "dora": True}),
    "patterns": ("lora", {"r": 4, **PATTERNS}),
    "one layer": ("lora", {"layers": (1,), "init": "gaussian"}),
    "whole modules": ("lora", {"modules_to_save": ("lm_head", "model.norm")}),
    "whole embedding": ("lora", {"modules_to_save": ("embed_tokens",)}),
    "adalora": ("adalora", {"init_r": 6, "target_r": 4}),
    "ia3": ("ia3", {}),
    "ia3 named": ("ia3", {"target_modules": ("q_proj", "up_proj"), "feedforward_modules": ("up_proj",)}),
}  # fmt: skip


def base(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def wrapped(folder: Path, name: str, settings: dict[str, Any], *, noise: float = 0.05) -> Any:
    """Return a loaded model with the adapter on it, its numbers moved away from the start."""
    loaded = load_model(folder, dtype="fp32", device="cpu")
    config = registry("adapter").config_of(name)(**settings)
    adapter = registry("adapter").create(name, config=config)
    adapter.wrap(loaded.model, layers, 1)
    torch.manual_seed(2)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * noise)
    return loaded, adapter


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Return the gradients of a loss, by the names our parameters have."""
    model.zero_grad()
    logits = model(input_ids=IDS).logits[0]
    torch.nn.functional.cross_entropy(logits[:-1], IDS[0, 1:]).backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            plain = peft_files.plain_name(name)
            plain = plain.removesuffix(".weight") if ".lora_" in plain else plain
            found[plain] = parameter.grad.reshape(-1) if "ia3" in plain else parameter.grad
    return found


def equal_gradients(ours: Any, theirs: Any) -> None:
    mine, other = gradients(ours), gradients(theirs)
    assert mine.keys() == other.keys()
    for name, gradient in mine.items():
        assert torch.allclose(gradient, other[name], **CLOSE), name


@pytest.mark.spec("001-010", "003-073")
@pytest.mark.parametrize("case", OURS)
def test_peft_loads_ours_with_equal_logits_and_gradients(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    loaded, adapter = wrapped(tiny_model, *OURS[case])
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tied weights; checked by the numbers
        theirs = PeftModel.from_pretrained(base(tiny_model), tmp_path, is_trainable=True).eval()
    logits = loaded.model(input_ids=IDS).logits

    assert torch.allclose(theirs(input_ids=IDS).logits, logits, **CLOSE)
    assert not torch.allclose(base(tiny_model)(input_ids=IDS).logits, logits, atol=1e-3)
    equal_gradients(loaded.model, theirs)


@pytest.mark.parametrize("case", OURS)
def test_our_files_give_the_function_back(case: str, tiny_model: Path, tmp_path: Path) -> None:
    loaded, adapter = wrapped(tiny_model, *OURS[case])
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    again = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        expected = loaded.model(input_ids=IDS).logits
        assert torch.allclose(again.model(input_ids=IDS).logits, expected, **CLOSE)
    assert not any(p.requires_grad for p in again.model.parameters())


def peft_configs() -> dict[str, Any]:
    from peft import AdaLoraConfig, IA3Config, LoraConfig

    common = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
    lora = {"r": 4, "lora_alpha": 8, "init_lora_weights": False, **common}
    return {
        "lora": LoraConfig(**lora),
        "dora": LoraConfig(**lora, use_dora=True),
        "rslora": LoraConfig(**lora, use_rslora=True),
        "patterns": LoraConfig(**lora, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 3}),
        "pissa": LoraConfig(**lora | {"init_lora_weights": "pissa"}),
        "saved": LoraConfig(**lora, modules_to_save=["lm_head"]),
        "adalora": AdaLoraConfig(init_r=5, target_r=3, total_step=10, lora_alpha=8, **common),
        "ia3": IA3Config(feedforward_modules=["down_proj"], **common),
    }


@pytest.mark.parametrize(
    "case", ["lora", "dora", "rslora", "patterns", "pissa", "saved", "adalora", "ia3"]
)
def test_what_peft_saved_loads_with_equal_logits(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import get_peft_model

    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_peft_model(base(tiny_model), peft_configs()[case]).eval()
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
        theirs.save_pretrained(tmp_path)

    ours = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        expected = theirs(input_ids=IDS).logits
        assert torch.allclose(ours.model(input_ids=IDS).logits, expected, **CLOSE)


def test_pissa_starts_as_peft_does_and_keeps_the_function(tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "alpha": 8.0, "init": "pissa", "target_modules": ("q_proj", "down_proj")}
    ours, _ = wrapped(tiny_model, "lora", settings, noise=0.0)
    theirs = get_peft_model(base(tiny_model), LoraConfig(
        r=4, lora_alpha=8, init_lora_weights="pissa", target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    ))  # fmt: skip

    plain = base(tiny_model)(input_ids=IDS).logits
    assert torch.allclose(ours.model(input_ids=IDS).logits, plain, **CLOSE)
    equal_gradients(ours.model, theirs.eval())


def test_pissa_is_saved_as_a_difference_that_peft_and_we_load(
    tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    loaded, adapter = wrapped(tiny_model, "lora", {"r": 4, "init": "pissa", "rslora": True})
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    theirs = PeftModel.from_pretrained(base(tiny_model), tmp_path)
    ours = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        expected = loaded.model(input_ids=IDS).logits
        assert torch.allclose(theirs(input_ids=IDS).logits, expected, **CLOSE)
        assert torch.allclose(ours.model(input_ids=IDS).logits, expected, **CLOSE)


def test_lora_plus_gives_b_the_higher_rate() -> None:
    config = registry("adapter").config_of("lora")(lora_plus=16.0)
    adapter = registry("adapter").create("lora", config=config)

    assert adapter.rate("model.layers.0.mlp.up_proj.lora_B") == 16.0
    assert adapter.rate("model.layers.0.mlp.up_proj.lora_A") == 1.0


def test_biases_are_trained_saved_and_loaded(tmp_path: Path, make_biased: Path) -> None:
    from peft import PeftModel

    for bias in ("lora_only", "all"):
        settings = {"bias": bias, "target_modules": ("q_proj",)}
        loaded, adapter = wrapped(make_biased, "lora", settings)
        folder = tmp_path / bias
        folder.mkdir()
        adapter.save(loaded.model, layers, folder, Origin(make_biased))

        theirs = PeftModel.from_pretrained(base(make_biased), folder)
        ours = load_model(make_biased, dtype="fp32", device="cpu", adapter=folder)
        trained = {n for n, p in loaded.model.named_parameters() if p.requires_grad}

        assert any(n.endswith("v_proj.bias") for n in trained) == (bias == "all")
        with torch.no_grad():
            expected = loaded.model(input_ids=IDS).logits
            assert torch.allclose(theirs(input_ids=IDS).logits, expected, **CLOSE)
            assert torch.allclose(ours.model(input_ids=IDS).logits, expected, **CLOSE)


@pytest.fixture
def make_biased(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with biases in its attention."""
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.attention_bias = True
    torch.manual_seed(4)
    model = LlamaForCausalLM(config)
    folder = tmp_path / "biased"
    model.save_pretrained(folder)
    for file in tiny_model.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_layers_that_lost_every_direction_load_in_peft_and_here(
    tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    loaded, adapter = wrapped(tiny_model, "adalora", {"init_r": 3, "target_r": 1})
    for i, (name, layer) in enumerate(
        (n, m) for n, m in loaded.model.named_modules() if hasattr(m, "lora_E")
    ):
        kept = torch.tensor([i % 3 == 0, i % 3 != 1, False])
        layer.lora_E.data.mul_(kept[:, None])
        adapter._kept[name] = kept
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT 0.21 does not know its own rank_pattern's keys
        theirs = PeftModel.from_pretrained(base(tiny_model), tmp_path)
    ours = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        expected = loaded.model(input_ids=IDS).logits
        assert torch.allclose(theirs(input_ids=IDS).logits, expected, **CLOSE)
        assert torch.allclose(ours.model(input_ids=IDS).logits, expected, **CLOSE)
