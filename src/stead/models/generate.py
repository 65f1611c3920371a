"""Write answers with a model in memory: many prompts at once, or one token by token.

Knows nothing about chats, templates or endpoints: ids in, ids and text out. Legend: B rows, T tokens,
V vocabulary. Rows are padded on the left, sorted by length; a finished row leaves the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from stead.core.errors import Interrupted, ModelError
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.core.process import stop_requested
from stead.messages import Sampling
from stead.models import cache as kv
from stead.models.detokenize import Detokenizer, StopText
from stead.models.sample import Picked, Rule, TopTokens, pick
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.cache_utils import Cache

_CACHE_BYTES = 2 << 30  # keys and values of one batch
_ROWS = {"cpu": 64, "cuda": 256, "mps": 64}  # beyond these a step takes longer in proportion
Halt = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `ids` are without the stop token; `text` ends before a stop string.

    `logprobs` (natural logs, one per id) and `top` only where `Sampling.logprobs` was given.
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: tuple[float, ...] = ()
    top: tuple[TopTokens, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One streamed token (`id` None: only held-back text); the last has a finish reason."""

    id: int | None
    text: str
    logprob: float | None = None
    top: TopTokens = ()
    finish_reason: Literal["stop", "length"] | None = None


def stop_signal() -> None:
    """Raise Interrupted when the worker was asked to stop: the default `halt`."""
    if stop_requested.is_set():
        raise Interrupted("interrupted", "the generation was stopped")


class _Row:
    """One prompt and what has been written for it."""

    def __init__(self, loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, choice: int):
        room = context_length(loaded) - len(prompt)
        if not prompt or room < 1:
            raise ModelError(
                "prompt-length",
                f"a prompt of {len(prompt)} tokens does not fit a context of "
                f"{context_length(loaded)} (at least 1 token in, 1 out)",
            )
        self.prompt = list(prompt)
        self.rule = Rule.of(sampling, choice=choice)
        self.limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        self.picked: list[Picked] = []
        self.ids: list[int] = []
        self.shown: list[str] = []
        self.reason: Literal["stop", "length"] | None = None if self.limit > 0 else "length"
        self._detokenizer = Detokenizer(decoder(loaded))
        self._stop = StopText(sampling.stop)
        self._eager = bool(sampling.stop)

    def accept(self, picked: Picked, stop_ids: frozenset[int]) -> bool:
        """Take a token unless finished before; say whether it finished the row."""
        if self.reason is not None:
            return False
        if picked.id in stop_ids:
            self.reason = "stop"
            return True
        self.picked.append(picked)
        self.ids.append(picked.id)
        if self._eager:
            self.show()
        if self._stop.stopped:
            self.reason = "stop"
        elif len(self.ids) >= self.limit:
            self.reason = "length"
        return self.reason is not None

    def show(self) -> str:
        """Turn the newest id into text that may be shown."""
        piece = self._stop.push(self._detokenizer.push(self.ids[-1]))
        self.shown.append(piece)
        return piece

    def rest(self) -> str:
        """Return the text still held back at the end."""
        if self._stop.stopped:
            return ""
        piece = self._stop.push(self._detokenizer.flush())
        return piece if self._stop.stopped else piece + self._stop.flush()

    def completion(self, decode: Callable[[Sequence[int]], str]) -> Completion:
        text = "".join(self.shown) + self.rest() if self._eager else decode(self.ids)
        wanted = self.rule.logprobs is not None
        return Completion(
            tuple(self.ids),
            text,
            "length" if self.reason is None else self.reason,
            tuple(p.logprob for p in self.picked if p.logprob is not None) if wanted else (),
            tuple(p.top for p in self.picked) if wanted else (),
        )


def decoder(loaded: LoadedModel) -> Callable[[Sequence[int]], str]:
    """Return ids → text without special tokens and without any clean-up of spaces."""

    def decode(ids: Sequence[int]) -> str:
        return str(
            loaded.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    return decode


def context_length(loaded: LoadedModel) -> int:
    """Return how many tokens prompt and answer may have together."""
    return int(getattr(loaded.model.config, "max_position_embeddings", 1 << 30))


@contextmanager
def inference(loaded: LoadedModel) -> Iterator[None]:
    """Put the model into evaluation mode with padded attention; undo both at the end.

    Training's own attention reads packed rows, which a batch with a cache is not.
    """
    model = loaded.model
    was_training, attention = model.training, model.config._attn_implementation
    packed = attention not in ("sdpa", "eager")
    model.eval()
    if packed:
        model.set_attn_implementation("sdpa")
    try:
        with torch.inference_mode():
            yield
    finally:
        if packed:
            model.set_attn_implementation(attention)
        model.train(was_training)


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    samplings: Sampling | Sequence[Sampling],
    *,
    stop_ids: Sequence[int] = (),
    emit: Emit = ignore,
    halt: Halt = stop_signal,
) -> list[Completion]:
    """Answer every prompt, in order; one `Sampling` for all or one each. `n` is the caller's loop.

    A row's answer does not depend on the others, up to rounding of the model's own arithmetic.
    `halt` is called at every token and may raise. Raises: ModelError("prompt-length").
    """
    each = [samplings] * len(prompts) if isinstance(samplings, Sampling) else list(samplings)
    rows = [_Row(loaded, p, s, 0) for p, s in zip(prompts, each, strict=True)]
    return complete(loaded, rows, stop_ids=stop_ids, emit=emit, halt=halt)


def complete(
    loaded: LoadedModel,
    rows: Sequence[_Row],
    *,
    stop_ids: Sequence[int],
    emit: Emit = ignore,
    halt: Halt = stop_signal,
) -> list[Completion]:
    """Answer rows made by `row`."""
    emit(Started(stage="generate", total=len(rows), unit="row"))
    done = tokens = 0
    stops, decode = frozenset(stop_ids), decoder(loaded)
    with inference(loaded):
        for batch in _batches(loaded, rows):
            for finished in _decode(loaded, batch, stops, halt):
                done += len(finished)
                tokens += sum(len(r.ids) for r in finished)
                if finished:
                    emit(Progress(stage="generate", done=done, values={"tokens": tokens}))
    emit(Finished(stage="generate", result={"rows": done, "tokens": tokens}))
    return [r.completion(decode) for r in rows]


def row(loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, *, choice: int = 0) -> _Row:
    """Make one row for `complete`; `choice` numbers the answers when several are wanted."""
    return _Row(loaded, prompt, sampling, choice)


def stream(
    loaded: LoadedModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop_ids: Sequence[int] = (),
    halt: Halt = stop_signal,
) -> Iterator[Piece]:
    """Answer one prompt token by token; close the iterator to cancel.

    The pieces' text adds up to `Completion.text` of the same request. The model is put into
    evaluation mode around each step only, so several streams and batches may take turns.
    """
    one = _Row(loaded, prompt, sampling, 0)
    steps = _decode(loaded, [one], frozenset(stop_ids), halt)
    while one.reason is None:
        before = len(one.ids)
        with inference(loaded):
            next(steps, None)
        if len(one.ids) == before:
            break
        text = one.shown[-1] if sampling.stop else one.show()
        newest = one.picked[-1]
        yield Piece(newest.id, text, newest.logprob, newest.top)
    yield Piece(None, one.rest(), finish_reason="length" if one.reason is None else one.reason)


def _batches(loaded: LoadedModel, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Cut rows, longest first, into batches whose cache fits."""
    most = _ROWS.get(loaded.device.type, 64)
    per_token = _cache_bytes_per_token(loaded)
    batch: list[_Row] = []
    longest = 0
    for each in sorted(rows, key=lambda r: len(r.prompt) + r.limit, reverse=True):
        length = max(longest, len(each.prompt) + min(each.limit, 1024))
        full = len(batch) >= most or (len(batch) + 1) * length * per_token > _CACHE_BYTES
        if batch and full:
            yield batch
            batch, length = [], len(each.prompt) + each.limit
        batch.append(each)
        longest = length
    if batch:
        yield batch


def _cache_bytes_per_token(loaded: LoadedModel) -> int:
    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * dim * loaded.dtype.itemsize)


def _decode(
    loaded: LoadedModel, rows: list[_Row], stop_ids: frozenset[int], halt: Halt
) -> Iterator[list[_Row]]:
    """Run one batch to its end; after each token yield the rows that finished with it."""
    rows = [r for r in rows if r.reason is None]
    if not rows:
        return
    state = _State(loaded, rows)
    tokens_BT = state.prompt
    while True:
        halt()
        logits_BV = state.step(tokens_BT)
        picked = pick(logits_BV, state.rules, state.prompts, state.answers)
        taken = zip(state.rows, picked, strict=True)
        finished = [each for each, token in taken if each.accept(token, stop_ids)]
        last = [token.id for token in picked]
        alive = [i for i, each in enumerate(state.rows) if each.reason is None]
        # Below an eighth gone, copying the cache costs more than the idle rows.
        if alive and len(alive) * 8 <= len(state.rows) * 7:
            state.keep(alive)
            last = [last[i] for i in alive]
        yield finished
        if not alive:
            return
        tokens_BT = torch.tensor(last, device=loaded.device)[:, None]


class _State:
    """A running batch: rows, cache, and which columns of each row are real."""

    def __init__(self, loaded: LoadedModel, rows: list[_Row]) -> None:
        self._model = loaded.model
        self._cache: Cache = kv.make(loaded.model.config.get_text_config())
        longest = max(len(r.prompt) for r in rows)
        pads = [longest - len(r.prompt) for r in rows]
        pad_id = 0  # never attended to; any valid id does
        self.prompt = torch.tensor(
            [[pad_id] * pad + r.prompt for pad, r in zip(pads, rows, strict=True)],
            device=loaded.device,
        )
        self._pads = torch.tensor(pads, device=loaded.device)
        self._seen = 0
        self._set_rows(rows)

    def _set_rows(self, rows: list[_Row]) -> None:
        self.rows = rows
        self.rules = [r.rule for r in rows]
        self.prompts = [r.prompt for r in rows]
        self.answers = [r.ids for r in rows]
        self._padded = bool((self._pads > 0).any())

    def step(self, tokens_BT: "Tensor") -> "Tensor":
        """Run the model on the newest tokens; return the logits after the last. Shape: [B, V]."""
        new = tokens_BT.shape[1]
        columns = torch.arange(self._seen + new, device=tokens_BT.device)
        positions_BT = (columns[None, self._seen :] - self._pads[:, None]).clamp(min=0)
        real_BT = (columns[None, :] >= self._pads[:, None]) if self._padded else None
        self._seen += new
        out = self._model(
            input_ids=tokens_BT,
            attention_mask=self._mask(real_BT, new),
            position_ids=positions_BT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def _mask(self, real_BT: "Tensor | None", new: int) -> "Tensor | None":
        """Give single tokens of plain models their finished mask: building it anew costs more."""
        if real_BT is None or new > 1 or not kv.is_plain(self._cache):
            return real_BT
        if self._model.config._attn_implementation != "sdpa":
            return real_BT
        return real_BT[:, None, None, :]

    def keep(self, alive: list[int]) -> None:
        """Let finished rows leave, and the columns that only they used."""
        self._pads = self._pads[torch.tensor(alive, device=self._pads.device)]
        drop = int(self._pads.min()) if kv.is_plain(self._cache) else 0
        kv.keep(self._cache, alive, drop)
        self._pads = self._pads - drop
        self._seen -= drop
        self._set_rows([self.rows[i] for i in alive])
