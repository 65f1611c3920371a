"""A Backend over HTTP, for any dialect: one deadline, typed errors, cancel closes the socket.

Knows nothing about vendors, retries or routing. An attempt is one request; whoever wraps this
decides about another one.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.core.http import DEFAULT_WAITS, Answer, Http, Waits
from stead.inference import packed
from stead.inference.address import Address, retry_after, without
from stead.inference.backend import Backend
from stead.inference.images import Images
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
)
from stead.wire import given, ids
from stead.wire.dialect import (
    DIALECTS,
    CountDialect,
    Dialect,
    EmbedDialect,
    GenerateDialect,
    Kind,
    StreamReader,
)
from stead.wire.framing import frames

OPENAI = ("openai_chat", "openai_completions", "openai_embeddings")


class Remote(Backend):
    """An endpoint at `url` (without the dialects' paths, so without `/v1`).

    The token goes to this origin only: redirects are not followed. `headers` are sent too and win
    over the dialects' own. Whole answers may take until the deadline for their first byte; `waits`
    bounds streams, whose first byte comes early. Fields of `omit` are taken out of every body.

    An answer whose protocol tells no time is of now, by `clock` (Unix seconds).

    What a dialect cannot carry is told in the answer's `deviations` and in `request.call`; a strict
    request is refused instead, before anything is sent.
    """

    def __init__(  # noqa: PLR0913 - an endpoint is all of these
        self,
        url: str | Address,
        *,
        token: str | None = None,
        dialects: tuple[str, ...] = OPENAI,
        headers: Mapping[str, str] | None = None,
        omit: Sequence[str] = (),
        http: Http | None = None,
        waits: Waits = DEFAULT_WAITS,
        images: Images | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._address = Address.of(url) if isinstance(url, str) else url
        self._url = self._address.url
        self._omit = tuple(omit)
        made = [DIALECTS.create(name) for name in dialects]
        self._dialects: dict[Kind, Dialect] = {d.kind: d for d in made}
        more = {} if headers is None else dict(headers)
        self._headers = {
            d.kind: {"Content-Type": "application/json"}
            | ({} if token is None else d.auth(token))
            | more
            for d in made
        }
        self._http = Http() if http is None else http
        self._waits = waits
        self._whole = Waits(waits.connect_s, first_s=None, between_s=None)
        self._images = Images() if images is None else images

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        dialect = self._generating(request)
        if request.stream:
            request = replace(request, stream=False)
        dropped = _left_out(dialect, request)
        reply = dialect.read_reply(await self._whole_body(dialect, request, deadline))
        if not reply.created:  # some protocols tell no time
            reply = replace(reply, created=int(self._clock()))
        return replace(reply, deviations=(*reply.deviations, *dropped)) if dropped else reply

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        dialect = self._dialects.get("embedding")
        if not isinstance(dialect, EmbedDialect):
            raise self._no_route("embedding")
        _left_out(dialect, request)
        return dialect.read_vectors(await self._whole_body(dialect, request, deadline))

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt, where the endpoint has a route for it."""
        dialect = self._dialects.get("count")
        if not isinstance(dialect, CountDialect):
            raise self._no_route("count")
        return dialect.read_count(await self._whole_body(dialect, request, deadline))

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; leaving the iterator closes the upstream socket.

        Raises: BackendError("stream-cut") when the stream ends before the protocol says so.
        """
        dialect = self._generating(request)
        if not request.stream:
            request = replace(request, stream=True)
        dropped = _left_out(dialect, request)
        answer = await self._open(dialect, request, deadline, self._waits)
        async with answer:
            reader, parser = dialect.stream_reader(), frames(dialect.framing).parser()
            relayed = type(dialect).__module__.rpartition(".")[2] if dialect.relays else ""
            finished, created = False, int(self._clock())
            async for piece in answer:
                for read in packed.read(reader, relayed, parser.feed(piece)):
                    chunk = read if read.created else replace(read, created=created)
                    finished = finished or chunk.finish_reason is not None
                    yield _told(chunk, dropped) if dropped else chunk
                    dropped = ()  # the first chunk has told them
                if reader.ended:
                    await answer.drain()
                    break
            _check_end(reader, self._url, finished=finished)

    async def models(self) -> list[ModelCard]:
        """List what the endpoint says it serves."""
        kind, dialect = next(iter(self._dialects.items()))
        answer = await self._http.open(
            "GET",
            self._address.to(dialect.models_path),
            headers=self._headers[kind],
            waits=self._waits,
        )
        async with answer:
            body = await answer.read()
            if answer.status != 200:
                raise self._error(dialect, answer, body)
        return dialect.read_models(body)

    async def close(self) -> None:
        """Close this loop's connections."""
        await self._http.close()

    def _generating(self, request: GenerateRequest) -> GenerateDialect:
        kind: Kind = "completion" if request.messages is None else "chat"
        found = self._dialects.get(kind)
        if not isinstance(found, GenerateDialect):
            raise self._no_route(kind)
        return found

    def _no_route(self, kind: Kind) -> BackendError:
        return BackendError("not-supported", f"{self._url} has no {kind} route here")

    async def _whole_body(
        self, dialect: Dialect, request: GenerateRequest | EmbedRequest, deadline: float | None
    ) -> bytes:
        async with await self._open(dialect, request, deadline, self._whole) as answer:
            return await answer.read()

    async def _open(
        self,
        dialect: Dialect,
        request: GenerateRequest | EmbedRequest,
        deadline: float | None,
        waits: Waits,
    ) -> Answer:
        """Send the request; return the answer if it is a success, else raise what it says."""
        if isinstance(request, GenerateRequest) and not given.is_plain(request):
            request = await self._images.inline(request, dialect.takes_url, self._http, deadline)
            if not dialect.signs_ids:
                request = ids.without_signatures(request)
        answer = await self._http.open(
            "POST",
            self._address.to(dialect.target(request)),
            headers=self._headers[dialect.kind],
            body=without(dialect.write_request(request), self._omit),
            waits=waits,
            deadline=deadline,
        )
        if answer.status == 200:
            return answer
        async with answer:
            raise self._error(dialect, answer, await answer.read())

    @staticmethod
    def _error(dialect: Dialect, answer: Answer, body: bytes) -> BackendError:
        return dialect.read_error(answer.status, body, retry_after(answer.headers))


def _told(chunk: Chunk, dropped: tuple[Deviation, ...]) -> Chunk:
    return replace(chunk, deviations=(*chunk.deviations, *dropped))


def _left_out(dialect: Dialect, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
    """Note in the call what the protocol cannot carry. Raises: BackendError("not-supported") if strict."""
    dropped = dialect.drops(request)
    if not dropped:
        return ()
    if request.strict:
        raise given.refusal(dropped[0])
    if request.call is not None:
        known = request.call.deviations
        known += [d for d in dropped if d not in known]  # another attempt may have told the same
    return dropped


def _check_end(reader: StreamReader, url: str, *, finished: bool) -> None:
    """Refuse a stream without its end: neither an end marker nor a reason to finish, or only one.

    Some vendors leave out the marker, so a finish reason alone is accepted; a marker alone is not.
    """
    if not finished:
        what = "without saying why" if reader.ended else "before its end"
        raise BackendError("stream-cut", f"the stream of {url} stopped {what}")
