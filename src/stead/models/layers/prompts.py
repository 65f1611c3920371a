"""Make the virtual tokens of a model from an adapter's wishes, and read them back.

Knows nothing about files; where the vectors go is `models/layers/virtual`'s affair.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stead.core.errors import ModelError
from stead.models.layers import virtual
from stead.models.layers.prompt_adapter import Prompt


def add_prompt(model: Any, prompt: Prompt) -> None:
    """Put trainable virtual tokens into a model; all else is frozen. Raises: as `virtual.install`."""
    shape = virtual.key_shape(model.get_decoder(), keys=prompt.keys)
    source = _source(model, prompt, _dims(model, shape, keys=prompt.keys))
    virtual.install(model, source, prompt.tokens, shape, keys=prompt.keys)


def set_prompt(model: Any, vectors: Tensor, *, keys: bool) -> None:
    """Put finished virtual tokens into a model. Shapes: [V, E], or [V, L·2·K·D] with `keys`.

    Raises: ModelError("adapter-mismatch") when the width is another model's.
    """
    shape = virtual.key_shape(model.get_decoder(), keys=keys)
    width = _dims(model, shape, keys=keys).all_width
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ModelError(
            "adapter-mismatch",
            f"the virtual tokens have the shape {tuple(vectors.shape)}, the model needs [V, {width}]",
        )
    table = virtual.Table(vectors)
    virtual.install(model, table, vectors.shape[0], shape, keys=keys)
    table.weight.requires_grad_(False)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
def prompt_vectors(model: Any) -> Tensor:
    """Return the model's virtual tokens as they are used. Raises: ModelError("no-adapter")."""
    return _installed(model).vectors().detach().clone()


@dataclass(frozen=True, slots=True)
class Dims:
    """Sizes of a model that PEFT writes beside a prompt."""

    layers: int
    heads: int  # key heads for a prefix, else query heads
    width: int  # of an embedding, or of one layer's keys
    all_width: int  # of one virtual token


def prompt_dims(model: Any, *, keys: bool) -> Dims:
    """Return the sizes that belong beside a model's virtual tokens. Raises: ModelError("no-adapter")."""
    return _dims(model, _installed(model).shape, keys=keys)


def _dims(model: Any, shape: virtual.Shape, *, keys: bool) -> Dims:
    config = model.config.get_text_config()
    layers = int(config.num_hidden_layers)
    if keys:
        width = shape.heads * shape.size
        return Dims(layers, shape.heads, width, layers * 2 * width)
    width = int(config.hidden_size)
    return Dims(layers, int(config.num_attention_heads), width, width)


def _installed(model: Any) -> virtual.VirtualPrompt:
    found = virtual.prompt_of(model)
    if found is None:
        raise ModelError("no-adapter", "the model has no virtual tokens")
    return found


def _source(model: Any, prompt: Prompt, dims: Dims) -> nn.Module:
    if prompt.net != "none":
        return _encoded(prompt, dims)
    if prompt.start == "words":
        words = virtual.word_vectors(model, prompt.tokens, prompt.ids, prompt.seed)
        return virtual.Table(virtual.word_keys(model, words) if prompt.keys else words.float())
    return virtual.Table(virtual.draw_normal(prompt.tokens, dims.all_width, prompt.seed))


def _encoded(prompt: Prompt, dims: Dims) -> nn.Module:
    """Return small vectors and the network that makes the wanted ones of them.

    p-tuning: arXiv:2103.10385 §3.2, sizes as PEFT's PromptEncoder; prefix: arXiv:2101.00190 §4.3.
    """
    inner, width = dims.width, dims.all_width
    hidden = inner if prompt.hidden is None else prompt.hidden
    start = virtual.draw_normal(prompt.tokens, inner, prompt.seed)
    kind: Literal["tanh", "relu"] = "tanh" if prompt.keys else "relu"
    act = {"tanh": nn.Tanh, "relu": nn.ReLU}[kind]
    if prompt.net == "lstm":
        return virtual.Encoded(
            start,
            virtual.lstm(inner, hidden, prompt.depth, prompt.seed, "lstm"),
            virtual.network((2 * hidden, 2 * hidden, width), act, prompt.seed, "head"),
        )
    sizes = (inner, hidden, width) if prompt.keys else (inner, hidden, hidden, width)
    return virtual.Encoded(start, virtual.network(sizes, act, prompt.seed, "head"))
