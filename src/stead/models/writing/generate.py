"""Write answers with a model in memory: many prompts at once, or one token by token.

Knows nothing about chats, templates or endpoints: ids in, ids and text out.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from stead.core.errors import Interrupted
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.core.process import stop_requested
from stead.messages import Sampling
from stead.models.writing.batch import Batch, inference
from stead.models.writing.row import Completion, Row, context_length
from stead.models.writing.sample import TopTokens
from stead.values import LoadedModel

__all__ = ["Completion", "Piece", "complete", "context_length", "generate", "row", "stream"]

Halt = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """One streamed token (`id` None: only held-back text); the last has a finish reason."""

    id: int | None
    text: str
    logprob: float | None = None
    top: TopTokens = ()
    finish_reason: Literal["stop", "length"] | None = None


Pieces = Generator[Piece, None, None]


def stop_signal() -> None:
    """Raise Interrupted when the worker was asked to stop: the default `halt`."""
    if stop_requested.is_set():
        raise Interrupted("interrupted", "the generation was stopped")


def to_the_end() -> None:
    """Let nothing end the writing: a `halt` for where a stop is seen later, when the state can be saved."""


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
    rows = [Row(loaded, p, s, 0) for p, s in zip(prompts, each, strict=True)]
    return complete(loaded, rows, stop_ids=stop_ids, emit=emit, halt=halt)


def complete(
    loaded: LoadedModel,
    rows: Sequence[Row],
    *,
    stop_ids: Sequence[int],
    emit: Emit = ignore,
    halt: Halt = stop_signal,
) -> list[Completion]:
    """Answer rows made by `row`."""
    emit(Started(stage="generate", total=len(rows), unit="row"))
    waiting = sorted((r for r in rows if r.reason is None), key=lambda r: len(r.prompt))
    done = len(rows) - len(waiting)
    tokens = 0
    with inference(loaded):
        batch = Batch(loaded, frozenset(stop_ids))
        while waiting or len(batch):
            halt()
            wanted = bool(waiting) and batch.wants_rows(waiting)
            finished = batch.join_rows(waiting) if wanted else batch.step()
            done += len(finished)
            tokens += sum(len(r.ids) for r in finished)
            if finished:
                emit(Progress(stage="generate", done=done, values={"tokens": tokens}))
    emit(Finished(stage="generate", result={"rows": done, "tokens": tokens}))
    return [r.completion() for r in rows]


def row(loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, *, choice: int = 0) -> Row:
    """Make one row for `complete`; `choice` numbers the answers when several are wanted."""
    return Row(loaded, prompt, sampling, choice)


def stream(
    loaded: LoadedModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    stop_ids: Sequence[int] = (),
    halt: Halt = stop_signal,
) -> Pieces:
    """Answer one prompt token by token; close the iterator to cancel.

    The pieces' text adds up to `Completion.text` of the same request. The model is put into
    evaluation mode around each step only, so several streams and batches may take turns.
    """
    one = Row(loaded, prompt, sampling, 0)
    batch = Batch(loaded, frozenset(stop_ids))
    waiting = [one] if one.reason is None else []
    while waiting or len(batch):
        halt()
        before = len(one.ids)
        with inference(loaded):
            batch.join_rows(waiting) if waiting else batch.step()
        if len(one.ids) > before:
            newest = one.picked[-1]
            yield Piece(newest.id, one.text_of(before), newest.logprob, newest.top)
    yield Piece(None, one.rest(), finish_reason="length" if one.reason is None else one.reason)
