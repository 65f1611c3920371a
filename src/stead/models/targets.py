"""Find the linear layers that an adapter should go to, by the names architectures give them.

Knows nothing about adapters' arithmetic. Patterns in order: FACTS of the documents, §7.4.
"""

from torch import nn

from stead.core.errors import ModelError
from stead.models.peft_files import unknown_target

PATTERNS: tuple[tuple[str, ...], ...] = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query", "key", "value", "dense"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("c_attn", "c_proj"),
    ("qkv_proj", "out_proj"),
    ("Wqkv", "out_proj"),
    ("fc1", "fc2"),
    ("up_proj", "down_proj", "gate_proj"),
    ("c_fc", "c_proj"),
)


class TargetModuleDetector:
    """Find the modules that LoRA goes to in the common architectures; else all linear layers."""

    def __init__(self, model: nn.Module) -> None:
        self._linear = linear_layers(model)

    def detect(self) -> list[str]:
        """Return the short names ("q_proj", …) of the first pattern that fits this model."""
        present = {name.rsplit(".", 1)[-1] for name in self._linear}
        for pattern in PATTERNS:
            found = [name for name in pattern if name in present]
            if len(found) * 2 > len(pattern):
                return found
        return sorted(present)


def linear_layers(model: nn.Module) -> list[str]:
    """Name every linear layer but the output layer, in the model's order."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]


def targets(model: nn.Module, wanted: str | tuple[str, ...]) -> list[str]:
    """Return the full names of the linear layers meant by "all-linear", "auto" or names.

    Raises: ModelError("unknown-target") naming what there is.
    """
    every = linear_layers(model)
    if not every:
        raise ModelError(
            "unknown-target",
            f"{type(model).__name__} has no linear layers that an adapter could go beside",
            hint="stead train RECIPE --adapter full",
        )
    if wanted == "all-linear":
        return every
    if wanted == "auto":
        names: tuple[str, ...] = tuple(TargetModuleDetector(model).detect())
    else:
        names = tuple(wanted.split(",")) if isinstance(wanted, str) else wanted
    found = [n for n in every if any(n == w or n.endswith("." + w) for w in names)]
    for name in names:
        if not any(n == name or n.endswith("." + name) for n in every):
            raise unknown_target(name, every)
    return found
