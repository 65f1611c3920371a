"""A model in memory as a Backend: chats, completions, likelihoods and vectors without a server.

Knows nothing about HTTP or evaluation. All work runs in threads under one lock that changes hands at
every token, so streams go on while a batch runs.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from msgspec import structs

from stead.core.errors import BackendError, BackendTimeout, Interrupted
from stead.core.events import Emit, ignore
from stead.data.mask import chat_needs_bos, mask_tokens
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.inference.backend import Backend
from stead.messages import (
    Choice,
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    Message,
    ModelCard,
    Reply,
    Sampling,
    TokenLogprob,
    Usage,
)
from stead.models import generate, likelihood
from stead.models.generate import Piece, Pieces
from stead.models.row import Completion, context_length
from stead.models.sample import TopTokens
from stead.values import LoadedModel

T = TypeVar("T")
_ANSWER_ROOM = 16  # tokens kept free for an answer when a prompt has to be cut


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as ids; `scored` are the positions whose log-probabilities are wanted."""

    request: GenerateRequest
    ids: list[int]
    scored: list[int]
    deviations: tuple[Deviation, ...]


class LocalBackend(Backend):
    """Answer with a loaded model.

    `echo` with `max_tokens=0` generates nothing and returns log-probabilities instead: of every token
    but the first for a prompt (it has nothing before it), and of the last turn, its end token
    included, for a chat that ends with the assistant. Embeddings are the mean of the last layer over
    the tokens, L2-normalized. The model's attention is set to padded for the backend's life.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        template: ChatTemplate,
        tokenizer: TextTokenizer,
        *,
        name: str | None = None,
        emit: Emit = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = loaded.folder.name if name is None else name
        self._loaded = loaded
        self._template = template
        self._tokenizer = tokenizer
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._context = context_length(loaded)
        bos = (
            tokenizer.bos_id
            if chat_needs_bos(tokenizer, is_default_template=template.is_default)
            else None
        )
        self._chat_bos = () if bos is None else (bos,)
        ending = template.end_of_turn().strip()
        # An end of turn that is one token is among the stop ids; one of several is a stop string.
        self._endings = (ending,) if len(tokenizer.encode(ending).ids) > 1 else ()
        if loaded.model.config._attn_implementation not in ("sdpa", "eager"):
            loaded.model.set_attn_implementation("sdpa")

    @classmethod
    def of(
        cls, loaded: LoadedModel, *, name: str | None = None, emit: Emit = ignore
    ) -> "LocalBackend":
        """Make a backend with the template and tokenizer of the model's own folder."""
        folder = loaded.folder
        template, tokenizer = ChatTemplate.open(folder), TextTokenizer.open(folder)
        return cls(loaded, template, tokenizer, name=name, emit=emit)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return (await self.batch([request], deadline))[0]

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests in shared batches, in order."""
        return await _in_thread(partial(self._batch, list(requests)), deadline)

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; closing the iterator stops the work at the next token."""
        if request.sampling.n != 1:
            raise BackendError("not-supported", "a stream has one answer: n must be 1")
        asked = self._ask(request)
        pieces = generate.stream(
            self._loaded,
            asked.ids,
            self._sampling(request),
            stop_ids=self._tokenizer.stop_ids,
            halt=_halt(deadline),
        )
        head = partial(Chunk, id=_new_id(request), model=self.name, created=int(self._clock()))
        yield head(role="assistant", deviations=asked.deviations)
        count = 0
        try:
            while (piece := await asyncio.to_thread(self._next, pieces)) is not None:
                count += piece.id is not None
                yield head(
                    text=piece.text,
                    finish_reason=piece.finish_reason,
                    logprobs=self._piece_logprobs(piece, request),
                )
        finally:
            pieces.close()
        yield head(usage=Usage(len(asked.ids), count))

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Return one unit vector per input. Raises: BackendError("not-supported") for dimensions."""
        if request.dimensions is not None:
            raise BackendError("not-supported", "this model's vectors cannot be shortened")
        rows = [self._text_ids(each) for each in request.input]
        vectors = await _in_thread(partial(self._embed, rows), deadline)
        usage = Usage(prompt_tokens=sum(map(len, rows)))
        return EmbedReply(model=self.name, vectors=tuple(map(tuple, vectors)), usage=usage)

    async def models(self) -> list[ModelCard]:
        """Name the one model."""
        able = ("chat", "completion", "embedding", "logprobs")
        return [ModelCard(id=self.name, context_length=self._context, capabilities=able)]

    def _next(self, pieces: Pieces) -> Piece | None:
        with self._lock:
            return next(pieces, None)

    def _embed(self, rows: list[list[int]], check: Callable[[], None]) -> list[list[float]]:
        with self._lock:
            return likelihood.embed(self._loaded, rows, halt=self._turns(check))

    def _turns(self, check: Callable[[], None]) -> Callable[[], None]:
        """Return a `halt` that also lets a waiting stream have the model for a token."""

        def halt() -> None:
            check()
            self._lock.release()
            time.sleep(0)
            self._lock.acquire()

        return halt

    def _batch(self, requests: list[GenerateRequest], check: Callable[[], None]) -> list[Reply]:
        asked = [self._ask(request) for request in requests]
        replies: dict[int, Reply] = {}
        with self._lock:
            halt = self._turns(check)
            scoring = [i for i, a in enumerate(asked) if _is_scoring(a.request)]
            writing = [i for i, a in enumerate(asked) if not _is_scoring(a.request)]
            for i, values in zip(
                scoring, self._score([asked[i] for i in scoring], halt), strict=True
            ):
                replies[i] = self._scored_reply(asked[i], values)
            for i, found in zip(
                writing, self._write([asked[i] for i in writing], halt), strict=True
            ):
                replies[i] = self._reply(asked[i], found)
        return [replies[i] for i in range(len(asked))]

    def _write(self, asked: list[_Asked], halt: Callable[[], None]) -> list[list[Completion]]:
        if not asked:
            return []
        rows = [
            generate.row(self._loaded, a.ids, self._sampling(a.request), choice=choice)
            for a in asked
            for choice in range(a.request.sampling.n)
        ]
        stops = self._tokenizer.stop_ids
        found = iter(
            generate.complete(self._loaded, rows, stop_ids=stops, emit=self._emit, halt=halt)
        )
        return [[next(found) for _ in range(a.request.sampling.n)] for a in asked]

    def _score(self, asked: list[_Asked], halt: Callable[[], None]) -> list[list[float]]:
        """Return the log-probabilities of each request's scored positions.

        A text longer than the context is read in windows that overlap by one token, so that each
        token but the very first is scored once.
        """
        if not asked:
            return []
        cuts = [_windows(len(a.ids), self._context) for a in asked]
        rows = [a.ids[s:e] for a, spans in zip(asked, cuts, strict=True) for s, e in spans]
        starts = [
            min([p - s for p in a.scored if s < p < e], default=max(1, e - s - 1))
            for a, spans in zip(asked, cuts, strict=True)
            for s, e in spans
        ]
        flat = likelihood.score(self._loaded, rows, starts, emit=self._emit, halt=halt)
        values = iter(zip(starts, flat, strict=True))
        results = []
        for a, spans in zip(asked, cuts, strict=True):
            at: dict[int, float] = {}
            for (s, _), (start, logprobs) in zip(spans, values, strict=False):
                at |= {s + start + k: value for k, value in enumerate(logprobs)}
            results.append([at[p] for p in a.scored])
        return results

    def _ask(self, request: GenerateRequest) -> _Asked:
        dropped = tuple(
            Deviation("param_dropped", f"{name} has no meaning for this model")
            for name in ("response_format", "tool_choice")
            if getattr(request, name) is not None
        )
        if _is_scoring(request):
            ids, scored = self._scored_ids(request)
            cut: tuple[Deviation, ...] = ()
            if len(ids) > self._context:
                cut = (Deviation("input_windowed", f"{len(ids)} tokens, context {self._context}"),)
            asked = _Asked(request, ids, scored, dropped + cut)
        else:
            ids = self._prompt_ids(request)
            room = self._context - _room(request, self._context)
            if len(ids) > room:
                text = f"the first {len(ids) - room} of {len(ids)} prompt tokens were cut"
                dropped = (*dropped, Deviation("input_truncated", text))
                ids = ids[-room:]
            asked = _Asked(request, ids, [], dropped)
        if request.strict and asked.deviations:
            first = asked.deviations[0]
            raise BackendError("deviation", f"{first.kind}: {first.detail} (strict was asked for)")
        return asked

    def _sampling(self, request: GenerateRequest) -> Sampling:
        if request.messages is None or not self._endings:
            return request.sampling
        return structs.replace(request.sampling, stop=(*request.sampling.stop, *self._endings))

    def _prompt_ids(self, request: GenerateRequest) -> list[int]:
        if request.messages is None:
            return self._text_ids("" if request.prompt is None else request.prompt)
        text = self._template.render(request.messages, request.tools, add_generation_prompt=True)
        return [*self._chat_bos, *self._tokenizer.encode(text).ids]

    def _text_ids(self, text: str | tuple[int, ...]) -> list[int]:
        """Encode plain text as the model expects it: with BOS where its tokenizer adds one."""
        if not isinstance(text, str):
            return list(text)
        ids = self._tokenizer.encode(text).ids
        bos = self._tokenizer.bos_id
        wants_bos = self._tokenizer.adds_bos or not ids
        return [bos, *ids] if wants_bos and bos is not None and ids[:1] != [bos] else ids

    def _scored_ids(self, request: GenerateRequest) -> tuple[list[int], list[int]]:
        if request.messages is None:
            ids = self._prompt_ids(request)
            return ids, list(range(1, len(ids)))
        if request.messages[-1].role != "assistant":
            raise BackendError("nothing-to-score", "a chat is scored on its last turn, an answer")
        shown = self._template.render_masked(request.messages, request.tools, train="last")
        masked = mask_tokens(shown.text, self._tokenizer.encode(shown.text), shown.spans)
        first = len(self._chat_bos)
        scored = [first + i for i, on in enumerate(masked.mask) if on and first + i > 0]
        return [*self._chat_bos, *masked.ids], scored

    def _reply(self, asked: _Asked, found: list[Completion]) -> Reply:
        echo = ""
        if asked.request.echo and asked.request.messages is None:
            echo = self._tokenizer.decode(asked.ids)
        choices = tuple(
            Choice(
                i,
                Message(role="assistant", content=echo + one.text),
                one.finish_reason,
                tuple(map(self._logprob, one.ids, one.logprobs, one.top)),
            )
            for i, one in enumerate(found)
        )
        usage = Usage(len(asked.ids), sum(len(one.ids) for one in found))
        return self._envelope(asked, choices, usage)

    def _scored_reply(self, asked: _Asked, values: list[float]) -> Reply:
        logprobs = tuple(
            self._logprob(asked.ids[p], value, ())
            for p, value in zip(asked.scored, values, strict=True)
        )
        text = self._tokenizer.decode([asked.ids[p] for p in asked.scored])
        choice = Choice(0, Message(role="assistant", content=text), "length", logprobs)
        return self._envelope(asked, (choice,), Usage(len(asked.ids)))

    def _envelope(self, asked: _Asked, choices: tuple[Choice, ...], usage: Usage) -> Reply:
        return Reply(
            id=_new_id(asked.request),
            model=self.name,
            created=int(self._clock()),
            choices=choices,
            usage=usage,
            deviations=asked.deviations,
        )

    def _logprob(self, token: int, logprob: float, top: TopTokens) -> TokenLogprob:
        def text(i: int) -> str:
            return self._tokenizer.decode([i], skip_special=False)

        return TokenLogprob(text(token), logprob, token, tuple((text(i), v) for i, v in top))

    def _piece_logprobs(self, piece: Piece, request: GenerateRequest) -> tuple[TokenLogprob, ...]:
        if piece.id is None or piece.logprob is None or request.sampling.logprobs is None:
            return ()
        return (self._logprob(piece.id, piece.logprob, piece.top),)


def _is_scoring(request: GenerateRequest) -> bool:
    return request.echo and request.sampling.max_tokens == 0


def _room(request: GenerateRequest, context: int) -> int:
    """Return how many tokens of the context a prompt must leave free."""
    wanted = request.sampling.max_tokens
    return min(_ANSWER_ROOM if wanted is None else max(1, wanted), context // 2)


def _windows(length: int, context: int) -> list[tuple[int, int]]:
    spans = [(0, min(length, context))]
    while spans[-1][1] < length:
        start = spans[-1][1] - 1
        spans.append((start, min(length, start + context)))
    return spans


def _halt(deadline: float | None) -> Callable[[], None]:
    def halt() -> None:
        generate.stop_signal()
        if deadline is not None and time.monotonic() > deadline:
            raise BackendTimeout("deadline", "the deadline of the request has passed")

    return halt


async def _in_thread(work: Callable[[Callable[[], None]], T], deadline: float | None) -> T:
    """Run `work(halt)` in a thread; when the waiting task is cancelled, `halt` ends the work."""
    gone = threading.Event()
    check = _halt(deadline)

    def halt() -> None:
        if gone.is_set():
            raise Interrupted("cancelled", "nobody waits for the answer any more")
        check()

    try:
        return await asyncio.to_thread(work, halt)
    except asyncio.CancelledError:
        gone.set()
        raise


def _new_id(request: GenerateRequest) -> str:
    return ("cmpl-" if request.messages is None else "chatcmpl-") + uuid.uuid4().hex
