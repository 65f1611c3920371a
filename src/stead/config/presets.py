"""The documents' names for ways to train, each a method with an adapter and maybe some settings.

Knows nothing about the methods and adapters but their names. `--method lora` and
`--method sft --adapter lora` are the same recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """What a name stands for. `adapter` None: whatever the recipe says."""

    method: str
    adapter: str | None = None
    method_settings: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values
    adapter_settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    "full_finetuning": Preset("sft", "full"),
    "full_finetune": Preset("sft", "full"),
    "full": Preset("sft", "full"),
    "lora": Preset("sft", "lora"),
    "qlora": Preset("sft", "qlora"),
    "adalora": Preset("sft", "adalora"),
    "prefix_tuning": Preset("sft", "prefix"),
    "p_tuning": Preset("sft", "p_tuning"),
    "prompt_tuning": Preset("sft", "prompt"),
    "ia3": Preset("sft", "ia3"),
    "freeze": Preset("sft", "freeze"),
    "instruction_tuning": Preset("sft"),
    "rm": Preset("reward"),
    "simpo": Preset("dpo", None, {"loss": "simpo", "beta": 2.0}),
    "ipo": Preset("dpo", None, {"loss": "ipo"}),
    "dr_grpo": Preset("grpo", None, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": Preset("grpo", None, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "rlhf": Preset("ppo"),
    "simcse": Preset("contrastive"),
    "contrastive_alignment": Preset("contrastive"),
    "vanilla_distillation": Preset("distillation", None, {"kind": "logits"}),
    "feature_distillation": Preset("distillation", None, {"kind": "feature"}),
    "self_distillation": Preset("distillation", None, {"kind": "self"}),
    "qat_int8": Preset("sft", "qat", {}, {"bits": 8}),
    "qat_int4": Preset("sft", "qat", {}, {"bits": 4}),
    "magnitude_pruning": Preset("sft", "pruning", {}, {"method": "magnitude"}),
    "structured_pruning": Preset("sft", "pruning", {}, {"method": "structured"}),
    "wanda": Preset("sft", "pruning", {}, {"method": "wanda"}),
}


def sections(name: str) -> dict[str, dict[str, Any]] | None:  # Any: JSON values
    """Return the recipe's sections that a preset stands for, or None when it is no preset."""
    preset = PRESETS.get(name)
    if preset is None:
        return None
    found = {"method": {"type": preset.method, **preset.method_settings}}
    if preset.adapter is not None:
        found["adapter"] = {"type": preset.adapter, **preset.adapter_settings}
    return found
