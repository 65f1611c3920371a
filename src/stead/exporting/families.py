"""What llama.cpp must be told about a model family: hyper-parameters, tensor names, rotary layout.

Knows nothing about tokenizers, files or quantization. Families: LlamaForCausalLM and
MistralForCausalLM (architecture "llama"), Qwen2ForCausalLM ("qwen2"). Sources: llama.cpp
gguf-py/gguf/constants.py (keys, names) and conversion of `LlamaModel` (permutation, rope factors).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stead.core.errors import ExportError
from stead.core.lazy import lazy
from stead.exporting.gguf_file import U32, Value

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]
else:
    np = lazy("numpy", extra="local")

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
}
_ROOT = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ROPE_FACTORS = "rope_freqs.weight"
# Settings that change the computation and that llama.cpp's graph of these families does not have.
_MUST_BE = {
    "hidden_act": ("silu", None),
    "partial_rotary_factor": (1, 1.0, None),
    "pretraining_tp": (1, None),
}


@dataclass(frozen=True, slots=True)
class Family:
    """One model's shape in llama.cpp's words."""

    arch: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    context: int
    norm_eps: float
    vocab: int
    rope: dict[str, Any]  # Any: config.json's rope_parameters
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Family":
        """Read config.json. Raises: ExportError("unsupported-family" | "unsupported-config")."""
        name = architecture(config)
        if name not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ExportError(
                "unsupported-family", f"{name!r} has no GGUF exporter (known: {known})", known=known
            )
        for key, allowed in _MUST_BE.items():
            if config.get(key) not in allowed:
                raise ExportError(
                    "unsupported-config",
                    f"{key}={config[key]!r} is not what llama.cpp computes for {name!r}",
                )
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        context, notes = _context(config)
        return cls(
            arch=ARCHITECTURES[name],
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            kv_heads=int(_given(config.get("num_key_value_heads"), heads)),
            head_dim=int(_given(config.get("head_dim"), hidden // heads)),
            feed_forward=int(config["intermediate_size"]),
            context=context,
            norm_eps=float(config["rms_norm_eps"]),
            vocab=int(config["vocab_size"]),
            rope=_rope(config),
            notes=notes,
        )

    def metadata(self) -> dict[str, Value]:
        """Return the hyper-parameters as GGUF metadata."""
        a = self.arch
        found: dict[str, Value] = {
            f"{a}.block_count": U32(self.layers),
            f"{a}.context_length": U32(self.context),
            f"{a}.embedding_length": U32(self.hidden),
            f"{a}.feed_forward_length": U32(self.feed_forward),
            f"{a}.attention.head_count": U32(self.heads),
            f"{a}.attention.head_count_kv": U32(self.kv_heads),
            f"{a}.attention.key_length": U32(self.head_dim),
            f"{a}.attention.value_length": U32(self.head_dim),
            f"{a}.attention.layer_norm_rms_epsilon": self.norm_eps,
            f"{a}.rope.dimension_count": U32(self.head_dim),
            f"{a}.rope.freq_base": float(self.rope["rope_theta"]),
            f"{a}.vocab_size": U32(self.vocab),
        }
        return found | self._scaling()

    def _scaling(self) -> dict[str, Value]:
        kind, key = self.rope["rope_type"], f"{self.arch}.rope.scaling"
        if kind == "linear":
            return {f"{key}.type": "linear", f"{key}.factor": float(self.rope["factor"])}
        if kind == "yarn":
            original = _given(self.rope.get("original_max_position_embeddings"), self.context)
            return {
                f"{key}.type": "yarn",
                f"{key}.factor": float(self.rope["factor"]),
                f"{key}.original_context_length": U32(int(original)),
            }
        return {}  # default; llama3 travels as a tensor of factors

    def tensor_name(self, name: str) -> str | None:
        """Return the GGUF name of a Hugging Face tensor; None for one that is not stored.

        Raises: ExportError("unknown-tensor"): leaving a weight out would make another model.
        """
        if name in _ROOT:
            return _ROOT[name]
        if name.endswith(".rotary_emb.inv_freq"):
            return None  # computed from the base frequency
        parts = name.removeprefix("model.layers.").split(".", 1)
        module, _, kind = parts[-1].rpartition(".")
        inside = name.startswith("model.layers.") and parts[0].isdigit() and module in _LAYER
        if not inside or kind not in ("weight", "bias") or int(parts[0]) >= self.layers:
            raise ExportError("unknown-tensor", f"{name!r} has no place in a {self.arch!r} GGUF")
        return f"blk.{parts[0]}.{_LAYER[module]}.{kind}"

    def prepare(self, gguf_name: str, array: "Array") -> "Array":
        """Return the tensor as llama.cpp wants it: rotary halves of Q and K interleaved for "llama".

        Hugging Face rotates halves (i, i + d/2), llama.cpp's "llama" rotates pairs (2i, 2i + 1).
        """
        part = gguf_name.rsplit(".", 2)[-2]
        if self.arch != "llama" or part not in ("attn_q", "attn_k"):
            return array
        heads = self.heads if part == "attn_q" else self.kv_heads
        split = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
        return np.ascontiguousarray(split.swapaxes(1, 2).reshape(array.shape))

    def rope_factors(self) -> "Array | None":
        """Return llama 3's frequency divisors, [head_dim / 2]; None when there are none.

        Source: transformers modeling_rope_utils `_compute_llama3_parameters`.
        """
        if self.rope["rope_type"] != "llama3":
            return None
        factor, low, high = (
            float(self.rope[k]) for k in ("factor", "low_freq_factor", "high_freq_factor")
        )
        original = float(self.rope["original_max_position_embeddings"])
        divisors = []
        for i in range(0, self.head_dim, 2):
            wave = 2 * math.pi * float(self.rope["rope_theta"]) ** (i / self.head_dim)
            if wave < original / high:
                divisors.append(1.0)
            elif wave > original / low:
                divisors.append(factor)
            else:
                smooth = (original / wave - low) / (high - low)
                divisors.append(1 / ((1 - smooth) / factor + smooth))
        return np.array(divisors, dtype=np.float32)


def architecture(config: Mapping[str, Any]) -> str:
    """Return the model class that config.json names first; "?" when it names none."""
    named = config.get("architectures")
    return str(named[0]) if named else "?"


def _given(value: Any, usual: Any) -> Any:  # Any: JSON numbers
    return usual if value is None else value


def _context(config: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return the context length; a sliding window that this graph lacks caps it, and says so."""
    context = int(_given(config.get("max_position_embeddings"), 2048))
    window = int(_given(config.get("sliding_window"), context))
    if config.get("use_sliding_window", True) and window < context:
        note = f"sliding window {window}: the context length was cut from {context} to it"
        return window, (note,)
    return context, ()


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Return rope settings in one spelling (transformers 5 `rope_parameters`, 4 `rope_scaling`)."""
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    given.setdefault("rope_type", given.pop("type", "default"))
    given.setdefault("rope_theta", _given(config.get("rope_theta"), 10000.0))
    if given["rope_type"] not in ("default", "linear", "llama3", "yarn"):
        raise ExportError(
            "unsupported-config",
            f"rope type {given['rope_type']!r} cannot be expressed (default, linear, llama3, yarn)",
        )
    return given
