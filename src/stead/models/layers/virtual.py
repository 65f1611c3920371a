"""Virtual tokens: trained vectors that every sequence continues, as embeddings or as keys and values.

Knows nothing about files or losses. The vectors stand once in front of a flattened batch, and all
rows continue them; with a cache they are its first columns. Positions of real tokens begin at V, as
in PEFT. Legend: T tokens, V virtual tokens, E hidden size, L layers, K key heads, D head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from stead.core import seeds
from stead.core.errors import ModelError
from stead.models import apart
from stead.models.cache import set_head
from stead.models.layers.lowrank import current_draw
from stead.models.layers.prompt_adapter import NO_KEYS, TWO_SHAPES, no_room

NAME = "virtual_prompt"  # the module's name in the model, so of its parameters too
_SPREAD = 0.02  # standard deviation of random vectors: that of most models' own embeddings


@dataclass(frozen=True, slots=True)
class Shape:
    """What one layer keeps of a token: key heads and the size of each."""

    heads: int
    size: int


class VirtualPrompt(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """The vectors, where they come from, and the hooks that put them in front.

    A child of the model. `keys` False: embeddings [V, E]; True: keys and values [V, L·2·K·D], as PEFT
    stores them, keys as after the rotation. Obeys `Draw.plain`.
    """

    def __init__(self, source: nn.Module, tokens: int, shape: "Shape", *, keys: bool) -> None:
        super().__init__()
        self.source, self.tokens, self.keys, self.shape = source, tokens, keys, shape
        self.cached = False  # rows are computed one by one, and begin with a cache of the vectors

    def vectors(self) -> Tensor:
        """Return the vectors. Shapes: [V, E] or [V, L·2·K·D], float32."""
        found: Tensor = self.source()
        return found

    def layers(self, decoder: Any, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's keys and values. Shapes: [K, V, D] each."""
        if not self.keys:
            return self._computed(decoder, dtype)
        shape = (self.tokens, -1, self.shape.heads, self.shape.size)
        whole = self.vectors().to(dtype).view(shape).permute(1, 2, 0, 3)
        return [(whole[i], whole[i + 1]) for i in range(0, whole.shape[0], 2)]

    def _computed(self, decoder: Any, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        return run_alone(decoder, self.vectors().to(dtype))

    def before(
        self, decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Put the vectors in front of a decoder's input: torch calls it before each forward."""
        if current_draw().plain:
            return None
        if args:
            kwargs = kwargs | {"input_ids": args[0]}
        if kwargs.get("segments") is None or (self.keys and self.cached):
            _refuse_recomputed(decoder)
            return (), kwargs | self._padded(decoder, kwargs)
        return (), kwargs | (self._ahead if self.keys else self._packed)(decoder, kwargs)

    def after(
        self, decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Take the vectors' own places out of a packed output."""
        packed = kwargs.get("segments") is not None and not self.keys
        if packed and not current_draw().plain:
            output.last_hidden_state = output.last_hidden_state[:, self.tokens :]
        return output

    def _packed(self, decoder: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give the batch a first row, the vectors, which all other rows continue."""
        embedded = kwargs.get("inputs_embeds")  # given when noise was added to them
        if embedded is None:
            embedded = decoder.get_input_embeddings()(kwargs["input_ids"])
        first = self.vectors().to(embedded.dtype)[None]
        positions = kwargs["position_ids"]
        counted = torch.arange(self.tokens, device=positions.device, dtype=positions.dtype)[None]
        return {
            "input_ids": None,
            "inputs_embeds": torch.cat((first, embedded), 1),
            "position_ids": torch.cat((counted, positions + self.tokens), 1),
            "segments": kwargs["segments"].continuing(self.tokens),
        }

    def _ahead(self, decoder: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Hand each attention layer the keys and values that stand before all rows."""
        dtype = decoder.get_input_embeddings().weight.dtype
        return {
            "position_ids": kwargs["position_ids"] + self.tokens,
            "virtual": self.layers(decoder, dtype),
        }

    def _padded(self, decoder: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Begin an empty cache with the vectors; widen mask and positions by them."""
        given = kwargs.get("input_ids")
        given = kwargs["inputs_embeds"] if given is None else given
        cache = kwargs.get("past_key_values")
        cache = DynamicCache(config=decoder.config) if cache is None else cache
        if cache.get_seq_length() == 0:
            self._fill(decoder, cache, given.shape[0])
        changed: dict[str, Any] = {"past_key_values": cache}
        mask, positions = kwargs.get("attention_mask"), kwargs.get("position_ids")
        if mask is not None:
            seen = mask.new_ones((*mask.shape[:-1], self.tokens))
            changed["attention_mask"] = torch.cat((seen, mask), -1)
        if positions is not None:
            changed["position_ids"] = positions + self.tokens
        return changed

    def _fill(self, decoder: Any, cache: Cache, rows: int) -> None:
        dtype = decoder.get_input_embeddings().weight.dtype
        for i, (key, value) in enumerate(self.layers(decoder, dtype)):
            cache.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), i)
        set_head(cache, self.tokens)


def run_alone(decoder: Any, embedded: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the keys and values that embeddings [V, E] get on their own. Shapes: [K, V, D] each."""
    cache = DynamicCache(config=decoder.config)
    places = torch.arange(embedded.shape[0], device=embedded.device)[None]
    decoder.forward(
        inputs_embeds=embedded[None], position_ids=places, past_key_values=cache, use_cache=True
    )
    return [(each.keys[0], each.values[0]) for each in cache.layers]


class Table(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Vectors that are trained as they are."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float())

    def forward(self) -> Tensor:
        """Return the vectors. Shapes: [V, width]."""
        return self.weight


class Encoded(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Vectors made of smaller ones by networks, which are trained with them."""

    def __init__(self, weight: Tensor, *parts: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float())
        self.parts = nn.ModuleList(parts)

    def forward(self) -> Tensor:
        """Return the vectors. Shapes: [V, width]."""
        out = self.weight[None]
        for part in self.parts:
            out = part(out)
            out = out[0] if isinstance(out, tuple) else out  # an LSTM gives its states too
        return out[0]


def key_shape(decoder: Any, *, keys: bool) -> Shape:
    """Return what the decoder's layers keep of a token, as its own cache has it.

    Asked of the model, not its config: families count heads under many names, and some not at all.
    Raises: ModelError("no-virtual-tokens") where vectors cannot stand before a row.
    """
    table = decoder.get_input_embeddings().weight
    try:
        with torch.no_grad():
            found = run_alone(decoder, table.detach()[:1])
    except (AttributeError, TypeError) as error:
        raise no_room(type(decoder).__name__, NO_KEYS) from error
    shapes = {tuple(part.shape) for pair in found for part in pair}
    if len(found) != decoder.config.get_text_config().num_hidden_layers:
        raise no_room(type(decoder).__name__, NO_KEYS)
    if keys and len(shapes) > 1:
        raise no_room(type(decoder).__name__, TWO_SHAPES.format(len(shapes)))
    heads, _, size = found[0][0].shape
    return Shape(int(heads), int(size))


def _refuse_recomputed(decoder: Any) -> None:
    """Raise where transformers would drop the cache that the vectors stand in."""
    named = hasattr(type(decoder), "is_activation_checkpointing")  # the older name warns since
    name = "is_activation_checkpointing" if named else "is_gradient_checkpointing"
    if decoder.training and getattr(decoder, name, False):
        raise ModelError(
            "no-virtual-tokens",
            f"{type(decoder).__name__} takes a prefix by its cache, which recomputing activations drops",
            hint="stead train RECIPE -s trainer.gradient_checkpointing=false",
        )


def network(sizes: Sequence[int], act: type[nn.Module], seed: int, name: str) -> nn.Module:
    """Return linear layers of these sizes with an activation between them, drawn from `seed`."""
    parts: list[nn.Module] = []
    for width, more in pairwise(sizes):
        parts += [nn.Linear(width, more), act()]
    return draw_uniform(nn.Sequential(*parts[:-1]), seed, name)


def lstm(width: int, hidden: int, layers: int, seed: int, name: str) -> nn.Module:
    """Return a bidirectional LSTM, drawn from `seed`."""
    made = nn.LSTM(width, hidden, layers, bidirectional=True, batch_first=True)
    return draw_uniform(made, seed, name)


def draw_uniform(module: nn.Module, seed: int, name: str) -> nn.Module:
    """Draw all weights uniform in ±1/√inputs, torch's own start for these layers."""
    generator = torch.Generator().manual_seed(seeds.stream(seed, 0, f"{NAME}.{name}"))
    with torch.no_grad():
        for part in module.modules():
            inputs = getattr(part, "in_features", getattr(part, "hidden_size", 1))
            for parameter in part.parameters(recurse=False):
                parameter.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return module


def draw_normal(tokens: int, width: int, seed: int) -> Tensor:
    """Return random vectors. Shapes: [V, width], float32."""
    generator = torch.Generator().manual_seed(seeds.stream(seed, 0, NAME))
    return torch.randn(tokens, width, generator=generator) * _SPREAD


def word_vectors(model: Any, tokens: int, ids: Sequence[int], seed: int) -> Tensor:
    """Return the embeddings of `ids`, repeated to V; without ids, of words drawn from `seed`.

    Shapes: [V, E].
    """
    table = model.get_input_embeddings().weight.detach()
    if not ids:
        generator = torch.Generator().manual_seed(seeds.stream(seed, 0, NAME))
        ids = torch.randint(0, table.shape[0], (tokens,), generator=generator).tolist()
    chosen = [ids[i % len(ids)] for i in range(tokens)]
    return table[torch.tensor(chosen, device=table.device)]


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
def word_keys(model: Any, vectors: Tensor) -> Tensor:
    """Return the keys and values that embeddings [V, E] get in the model. Shapes: [V, L·2·K·D]."""
    pairs = [part for pair in run_alone(model.get_decoder(), vectors) for part in pair]
    return torch.stack(pairs).permute(2, 0, 1, 3).reshape(vectors.shape[0], -1).float()


def install(
    model: Any, source: nn.Module, tokens: int, shape: Shape, *, keys: bool
) -> VirtualPrompt:
    """Put a prompt into a model, whose layers keep tokens of this shape, and freeze everything else.

    Raises: ModelError("already-adapted"); ModelError("prompt-length") when it leaves no room.
    """
    if getattr(model, NAME, None) is not None:
        raise ModelError("already-adapted", "the model has virtual tokens already")
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    limits = (getattr(config, "max_position_embeddings", None), window)
    room = [n for n in limits if n is not None and n > 0]  # Qwen2-MoE: 0 is no window
    if room and tokens >= min(room):
        raise ModelError(
            "prompt-length", f"{tokens} virtual tokens do not fit a context of {min(room)} tokens"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    decoder = model.get_decoder()
    place = model.get_input_embeddings().weight.device
    prompt = VirtualPrompt(source.to(place), tokens, shape, keys=keys)
    prompt.cached = apart.reason(model) is not None
    model.add_module(NAME, prompt)
    decoder.register_forward_pre_hook(prompt.before, with_kwargs=True)
    decoder.register_forward_hook(prompt.after, with_kwargs=True)
    return prompt


def prompt_of(model: Any) -> VirtualPrompt | None:
    """Return the model's virtual tokens, if it has any."""
    found: VirtualPrompt | None = getattr(model, NAME, None)
    return found


def length(model: Any) -> int:
    """Return how many virtual tokens stand before every sequence."""
    found = prompt_of(model)
    return 0 if found is None else found.tokens


def leading(model: Any) -> int:
    """Return how many rows of virtual tokens stand inside layers before a packed batch's own."""
    found = prompt_of(model)
    return 0 if found is None or found.keys or current_draw().plain else found.tokens


def has_keys(model: Any) -> bool:
    """Say whether attention gets keys of its own, which fused layers do not know."""
    found = prompt_of(model)
    return found is not None and found.keys
