"""Models of other families, from a seed, over the tokenizer of another model."""

import shutil
from pathlib import Path
from typing import Any

_OWN = ("model*", "config.json", "manifest.json")


def saved(config: Any, base: Path, out: Path, seed: int = 3) -> Path:
    """Write a new model of a transformers configuration to `out`, with the other files of `base`."""
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(base, out, ignore=shutil.ignore_patterns(*_OWN))
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(out)
    return out
