"""Which ggml type each tensor gets for a wanted quantization.

Knows nothing about reading or writing. Source: llama.cpp src/llama-quant.cpp,
`llama_tensor_get_type` and `tensor_type_fallback`, so that our q4_K_M is the one people know:
the output matrix (the embeddings when tied) is Q6_K; so are attn_v and ffn_down in about half of the
layers (`_more_bits`); the rest is Q4_K. A row that does not fill blocks of 256 falls back to Q5_0
(from Q4_K) or Q8_0 (from Q6_K), and one that does not fill blocks of 32 to F16. Vectors stay F32.
"""

from dataclasses import dataclass

from stead.core.errors import ConfigError
from stead.exporting.ggml import BLOCKS

# Wanted name -> (general.file_type of llama.h's enum llama_ftype, ggml type of most matrices).
QUANTS = {
    "f32": (0, "F32"),
    "f16": (1, "F16"),
    "bf16": (32, "BF16"),
    "q8_0": (7, "Q8_0"),
    "q4_0": (2, "Q4_0"),
    "q4_K_M": (15, "Q4_K"),
}
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q8_0", "Q6_K": "Q8_0"}
_LAYERS_OF_70B = 80  # llama.cpp names the model type by its layer count


@dataclass(frozen=True, slots=True)
class Recipe:
    """The types of one file: the quantization, the number of layers, whether output is tied."""

    quant: str
    layers: int
    tied: bool

    @property
    def file_type(self) -> int:
        """The number llama.cpp shows for the whole file."""
        return QUANTS[self.quant][0]

    def kind(self, name: str, shape: tuple[int, ...]) -> str:
        """Return the ggml type of the tensor called `name` (GGUF name)."""
        if len(shape) < 2 or name == "rope_freqs.weight":
            return "F32"
        wanted = self._wanted(name, QUANTS[self.quant][1])
        for kind in (wanted, _FALLBACK.get(wanted, "F16"), "F16"):
            if shape[-1] % BLOCKS[kind][0] == 0:
                return kind
        return "F16"  # unreachable: a block of F16 is one value

    def _wanted(self, name: str, usual: str) -> str:
        if usual not in {"Q4_0", "Q4_K"}:
            return usual
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            return "Q6_K"
        if usual == "Q4_K" and name.startswith("blk."):
            layer = int(name.split(".")[1])
            if name.endswith((".attn_v.weight", ".ffn_down.weight")) and self._more_bits(layer):
                return "Q6_K"
            if name.endswith(".attn_v.weight") and self.layers == _LAYERS_OF_70B:
                return "Q5_K"  # eight heads share it there, so the bits are cheap
        return usual

    def _more_bits(self, layer: int) -> bool:
        """`use_more_bits` of llama-quant.cpp: the first and last eighth, and each third between."""
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


def canonical(quant: str) -> str:
    """Return the quantization's own spelling, any letter case accepted.

    Raises: ConfigError("unknown-quant") with the known ones.
    """
    for name in QUANTS:
        if name.lower() == quant.lower().replace("-", "_"):
            return name
    raise ConfigError(
        "unknown-quant",
        f"there is no quantization {quant!r} (known: {', '.join(QUANTS)})",
        known=list(QUANTS),
    )
