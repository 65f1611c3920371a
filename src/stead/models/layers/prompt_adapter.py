"""What prompt, p-tuning and prefix tuning share: put virtual tokens in, write and read PEFT's files.

Knows nothing about how virtual tokens are computed. Light.
"""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.core import files
from stead.core.errors import ModelError
from stead.data.tokenizer import TextTokenizer
from stead.models.adapter import Adapter, AdapterConfig, Layers, Origin

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
TENSOR = "prompt_embeddings"  # PEFT's name in its files


NO_KEYS = "do not all keep keys and values"
TWO_SHAPES = "keep keys and values of {} shapes, and a prefix has one"
_STATEFUL = ("mamba", "mamba2", "falcon_mamba", "rwkv")  # families without attention
_KEYLESS = frozenset({"linear_attention", "conv", "mamba", "recurrent"})  # words of `layer_types`


def no_room(model: str, why: str) -> ModelError:
    """Return the refusal of a model whose layers have no place for virtual tokens."""
    message = f"the layers of {model} {why}: virtual tokens cannot stand before them"
    return ModelError("no-virtual-tokens", message, hint="stead train RECIPE --adapter lora")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Which virtual tokens are wanted.

    `keys`: keys and values of every layer instead of embeddings. `start`: random, or what words give
    (`ids`, or drawn from `seed`). `net`: what makes them of smaller vectors while training.
    """

    tokens: int
    keys: bool
    seed: int
    start: Literal["random", "words"] = "random"
    ids: tuple[int, ...] = ()
    net: Literal["none", "mlp", "lstm"] = "none"
    hidden: int | None = None
    depth: int = 2


class VirtualConfig(AdapterConfig):
    """Settings of every adapter with virtual tokens."""

    tokens: int = Field(default=20, ge=1, le=1000, description="virtual tokens before every row")

    def require(self, model: Any) -> None:  # Any: planning's ModelFacts
        """Refuse a model whose facts say that layers keep no keys; others are asked when loaded.

        Raises: ModelError("no-virtual-tokens").
        """
        kinds = getattr(model, "config", {}).get("layer_types")
        if model.family in _STATEFUL or (kinds is not None and _KEYLESS & set(kinds)):
            raise no_room(model.architecture, NO_KEYS)

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return about how many numbers are trained, for a forecast."""
        return int(self.tokens * model.hidden_size)


class WordsConfig(VirtualConfig):
    """Settings of those whose virtual tokens can begin as words."""

    start: Literal["words", "random"] = Field(
        default="words", description="begin as words of the vocabulary, or as small random numbers"
    )
    text: str | None = Field(
        default=None, description="begin as the tokens of this text, repeated or cut to fit"
    )

    def ids(self, model: "torch.nn.Module") -> tuple[int, ...]:
        """Return the ids of `text` in the model's own tokenizer; none without a text."""
        if self.text is None:
            return ()
        folder = Path(str(model.config.name_or_path))
        return tuple(TextTokenizer.open(folder).encode(self.text).ids)


class VirtualAdapter(Adapter):
    """Train vectors before every row; the model itself is frozen and never changed."""

    config: VirtualConfig
    can_switch_off: ClassVar[bool] = True
    default_lr: ClassVar[float | None] = 1e-2  # few numbers, far from the weights: far larger steps
    keys: ClassVar[bool] = False
    peft_type: ClassVar[str]

    @abstractmethod
    def prompt(self, model: "torch.nn.Module", seed: int) -> Prompt:
        """Say which virtual tokens training begins with."""

    @abstractmethod
    def peft(self) -> dict[str, Any]:
        """Return the fields of PEFT's config that only this kind has."""

    def wrap(self, model: "torch.nn.Module", layers: Layers, seed: int) -> None:
        """Freeze the model and put virtual tokens in front of it."""
        layers.add_prompt(model, self.prompt(model, seed))

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files: the finished vectors, whatever network made them."""
        vectors = layers.prompt_vectors(model)
        layers.write_tensors(folder / WEIGHTS, {TENSOR: vectors}, {"format": "pt"})
        dims = layers.prompt_dims(model, keys=self.keys)
        config = {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(origin.base),
            "inference_mode": True,
            "num_virtual_tokens": int(vectors.shape[0]),
            "num_transformer_submodules": 1,
            "num_layers": dims.layers,
            "num_attention_heads": dims.heads,
            "token_dim": dims.width,
        }
        files.write_json(folder / CONFIG, config | self.peft())

    def attach(self, model: "torch.nn.Module", layers: Layers, folder: Path) -> None:
        """Put saved virtual tokens, ours or PEFT's, in front of their base.

        Raises: ModelError("adapter-mismatch") when they are missing or another model's.
        """
        found = layers.read_tensors(folder / WEIGHTS).get(TENSOR)
        if found is None:
            raise ModelError("adapter-mismatch", f"{str(folder)!r} has no tensor {TENSOR!r}")
        layers.set_prompt(model, found, keys=self.keys)


def read_fields(folder: Path, peft_type: str) -> dict[str, Any] | None:  # Any: JSON values
    """Return PEFT's config of a folder when it is of this type, else None.

    Raises: ModelError("adapter-unsupported") for vectors of an encoder and a decoder.
    """
    path = folder / CONFIG
    data: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    if data.get("peft_type") != peft_type:
        return None
    if data.get("num_transformer_submodules", 1) not in (1, None):
        raise ModelError(
            "adapter-unsupported",
            f"{str(path)!r} has num_transformer_submodules={data['num_transformer_submodules']!r}, "
            "but a causal language model has one",
        )
    return data
