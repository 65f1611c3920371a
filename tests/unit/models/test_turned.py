"""GPT-2, whose files keep weights as [inputs, outputs]: adapters of every kind, PEFT's files both ways, merging, writing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import families
from transformers import AutoModelForCausalLM, GPT2Config

from stead.config.kinds import registry
from stead.core.errors import ModelError
from stead.models import merge
from stead.models.adapter import Origin
from stead.models.folder import write_model
from stead.models.layers import layers
from stead.models.load import load_model
from stead.models.targets import TargetModuleDetector

# PEFT 0.21 asks transformers 5.23 for a property under its old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys"),  # AdaLoRA's, of lora_E
]

IDS = torch.arange(5, 25)[None]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"r": 4}),
    "square": ("lora", {"r": 4, "target_modules": ("attn.c_proj",)}),
    "dora": ("lora", {"r": 4, "dora": True}),
    "pissa": ("lora", {"r": 4, "init": "pissa"}),
    "whole": ("lora", {"r": 4, "target_modules": ("c_attn",), "modules_to_save": ("c_fc",)}),
    "biases": ("lora", {"r": 4, "bias": "all"}),
    "adalora": ("adalora", {"init_r": 6, "target_r": 4}),
    "ia3": ("ia3", {}),
}


@pytest.fixture(scope="module")
def gpt2(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gpt2") / "base"
    words = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    config = GPT2Config(vocab_size=words, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0)  # fmt: skip
    return families.saved(config, tiny_model, out)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def saved(base: Path, case: str, folder: Path) -> torch.Tensor:
    """Write an adapter whose numbers are away from the start; return the adapted model's logits."""
    name, settings = CASES[case]
    loaded = load_model(base, dtype="fp32", device="cpu")
    adapter = registry("adapter").create(
        name, config=registry("adapter").config_of(name)(**settings)
    )
    adapter.wrap(loaded.model, layers, 1)
    torch.manual_seed(2)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    folder.mkdir()
    adapter.save(loaded.model, layers, folder, Origin(base))
    return logits(loaded.model)


def test_it_computes_and_is_written_as_it_was(gpt2: Path, tmp_path: Path) -> None:
    loaded = load_model(gpt2, dtype="fp32", device="cpu")
    write_model(loaded.model, tmp_path, gpt2)

    assert torch.allclose(logits(loaded.model), logits(plain(gpt2)), atol=1e-6)
    old, new = load_file(gpt2 / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert old.keys() == new.keys()
    assert all(torch.equal(old[n], new[n]) for n in old)


@pytest.mark.spec("003-030")
def test_its_attention_is_detected(gpt2: Path) -> None:
    model = load_model(gpt2, dtype="fp32", device="cpu").model

    assert TargetModuleDetector(model).detect() == ["c_attn", "c_proj"]


@pytest.mark.parametrize("case", CASES)
def test_peft_and_a_merge_compute_what_was_trained(case: str, gpt2: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    ours = saved(gpt2, case, tmp_path / "adapter")

    again = load_model(gpt2, dtype="fp32", device="cpu", adapter=tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(plain(gpt2), tmp_path / "adapter")
    merge.merge(gpt2, tmp_path / "adapter", tmp_path / "merged")

    assert not torch.allclose(ours, logits(plain(gpt2)), atol=1e-3)
    assert torch.allclose(logits(again.model), ours, atol=1e-5)
    assert torch.allclose(logits(theirs), ours, atol=1e-5)
    assert torch.allclose(logits(plain(tmp_path / "merged")), ours, atol=1e-5)


def test_an_adapter_made_by_peft_loads_and_merges(gpt2: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, init_lora_weights=False, task_type="CAUSAL_LM")  # fmt: skip
    theirs = get_peft_model(plain(gpt2), config)
    theirs.save_pretrained(tmp_path / "adapter")
    merge.merge(gpt2, tmp_path / "adapter", tmp_path / "merged")

    ours = load_model(gpt2, dtype="fp32", device="cpu", adapter=tmp_path / "adapter").model

    assert torch.allclose(logits(ours), logits(theirs), atol=1e-5)
    assert torch.allclose(logits(plain(tmp_path / "merged")), logits(theirs), atol=1e-5)


def test_an_adapter_that_says_another_layout_is_refused(gpt2: Path, tmp_path: Path) -> None:
    saved(gpt2, "lora", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace('"fan_in_fan_out": true', '"fan_in_fan_out": false'))

    with pytest.raises(ModelError, match="fan_in_fan_out=False"):
        load_model(gpt2, dtype="fp32", device="cpu", adapter=tmp_path / "adapter")
