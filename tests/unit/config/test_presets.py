"""The documents' names for ways to train stand for a method and an adapter."""

import pytest

from stead.config.kinds import registry
from stead.config.presets import PRESETS
from stead.config.recipe import read_recipe

DOCUMENTED = (
    "full_finetuning", "lora", "qlora", "adalora", "prefix_tuning", "p_tuning", "prompt_tuning",
    "ia3", "instruction_tuning", "rlhf", "dpo", "rlaif", "simcse", "contrastive_alignment",
    "vanilla_distillation", "feature_distillation", "self_distillation", "qat_int8", "qat_int4",
    "magnitude_pruning", "structured_pruning",
)  # fmt: skip
NEEDS = {
    "rlhf": {"method.rewards": [{"scorer": "exact_match"}]},
    "vanilla_distillation": {"method.teacher": "teacher"},
    "feature_distillation": {"method.teacher": "teacher"},
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_documented_way_to_train_is_a_recipe(name: str) -> None:
    config = read_recipe(None, {"method": name, **NEEDS.get(name, {})}, "option --method").config

    assert registry("method").get(config.method.type)
    preset = PRESETS.get(name)
    if preset is not None and preset.adapter is not None:
        assert config.adapter.type == preset.adapter
        for key, value in preset.adapter_settings.items():
            assert getattr(config.adapter, key) == value


def test_what_somebody_wrote_wins_over_a_preset() -> None:
    found = read_recipe({"method": "qlora", "adapter": {"r": 3}}).config
    other = read_recipe({"method": "qat_int4", "adapter": "lora"}).config

    assert (found.method.type, found.adapter.type, found.adapter.r) == ("sft", "qlora", 3)
    assert other.adapter.type == "lora"


def test_a_preset_says_where_it_came_from() -> None:
    recipe = read_recipe(None, {"method": "ia3"}, "option --method")

    assert recipe.origin("adapter.type") == "option --method (ia3)"
