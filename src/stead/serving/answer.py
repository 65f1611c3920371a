"""The routes of the dialects: a decoded request goes to the Backend, its answer becomes bytes.

Knows nothing about keys, methods or other routes. The same code answers over HTTP and in batches.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import force_setattr

from stead.core.errors import BackendError, NotFound, ResourceError, SteadError
from stead.core.within import Within
from stead.inference.backend import Backend
from stead.inference.fan import merge_replies, merge_streams
from stead.inference.strict import refusal
from stead.messages import Call, Choice, Deviation, Message, Reply, Usage
from stead.serving import body, guard, report
from stead.serving.admit import Admit
from stead.serving.exchange import LEFT, Exchange
from stead.serving.settings import Settings
from stead.serving.stream import Departure, Relay
from stead.wire.dialect import Asked, CountDialect, Dialect, EmbedDialect, GenerateDialect
from stead.wire.framing import frames

_CHOICES_LIMIT = 256  # prompts × n of one request
_GRACE_S = 5.0  # a slow reader may take this much longer than the deadline


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer: its bytes, and what the log and the headers tell of it."""

    body: bytes
    model: str = ""
    usage: Usage | None = None
    deviations: tuple[Deviation, ...] = ()


class Answers:
    """Answers requests of every dialect from one Backend, bounded by `admit` and the deadline."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        admit: Admit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._backend = backend
        self._settings = settings
        self._admit = admit

    async def handle(self, dialect: Dialect, exchange: Exchange) -> None:
        """Read a request's body and answer it; the client's leaving cancels the work."""
        guard.check_body_head(exchange.head, self._settings)
        data = await body.read(exchange.receive, self._settings)
        async with Departure(exchange.receive) as departure:
            with Within(self._settings.deadline_s + _GRACE_S):
                await self._answer(dialect, data, exchange)
        if departure.left and not exchange.code:
            exchange.code = "client-left"
            exchange.status = exchange.status if exchange.status else LEFT

    async def _answer(self, dialect: Dialect, data: bytes, exchange: Exchange) -> None:
        asked = dialect.read_request(data)
        exchange.model = asked.model
        call = exchange.caller.call(exchange.id, exchange.tags)
        exchange.call = call
        attach(asked, call, strict=exchange.head.strict)
        if asked.deviations:
            if exchange.head.strict:
                raise refusal(asked.deviations)
            call.deviations.extend(asked.deviations)
        deadline = time.monotonic() + self._settings.deadline_s
        async with self._admit:
            if asked.stream and isinstance(dialect, GenerateDialect):
                await self._stream(dialect, asked, exchange, deadline)
                return
            made = await self.whole(dialect, asked, deadline)
        exchange.usage = made.usage
        exchange.first_s = time.monotonic() - exchange.begun
        found = report.all_deviations(call, made.deviations)
        sent = made.body
        if found:
            sent = report.into(sent, report.fields(call, made.model, found))
        await exchange.reply(sent, more=report.headers(call, made.model, found))

    async def whole(self, dialect: Dialect, asked: Asked, deadline: float) -> Whole:
        """Answer whole. Raises: what the Backend raises; RequestRefused for too many choices."""
        if isinstance(dialect, GenerateDialect):
            if asked.loads:
                return await self._loaded(dialect, asked, deadline)
            check_choices(asked)
            if len(asked.generate) == 1:
                reply = await self._backend.generate(asked.generate[0], deadline)
            else:
                replies = await self._backend.batch(asked.generate, deadline)
                reply = merge_replies(replies, same_prompt=False)
            data = dialect.write_reply(reply, asked)
            return Whole(data, reply.model, reply.usage, reply.deviations)
        if isinstance(dialect, EmbedDialect) and asked.embed is not None:
            vectors = await self._backend.embed(asked.embed, deadline)
            return Whole(dialect.write_vectors(vectors, asked), vectors.model, vectors.usage)
        if isinstance(dialect, CountDialect):
            count = await self._backend.count(asked.generate[0], deadline)
            return Whole(dialect.write_count(count), asked.model)
        raise guard.refused(404, "unknown-route", f"there is no route {dialect.path!r}")

    async def _loaded(self, dialect: GenerateDialect, asked: Asked, deadline: float) -> Whole:
        """Have a model loaded, which counting its tokens does; who counts none has nothing to load."""
        try:
            await self._backend.count(asked.generate[0], deadline)
        except BackendError as error:
            if error.code != "not-supported":
                raise
        choice = Choice(0, Message("assistant", ""), "stop")
        reply = Reply(
            id=asked.model, model=asked.model, created=int(self._clock()), choices=(choice,),
            usage=Usage(),
        )  # fmt: skip
        return Whole(dialect.write_reply(reply, asked), asked.model, Usage())

    async def _stream(
        self, dialect: GenerateDialect, asked: Asked, exchange: Exchange, deadline: float
    ) -> None:
        check_choices(asked)
        n = asked.generate[0].sampling.n
        streams = [self._backend.stream(r, deadline) for r in asked.generate]
        chunks = streams[0]
        if len(streams) > 1:
            chunks = merge_streams(streams, choices=n, same_prompt=False)
        relay = Relay(
            chunks,
            dialect.stream_writer(asked),
            exchange,
            frames(dialect.framing),
            choices=n * len(streams),
        )
        try:
            await relay.run(self._settings.first_event_s)
        except asyncio.CancelledError:
            if not (exchange.stopped and relay.begun):
                raise
            uncancel()
            await relay.fail(stopping())
        except Exception as error:  # house: broad-except - after the headers only an event can tell
            if not relay.begun:
                raise
            told = exchange.translate(error)
            exchange.code = told.code
            await relay.fail(told)


def attach(asked: Asked, call: Call, *, strict: bool) -> None:
    """Give the decoded requests their call; they were made a moment ago and nobody else holds them.

    Raises: NotFound("model-not-found") for a model that the key may not ask for.
    """
    if call.models is not None and asked.model not in call.models:
        raise NotFound(
            "model-not-found", f"the model {asked.model[:200]!r} is not served here", param="model"
        )
    wanted = asked.generate if asked.embed is None else (*asked.generate, asked.embed)
    for request in wanted:
        force_setattr(request, "call", call)
        if strict:
            force_setattr(request, "strict", True)


def check_choices(asked: Asked) -> None:
    """Refuse a request for very many answers. Raises: RequestRefused 400."""
    count = len(asked.generate) * asked.generate[0].sampling.n
    if count > _CHOICES_LIMIT:
        raise guard.refused(
            400, "too-many-choices", f"{count} answers in one request; {_CHOICES_LIMIT} at most",
            param="n",
        )  # fmt: skip


def stopping() -> SteadError:
    """Return what a request is told that the server's end cuts or refuses."""
    return ResourceError(
        "stopping", "this server stops; ask again elsewhere or later", status=503, retry_after_s=1
    )


def uncancel() -> None:
    """End the cancellation of the running task, so that it can still tell its client."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
