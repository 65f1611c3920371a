"""Keys and values of answers beside those of their prompts, and attention over both.

Knows nothing about sampling or layers. A prompt's keys lie once for all its answers. Two ways:
`Woven` puts the answers' tokens behind their prompt, one of each answer in turn, and attends once, a
mask hiding the other answers': fewer operations, some of them for nothing. `Joined` attends to the
prompt and to each answer's own tokens and joins both by their log-sums (arXiv:2405.02803 section 3).
Legend: P prompts, B answers, G most answers of one prompt, H query heads, K key heads, R = H/K,
D head size, L prompt tokens, S answer tokens written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

_WOVEN_TOKENS = 2048  # of a prompt's answers: with more, what is hidden costs more than joining
_STEP = 32  # answer tokens are counted up to this: kernels are made for each new shape
_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Seats:
    """Where each answer sits: its prompt's place and its number among that prompt's answers."""

    def __init__(self, prompts: Sequence[int], lengths: "Tensor") -> None:
        """`prompts`: of each answer, rising; `lengths` [all prompts]: tokens of each."""
        count: dict[int, int] = {}
        slots = []
        for prompt in prompts:
            slots.append(count.setdefault(prompt, 0))
            count[prompt] += 1
        self.prompts = sorted(count)
        place = {p: i for i, p in enumerate(self.prompts)}
        self.owner = torch.tensor([place[p] for p in prompts], dtype=torch.long)
        self.slot = torch.tensor(slots, dtype=torch.long)
        self.most = max(count.values(), default=0)
        self.is_even = all(n == self.most for n in count.values())
        self.lengths = lengths[torch.tensor(self.prompts, dtype=torch.long)]
        self.longest = int(self.lengths.max()) if self.prompts else 0

    def grouped(self, rows: "Tensor") -> "Tensor":
        """Put answers beside those of the same prompt. Shapes: [B, …] → [P, G, …]."""
        P, G = len(self.prompts), self.most
        if self.is_even:
            return rows.view(P, G, *rows.shape[1:])
        found = rows.new_zeros(P, G, *rows.shape[1:])
        found[self.owner, self.slot] = rows
        return found

    def rows_of(self, grouped: "Tensor") -> "Tensor":
        """Undo `grouped` after heads came first: [P, K, G, …] → [P, G, K, …] (a view) or [B, K, …]."""
        found = grouped.transpose(1, 2)
        return found if self.is_even else found[self.owner, self.slot]

    def bias(self, dtype: torch.dtype) -> "Tensor | None":
        """Return -inf where a shorter prompt is filled up; None: none is. Shapes: [P, 1, 1, L]."""
        hidden = torch.arange(self.longest)[None] >= self.lengths[:, None]
        if not bool(hidden.any()):
            return None
        found = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
        return found[:, None, None]


class Place(Protocol):
    """A layer's memory for the newest token of every answer: the same at every token."""

    queries: "Tensor"  # [B, H, D]
    keys_values: "Tensor"  # [2, K, D, B]
    mixed: "Tensor"  # [H, D, B], filled by attention


class Cache(Protocol):
    """What the writer needs of either way."""

    def attend(self, i: int) -> None:
        """Keep layer i's newest keys and values, and fill its `mixed`."""

    def step(self) -> None:
        """Go on to the next token, after all layers have attended."""

    def kept(self, i: int, chosen: "Tensor") -> "Tensor":
        """Return the own tokens of some answers in layer i. Shapes: [2, chosen, K, S, D]."""


def room_for(answers: int, tokens: int) -> tuple[int, int]:
    """Return columns to leave behind each prompt, and the answer tokens that get room of their own."""
    tokens = -(-max(tokens, 1) // _STEP) * _STEP
    return (answers * tokens, tokens) if answers * tokens <= _WOVEN_TOKENS else (0, tokens)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cache is made of, by layer.

    Shapes: prompts [2, all prompts, K, at least L + `room_for`, D], of which all may be used, and
    own [2, B, K, S, D], what the answers have written so far (none: nothing).
    """

    seats: Seats
    places: Sequence[Place]
    scales: Sequence[float]
    prompts: "Sequence[Tensor]"
    own: "Sequence[Tensor]" = ()

    @property
    def seen(self) -> int:
        """Tokens that each answer has written."""
        return self.own[0].shape[3] if self.own else 0


def cache(parts: Parts, tokens: int) -> Cache:
    """Return the cache of answers of up to `tokens` tokens."""
    columns, room = room_for(parts.seats.most, tokens)
    return Woven(parts, columns) if columns else Joined(parts, room)


class Woven:
    """One tensor per layer: a prompt's tokens, then the first of every answer, the second, …"""

    def __init__(self, parts: Parts, columns: int) -> None:
        self._seats, self._seen, self._scales = parts.seats, parts.seen, parts.scales
        self._first, self._columns = parts.seats.longest, columns
        self._layers = list(parts.prompts)
        if parts.own or len(parts.seats.prompts) < parts.prompts[0].shape[1]:
            self._layers = [self._moved(t) for t in parts.prompts]
            for kv, own in zip(self._layers, parts.own, strict=False):
                for s, new in enumerate(own.unbind(3)):
                    self._put(kv, parts.seats.grouped(new.transpose(0, 1)), s)
        self._pairs = [tuple(kv) for kv in self._layers]
        self._views = [self._view(p) for p in parts.places]
        self._masks: dict[int, Tensor] = {}

    def _moved(self, whole: "Tensor") -> "Tensor":
        """Copy one layer's prompts that still have answers."""
        _, _, K, _, D = whole.shape
        chosen = torch.tensor(self._seats.prompts)
        kv = whole.new_zeros(2, len(chosen), K, self._first + self._columns, D)
        kv[:, :, :, : self._first] = whole[:, chosen, :, : self._first]
        return kv

    def _put(self, kv: "Tensor", new: "Tensor", s: int) -> None:
        """Write every answer's token number s. Shapes: new [P, G, 2, K, D]."""
        G = self._seats.most
        kv.narrow(3, self._first + s * G, G).copy_(new.permute(2, 0, 3, 1, 4))

    def _view(self, place: Place) -> "tuple[Tensor, Tensor, Tensor]":
        """Return queries [B, K, R, D], keys and values [B, 2, K, D] and what to fill, as views.

        Where every prompt has as many answers, they are grouped: making views costs time, too.
        """
        K, seats = place.keys_values.shape[1], self._seats
        queries, new = place.queries.unflatten(1, (K, -1)), place.keys_values.permute(3, 0, 1, 2)
        mixed = place.mixed.unflatten(0, (K, -1)).permute(3, 0, 1, 2)
        if not seats.is_even:
            return queries, new, mixed
        return seats.grouped(queries), seats.grouped(new), seats.grouped(mixed)

    def attend(self, i: int) -> None:
        """Attend over a prompt and all its answers at once; each sees its own. See `Cache`."""
        seats, (queries, new, mixed) = self._seats, self._views[i]
        if not seats.is_even:
            queries, new = seats.grouped(queries), seats.grouped(new)
        self._put(self._layers[i], new, self._seen)
        P, G, K, R, D = queries.shape
        # contiguous: one answer or head is a view, and attention takes its last stride for 1
        q = queries.transpose(1, 2).reshape(P, K, G * R, D).contiguous()
        end = self._first + (self._seen + 1) * G
        keys, values = self._pairs[i]
        mask = self._mask(R, q.dtype).narrow(3, 0, end)
        found, _ = _attention(
            q, keys.narrow(2, 0, end), values.narrow(2, 0, end), 0.0, False,
            attn_mask=mask, scale=self._scales[i],
        )  # fmt: skip
        mixed.copy_(seats.rows_of(found.view(P, K, G, R, D)))

    def _mask(self, R: int, dtype: torch.dtype) -> "Tensor":
        """Return 0 where answer g's heads may see a column, else -inf. Shapes: [P or 1, 1, G·R, all]."""
        if R not in self._masks:
            G = self._seats.most
            others = torch.arange(self._columns)[None] % G != torch.arange(G * R)[:, None] // R
            own = torch.zeros(others.shape, dtype=dtype).masked_fill_(others, -torch.inf)
            prompt = self._seats.bias(dtype)
            if prompt is None:
                prompt = own.new_zeros(1, 1, 1, self._first)
            parts = [prompt.expand(-1, 1, G * R, -1), own.expand(prompt.shape[0], 1, -1, -1)]
            self._masks[R] = torch.cat(parts, -1)
        return self._masks[R]

    def step(self) -> None:
        """Go on to the next token."""
        self._seen += 1

    def kept(self, i: int, chosen: "Tensor") -> "Tensor":
        """Return the own tokens of some answers in layer i. Shapes: [2, chosen, K, S, D]."""
        seats, G = self._seats, self._seats.most
        own = self._layers[i].narrow(3, self._first, self._seen * G).unflatten(3, (-1, G))
        found = own.permute(1, 4, 0, 2, 3, 5)[seats.owner[chosen], seats.slot[chosen]]
        return found.transpose(0, 1)


class Joined:
    """Two tensors per layer: the prompts', and each answer's own; for many or long answers."""

    def __init__(self, parts: Parts, room: int) -> None:
        self._seats, self._seen = parts.seats, parts.seen
        self._places, self._scales = parts.places, parts.scales
        chosen, L = torch.tensor(parts.seats.prompts), parts.seats.longest
        whole = len(chosen) == parts.prompts[0].shape[1]
        self._prompts = [t[:, :, :, :L] if whole else t[:, chosen, :, :L] for t in parts.prompts]
        B = len(parts.seats.owner)
        self._own = [t.new_zeros(2, B, t.shape[2], room, t.shape[4]) for t in parts.prompts]
        for into, own in zip(self._own, parts.own, strict=False):
            into[:, :, :, : self._seen] = own
        self._bias = parts.seats.bias(parts.prompts[0].dtype)

    def attend(self, i: int) -> None:
        """Join attention over the prompt, shared by its answers, and over an answer's own tokens."""
        seats, place, own, scale = self._seats, self._places[i], self._own[i], self._scales[i]
        own[:, :, :, self._seen] = place.keys_values.permute(0, 3, 1, 2)
        own = own[:, :, :, : self._seen + 1]
        keys, values = self._prompts[i]
        P, K, _, D = keys.shape
        q_BKRD = place.queries.contiguous().unflatten(1, (K, -1))
        G, R = seats.most, q_BKRD.shape[2]
        grouped = seats.grouped(q_BKRD).transpose(1, 2).reshape(P, K, G * R, D).contiguous()
        one, one_log = _attention(grouped, keys, values, 0.0, False, attn_mask=self._bias, scale=scale)  # fmt: skip
        two, two_log = _attention(q_BKRD, own[0], own[1], 0.0, False, scale=scale)
        one = seats.rows_of(one.view(P, K, G, R, D))
        one_log = seats.rows_of(one_log.view(P, K, G, R))
        share = torch.sigmoid(one_log - two_log.view(one_log.shape))[..., None]
        joined = torch.lerp(two.float().view(one.shape), one.float(), share)
        mixed = place.mixed.view(K, R, D, *one.shape[:-3])
        mixed.copy_(joined.movedim((-3, -2, -1), (0, 1, 2)))

    def step(self) -> None:
        """Go on to the next token."""
        self._seen += 1

    def kept(self, i: int, chosen: "Tensor") -> "Tensor":
        """Return the own tokens of some answers in layer i. Shapes: [2, chosen, K, S, D]."""
        return self._own[i][:, chosen, :, : self._seen]
