"""Describe a GGUF file as a model.

Knows nothing about the bytes of the format (`gguf_header` does) or about running it.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.paths import Home
from stead.hub import fingerprint, gguf_header
from stead.hub.gguf_types import ARCHITECTURES, FILES
from stead.hub.info import DTYPES, ModelInfo

MAGIC = gguf_header.MAGIC


def describe(path: Path, home: Home) -> ModelInfo:
    """Return the facts of a GGUF file. Raises: ModelError as `gguf_header.read` does."""
    header = gguf_header.read(path)
    facts = header.metadata
    family = str(facts.get("general.architecture", "unknown"))

    def number(name: str) -> int:
        value = facts.get(f"{family}.{name}")
        return value if type(value) is int else 0

    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv")
    hidden = number("embedding_length")
    head_dim = number("attention.key_length")
    tokens = _length(facts.get("tokenizer.ggml.tokens"))
    return ModelInfo(
        path=path,
        kind="gguf",
        architecture=ARCHITECTURES.get(family, family),
        family=family,
        parameters=sum(t.elements for t in header.tensors.values()),
        dtype=_dtype(header),
        size_bytes=path.stat().st_size,
        hash=files.hash_value({"gguf": fingerprint.of(path, home)}),
        context_length=number("context_length"),
        vocab_size=tokens if tokens else number("vocab_size"),
        hidden_size=hidden,
        layers=number("block_count"),
        heads=heads,
        kv_heads=kv_heads if kv_heads else heads,
        intermediate_size=number("feed_forward_length"),
        head_dim=head_dim if head_dim else (hidden // heads if heads else 0),
        tied="output.weight" not in header.tensors,
        has_tokenizer="tokenizer.ggml.model" in facts and tokens > 0,
        has_template=isinstance(facts.get("tokenizer.chat_template"), str),
        config={k: v for k, v in facts.items() if not isinstance(v, gguf_header.LongArray)},
        tensors={n: (t.dtype, t.shape) for n, t in header.tensors.items()},
    )


def _length(value: Any) -> int:  # Any: a value of the metadata
    if isinstance(value, gguf_header.LongArray):
        return value.length
    return len(value) if isinstance(value, list) else 0


def _dtype(header: gguf_header.Header) -> str:
    """Return the file's type as its writer names it, else the type most elements have."""
    said = header.metadata.get("general.file_type")
    if type(said) is int and said in FILES:
        return FILES[said]
    elements: Counter[str] = Counter()
    for tensor in header.tensors.values():
        elements[tensor.dtype] += tensor.elements
    name = elements.most_common(1)[0][0] if elements else "unknown"
    return DTYPES.get(name, name)
