"""Write answers with fused layers: one prompt read once, all its answers a token at a time together.

Knows nothing about rewards or training. Computes with the packed matrices of `fused`, low-rank parts
included, so what it draws from is what training computes, up to rounding. Legend: P prompts,
B answers being written, H query heads, K key heads, D head size. `answer_cache` keeps keys and values.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from stead.core import seeds
from stead.core.errors import ModelError
from stead.messages import Sampling
from stead.models import products
from stead.models.attention import attend
from stead.models.fused import FusedLayer, rms_norm, signed_sin, split_heads
from stead.models.layers import virtual
from stead.models.learner import head_of
from stead.models.segments import Segments
from stead.models.writing import answer_cache
from stead.models.writing.columns import Columns
from stead.models.writing.sample import draw
from stead.models.writing.steps import FEW, finish, turned_heads
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_STEP = 64  # prompt tokens are filled up to this: oneDNN compiles a kernel for each new shape
_ROWS = 8  # places of finished answers are given up in multiples of this, for the same reason
_READ_TOKENS = 2048  # prompt tokens read at once
_SHARED_BYTES = 1 << 20  # a product that reads less is not worth a barrier between threads
_LANE_ROWS = 32  # fewer answers than this are not worth a lane of their own
_ROPE = ("default", "linear", "llama3", "yarn")  # turns that do not depend on the batch's length
Halt = Callable[[], None]
Answer = tuple[tuple[int, ...], tuple[float, ...], bool]  # ids, log-probabilities, stopped


def fits(loaded: LoadedModel) -> bool:
    """Say whether every layer of the model is fused, without a window, and its head is plain."""
    if not could_fit(loaded):
        return False
    fused = [x.__dict__.get("_stead") for x in loaded.model.get_decoder().layers]
    return all(f is not None and f.window is None for f in fused)


def could_fit(loaded: LoadedModel) -> bool:
    """Say whether all but the layers themselves is as it has to be, before anything is changed."""
    decoder = loaded.model.get_decoder()
    if virtual.length(loaded.model):  # `generate` puts virtual tokens into the cache
        return False
    if getattr(decoder, "layers", None) is None or loaded.device.type != "cpu":
        return False
    rope = getattr(loaded.model.config, "rope_parameters", None)
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
    return kind in _ROPE and head_of(loaded.model).is_plain


def write(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], each: Sequence[Sequence[int]],
    sampling: Sampling, stop_ids: Sequence[int], halt: Halt,
) -> list[list[Answer]]:  # fmt: skip
    """Answer prompt i once per seed in `each[i]`. Raises: ModelError("prompt-length")."""
    context = int(loaded.model.config.max_position_embeddings)
    longest = max(map(len, prompts))
    if not min(map(len, prompts)) or longest >= context:
        raise ModelError(
            "prompt-length",
            f"prompts of {min(map(len, prompts))} to {longest} tokens do not fit a context of "
            f"{context} (at least 1 token in, 1 out)",
        )
    wanted = context if sampling.max_tokens is None else sampling.max_tokens

    def work(part: slice) -> list[list[Answer]]:
        with torch.inference_mode():
            writer = _Writer(loaded, prompts[part], each[part], sampling, frozenset(stop_ids))
            writer.write([min(wanted, context - len(p)) for p in prompts[part]], halt)
        return writer.answers()

    parts = _lanes([len(group) for group in each])
    if len(parts) == 1 and (torch.get_num_threads() == 1 or not _is_small(loaded)):
        return work(parts[0])
    with ThreadPoolExecutor(len(parts), "write", torch.set_num_threads, (1,)) as pool:
        return [group for found in pool.map(work, parts) for group in found]


def _is_small(loaded: LoadedModel) -> bool:
    """Say whether a layer's largest product is too short to be shared among threads.

    Threads of one product wait for one another: a busy core then costs a time slice per product.
    """
    fused: FusedLayer = loaded.model.get_decoder().layers[0]._stead
    sizes = [p.matrix.numel() * p.matrix.itemsize for p in (fused.qkv, fused.up, fused.down)]
    return bool(max(sizes) < _SHARED_BYTES)


def _lanes(answers: Sequence[int]) -> list[slice]:
    """Share prompts among as many lanes as there are threads, when each gets enough answers.

    Lanes of one thread never wait for one another, as the threads of one operation do. Few answers
    stay together: a lane reads all weights for its own rows.
    """
    lanes = min(torch.get_num_threads(), sum(answers) // _LANE_ROWS, len(answers))
    edges = [0]
    for lane in range(1, max(1, lanes)):
        wanted, done = sum(answers) * lane / lanes, 0
        for place, count in enumerate(answers):
            done += count
            if done >= wanted:
                edges.append(place + 1)
                break
    edges = sorted({*edges, len(answers)})
    return [slice(a, b) for a, b in pairwise(edges)]


@dataclass(slots=True)
class _Row:
    """One answer being written."""

    prompt: int
    seed: int
    ids: list[int]
    logprobs: list[float]
    stopped: bool = False


class _Writer:
    """The state of one call: prompts' and answers' keys and values, and who is still writing."""

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[Sequence[int]],
        each: Sequence[Sequence[int]], sampling: Sampling, stop_ids: frozenset[int],
    ) -> None:  # fmt: skip
        self.decoder = decoder = loaded.model.get_decoder()
        self.embed, self.norm = decoder.embed_tokens, decoder.norm
        self.layers = [(layer, layer._stead) for layer in decoder.layers]
        self.head = head_of(loaded.model)
        self.dtype = loaded.dtype
        self.sampling, self.stop_ids = sampling, stop_ids
        self.rows = [_Row(p, s, [], []) for p, group in enumerate(each) for s in group]
        self.prompts = [list(p) for p in prompts]
        self.lengths = torch.tensor([len(p) for p in prompts])
        self.turns = self._turns(decoder)
        self.prefix: list[Tensor] = []

    def _turns(self, decoder: Any) -> tuple["Tensor", "Tensor"]:
        """Return cos and signed sin of every position that can occur. Shapes: [positions, D]."""
        wanted = self.sampling.max_tokens
        most = int(self.lengths.max()) + (wanted if wanted is not None else 0)
        most = min(max(most, 1), decoder.config.max_position_embeddings) + _STEP
        positions = torch.arange(most)[None]
        like = torch.zeros(1, 1, dtype=self.dtype)
        cos, sin = decoder.rotary_emb(like, positions)
        return cos[0], signed_sin(sin[0])

    def _room(self, tokens: int) -> list["Tensor"]:
        """Return zeros for each layer's keys and values of prompts, with room for woven answers.

        Shapes: [2, P, K, room, D] each.
        """
        P, count = len(self.prompts), Counter(row.prompt for row in self.rows)
        room = int(self.lengths.max()) + answer_cache.room_for(max(count.values()), tokens)[0]
        return [torch.zeros(2, P, f.key_heads, room, f.D, dtype=self.dtype) for _, f in self.layers]

    def answers(self) -> list[list[Answer]]:
        """Return what was written, by prompt."""
        found: list[list[Answer]] = [[] for _ in self.prompts]
        for row in self.rows:
            found[row.prompt].append((tuple(row.ids), tuple(row.logprobs), row.stopped))
        return found

    def write(self, limits: Sequence[int], halt: Halt) -> None:
        """Write until every answer has stopped or reached its limit (by prompt)."""
        self.prefix = self._room(max(limits))
        hidden_PE = self._read()
        owner = [row.prompt for row in self.rows]
        live = self._choose(self.rows, self._logits(hidden_PE)[owner], limits)
        if not live:
            return
        batch = _Live(self, live, max(limits))
        while batch.rows:
            halt()
            batch.keep(self._choose(batch.rows, batch.advance(), limits))

    def _choose(
        self, rows: Sequence[_Row], logits_BV: "Tensor", limits: Sequence[int]
    ) -> list[_Row]:
        """Draw a token for each row; return those that go on. Finished rows draw and forget."""
        s = self.sampling
        points = [seeds.stream(r.seed, len(r.ids), "token") / 2.0**63 for r in rows]
        temperature = 1.0 if s.temperature is None else s.temperature
        drawn = draw(
            logits_BV, points, temperature=temperature, top_k=s.top_k, top_p=s.top_p, min_p=s.min_p,
        )  # fmt: skip
        going = []
        for row, token, logprob in zip(rows, drawn.ids, drawn.logprobs, strict=True):
            if row.stopped or len(row.ids) >= limits[row.prompt]:
                continue
            row.ids.append(token)
            row.logprobs.append(logprob)
            row.stopped = token in self.stop_ids
            if not row.stopped and len(row.ids) < limits[row.prompt]:
                going.append(row)
        return going

    def _logits(self, hidden: "Tensor") -> "Tensor":
        """Return the logits of last hidden states. Shapes: [N, E] → [N, V]."""
        normed = torch.empty_like(hidden)
        rms_norm(hidden, self.norm.weight, self.norm.variance_epsilon, normed)
        if normed.shape[0] > FEW:
            return self.head.logits(normed)
        return products.mm(self.head.weight, normed.t()).t().contiguous()

    def _read(self) -> "Tensor":
        """Compute all prompts; return the last hidden state of each. Shapes: [P, E]."""
        found = []
        part: list[int] = []
        for p, ids in enumerate(self.prompts):
            if part and sum(len(self.prompts[i]) for i in part) + len(ids) > _READ_TOKENS:
                found.append(self._read_part(part))
                part = []
            part.append(p)
        found.append(self._read_part(part))
        return torch.cat(found)

    def _read_part(self, part: Sequence[int]) -> "Tensor":
        lengths = [len(self.prompts[p]) for p in part]
        total = sum(lengths)
        more = -total % _STEP
        ids = [t for p in part for t in self.prompts[p]] + [0] * more
        places = [i for n in lengths for i in range(n)] + list(range(more))
        ends = torch.tensor(lengths).cumsum(0).tolist()
        segments = Segments((0, *ends))
        segments = segments.filled(more)
        cos, sin = (t[places] for t in self.turns)
        x = self.embed(torch.tensor(ids))
        for (layer, fused), kept in zip(self.layers, self.prefix, strict=True):
            q, k, v = _heads(layer, fused, x, cos, sin)
            for p, a, b in zip(part, (0, *ends), ends, strict=False):
                kept[0, p, :, : b - a], kept[1, p, :, : b - a] = k[:, a:b], v[:, a:b]
            mixed = fused.out.input(x)
            into = mixed[:, : fused.out.K].view(-1, fused.heads, fused.D).transpose(0, 1)
            attend(q, k, v, segments, fused.scale, None, out=into)
            x = finish(layer, fused, mixed, x)
        return x[torch.tensor(ends) - 1]


class _Live:
    """The answers still being written, their keys and values, and where their prompts lie."""

    def __init__(self, writer: _Writer, rows: list[_Row], tokens: int) -> None:
        self.writer, self.rows, self.seen, self.tokens = writer, rows, 0, tokens
        self._place([])

    def _place(self, own: "list[Tensor]") -> None:
        """Find for each row its prompt's place; `own`: what it has written (see `answer_cache.Parts`)."""
        w = self.writer
        self.columns = Columns(w.decoder, w.head.weight, len(self.rows), w.dtype)
        self.seats = answer_cache.Seats([row.prompt for row in self.rows], w.lengths)
        self.begins = self.seats.lengths[self.seats.owner]
        scales = [fused.scale for _, fused in w.layers]
        parts = answer_cache.Parts(self.seats, self.columns.layers, scales, w.prefix, own)
        self.cache = answer_cache.cache(parts, self.tokens)

    def keep(self, going: list[_Row]) -> None:
        """Let finished rows go once an eighth has; until then they are computed and forgotten."""
        if not going:
            self.rows = []
            return
        if len(going) * 8 > len(self.rows) * 7 and len(self.rows) > _ROWS:
            return
        alive = {id(r) for r in going}
        chosen = [i for i, r in enumerate(self.rows) if id(r) in alive]
        least = -(-len(chosen) // _ROWS) * _ROWS
        rest = [i for i in range(len(self.rows)) if i not in set(chosen)]
        chosen = sorted(chosen + rest[: least - len(chosen)])
        if len(chosen) == len(self.rows):
            return
        index = torch.tensor(chosen)
        own = [self.cache.kept(i, index) for i in range(len(self.columns.layers))]
        self.rows = [self.rows[i] for i in chosen]
        self._place(own)

    def advance(self) -> "Tensor":
        """Compute every row's newest token; return its logits. Shapes: [B, V]."""
        w, step = self.writer, self.columns
        x = step.begin([r.ids[-1] for r in self.rows])
        place = (self.begins + self.seen).clamp(max=len(w.turns[0]) - 1)
        cos, sin = (t[place].t().reshape(1, 2, -1, len(self.rows)) for t in w.turns)
        for i, layer in enumerate(step.layers):
            layer.turned(x, cos, sin)
            self.cache.attend(i)
            layer.finish_(x)
        self.cache.step()
        self.seen += 1
        return step.logits()


def _heads(
    layer: Any, fused: FusedLayer, x: "Tensor", cos: "Tensor", sin: "Tensor"
) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Return turned queries and keys, and values. Shapes: x [T, E] → [H, T, D], [K, T, D] twice."""
    return split_heads(turned_heads(layer, fused, x, cos, sin), fused)
