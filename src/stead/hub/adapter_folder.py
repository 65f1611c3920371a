"""Describe a folder in PEFT's format as an adapter of a base model.

Knows nothing about loading or merging; how the base is found is passed in.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stead.core.errors import ModelError
from stead.core.paths import Home
from stead.hub import config_fields, model_folder, safetensors_header, untrusted
from stead.hub.info import ModelInfo

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BaseOf = Callable[[str, Path], ModelInfo | None]


def describe(folder: Path, home: Home, *, base_of: BaseOf) -> ModelInfo:
    """Return the facts of an adapter; the shape is its base's when that is here.

    Raises: ModelError("no-weights" | …); UnsafeError("pickle-refused").
    """
    config, dropped = config_fields.clean(untrusted.read_json(folder / CONFIG), "adapter")
    if not (folder / WEIGHTS).exists():
        pickle = folder / "adapter_model.bin"
        if pickle.exists():
            raise untrusted.refuse_pickle(pickle)
        raise ModelError("no-weights", f"{str(folder)!r} has no {WEIGHTS}")
    tensors = safetensors_header.read(folder / WEIGHTS).tensors
    has_template, more = model_folder.tokenizer_facts(folder)
    name = config.get("base_model_name_or_path")
    base = base_of(name, folder) if isinstance(name, str) and name else None
    own = ModelInfo(
        path=folder,
        kind="adapter",
        architecture="unknown",
        family="unknown",
        parameters=sum(t.elements for t in tensors.values()),
        dtype=model_folder.main_dtype(list(tensors.values())),
        size_bytes=(folder / WEIGHTS).stat().st_size,
        hash=model_folder.content_hash(folder, [CONFIG, WEIGHTS], home),
        has_tokenizer=any((folder / n).is_file() for n in model_folder.TOKENIZER),
        has_template=has_template,
        config=config,
        tensors={n: (t.dtype, t.shape) for n, t in tensors.items()},
        dropped=(*dropped, *more),
        ignored=tuple(
            sorted(p.name for p in folder.iterdir() if p.suffix in untrusted.PICKLE_SUFFIXES)
        ),
    )
    return own if base is None else _on(own, base)


def _on(own: ModelInfo, base: ModelInfo) -> ModelInfo:
    """Return the adapter's facts with the shape of its base."""
    return replace(
        own,
        base=base.path,
        architecture=base.architecture,
        family=base.family,
        context_length=base.context_length,
        vocab_size=base.vocab_size,
        hidden_size=base.hidden_size,
        layers=base.layers,
        heads=base.heads,
        kv_heads=base.kv_heads,
        intermediate_size=base.intermediate_size,
        head_dim=base.head_dim,
        tied=base.tied,
        has_tokenizer=own.has_tokenizer or base.has_tokenizer,
        has_template=own.has_template or base.has_template,
    )
