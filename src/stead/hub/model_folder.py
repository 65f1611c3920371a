"""Describe a folder of config.json, safetensors and tokenizer files as a model.

Knows nothing about loading; pickles beside the weights are named and never opened.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import ModelError
from stead.core.paths import Home
from stead.hub import config_fields, fingerprint, shards, untrusted
from stead.hub.info import DTYPES, ModelInfo
from stead.hub.tensor_entry import Tensor

CONFIG = "config.json"
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json")
TEXT_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip
_FIELDS = {  # fact -> the names families use for it, most usual first
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "context_length": (
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "seq_length",
        "max_seq_len",
    ),
    "head_dim": ("head_dim",),
}
_LARGEST = 1 << 31


def describe(folder: Path, home: Home, *, tokenizer: bool) -> ModelInfo:
    """Return the facts of a model folder; with `tokenizer`, refuse one that has none.

    Raises: ModelError("no-config" | "bad-config" | "no-weights" | "no-tokenizer" | …).
    """
    raw = _config(folder)
    config, dropped = config_fields.clean(raw)
    weights = shards.read(folder)
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZER)
    if tokenizer and not has_tokenizer:
        raise ModelError(
            "no-tokenizer",
            f"{str(folder)!r} has no tokenizer (none of {', '.join(TOKENIZER)})",
            hint=f"ls -l {folder}",
        )
    text = config.get("text_config")
    shape = _shape(folder, text if isinstance(text, dict) else config)
    has_template, more = tokenizer_facts(folder)
    tied = _tied(config, weights.tensors)
    counted = [t for n, t in weights.tensors.items() if not _uncounted(n, tied=tied)]
    info = ModelInfo(
        path=folder,
        kind="model",
        architecture=_architecture(config),
        family=str(config.get("model_type", "unknown")),
        parameters=sum(t.elements for t in counted),
        dtype=main_dtype(counted),
        size_bytes=sum(p.stat().st_size for p in weights.paths),
        hash=content_hash(folder, [CONFIG, *(p.name for p in weights.paths)], home),
        tied=tied,
        has_tokenizer=has_tokenizer,
        has_template=has_template,
        config=config,
        tensors={n: (t.dtype, t.shape) for n, t in weights.tensors.items()},
        dropped=(*dropped, *more),
        ignored=weights.ignored,
    )
    return replace(info, **shape)  # type: ignore[arg-type]  # the eight integer fields by name


def _architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return "unknown"


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).exists():
        raise ModelError(
            "no-config", f"{str(folder)!r} has no {CONFIG}", hint=f"stead model discover {folder}"
        )
    return untrusted.read_json(folder / CONFIG)


def _shape(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """Return the numbers that give the model's shape. Raises: ModelError("bad-config")."""
    found = {fact: _number(folder, config, names) for fact, names in _FIELDS.items()}
    if found["kv_heads"] == 0:
        multi_query = config.get("multi_query") is True
        found["kv_heads"] = min(1, found["heads"]) if multi_query else found["heads"]
    if found["head_dim"] == 0 and found["heads"]:
        found["head_dim"] = found["hidden_size"] // found["heads"]
    return found


def _number(folder: Path, config: dict[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 <= value < _LARGEST:
            raise ModelError("bad-config", f"{name} is {value!r} in {str(folder / CONFIG)!r}")
        return value
    return 0


def _tied(config: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
    said = config.get("tie_word_embeddings")
    if isinstance(said, bool):
        return said
    return "lm_head.weight" not in tensors


def _uncounted(name: str, *, tied: bool) -> bool:
    """Say whether a tensor is no parameter: a stored buffer, or the second copy of a tied head."""
    return name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight")


def main_dtype(tensors: list[Tensor]) -> str:
    """Return the type that most elements have, in our words."""
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.dtype] += tensor.elements
    name = elements.most_common(1)[0][0] if elements else "unknown"
    return DTYPES.get(name, name.lower())


def tokenizer_facts(folder: Path) -> tuple[bool, tuple[str, ...]]:
    """Say whether the folder has a chat template, and which fields of its tokenizer load code."""
    path = folder / "tokenizer_config.json"
    raw = untrusted.read_json(path) if path.exists() else {}
    has = (folder / "chat_template.jinja").is_file() or bool(raw.get("chat_template"))
    return has, tuple(f"tokenizer_config.{key}" for key in config_fields.loads_code(raw))


def content_hash(folder: Path, names: list[str], home: Home) -> str:
    """Return the identity of a model: the hash over its weights', config's and tokenizer's hashes."""
    present = [n for n in TEXT_FILES if (folder / n).is_file()]
    return files.hash_value(
        {name: fingerprint.of(folder / name, home) for name in [*names, *present]}
    )
