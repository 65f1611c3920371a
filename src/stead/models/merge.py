"""Lay a LoRA adapter over its recorded base, tensor by tensor: W + scaling · B·A, in float32.

Knows nothing about training or about file formats of exports. Peak memory is one tensor of the base
and its delta. Follows PEFT's own fields: r, lora_alpha, use_rslora, use_dora, rank_pattern,
alpha_pattern, fan_in_fan_out, modules_to_save, trained biases, tied embeddings. Refused: a quantized
base, another base than the recorded one, shapes that do not fit, fields it does not know how to merge.
"""

import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import files, manifest
from stead.core.errors import ModelError, NotFound
from stead.core.events import Emit, Finished, Note, Progress, Started, ignore
from stead.core.lazy import lazy
from stead.models import weights
from stead.models.weights import Weights

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]
else:
    np = lazy("numpy", extra="data")

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
KIND = "model"
_PREFIX = "base_model.model."
_EMBED, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_PARTS = {
    ".lora_A.weight": "a",
    ".lora_B.weight": "b",
    ".lora_embedding_A": "a",
    ".lora_embedding_B": "b",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
_PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
_UNKNOWN_FIELDS = ("layer_replication", "target_parameters", "megatron_config", "eva_config")
# Files of a model folder that describe it without being its weights.
COMPANIONS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Delta:
    """What an adapter does to one weight: low-rank factors by part, the module, its scaling."""

    module: str
    scaling: float
    rank: int
    parts: dict[str, str] = field(default_factory=dict)  # "a", "b", "magnitude" -> adapter tensor
    embedding: bool = False  # factors of an embedding are stored transposed


@dataclass(frozen=True, slots=True)
class Adapter:
    """A PEFT LoRA folder: its config, its tensors, and what each of them changes in the base."""

    folder: Path
    config: dict[str, Any]  # Any: JSON values
    tensors: Weights
    deltas: dict[str, Delta]  # base tensor -> low-rank change
    replaced: dict[str, str]  # base tensor -> adapter tensor that takes its place

    @classmethod
    def open(cls, folder: Path) -> "Adapter":
        """Read an adapter's config and header. Raises: ModelError(…) for what cannot be merged."""
        config = read_config(folder)
        path = folder / TENSORS
        if not path.is_file():
            raise ModelError("no-adapter", f"{str(folder)!r} has no {TENSORS!r}")
        tensors = Weights(folder, weights.read_file(path))
        deltas: dict[str, Delta] = {}
        replaced: dict[str, str] = {}
        for name in tensors.names():
            _sort(name, config, deltas, replaced)
        return cls(folder, config, tensors, deltas, replaced)

    @property
    def touched(self) -> set[str]:
        """The base tensors it changes."""
        return set(self.deltas) | set(self.replaced)


def read_config(folder: Path) -> dict[str, Any]:  # Any: JSON values
    """Read adapter_config.json. Raises: ModelError("no-adapter" | "adapter-type" | "adapter-field")."""
    try:
        config: dict[str, Any] = files.read_json(folder / CONFIG)
    except NotFound as error:
        raise ModelError("no-adapter", f"{str(folder)!r} has no {CONFIG!r}") from error
    except ValueError as error:
        raise ModelError("no-adapter", f"{str(folder / CONFIG)!r} is not JSON: {error}") from error
    kind = config.get("peft_type")
    if kind in _PROMPTS:
        raise ModelError(
            "adapter-type",
            f"an adapter of type {kind!r} cannot be merged: its virtual tokens are inputs, not weights",
        )
    if kind != "LORA":
        raise ModelError("adapter-type", f"an adapter of type {kind!r} cannot be merged, only LORA")
    for name in _UNKNOWN_FIELDS:
        if config.get(name):
            raise ModelError(
                "adapter-field", f"adapters with {name}={config[name]!r} cannot be merged"
            )
    return config


def _sort(
    name: str, config: dict[str, Any], deltas: dict[str, Delta], replaced: dict[str, str]
) -> None:
    """File one adapter tensor as part of a delta or as a whole replacement."""
    plain = name.removeprefix(_PREFIX)
    for ending, part in _PARTS.items():
        if plain.endswith(ending):
            module = plain.removesuffix(ending)
            delta = deltas.setdefault(
                f"{module}.weight", _delta(module, config, ".lora_embedding" in ending)
            )
            delta.parts[part] = name
            return
    if "lora_" in plain or "token_adapter" in plain:
        raise ModelError("adapter-field", f"the adapter tensor {name!r} cannot be merged")
    replaced[re.sub(r"\.(base_layer|original_module|modules_to_save)(?=\.)", "", plain)] = name


def _delta(module: str, config: dict[str, Any], embedding: bool) -> Delta:
    rank = int(_pattern(config.get("rank_pattern"), module, config["r"]))
    alpha = float(_pattern(config.get("alpha_pattern"), module, config["lora_alpha"]))
    if rank < 1:
        raise ModelError("adapter-field", f"the rank of {module!r} is {rank}")
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Delta(module, scaling, rank, {}, embedding)


def _pattern(patterns: Any, module: str, usual: Any) -> Any:  # Any: JSON values
    """Return the value of the first pattern that matches (peft.utils.other.get_pattern_key)."""
    for key, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return usual


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
        _check_plain(base, config)
        found = Adapter.open(adapter)
        _check_recorded(base, found)
        model = Weights.open(base)
        tied = bool(config.get("tie_word_embeddings")) and _HEAD not in model.tensors
        merged = cls(model, found, tied and bool({_EMBED, _HEAD} & found.touched))
        merged._check_shapes()
        return merged

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
        return weight if delta is None else self._apply(weight, delta)

    def _base(self, name: str) -> "Array":
        return self.base.float32(self._source(name))

    def _source(self, name: str) -> str:
        return _EMBED if self.untied and name == _HEAD else name

    def _apply(self, weight: "Array", delta: Delta) -> "Array":
        a = self.adapter.tensors.float32(delta.parts["a"])
        b = self.adapter.tensors.float32(delta.parts["b"])
        change = (b @ a) * np.float32(delta.scaling)
        if delta.embedding or self.adapter.config.get("fan_in_fan_out"):
            change = change.T
        merged = weight + change
        if "magnitude" in delta.parts:  # DoRA, arXiv:2402.09353 eq. 5: rescale each output row
            magnitude = self.adapter.tensors.float32(delta.parts["magnitude"]).reshape(-1)
            merged = _rescale(merged, magnitude, bool(self.adapter.config.get("fan_in_fan_out")))
        return np.ascontiguousarray(merged, dtype=np.float32)

    def _check_shapes(self) -> None:
        for name, delta in self.adapter.deltas.items():
            if not {"a", "b"} <= set(delta.parts):
                raise ModelError("adapter-torn", f"{delta.module!r} has only {sorted(delta.parts)}")
            a, b = (self.adapter.tensors.shape(delta.parts[p]) for p in ("a", "b"))
            want = self.shape(name) if name in self.names() else None
            if want is None:
                raise ModelError("wrong-base", f"the base has no tensor {name!r}", tensor=name)
            out = (b[0], a[1])
            turned = delta.embedding or bool(self.adapter.config.get("fan_in_fan_out"))
            if (out[::-1] if turned else out) != want or a[0] != b[1] or a[0] != delta.rank:
                raise ModelError(
                    "adapter-shape",
                    f"{delta.module!r}: A {list(a)}, B {list(b)}, rank {delta.rank} do not fit "
                    f"the base's {list(want)}",
                )
        self._check_replaced()

    def _check_replaced(self) -> None:
        known = set(self.names())
        for name, tensor in self.adapter.replaced.items():
            if name not in known:
                raise ModelError("wrong-base", f"the base has no tensor {name!r}", tensor=name)
            own, base = self.adapter.tensors.shape(tensor), self.base.shape(self._source(name))
            grown = name in (_EMBED, _HEAD) and own[1:] == base[1:]
            if own != base and not grown:
                raise ModelError(
                    "adapter-shape", f"{name!r} is {list(own)} here and {list(base)} in the base"
                )


def _rescale(merged: "Array", magnitude: "Array", turned: bool) -> "Array":
    rows = merged.T if turned else merged
    scaled = rows * (magnitude / np.linalg.norm(rows, axis=1))[:, None]
    return scaled.T if turned else scaled


def _check_plain(base: Path, config: dict[str, Any]) -> None:
    method = config.get("quantization_config")
    if method:
        name = method.get("quant_method", "?") if isinstance(method, dict) else method
        raise ModelError(
            "base-quantized",
            f"{str(base)!r} is quantized ({name!r}); merging into rounded weights would damage both",
        )


def recorded_hash(adapter: Path, config: dict[str, Any]) -> str | None:
    """Return the base's hash that training recorded beside the adapter, if it did."""
    path = adapter / "stead.json"
    beside = files.read_json(path) if path.is_file() else {}
    found = beside.get("base_hash", config.get("base_hash"))
    return str(found) if found else None  # "" is how training says that it did not know


def _check_recorded(base: Path, adapter: Adapter) -> None:
    from stead.hub.inspect import inspect

    want = recorded_hash(adapter.folder, adapter.config)
    if want is None:
        return
    have = inspect(base, tokenizer=False).hash
    if have != want:
        raise ModelError(
            "wrong-base",
            f"the adapter was trained on a base with hash {want[:12]}…, {str(base)!r} has {have[:12]}…",
            recorded=want,
            found=have,
        )


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

    made = manifest.commit(out, KIND, fill, {"base": str(base), "adapter": str(adapter or "")})
    if getattr(tensors, "untied", False):
        text = "the adapter changes tied embeddings: the merged model has a head of its own"
        emit(Note(stage="merge", message=text, code="untied"))
    emit(Finished(stage="merge", result={"path": str(out), "tensors": len(plan)}))
    return made


def _companions(base: Path, adapter: Path | None, folder: Path) -> None:
    """Copy config and tokenizer; the adapter's own tokenizer and template win: it was trained so."""
    for source in (base, adapter):
        for name in COMPANIONS if source is not None else ():
            path = source / name if source is not None else Path()
            if path.is_file() and not (source == adapter and name == "config.json"):
                shutil.copyfile(path, folder / name)


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
