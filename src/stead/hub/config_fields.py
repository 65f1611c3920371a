"""Keep the fields of a model's configuration that only describe it; drop and name all others.

Knows nothing about files. A field that could load code (`auto_map`, `_attn_implementation_internal`,
kernels, trust flags) is not on the list, so it never reaches a loader. The lists are data:
config_fields.txt and adapter_fields.txt.
"""

from functools import cache
from typing import Any

from stead.core import files

_ATTENTION = ("attn_implementation", "_attn_implementation")
_KNOWN_ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
_NESTED = ("text_config", "vision_config")  # configurations inside a configuration
_CODE_WORDS = (
    "auto_map",
    "auto_mapping",
    "trust_remote_code",
    "internal",
    "kernel",
    "custom_generate",
)
_HARMLESS = ("_name_or_path", "_commit_hash")  # left by save_pretrained; dropped without a word


@cache
def allowed(kind: str) -> frozenset[str]:
    """Return the field names of `kind`, "config" or "adapter", that are kept."""
    text = files.package_text("stead.hub", f"{kind}_fields.txt")
    return frozenset(w for line in text.splitlines() if line[:1] != "#" for w in line.split())


def clean(raw: dict[str, Any], kind: str = "config") -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the configuration without fields that are not on the list, and the dropped keys.

    Keys inside a value are named with dots. `kind` chooses the list: "config" or "adapter".
    """
    dropped: list[str] = []
    cleaned = _keep(raw, allowed(kind), "", dropped)
    return cleaned, tuple(dropped)


def _keep(
    raw: dict[str, Any], names: frozenset[str], prefix: str, dropped: list[str]
) -> dict[str, Any]:
    kept = {}
    for key, value in raw.items():
        if key in _ATTENTION and value in (None, *_KNOWN_ATTENTION):
            continue  # how attention is computed is the plan's decision, not the file's
        if key in _HARMLESS:
            continue
        if key not in names:
            dropped.append(prefix + key)
        elif key in _NESTED and isinstance(value, dict):
            kept[key] = _keep(value, names, f"{prefix}{key}.", dropped)
        else:
            kept[key] = _without_code(value, f"{prefix}{key}.", dropped)
    return kept


def _without_code(value: Any, prefix: str, dropped: list[str]) -> Any:
    """Drop keys that name code from inside a value that is kept."""
    if isinstance(value, list):
        return [_without_code(item, prefix, dropped) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        if any(word in key for word in _CODE_WORDS):
            dropped.append(prefix + key)
        else:
            kept[key] = _without_code(item, f"{prefix}{key}.", dropped)
    return kept


def loads_code(raw: dict[str, Any]) -> list[str]:
    """Name the keys of a tokenizer's or processor's file that would load code."""
    return [key for key in raw if any(word in key for word in _CODE_WORDS)]
