"""Sizes of new models: named presets, and what may be changed about them.

Knows nothing about weights. Parameter counts are with tied embeddings and a full vocabulary.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from stead.core.errors import ConfigError

SPECIAL = ("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>")
LEAST_VOCAB = 256 + len(SPECIAL)  # every byte, so that any text can be written


@dataclass(frozen=True, slots=True)
class Sizes:
    """The shape of a Llama."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    context: int = 2048


PRESETS = {
    "nano": Sizes(128, 2, 2, 1, 384, 1024),  # 0.5M
    "tiny": Sizes(256, 4, 4, 2, 768, 4096),  # 4M
    "mini": Sizes(384, 5, 6, 3, 1152, 8192),  # 12M
    "small": Sizes(512, 8, 8, 4, 1536, 32000),  # 41M, the shape of the benchmarks' model
    "base": Sizes(768, 12, 12, 6, 2304, 32000),  # 110M
}


def sizes(preset: str, changes: dict[str, int | None]) -> Sizes:
    """Return a preset's sizes with the changes that are not None, checked.

    Raises: ConfigError("unknown-preset" | "bad-size" | "vocab-too-small").
    """
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError("unknown-preset", f"there is no preset {preset!r} (known: {known})")
    given: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
    found = replace(PRESETS[preset], **given)
    for name, value in asdict(found).items():
        if not 1 <= value <= 1 << 20:
            raise ConfigError("bad-size", f"{name} is {value!r}; it must be 1 to {1 << 20}")
    if found.hidden % found.heads or (found.hidden // found.heads) % 2:
        raise ConfigError(
            "bad-size",
            f"hidden={found.hidden} does not split into {found.heads} heads of an even size",
        )
    if found.heads % found.kv_heads:
        raise ConfigError(
            "bad-size", f"heads={found.heads} is no multiple of kv_heads={found.kv_heads}"
        )
    if found.vocab < LEAST_VOCAB:
        raise ConfigError(
            "vocab-too-small",
            f"vocab={found.vocab} is below {LEAST_VOCAB}: every byte and {len(SPECIAL)} special tokens",
        )
    return found
