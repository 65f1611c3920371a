"""A running batch: rows come in, write a token at a time together, and leave when done.

Knows nothing about where prompts come from. Legend: B rows, T tokens, V vocabulary. Rows are padded
on the left so that all write in one column. Prompts are read in groups of like length, and new rows
take the places of finished ones, so neither padding nor idle rows cost much.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from stead.models import cache as kv
from stead.models.layers import virtual
from stead.models.writing.lora_set import adapted
from stead.models.writing.row import Row, choose
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.cache_utils import Cache

_CACHE_BYTES = 2 << 30  # keys and values of one batch
_ROWS = {"cpu": 64, "cuda": 256, "mps": 64}  # beyond these a step takes longer in proportion
_READ_TOKENS = {"cpu": 1024, "cuda": 16384, "mps": 4096}  # prompt tokens read at once
_PAD = 0  # never attended to; any valid id does


@contextmanager
def inference(loaded: LoadedModel) -> Iterator[None]:
    """Put the model into evaluation mode with padded attention; undo both at the end.

    Training's own attention reads packed rows, which a batch with a cache is not.
    """
    model = loaded.model
    was_training, attention = model.training, model.config._attn_implementation
    packed = attention not in ("sdpa", "eager")
    if was_training:  # walking over all modules at every token costs more than the question
        model.eval()
    if packed:
        model.set_attn_implementation(
            "sdpa" if model._supports_sdpa else "eager"
        )  # Gemma 2 has none
    try:
        with torch.inference_mode():
            yield
    finally:
        if packed:
            model.set_attn_implementation(attention)
        if was_training:
            model.train()


class Batch:
    """The rows being written, their cache, and which columns of each are padding."""

    def __init__(
        self, loaded: LoadedModel, stop_ids: frozenset[int], *, rows: int | None = None,
        budget_bytes: int = _CACHE_BYTES,
    ) -> None:  # fmt: skip
        self._loaded = loaded
        self._places = _ROWS.get(loaded.device.type, 64) if rows is None else rows
        self._budget = budget_bytes
        self._model = loaded.model
        self._config = loaded.model.config.get_text_config()
        self._stop_ids = stop_ids
        self._rows: list[Row] = []
        self._newest: list[int] = []
        self._cache = kv.make(self._config)
        self._pads = torch.zeros(0, dtype=torch.long, device=loaded.device)
        self._seen = 0
        self._plain = kv.is_plain(self._cache)

    def __len__(self) -> int:
        return len(self._rows)

    def join_rows(self, waiting: list[Row]) -> list[Row]:
        """Read as many prompts from the end of `waiting` as fit; return rows that finished at once.

        Without cache of one's own kind rows join only while nothing runs, all in one group.
        """
        most = self._most(waiting)
        finished: list[Row] = []
        while waiting and len(self._rows) < most and (self._plain or not self._rows):
            finished += self._read(self._group(waiting, most - len(self._rows)))
        return finished

    def wants_rows(self, waiting: Sequence[Row]) -> bool:
        """Say whether a quarter of the places is free: joining copies the cache."""
        return not self._rows or (self._plain and len(self._rows) * 4 <= self._most(waiting) * 3)

    def step(self) -> list[Row]:
        """Write one token in every row; return those that finished with it."""
        tokens_BT = torch.tensor(self._newest, device=self._loaded.device)[:, None]
        with adapted([r.adapter for r in self._rows]):
            logits_BV = self._forward(self._cache, tokens_BT, self._pads, self._seen)
        self._seen += 1
        return self._take(logits_BV)

    def drop(self, gone: Callable[[Row], bool]) -> None:
        """Forget rows that nobody waits for any more."""
        kept = [i for i, row in enumerate(self._rows) if not gone(row)]
        if len(kept) < len(self._rows):
            self._newest = [self._newest[i] for i in kept]
            self._leave(kept)

    def _most(self, waiting: Sequence[Row]) -> int:
        longest = max((r.longest for r in (*self._rows, *waiting[-1:])), default=1)
        fitting = self._budget // (longest * cache_bytes_per_token(self._loaded))
        return max(1, min(self._places, fitting))

    def _group(self, waiting: list[Row], free: int) -> list[Row]:
        """Take rows of like length off the end of `waiting`, where the longest are."""
        longest = len(waiting[-1].prompt)
        most = max(1, _READ_TOKENS.get(self._loaded.device.type, 1024) // longest)
        most = most if self._plain else free
        alike = not self._plain and bool(virtual.length(self._model))
        group: list[Row] = []
        prompts = 0
        while waiting and len(group) < free:
            # Padding between virtual tokens and a prompt would count in a sliding window.
            if alike and len(waiting[-1].prompt) != longest:
                break
            prompts += not group or group[-1].prompt != waiting[-1].prompt
            if prompts > most:
                break
            group.append(waiting.pop())
        return group

    def _read(self, group: list[Row]) -> list[Row]:
        """Run the prompts of a group, choose their first tokens, and join them to the batch."""
        index, prompts, adapters = _unlike(group)
        longest = max(map(len, prompts))
        pads = [longest - len(p) for p in prompts]
        rows = [[_PAD] * pad + list(p) for pad, p in zip(pads, prompts, strict=True)]
        device = self._loaded.device
        cache, pads_P = kv.make(self._config), torch.tensor(pads, device=device)
        with adapted(adapters):
            logits_PV = self._forward(cache, torch.tensor(rows, device=device), pads_P, 0)
        kept, newest, finished = self._choose(group, logits_PV[torch.tensor(index, device=device)])
        if kept:
            chosen = [index[i] for i in kept]
            if chosen != list(range(len(prompts))):
                kv.keep(cache, chosen, 0)
            self._join(cache, pads_P[torch.tensor(chosen, device=device)], longest)
            self._rows = [*self._rows, *(group[i] for i in kept)]
            self._newest = [*self._newest, *newest]
        return finished

    def _join(self, cache: "Cache", pads_B: "Tensor", length: int) -> None:
        seen = max(self._seen, length) if self._rows else length
        if self._rows:
            cache = kv.join(self._config, [self._cache, cache])
            pads_B = torch.cat([self._pads + (seen - self._seen), pads_B + (seen - length)])
        self._cache, self._pads, self._seen = cache, pads_B, seen

    def _take(self, logits_BV: "Tensor") -> list[Row]:
        kept, newest, finished = self._choose(self._rows, logits_BV)
        if finished:
            self._leave(kept)
        self._newest = newest
        return finished

    def _choose(
        self, rows: Sequence[Row], logits_BV: "Tensor"
    ) -> tuple[list[int], list[int], list[Row]]:
        """Pick a token per row; return who goes on, their tokens, and who finished."""
        done = choose(rows, logits_BV, self._stop_ids)
        kept = [i for i, over in enumerate(done) if not over]
        return kept, [rows[i].ids[-1] for i in kept], [rows[i] for i in range(len(rows)) if done[i]]

    def _leave(self, kept: list[int]) -> None:
        """Let finished rows go, and the columns that only they used."""
        if not kept:
            self._rows, self._cache, self._seen = [], kv.make(self._config), 0
            return
        self._pads = self._pads[torch.tensor(kept, device=self._pads.device)]
        drop = int(self._pads.min()) if self._plain else 0
        kv.keep(self._cache, kept, drop)
        self._pads, self._seen = self._pads - drop, self._seen - drop
        self._rows = [self._rows[i] for i in kept]

    def _forward(
        self, cache: "Cache", tokens_BT: "Tensor", pads_B: "Tensor", seen: int
    ) -> "Tensor":
        """Run the model on the newest tokens; return the logits after the last. Shape: [B, V]."""
        new = tokens_BT.shape[1]
        columns_T = torch.arange(seen + new, device=tokens_BT.device)
        real_BT = columns_T[None, :] >= pads_B[:, None] if bool(pads_B.any()) else None
        out = self._model(
            input_ids=tokens_BT,
            attention_mask=self._mask(real_BT, new),
            position_ids=(columns_T[None, seen:] - pads_B[:, None]).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def _mask(self, real_BT: "Tensor | None", new: int) -> "Tensor | None":
        """Give single tokens of plain models their finished mask: building it anew costs more."""
        if real_BT is None or new > 1 or not self._plain:
            return real_BT
        if self._model.config._attn_implementation != "sdpa":
            return real_BT
        return real_BT[:, None, None, :]


def _unlike(group: Sequence[Row]) -> tuple[list[int], list[list[int]], list[Any]]:
    """Return each row's place among the prompts that differ, those, and their adapters.

    A prompt is read once for all its rows. Any: a `lora_set.Lora` or None.
    """
    places: dict[tuple[int, tuple[int, ...]], int] = {}
    prompts: list[list[int]] = []
    adapters, index = [], []
    for row in group:
        key = (id(row.adapter), tuple(row.prompt))
        if key not in places:
            places[key] = len(prompts)
            prompts.append(row.prompt)
            adapters.append(row.adapter)
        index.append(places[key])
    return index, prompts, adapters


def cache_bytes_per_token(loaded: LoadedModel) -> int:
    """Return what one token's keys and values take in all layers."""
    config = loaded.model.config.get_text_config()
    heads, dim = (getattr(config, name, None) for name in ("num_key_value_heads", "head_dim"))
    heads = config.num_attention_heads if heads is None else heads
    dim = (
        config.hidden_size // config.num_attention_heads if dim is None else dim
    )  # Mixtral's is None
    return int(2 * config.num_hidden_layers * heads * dim * loaded.dtype.itemsize)
