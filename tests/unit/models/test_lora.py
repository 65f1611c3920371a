"""LoRA files against PEFT itself, both ways; merging; targets; bad adapters."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stead.core.errors import ModelError
from stead.models.adapter import Origin
from stead.models.adapters.lora import Lora, LoraConfig
from stead.models.layers import layers, lowrank
from stead.models.load import load_model
from stead.models.targets import TargetModuleDetector

# PEFT 0.21 asks transformers 5.23 for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")

IDS = torch.arange(5, 25)[None]


def trained(tiny_model: Path, folder: Path, **settings: object) -> torch.Tensor:
    """Save an adapter with numbers in B; return the adapted model's logits."""
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    adapter = Lora(LoraConfig(**settings))
    adapter.wrap(loaded.model, layers, 1)
    torch.manual_seed(2)
    for name, parameter in loaded.model.named_parameters():
        if name.endswith("lora_B"):
            parameter.data.normal_(0, 0.05)
    folder.mkdir()
    adapter.save(loaded.model, layers, folder, Origin(tiny_model))
    with torch.no_grad():
        return loaded.model(input_ids=IDS).logits


@pytest.mark.spec("001-010", "003-073")
@pytest.mark.parametrize(
    "settings", [{}, {"r": 4, "rslora": True}, {"target_modules": ("q_proj", "v_proj")}]
)
def test_peft_loads_our_adapter_with_equal_logits(
    settings: dict[str, object], tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    ours = trained(tiny_model, tmp_path / "adapter", **settings)

    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), tmp_path / "adapter"
    )

    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=IDS).logits, ours, atol=1e-6)
        plain = theirs.get_base_model()
        with theirs.disable_adapter():
            assert not torch.allclose(plain(input_ids=IDS).logits, ours, atol=1e-3)


def test_an_adapter_made_by_peft_loads_with_equal_logits(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    theirs = get_peft_model(base, PeftConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"],
                                             init_lora_weights=False, task_type="CAUSAL_LM"))  # fmt: skip
    theirs.save_pretrained(tmp_path)

    ours = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    with torch.no_grad():
        expected = theirs.eval()(input_ids=IDS).logits
        assert torch.allclose(ours.model(input_ids=IDS).logits, expected, atol=1e-6)


@pytest.mark.spec("003-030")
def test_target_modules_are_detected(tiny_model: Path) -> None:
    model = load_model(tiny_model, dtype="fp32", device="cpu").model

    assert TargetModuleDetector(model).detect() == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert TargetModuleDetector(torch.nn.Sequential(torch.nn.Linear(2, 2))).detect() == ["0"]


def test_an_unknown_target_names_what_there_is(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no linear layer 'qq_proj'.*q_proj"):
        trained(tiny_model, tmp_path / "a", target_modules=("qq_proj",))


@pytest.mark.parametrize(
    ("key", "value"),
    [("fan_in_fan_out", True), ("init_lora_weights", "olora"), ("peft_type", "VERA")],
)
def test_an_adapter_we_would_not_compute_exactly_is_refused(
    key: str, value: object, tiny_model: Path, tmp_path: Path
) -> None:
    trained(tiny_model, tmp_path / "a")
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))

    with pytest.raises(ModelError, match=key):
        load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path / "a")


def test_an_adapter_of_another_base_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    trained(tiny_model, tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    save_file(
        {n: torch.zeros(t.shape[0], t.shape[1] + 1) for n, t in load_file(file).items()}, file
    )

    with pytest.raises(ModelError) as caught:
        load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path / "a")

    assert caught.value.code == "adapter-mismatch"


def test_dropout_is_a_function_of_its_counter() -> None:
    x = torch.ones(200, 64)

    def mask(step: int, place: str) -> torch.Tensor:
        former = lowrank.set_draw(lowrank.Draw(1, step, True))
        found = lowrank.keep_mask(x, 0.1, place)
        lowrank.set_draw(former)
        assert found is not None
        return found

    assert torch.equal(mask(3, "a"), mask(3, "a"))
    assert not torch.equal(mask(3, "a"), mask(4, "a"))
    assert not torch.equal(mask(3, "a"), mask(3, "b"))
    assert float((mask(3, "a") == 0).float().mean()) == pytest.approx(26 / 256, abs=0.01)
    assert float(mask(3, "a").mean()) == pytest.approx(1.0, abs=0.01)
