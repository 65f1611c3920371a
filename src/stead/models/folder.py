"""Write a model folder that transformers reads: weights, config, and the base's tokenizer files.

Knows nothing about training. The tokenizer's files are copied byte for byte, never rewritten.
"""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stead.models.turned import stored

COPIED = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja",
    "chat_template.json", "generation_config.json",
)  # fmt: skip


def copy_tokenizer(base: Path, folder: Path) -> list[str]:
    """Copy the tokenizer, template and generation files that `base` has; return their names."""
    found = [name for name in COPIED if (base / name).is_file()]
    for name in found:
        shutil.copyfile(base / name, folder / name)
    return found


def write_changed(
    model: Any, folder: Path, base: Path, tensors: Mapping[str, Tensor], fields: Mapping[str, int]
) -> None:  # fmt: skip
    """Write `model` with other tensors (by parameter name) and config fields; it stays as it is."""
    config = model.config
    model.config = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(model.config.get_text_config(), name, value)
    try:
        model.save_pretrained(folder, state_dict=stored(model, {**model.state_dict(), **tensors}))
    finally:
        model.config = config
    copy_tokenizer(base, folder)


def write_model(model: Any, folder: Path, base: Path) -> None:
    """Write weights and config of `model`, and the tokenizer files of `base`, into `folder`."""
    model.save_pretrained(folder, state_dict=stored(model, model.state_dict()))
    copy_tokenizer(base, folder)
