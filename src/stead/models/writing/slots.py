"""A running batch on fused layers: rows come and go at every token, each with keys and values of its own.

Knows nothing about where prompts come from. Legend: B rows, T tokens of a piece, E hidden size, H query
heads, K key heads, R = H/K, D head size, L layers, C columns that a row has room for.

What a row's numbers are made of does not depend on its company: a prompt is read alone, in pieces of
fixed places; attention is computed row by row; and a product over two or more rows gives each row the
same bits however many there are. A row alone takes a faster product that rounds otherwise, unless
`exact`: then it is computed twice, as a pair.

A guessed token (`draft`) is computed as a row of its own beside its row's newest token. It costs little,
since a product's time is that of reading the weights, and counts when it is what the row's rule then
chooses: so guesses change no answer, whatever the rule.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from stead.models.fused import FusedLayer, signed_sin
from stead.models.layers.packed import Packed
from stead.models.learner import head_of
from stead.models.writing import steps
from stead.models.writing.draft import Draft, Guesses
from stead.models.writing.lora_set import Lora
from stead.models.writing.panels import Panels
from stead.models.writing.prefix import PIECE, Prefixes
from stead.models.writing.row import Row, choose
from stead.models.writing.served import Serving
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_FILL = 64  # pieces are filled up to this: fewer shapes, fewer kernels to prepare
_GROWTH = 256  # columns; larger steps copy less often and hold more
_FEW = 2  # rows up to which tokens are guessed: more share the reading of weights among themselves
_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class _Held:
    """One row's keys and values. Shapes: `kv` [L, 2, K, C, D], of which `seen` columns are filled."""

    __slots__ = ("draft", "guess", "kv", "layers", "row", "seen", "todo")

    def __init__(self, row: Row, kv: "Tensor") -> None:
        self.row, self.seen = row, 0
        self.keep_in(kv)
        self.draft, self.guess = Draft(), list[int]()
        self.todo = [*row.prompt, *row.ids]  # ids: it was put back when memory ran out

    def keep_in(self, kv: "Tensor") -> None:
        """Have this room for keys and values from now on; `layers` are those of each layer, [1, K, C, D]."""
        self.kv: Tensor = kv
        self.layers: list[tuple[Tensor, Tensor]] = [(k[None], v[None]) for k, v in kv.unbind(0)]

    @property
    def columns(self) -> int:
        return int(self.kv.shape[3])

    @property
    def is_read(self) -> bool:
        return self.seen >= len(self.todo)


class SlotBatch:
    """The rows being read and written. Use from one thread; the model must be fused.

    `budget_bytes` bounds the keys and values of all rows and of kept beginnings of prompts. When
    longer answers than expected need more, the youngest row gives its place up and is read again
    later (`put_back`). `guesses` counts guessed tokens.
    """

    def __init__(
        self, loaded: LoadedModel, stop_ids: frozenset[int], serving: Serving,
        guesses: Guesses | None = None,
    ) -> None:  # fmt: skip
        decoder = loaded.model.get_decoder()
        self._decoder, self._embed, self._norm = decoder, decoder.embed_tokens, decoder.norm
        self._layers: list[tuple[Any, FusedLayer]] = [(x, x._stead) for x in decoder.layers]
        self._head = head_of(loaded.model)
        self._dtype, self._stop_ids = loaded.dtype, stop_ids
        self._most, self._exact, self._speculate = serving.places, serving.exact, serving.speculate
        self.guesses = Guesses() if guesses is None else guesses
        first = self._layers[0][1]
        self._shape = (len(self._layers), 2, first.key_heads)
        numbers = 2 * len(self._layers) * first.key_heads * first.D
        self.token_bytes: int = numbers * self._dtype.itemsize
        self._budget = serving.budget_bytes
        self._prefixes = Prefixes(self._budget // 4)
        self._names = _names(loaded.model, self._layers)
        self._reading: list[_Held] = []
        self._live: list[_Held] = []
        self.put_back: list[Row] = []
        self._cos, self._sin = self._turns(_GROWTH)
        packs = [p for _, f in self._layers for p in (f.qkv, f.out, f.up, f.down)]
        for one in packs:
            one.refresh()
        matrices = [*(p.matrix for p in packs), self._head.weight]
        self._panels = Panels(matrices, serving.panel_bytes)

    def __len__(self) -> int:
        return len(self._reading) + len(self._live)

    @property
    def capacity(self) -> int:
        """How many tokens one row may have, prompt included, when it is alone."""
        return self._budget // (_GROWTH * self.token_bytes) * _GROWTH - _FILL - 1

    def takes(self, row: Row) -> bool:
        """Say whether there is a place and memory for a row now."""
        if not len(self):
            return True
        at_work = (*self._reading, *self._live)
        expected = sum(
            max(self._bytes(h.row.longest), h.columns * self.token_bytes) for h in at_work
        )
        return len(self) < self._most and expected + self._bytes(row.longest) <= self._budget

    def add(self, row: Row) -> None:
        """Take a row in; its prompt is read piece by piece by the next steps."""
        held = _Held(row, torch.empty(*self._shape, 0, self._layers[0][1].D, dtype=self._dtype))
        self._reading.append(held)

    def step(self) -> list[Row]:
        """Read a piece of the oldest unread prompt and write a token in every other row.

        Returns the rows that have a new token or are finished.
        """
        found = self._advance() if self._live else []
        if self._reading:
            found += self._read(self._reading[0])
        return found

    def drop(self, gone: Callable[[Row], bool]) -> None:
        """Forget rows that nobody waits for any more; their memory is free at once."""
        self._reading = [h for h in self._reading if not gone(h.row)]
        self._live = [h for h in self._live if not gone(h.row)]

    def _read(self, held: _Held) -> list[Row]:
        if held.seen == 0:
            self._reuse(held)
        begin = held.seen
        ids = held.todo[begin : begin + PIECE]
        self._reserve(held, begin + len(ids) + -len(ids) % _FILL)
        hidden_TE = self._piece(held, ids, begin)
        held.seen = begin + len(ids)
        if len(ids) == PIECE and held.seen <= len(held.row.prompt):
            part = held.kv[:, :, :, begin : held.seen]
            self._prefixes.keep(held.row.adapter, held.todo[: held.seen], part)
        if not held.is_read:
            return []
        self._reading.remove(held)
        (done,) = choose([held.row], self._logits(hidden_TE[len(ids) - 1 : len(ids)]), self._stop_ids)  # fmt: skip
        if not done:
            # Rows of one adapter stand side by side: their products are one slice.
            self._live.append(held)
            self._live.sort(key=lambda h: id(h.row.adapter))
        return [held.row]

    def _reuse(self, held: _Held) -> None:
        """Begin with the pieces that another prompt with the same beginning has left."""
        parts = self._prefixes.find(held.row.adapter, held.todo)
        if not parts:
            return
        self._reserve(held, PIECE * len(parts))
        for i, part in enumerate(parts):
            held.kv[:, :, :, PIECE * i : PIECE * (i + 1)] = part
        held.seen = PIECE * len(parts)
        held.row.cached = min(held.seen, len(held.row.prompt))

    def _piece(self, held: _Held, ids: list[int], begin: int) -> "Tensor":
        """Compute tokens that follow `begin` others of their row. Shapes: [T, E], filled up."""
        more = -len(ids) % _FILL
        end = begin + len(ids) + more
        x = self._embed(torch.tensor(ids + [0] * more))
        cos, sin = self._cos[begin:end], self._sin[begin:end]
        rule: dict[str, Any] = {"is_causal": True}  # Any: sdpa's options
        if begin:
            i = torch.arange(begin, end)[:, None]
            hidden = torch.arange(end)[None] > i
            rule = {"attn_mask": torch.zeros(hidden.shape, dtype=x.dtype).masked_fill_(hidden, -torch.inf)}  # fmt: skip
        product = self._product([(slice(None), held.row.adapter)])
        for n, (layer, fused) in enumerate(self._layers):
            heads = steps.turned_heads(layer, fused, x, cos, sin, product).transpose(0, 1)
            H, K = fused.heads, fused.key_heads
            kv = held.kv[n, :, :, :end]
            kv[:, :, begin:] = heads[H:].unflatten(0, (2, K))
            out = sdpa(heads[None, :H], kv[None, 0], kv[None, 1], scale=fused.scale, enable_gqa=True, **rule)  # fmt: skip
            mixed = fused.out.input(x)
            mixed[:, : fused.out.K] = out[0].transpose(0, 1).reshape(len(x), -1)
            x = steps.finish(layer, fused, mixed, x, product)
        return x

    def _advance(self) -> list[Row]:
        """Write a token in every live row, and more in those whose guesses are right."""
        self._guess()
        for held in list(self._live):
            if held in self._live:  # else another's growth has put it back
                self._reserve(held, held.seen + 1 + len(held.guess))
        ahead = [(h, n) for h in self._live for n in range(1 + len(h.guess))]
        places, groups = _places([h.row.adapter for h, _ in ahead], exact=self._exact)
        logits_NV = self._logits(self._tokens([ahead[i] for i in places], groups))
        rows, seen = [h.row for h in self._live], [h.seen for h in self._live]
        self._settle(logits_NV[: len(ahead)])
        for held, before in zip(self._live, seen, strict=True):
            if held.guess:
                self._judge(held, held.seen - before - 1)
        self._live = [h for h in self._live if h.row.reason is None]
        return rows

    def _guess(self) -> None:
        """Let rows guess what they go on with, where few are written."""
        guessing = self._speculate and len(self._live) <= _FEW
        for held in self._live:
            row = held.row
            most = row.limit - len(row.ids) - 1
            held.guess = held.draft.guess(row.prompt, row.ids, most) if guessing else []

    def _judge(self, held: _Held, right: int) -> None:
        held.draft.judge(len(held.guess), right)
        self.guesses.drafted += len(held.guess)
        self.guesses.accepted += right

    def _settle(self, logits_NV: "Tensor") -> None:
        """Choose tokens, place after place, while what is chosen is what was guessed. Shapes: [N, V]."""
        firsts = accumulate((1 + len(h.guess) for h in self._live[:-1]), initial=0)
        going, turn = list(zip(self._live, firsts, strict=True)), 0
        while going:
            alone = len(going) == len(logits_NV)
            logits_BV = logits_NV if alone else logits_NV[[at + turn for _, at in going]]
            over = choose([h.row for h, _ in going], logits_BV, self._stop_ids)
            for held, _ in going:
                held.seen += 1
            going = [
                (h, at) for (h, at), done in zip(going, over, strict=True)
                if not done and h.guess[turn : turn + 1] == h.row.ids[-1:]
            ]  # fmt: skip
            turn += 1

    def _tokens(
        self, ahead: list[tuple[_Held, int]], groups: "list[tuple[slice, Lora | None]]"
    ) -> "Tensor":
        """Compute rows' tokens that come so many places after the last read. Shapes: returns [B, E]."""
        x = self._embed(torch.tensor([h.guess[n - 1] if n else h.row.ids[-1] for h, n in ahead]))
        at = [h.seen + n for h, n in ahead]
        cos, sin = self._cos[at], self._sin[at]
        product = self._product(groups)
        for i, (layer, fused) in enumerate(self._layers):
            heads = steps.turned_heads(layer, fused, x, cos, sin, product)
            mixed = self._attend(i, heads, ahead)
            if fused.out.P:
                wide = fused.out.input(x)
                wide[:, : fused.out.K] = mixed
                mixed = wide
            x = steps.finish(layer, fused, mixed, x, product)
        return x

    def _attend(self, i: int, heads: "Tensor", ahead: list[tuple[_Held, int]]) -> "Tensor":
        """Keep keys and values of layer i; let each row look at its own. Shapes: [B, H+2K, D] → [B, H·D]."""
        _, fused = self._layers[i]
        H, K, D = fused.heads, fused.key_heads, fused.D
        queries = heads[:, :H].view(-1, 1, K, H // K, D).unbind(0)
        kv_2KBD = heads[:, H:].view(-1, 2, K, D).permute(1, 2, 0, 3)
        found = []
        for b, (held, n) in enumerate(ahead):
            if n == 0:  # its guesses stand beside it
                count = 1 + len(held.guess)
                held.kv[i, :, :, held.seen : held.seen + count] = kv_2KBD[:, :, b : b + count]
            keys, values = held.layers[i]
            end = held.seen + n + 1
            out, _ = _attention(
                queries[b], keys.narrow(2, 0, end), values.narrow(2, 0, end), 0.0, False, scale=fused.scale,
            )  # fmt: skip
            found.append(out)
        return torch.cat(found).view(len(ahead), -1)

    def _logits(self, hidden_NE: "Tensor") -> "Tensor":
        """Return the logits of last hidden states. Shapes: [N, E] → [N, V]."""
        if self._exact and len(hidden_NE) == 1:
            return self._logits(hidden_NE.expand(2, -1))[:1]
        normed = torch.empty_like(hidden_NE)
        steps.normed_(hidden_NE, self._norm, normed)
        return self._panels.times(normed, self._head.weight)

    def _product(self, groups: "Sequence[tuple[slice, Lora | None]]") -> steps.Product:
        """Return how to multiply, the rows' own adapters included."""
        used = [(rows, lora) for rows, lora in groups if lora is not None]

        def product(packed: Packed, wide: "Tensor") -> "Tensor":
            pairs = ((rows, lora.beside(packed, self._names[id(packed)])) for rows, lora in used)
            extra = [(rows, *pair) for rows, pair in pairs if pair is not None]
            return steps.product(packed, wide, extra, self._panels.times)

        return product

    def _turns(self, length: int) -> "tuple[Tensor, Tensor]":
        """Return cos and signed sin of the first positions. Shapes: [length, D]."""
        like = torch.zeros(1, 1, dtype=self._dtype)
        cos, sin = self._decoder.rotary_emb(like, torch.arange(length)[None])
        return cos[0], signed_sin(sin[0])

    def _bytes(self, columns: int) -> int:
        steps = (columns + _FILL) // _GROWTH + 1  # filled up, then grown
        return steps * _GROWTH * self.token_bytes

    def _reserve(self, held: _Held, columns: int) -> None:
        """Give a row room for so many columns, taking it from others where there is none."""
        if columns > len(self._cos):
            self._cos, self._sin = self._turns(2 * columns)
        if columns <= held.columns:
            return
        wanted = -(-columns // _GROWTH) * _GROWTH
        self._make_room((wanted - held.columns) * self.token_bytes, held)
        larger = held.kv.new_empty(*self._shape, wanted, held.kv.shape[4])
        larger[:, :, :, : held.seen] = held.kv[:, :, :, : held.seen]
        held.keep_in(larger)

    def _make_room(self, more: int, keep: _Held) -> None:
        """Let kept beginnings go, then the youngest other rows, until `more` bytes are free."""
        while self._used() + more > self._budget:
            if self._prefixes.forget_one():
                continue
            others = [h for h in (*self._live, *self._reading) if h is not keep]
            if not others:
                return  # `capacity` has made sure that one row alone has room
            youngest = min(others, key=lambda h: len(h.row.ids))
            self.drop(lambda row, y=youngest.row: row is y)  # type: ignore[misc]
            self.put_back.append(youngest.row)

    def _used(self) -> int:
        columns = sum(h.columns for h in (*self._live, *self._reading))
        return columns * self.token_bytes + self._prefixes.bytes


def _places(
    adapters: Sequence["Lora | None"], *, exact: bool
) -> "tuple[list[int], list[tuple[slice, Lora | None]]]":
    """Return which live row each row of the products is, and the slices of equal adapters.

    `exact` computes a row that is alone twice, and the thin products of adapters row by row: those
    round otherwise for other numbers of rows.
    """
    places = list(range(len(adapters)))
    if exact:
        places = places * 2 if len(places) == 1 else places
        return places, [(slice(i, i + 1), adapters[place]) for i, place in enumerate(places)]
    groups: list[tuple[slice, Lora | None]] = []
    first = 0
    for last in range(1, len(adapters) + 1):
        if last == len(adapters) or adapters[last] is not adapters[first]:
            groups.append((slice(first, last), adapters[first]))
            first = last
    return places, groups


def _names(model: Any, layers: Sequence[tuple[Any, FusedLayer]]) -> dict[int, list[str]]:
    """Return the module names of the linear layers in each packed matrix."""
    names = {id(module): name for name, module in model.named_modules()}
    packs = [p for _, f in layers for p in (f.qkv, f.out, f.up, f.down)]
    return {id(p): [names[id(m)] for m in p.linears] for p in packs}
