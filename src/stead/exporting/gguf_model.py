"""A model as the contents of a GGUF file: every decision first, then one tensor at a time.

Knows nothing about where the file goes. Used by each format that holds such a file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from stead.core.errors import ExportError
from stead.core.events import Emit, Note, Progress, Started
from stead.exporting import families, ggml, gguf_file, recipe, vocab
from stead.exporting.gguf_file import U32, TensorPlan, Value
from stead.exporting.source import Source
from stead.exporting.template import without_markers
from stead.models import weights
from stead.models.weights import Tensors

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]

_EMBEDDINGS, _OUTPUT, _FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
_PLAIN = {"F32": "F32", "F16": "F16", "BF16": "BF16"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything decided before the first byte: metadata, tensors, where each comes from."""

    family: families.Family
    tensors: Tensors
    metadata: dict[str, Value]
    plans: list[TensorPlan]
    origins: dict[str, str]  # GGUF name -> tensor of the source; absent for computed ones
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """The exact size of the file."""
        return gguf_file.size_bytes(self.metadata, self.plans)


def quant_of(quant: str | None) -> str:
    """Return the quantization's own spelling; f16 when none is given."""
    return recipe.canonical("f16" if quant is None else quant)


def plan(source: Source, quant: str) -> Layout:
    """Decide everything about the file. Raises: ExportError, ModelError before any byte is written."""
    tensors = source.tensors()
    names = tensors.names()
    rows = tensors.shape("model.embed_tokens.weight")[0]
    family = families.Family.read(source.config | {"vocab_size": rows})
    origins = {_renamed: n for n in names if (_renamed := family.tensor_name(n)) is not None}
    if source.config.get("tie_word_embeddings") and not getattr(tensors, "untied", False):
        origins.pop(_OUTPUT, None)  # llama.cpp uses the embeddings again
    rules = recipe.Recipe(quant, family.layers, _OUTPUT not in origins)
    shapes = {name: tensors.shape(origin) for name, origin in origins.items()}
    _check_complete(family, shapes)
    if family.rope_factors() is not None:
        shapes[_FACTORS] = (family.head_dim // 2,)
    plans = [TensorPlan(n, rules.kind(n, shape), shape) for n, shape in shapes.items()]
    words = vocab.read(source.tokenizer, rows, source.template)
    metadata = _general(source, family, rules) | family.metadata() | words.metadata
    metadata["tokenizer.chat_template"] = without_markers(source.template)
    return Layout(family, tensors, metadata, plans, origins, family.notes + words.notes)


def _check_complete(family: families.Family, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse a model that lacks a weight: llama.cpp would refuse it too, with fewer words."""
    need = [_EMBEDDINGS, "output_norm.weight"]
    parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"]
    parts += ["ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
    need += [f"blk.{i}.{part}.weight" for i in range(family.layers) for part in parts]
    absent = [name for name in need if name not in shapes]
    if absent:
        raise ExportError("missing-tensor", f"the model has no weight for {absent[0]!r}")


def _general(source: Source, family: families.Family, rules: recipe.Recipe) -> dict[str, Value]:
    return {
        "general.architecture": family.arch,
        "general.type": "model",
        "general.name": source.name,
        "general.file_type": U32(rules.file_type),
        "general.quantization_version": U32(2),  # GGML_QNT_VERSION of ggml.h
        "stead.source_hash": source.hash,
    }


def write(file: IO[bytes], layout: Layout, emit: Emit) -> None:
    """Write the whole file into an open one, telling what is only approximated."""
    emit(Started(stage="gguf", total=len(layout.plans), unit="tensor"))
    for note in layout.notes:
        emit(Note(stage="gguf", message=note, level="warning", code="approximated"))
    gguf_file.write(file, layout.metadata, layout.plans, data(layout, emit))


def data(layout: Layout, emit: Emit) -> Iterator[bytes]:
    """Yield each tensor's bytes in the order of the plans."""
    for done, plan in enumerate(layout.plans, 1):
        yield _encode(_array(layout, plan.name), plan.kind)
        emit(Progress(stage="gguf", done=done))


def _array(layout: Layout, name: str) -> "Array":
    if name in layout.origins:
        found = layout.tensors.float32(layout.origins[name])
        return layout.family.prepare(name, found)
    factors = layout.family.rope_factors()
    if factors is None:
        raise ExportError("missing-tensor", f"nothing gives the tensor {name!r}")
    return factors


def _encode(array: "Array", kind: str) -> bytes:
    if kind in _PLAIN:
        return weights.encode(array, kind)
    return ggml.quantize(array, kind)
