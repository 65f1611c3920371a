"""What is known about a model from its files alone: the value that `inspect` returns.

Knows nothing about how it was found out.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["model", "adapter", "gguf", "sbs"]

DTYPES = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8",
    "f32": "fp32", "f16": "fp16", "f64": "fp64",
}  # fmt: skip  # the words of headers -> ours; a name that is not here is kept in lower case

_TURNED = ("gpt2", "openai-gpt")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Facts of a model folder, an adapter folder or a GGUF file.

    `config` holds only fields that describe; what was left out is in `dropped`. `parameters` counts a
    tied output head once. `tensors` maps each name to its type and shape as the header has them.
    For an adapter, the shape facts are its base's, and 0 while the base is not known.
    """

    path: Path
    kind: Kind
    architecture: str
    family: str
    parameters: int
    dtype: str
    size_bytes: int
    hash: str
    context_length: int = 0
    vocab_size: int = 0
    hidden_size: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    intermediate_size: int = 0
    head_dim: int = 0
    tied: bool = False
    has_tokenizer: bool = False
    has_template: bool = False
    base: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)  # Any: JSON values
    tensors: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()  # files beside the model that are never opened: pickles

    @property
    def turned(self) -> bool:
        """Say whether the files keep the layers' weights as [inputs, outputs] (transformers' Conv1D)."""
        return self.family in _TURNED

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values, the tensors as a count."""
        names = [n for n in self.__dataclass_fields__ if n != "tensors"]
        facts = {n: getattr(self, n) for n in names}
        for name in ("path", "base"):
            facts[name] = None if facts[name] is None else str(facts[name])
        for name in ("dropped", "ignored"):
            facts[name] = list(facts[name])
        return facts | {"tensors": len(self.tensors)}
