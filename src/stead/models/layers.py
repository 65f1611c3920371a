"""Everything that an adapter may put into a model, under the names of `models/adapter.Layers`.

Knows nothing about adapters. Adapters are light and get this module as an argument; what it names is
made where the arithmetic is.
"""

from stead.models.lowrank import (
    add_low_rank,
    detect_targets,
    read_tensors,
    write_model,
    write_tensors,
)
from stead.models.prompts import add_prompt, prompt_dims, prompt_vectors, set_prompt

__all__ = [
    "add_low_rank", "add_prompt", "detect_targets", "prompt_dims", "prompt_vectors", "read_tensors",
    "set_prompt", "write_model", "write_tensors",
]  # fmt: skip
