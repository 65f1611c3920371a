"""Small LoRA adapters with random numbers in both matrices."""

import torch

from stead.models.adapter import Origin
from stead.models.adapters.lora import Lora, LoraConfig
from stead.models.layers import layers
from stead.models.load import load_model


def train(base, folder, seed, **settings):
    """Save an adapter of `base` that changes its answers much."""
    loaded = load_model(base, dtype="fp32", device="cpu")
    adapter = Lora(LoraConfig(**({"r": 4} | settings)))
    adapter.wrap(loaded.model, layers, seed)
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in loaded.model.named_parameters():
        if name.endswith("lora_B"):
            parameter.data.normal_(0, 0.2, generator=draw)
    folder.mkdir(parents=True)
    adapter.save(loaded.model, layers, folder, Origin(base))
