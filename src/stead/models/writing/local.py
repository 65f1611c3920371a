"""A model in memory as a Backend: chats, completions, likelihoods and vectors without a server.

Knows nothing about HTTP or evaluation. Answers are written by one thread for all who ask (`schedule`);
likelihoods and vectors take turns with it, a token at a time, under one lock.
"""

import asyncio
import difflib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from stead.core.errors import BackendTimeout, Interrupted, NotFound, UsageError
from stead.core.events import Emit, ignore
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.inference.backend import Backend
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
    Usage,
)
from stead.models import fused
from stead.models.writing import decode, generate, likelihood
from stead.models.writing.answering import Answerer, is_worth_sending, marked_decoder, new_id
from stead.models.writing.constraints import Constraints, Forced
from stead.models.writing.draft import Guesses
from stead.models.writing.lora_set import Lora, LoraSet, adapted
from stead.models.writing.prompting import Asked, Prompter, is_scoring
from stead.models.writing.row import Row, context_length, decoder
from stead.models.writing.schedule import Job, PlainWriter, Scheduler, SlotWriter, Writer
from stead.models.writing.served import Serving
from stead.models.writing.told import Counted, Voice, on_loop, settle
from stead.models.writing.tool_calls import detect
from stead.models.writing.turns import Turns
from stead.values import LoadedModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Task:
    """A request with everything that is needed to write its answers."""

    answerer: Answerer
    lora: Lora | None
    forced: Forced | None

    @property
    def request(self) -> GenerateRequest:
        return self.answerer.request

    @property
    def asked(self) -> Asked:
        return self.answerer.asked


class LocalBackend(Backend):
    """Answer with a loaded model.

    `echo` with `max_tokens=0` generates nothing and returns log-probabilities instead: of every token
    but the first for a prompt (it has nothing before it), and of the last turn, its end token
    included, for a chat that ends with the assistant. Embeddings are the mean of the last layer over
    the tokens, L2-normalized. The model's attention is set to padded for the backend's life.

    With `adapters` the request's model decides: `name`, `name:adapter` or `adapter`, else
    NotFound("model-not-found"). Without, every name means the one model.
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
        serving: Serving | None = None,
        adapters: LoraSet | None = None,
    ) -> None:
        self.name = loaded.folder.name if name is None else name
        self._loaded, self._tokenizer = loaded, tokenizer
        self._emit, self._clock = emit, clock
        self._serving = Serving() if serving is None else serving
        self._adapters = adapters
        self._lock = Turns()
        self.guesses = Guesses()
        self._context = context_length(loaded)
        self._words = int(loaded.model.config.get_text_config().vocab_size)
        self._prompter = Prompter(template, tokenizer, self._context)
        self._form = detect(template.named.get("tool_use", template.source))
        self._constraints = Constraints(tokenizer)
        self._decode = marked_decoder(decoder(loaded), tokenizer, self._form)
        if loaded.model.config._attn_implementation not in ("sdpa", "eager"):
            loaded.model.set_attn_implementation("sdpa")
        self._scheduler = Scheduler(loaded, self._writer, self._lock, queue=self._serving.queue)

    @classmethod
    def of(
        cls, loaded: LoadedModel, *, name: str | None = None, emit: Emit = ignore,
        serving: Serving | None = None, adapters: LoraSet | None = None,
    ) -> "LocalBackend":  # fmt: skip
        """Make a backend with the template and tokenizer of the model's own folder."""
        folder = loaded.folder
        template, tokenizer = ChatTemplate.open(folder), TextTokenizer.open(folder)
        return cls(
            loaded, template, tokenizer, name=name, emit=emit, serving=serving, adapters=adapters
        )

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        return (await self.batch([request], deadline))[0]

    async def batch(
        self, requests: Sequence[GenerateRequest], deadline: float | None = None
    ) -> list[Reply]:
        """Answer many requests together, in order."""
        tasks = await asyncio.to_thread(lambda: [self._task(r) for r in requests])
        scoring = [t for t in tasks if is_scoring(t.request)]
        writing = [t for t in tasks if not is_scoring(t.request)]
        replies: dict[int, Reply] = {}
        if scoring:
            values = await _in_thread(partial(self._score, scoring), deadline)
            for task, found in zip(scoring, values, strict=True):
                replies[id(task)] = task.answerer.scored(found)
        if writing:
            rows = [self._rows(task) for task in writing]
            await self._write([row for group in rows for row in group], deadline)
            for task, group in zip(writing, rows, strict=True):
                cached = max(row.cached for row in group)
                replies[id(task)] = task.answerer.reply([r.completion() for r in group], cached)
        return [replies[id(task)] for task in tasks]

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; closing the iterator stops the work at the next token."""
        task = await asyncio.to_thread(self._task, request)
        answer = task.answerer
        rows = self._rows(task)
        head = partial(Chunk, id=new_id(request), model=answer.model, created=answer.created)
        loop, news = asyncio.get_running_loop(), asyncio.Queue[Chunk | BaseException | None]()
        voices = {row: Voice(answer, row, i, head) for i, row in enumerate(rows)}

        def tell(item: Chunk | BaseException | None) -> None:
            on_loop(loop, job, partial(news.put_nowait, item))

        def told(row: Row) -> None:
            chunk = voices[row].chunk()
            if is_worth_sending(chunk):
                tell(chunk)

        job = Job(rows, told, tell, deadline)
        echo = answer.echo()
        for i in range(len(rows)):
            first = answer.asked.deviations if i == 0 else ()
            yield head(index=i, role="assistant", text=echo, deviations=first)
        try:
            self._scheduler.submit(job)
            while (item := await news.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            job.gone = True
        cached = max(row.cached for row in rows)
        usage = Usage(len(task.asked.ids), sum(len(row.ids) for row in rows), cached)
        yield head(usage=usage)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Return one unit vector per input. Raises: UsageError("fixed-dimensions")."""
        if request.dimensions is not None:
            raise UsageError(
                "fixed-dimensions", "this model's vectors cannot be shortened", param="dimensions"
            )
        lora = await asyncio.to_thread(self._lora, request.model)
        rows = [self._checked(self._prompter.text_ids(each), "input") for each in request.input]

        def work(check: Callable[[], None]) -> list[list[float]]:
            with self._lock, adapted([lora]):
                return likelihood.embed(self._loaded, rows, halt=self._turns(check))

        vectors = await _in_thread(work, deadline)
        usage = Usage(prompt_tokens=sum(map(len, rows)))
        model = self._called(lora)
        return EmbedReply(model=model, vectors=tuple(map(tuple, vectors)), usage=usage)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the prompt's tokens as the model would read them, nothing cut."""
        return len(await asyncio.to_thread(self._prompter.prompt_ids, request))

    async def models(self) -> list[ModelCard]:
        """Name the model, and each adapter as `name:adapter`."""
        able = ["chat", "completion", "embedding", "logprobs", "json"]
        able += [] if self._form is None else ["tools"]
        names = [] if self._adapters is None else await asyncio.to_thread(self._adapters.names)
        return [
            ModelCard(id=each, context_length=self._context, capabilities=tuple(able))
            for each in (self.name, *(f"{self.name}:{n}" for n in names))
        ]

    def _writer(self) -> Writer:
        """Return an empty batch: fused where the model allows it. Called once, and after a fault."""
        serving, stops = self._serving, frozenset(self._tokenizer.stop_ids)
        loaded = self._loaded
        if serving.fuse and loaded.device.type == "cpu":
            if decode.fits(loaded):
                return SlotWriter(loaded, stops, serving, self.guesses)
            with self._lock:
                if decode.could_fit(loaded):
                    fused.install(loaded.model)
            if decode.fits(loaded):
                return self._writer()
        return PlainWriter(loaded, stops, rows=serving.places, budget_bytes=serving.budget_bytes)

    def _task(self, request: GenerateRequest) -> _Task:
        """Return what to do for a request; called off the loop, since templates and models take time."""
        if not is_scoring(request):
            self._scheduler.prepare()
        lora = self._lora(request.model)
        asked = self._prompter.ask(request)
        self._checked(asked.ids, "prompt" if request.messages is None else "messages")
        for token in request.sampling.logit_bias:
            self._checked([int(token)], "logit_bias")
        calls = bool(request.tools) and request.tool_choice != "none"
        forced = None if is_scoring(request) else self._constraints.of(request, self._form)
        if calls and self._form is None:
            note = Deviation("param_dropped", "the model's chat template has no place for tools")
            asked = replace(asked, deviations=(*asked.deviations, note))
        if forced is not None and forced.prefix:
            asked = replace(asked, ids=[*asked.ids, *self._tokenizer.encode(forced.prefix).ids])
        answerer = Answerer(
            asked, self._called(lora), int(self._clock()), self._tokenizer,
            self._form if calls else None, "" if forced is None else forced.prefix,
        )  # fmt: skip
        return _Task(answerer, lora, forced)

    def _rows(self, task: _Task) -> list[Row]:
        sampling = self._prompter.sampling(task.request)
        rows = [
            Row(
                self._loaded, task.asked.ids, sampling, choice, decode=self._decode, adapter=task.lora,
                guide=None if task.forced is None else task.forced.guide(),
            )
            for choice in range(task.request.sampling.n)
        ]  # fmt: skip
        if sampling.max_tokens is None:  # nobody asked for more than there is memory for
            for row in rows:
                row.limit = max(1, min(row.limit, self._scheduler.capacity - len(row.prompt)))
        return rows

    def _lora(self, model: str) -> Lora | None:
        if self._adapters is None or model == self.name:
            return None
        base, _, adapter = model.rpartition(":")
        names = self._adapters.names()
        if base != self.name and model not in names:
            raise _unknown_model(model, [self.name, *(f"{self.name}:{n}" for n in names)])
        lora = self._adapters.get(adapter if base == self.name else model)
        if not self._adapters.is_ready(lora):
            with self._lock:  # hooks must not come while the model runs
                self._adapters.make_ready(lora)
        return lora

    def _called(self, lora: Lora | None) -> str:
        return self.name if lora is None else f"{self.name}:{lora.name}"

    def _checked(self, ids: list[int], param: str) -> list[int]:
        """Return ids that the model has. One it has not would end everybody's batch."""
        wrong = [i for i in ids if not 0 <= i < self._words]
        if wrong:
            raise UsageError(
                "unknown-token",
                f"there is no token {wrong[0]} (0 to {self._words - 1})",
                param=param,
            )
        return ids

    async def _write(self, rows: list[Row], deadline: float | None) -> None:
        """Have rows written; a cancelled wait ends the work at the next token."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        progress = Counted(self._emit, len(rows))

        def over(error: BaseException | None) -> None:
            on_loop(loop, job, partial(settle, done, error))

        job = Job(rows, progress.told, over, deadline)
        try:
            self._scheduler.submit(job)
            await done
        finally:
            job.gone = True
        progress.end()

    def _turns(self, check: Callable[[], None]) -> Callable[[], None]:
        """Return a `halt` that also lets whoever waits have the model for a token."""

        def halt() -> None:
            check()
            self._lock.release()
            self._lock.acquire()

        return halt

    def _score(self, tasks: Sequence[_Task], check: Callable[[], None]) -> list[list[float]]:
        """Return the log-probabilities of each request's scored positions, adapter by adapter."""
        found: dict[int, list[float]] = {}
        for lora in {id(t.lora): t.lora for t in tasks}.values():
            own = [t for t in tasks if t.lora is lora]
            with self._lock, adapted([lora]):
                values = likelihood.score_positions(
                    self._loaded, [(t.asked.ids, t.asked.scored) for t in own], self._context,
                    emit=self._emit, halt=self._turns(check),
                )  # fmt: skip
            found |= {id(t): v for t, v in zip(own, values, strict=True)}
        return [found[id(t)] for t in tasks]


def _unknown_model(name: str, known: Sequence[str]) -> NotFound:
    plain = {one.rpartition(":")[2]: one for one in known}  # an adapter's own name will do
    near = [plain.get(n, n) for n in difflib.get_close_matches(name, [*known, *plain], n=1)]
    ask = f"; did you mean {near[0]!r}?" if near else ""
    return NotFound(
        "model-not-found",
        f"the model {name[:200]!r} is not served here{ask} (served: {', '.join(known)})",
        param="model",
    )


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
