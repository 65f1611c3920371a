"""Fused decoder layers for one token of each of a few rows: features lie down, rows across.

Knows nothing about caches, attention or sampling. W·X reads a weight as it lies in memory, what comes
out is what the next product takes, and all memory is kept from one token to the next: for a few rows
turning results over, making views and fresh pages cost as much as the products. Rounds where
`fused` rounds. Legend: B rows, E hidden size, K inputs, N outputs, P low-rank columns, H query heads,
K' key heads, D head size, V vocabulary.
"""

import math
from typing import TYPE_CHECKING, Any

import torch

from stead.models import products
from stead.models.fused import FusedLayer
from stead.models.layers.lowrank import current_draw
from stead.models.layers.packed import Packed

if TYPE_CHECKING:
    from torch import Tensor


class Room:
    """Memory for B rows, shared by all layers: what one has left is overwritten by the next."""

    def __init__(self, rows: int, dtype: torch.dtype) -> None:
        self.rows, self.dtype = rows, dtype
        self._kept: dict[tuple[str, int, torch.dtype], Tensor] = {}

    def take(self, use: str, features: int, dtype: torch.dtype | None = None) -> "Tensor":
        """Return the memory for one use. Shapes: [features, B]."""
        key = (use, features, self.dtype if dtype is None else dtype)
        if key not in self._kept:
            self._kept[key] = torch.empty(features, self.rows, dtype=key[2])
        return self._kept[key]


class Norm:
    """weight·x/rms(x), rounded once; see `fused.rms_norm`. Any: a transformers RMSNorm.

    In few operations: for few rows each costs more than what it does. √E is in the weight, and
    √(E·ε) is one more number of the vector whose length √(Σx² + E·ε) divides.
    """

    def __init__(self, norm: Any, room: Room) -> None:
        E = norm.weight.shape[0]
        self._weight = norm.weight.detach().float()[:, None] * math.sqrt(E)
        self._least = torch.tensor([[math.sqrt(E * norm.variance_epsilon)]])
        self._wide = room.take("norm", E, torch.float32)

    def __call__(self, x: "Tensor", into: "Tensor") -> None:
        """Write the result into `into`. Shapes: both [E, B]."""
        wide = self._wide.copy_(x)
        length = torch.linalg.vector_norm(wide, dim=0, keepdim=True)
        into.copy_(wide.mul_(self._weight).div_(length.hypot_(self._least)))


class Product:
    """W'·X' of layers that share an input: fill `input` [K, B], then call. See `packed`."""

    def __init__(self, packed: Packed, room: Room, use: str) -> None:
        packed.refresh()
        self._packed, self._matrix = packed, packed.matrix
        self._wide = room.take(use, packed.K + packed.P)
        used = packed.K + packed.rank  # what fills the rest up stays zero
        self.input, self._low_rank = self._wide[: packed.K], self._wide[packed.K : used]
        self._wide[packed.K :].zero_()
        self._has_bias = any(m.bias is not None for m in packed.linears)
        # oneDNN takes three times as long as float32 for a product this small
        adapted = packed.P and not current_draw().plain
        self._low = packed.low[: packed.rank].float() if adapted else None
        self._exact = room.take("exact", packed.K, torch.float32)

    def into(self, out: "Tensor") -> "Tensor":
        """Write the product into `out`. Shapes: [N, B]."""
        self._fill()
        products.mm(self._matrix, self._wide, out)
        return self._biased(out)

    def add_to(self, x: "Tensor") -> None:
        """Add the product to x, rounded once. Shapes: [N, B]."""
        self._fill()
        self._biased(products.addmm_(x, self._matrix, self._wide))

    def _fill(self) -> None:
        if self._low is not None:
            self._low_rank.copy_(torch.mm(self._low, self._exact.copy_(self.input)))

    def _biased(self, out: "Tensor") -> "Tensor":
        if self._has_bias:
            self._packed.add_bias(out.t())
        return out


class ColumnLayer:
    """One decoder layer but for its attention: `turned`, then fill `mixed`, then `finish_`."""

    def __init__(self, layer: Any, fused: FusedLayer, room: Room) -> None:
        self._first = Norm(layer.input_layernorm, room)
        self._second = Norm(layer.post_attention_layernorm, room)
        self._qkv = Product(fused.qkv, room, "qkv")
        self._out = Product(fused.out, room, "out")
        self._up = Product(fused.up, room, "up")
        self._down = Product(fused.down, room, "down")
        B, D, turning = room.rows, fused.D, fused.heads + fused.key_heads
        self._heads_NB = room.take("heads", fused.qkv.N)
        heads = self._heads_NB.view(-1, D, B)
        self._pairs = heads[:turning].view(turning, 2, D // 2, B)
        self.queries = heads[: fused.heads].permute(2, 0, 1)
        self.keys_values = self._heads_NB[fused.heads * D :].view(2, fused.key_heads, D, B)
        self.mixed = self._out.input.view(fused.heads, D, B)
        self._both = room.take("both", fused.up.N)
        self._gate, self._gated = self._both.chunk(2)

    def turned(self, x: "Tensor", cos: "Tensor", sin: "Tensor") -> None:
        """Fill `queries` [B, H, D] and `keys_values` [2, K', D, B] (views), turned to their places.

        Shapes: x [E, B], cos and signed sin [1, 2, D/2, B].
        """
        self._first(x, self._qkv.input)
        self._qkv.into(self._heads_NB)
        other = self._pairs.flip(1).mul_(sin)
        self._pairs.mul_(cos).add_(other)

    def finish_(self, x: "Tensor") -> None:
        """Change x to what the layer gives, after `mixed` [H, D, B] was filled. Shapes: x [E, B]."""
        self._out.add_to(x)
        self._second(x, self._up.input)
        self._up.into(self._both)
        torch.mul(torch.nn.functional.silu(self._gate), self._gated, out=self._down.input)
        self._down.add_to(x)


class Columns:
    """All layers and the output of a decoder, for B rows. `x` holds the rows' hidden states [E, B]."""

    def __init__(self, decoder: Any, head_VE: "Tensor", rows: int, dtype: torch.dtype) -> None:
        room = Room(rows, dtype)
        self._embed, self._head = decoder.embed_tokens, head_VE
        self.layers = [ColumnLayer(layer, layer._stead, room) for layer in decoder.layers]
        self._last = Norm(decoder.norm, room)
        self.x = room.take("x", head_VE.shape[1])
        self._normed = room.take("normed", head_VE.shape[1])
        self._logits = room.take("logits", head_VE.shape[0])

    def begin(self, tokens: list[int]) -> "Tensor":
        """Put the embeddings of each row's token into `x`; return it."""
        return self.x.copy_(self._embed(torch.tensor(tokens)).t())

    def logits(self) -> "Tensor":
        """Return the logits of `x`, overwritten at the next token. Shapes: [B, V], a view."""
        self._last(self.x, self._normed)
        return products.mm(self._head, self._normed, self._logits).t()
