"""Low-rank adapters beside models with experts: what a plan counts is what training adapts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.families import saved
from transformers import MixtralConfig, Qwen2MoeConfig

from stead.app.plans import make_plan
from stead.core.errors import ModelError
from stead.hub.inspect import inspect
from stead.models.adapters.lora import Lora, LoraConfig
from stead.models.layers import layers
from stead.models.load import load_model
from stead.planning.shape import trainable

SMALL: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}  # fmt: skip
CONFIGS = {
    "routed": MixtralConfig(**SMALL, num_local_experts=3, num_experts_per_tok=2),
    "shared": Qwen2MoeConfig(
        **SMALL, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=32
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_experts_are_not_counted_and_the_plan_says_that_they_stay(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(CONFIGS[name], tiny_model, tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "two plus {n}", "answer": "more"}}\n' for n in range(9)))  # fmt: skip
    config = LoraConfig(r=4)
    loaded = load_model(base, dtype="fp32", device="cpu")
    Lora(config).wrap(loaded.model, layers, 1)
    real = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)

    plan = make_plan(
        None, {"model.path": str(base), "data.path": str(rows), "adapter": "lora", "adapter.r": 4}
    )

    assert trainable(inspect(base, tokenizer=False), config) == real
    assert any("experts stay as they are" in note for note in plan.notes)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "target",
    ["q_proj", "self_attn.v_proj", "w1", "gate", "gate_proj", "experts", "lm_head", "qproj"],
)
def test_names_of_layers_are_judged_as_training_judges_them(
    name: str, target: str, tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(CONFIGS[name], tiny_model, tmp_path / "base")
    config = LoraConfig(r=4, target_modules=(target,))
    facts = inspect(base, tokenizer=False)

    real = _refused(lambda: Lora(config).wrap(load_model(base, dtype="fp32", device="cpu").model, layers, 1))  # fmt: skip

    assert _refused(lambda: config.require(facts)) == real


def _refused(act: Callable[[], None]) -> str:
    try:
        act()
    except ModelError as error:
        return error.code
    return ""
