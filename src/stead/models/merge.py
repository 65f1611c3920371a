"""Lay an adapter over its recorded base, tensor by tensor, in float32, and write a plain model.

Knows nothing about training or about file formats of exports; what an adapter does to a weight is in
`models/deltas`. Peak memory is one tensor of the base and its change. Refused: a quantized base,
another base than the recorded one, shapes that do not fit, fields it does not know how to merge.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stead.core import files, manifest
from stead.core.errors import ModelError
from stead.core.events import Emit, Finished, Note, Progress, Started, ignore
from stead.core.lazy import lazy
from stead.models import deltas, heads, lineage, peft_files, weights
from stead.models.deltas import Adapter
from stead.models.weights import Weights

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]
else:
    np = lazy("numpy", extra="data")

CONFIG = peft_files.CONFIG
TENSORS = peft_files.WEIGHTS
KIND = "model"
_EMBED, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
# Files of a model folder that describe it without being its weights.
COMPANIONS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip
read_config = deltas.read_config


@dataclass(frozen=True, slots=True)
class Merged:
    """A base with an adapter laid over it, computed when a tensor is asked for (`weights.Tensors`)."""

    base: Weights
    adapter: Adapter
    untied: bool  # the adapter changes embeddings or head of a tied base, so they part

    @classmethod
    def open(cls, base: Path, adapter: Path) -> "Merged":
        """Open both and check that they belong together, tensor by tensor, before any work.

        Raises: ModelError("base-quantized" | "wrong-base" | "adapter-shape" | …) with the values.
        """
        config = files.read_json(base / "config.json")
        lineage.check_plain(base, config, "merging into rounded weights would damage both")
        found = Adapter.open(adapter)
        lineage.check_base(base, adapter, found.config)
        model = Weights.open(base)
        found.scale_biases(set(model.tensors))
        tied = bool(config.get("tie_word_embeddings")) and _HEAD not in model.tensors
        merged = cls(model, found, tied and bool({_EMBED, _HEAD} & found.touched))
        merged._check_shapes()
        return merged

    @property
    def notes(self) -> dict[str, str]:
        """What a person should know about this merge, by code."""
        found = {}
        if self.untied:
            found["untied"] = (
                "the adapter changes tied embeddings: the merged model has a head of its own"
            )
        if self.adapter.rounding:
            found["merged-unrounded"] = (
                f"the adapter was trained beside a base in {self.adapter.rounding['quant_type']}; it is "
                "merged into the base of full precision, so answers differ by the rounding"
            )
        return found

    def names(self) -> list[str]:
        """Return every tensor's name; an untied head comes last."""
        return self.base.names() + ([_HEAD] if self.untied else [])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; a saved module may have more rows than the base's."""
        if name in self.adapter.replaced:
            return self.adapter.tensors.shape(self.adapter.replaced[name])
        return self.base.shape(self._source(name))

    def dtype(self, name: str) -> str:
        """Return the base's type of the tensor."""
        return self.base.dtype(self._source(name))

    def float32(self, name: str) -> "Array":
        """Return the merged tensor as float32."""
        own = self.adapter.replaced.get(name)
        weight = self._base(name) if own is None else self.adapter.tensors.float32(own)
        delta = self.adapter.deltas.get(name)
        if delta is None:
            return weight
        changed = delta.apply(weight, self.adapter.tensors.float32)
        return np.ascontiguousarray(changed, dtype=np.float32)

    def _base(self, name: str) -> "Array":
        return self.base.float32(self._source(name))

    def _source(self, name: str) -> str:
        return _EMBED if self.untied and name == _HEAD else name

    def _check_shapes(self) -> None:
        known = set(self.names())
        for name, delta in self.adapter.deltas.items():
            if name not in known:
                raise _no_tensor(name)
            delta.check(self.shape(name), self.adapter.tensors.shape)
        for name, tensor in self.adapter.replaced.items():
            if name not in known:
                raise _no_tensor(name)
            own, base = self.adapter.tensors.shape(tensor), self.base.shape(self._source(name))
            grown = name in (_EMBED, _HEAD) and own[1:] == base[1:]
            if own != base and not grown:
                raise ModelError(
                    "adapter-shape", f"{name!r} is {list(own)} here and {list(base)} in the base"
                )


def _no_tensor(name: str) -> ModelError:
    return ModelError("wrong-base", f"the base has no tensor {name!r}", tensor=name)


def merge(
    base: Path, adapter: Path, out: Path, *, dtype: str = "auto", emit: Emit = ignore
) -> manifest.Manifest:
    """Write base + adapter as a plain model folder `out`: absent or complete.

    `dtype` is "auto" (the base's own), "fp32", "bf16" or "fp16".
    Raises: ModelError as `Merged.open`; CheckpointError("exists"); ResourceError("disk-full").
    """
    return write_model(Merged.open(base, adapter), base, adapter, out, dtype=dtype, emit=emit)


def write_model(
    tensors: "weights.Tensors",
    base: Path,
    adapter: Path | None,
    out: Path,
    *,
    dtype: str = "auto",
    texts: Mapping[str, str] | None = None,
    emit: Emit = ignore,
) -> manifest.Manifest:
    """Write tensors and the files that describe them as a model folder, one tensor at a time.

    `texts` are further files of the folder, by name.
    """
    names = tensors.names()
    plan = [(n, weights.DTYPES.get(dtype, tensors.dtype(n)), tensors.shape(n)) for n in names]
    emit(Started(stage="merge", total=len(plan), unit="tensor"))

    def data() -> Iterator[bytes]:
        for done, (name, kind, _) in enumerate(plan, 1):
            yield weights.encode(tensors.float32(name), kind)
            emit(Progress(stage="merge", done=done))

    def fill(folder: Path) -> None:
        _companions(base, adapter, folder)
        for name, text in (texts or {}).items():
            files.write_text(folder / name, text)
        _config(folder, tensors, {kind for _, kind, _ in plan})
        with files.replacing(folder / weights.SINGLE) as file:
            weights.write_safetensors(file, plan, data(), {"format": "pt"})

    notes: dict[str, str] = getattr(tensors, "notes", {})
    facts = {"base": str(base), "adapter": str(adapter or ""), "notes": list(notes.values())}
    made = manifest.commit(out, KIND, fill, facts)
    for code, text in notes.items():
        emit(Note(stage="merge", message=text, code=code))
    emit(Finished(stage="merge", result={"path": str(out), "tensors": len(plan)}))
    return made


def _companions(base: Path, adapter: Path | None, folder: Path) -> None:
    """Copy config, tokenizer and reward head; the adapter's own tokenizer and template win: it was trained so."""
    for source in (base, adapter):
        for name in COMPANIONS if source is not None else ():
            path = source / name if source is not None else Path()
            if path.is_file() and not (source == adapter and name == "config.json"):
                shutil.copyfile(path, folder / name)
    own = base if adapter is None else adapter  # the head of a base is not that of its adapter
    for name in (n for n in heads.FILES if (own / n).is_file()):
        shutil.copyfile(own / name, folder / name)


def _config(folder: Path, tensors: "weights.Tensors", kinds: set[str]) -> None:
    config = files.read_json(folder / "config.json")
    names = {v: k for k, v in weights.DTYPES.items()}
    long = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    config[key] = long[names[max(kinds, key=lambda kind: weights.FLOAT_BYTES[kind])]]
    if _EMBED in tensors.names():
        config["vocab_size"] = tensors.shape(_EMBED)[0]
    if getattr(tensors, "untied", False):
        config["tie_word_embeddings"] = False
    files.write_json(folder / "config.json", config)
