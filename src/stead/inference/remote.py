"""A Backend over HTTP, for any dialect: one deadline, typed errors, cancel closes the socket.

Knows nothing about vendors, retries or routing. An attempt is one request; whoever wraps this
decides about another one.
"""

from collections.abc import AsyncIterator

import msgspec
from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.core.http import DEFAULT_WAITS, Answer, Http, Waits
from stead.inference.backend import Backend
from stead.messages import Chunk, EmbedReply, EmbedRequest, GenerateRequest, ModelCard, Reply
from stead.wire import sse
from stead.wire.dialect import (
    DIALECTS,
    Dialect,
    EmbedDialect,
    GenerateDialect,
    Kind,
    StreamReader,
    decode_answer,
)

OPENAI = ("openai_chat", "openai_completions", "openai_embeddings")


class _Card(msgspec.Struct):
    id: str
    created: int = 0
    owned_by: str = ""


class _Cards(msgspec.Struct):
    data: list[_Card]


_CARDS = msgspec.json.Decoder(_Cards)


class Remote(Backend):
    """An endpoint at `url` (without the dialects' paths, so without `/v1`).

    The token goes to this origin only: redirects are not followed. Whole answers may take until the
    deadline for their first byte; `waits` bounds streams, whose first byte comes early.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        dialects: tuple[str, ...] = OPENAI,
        http: Http | None = None,
        waits: Waits = DEFAULT_WAITS,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        made = [DIALECTS.create(name) for name in dialects]
        self._dialects: dict[Kind, Dialect] = {d.kind: d for d in made}
        self._http = Http() if http is None else http
        self._waits = waits
        self._whole = Waits(waits.connect_s, first_s=None, between_s=None)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""
        dialect = self._generating(request)
        if request.stream:
            request = replace(request, stream=False)
        return dialect.read_reply(await self._whole_body(dialect, request, deadline))

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors."""
        dialect = self._embedding()
        return dialect.read_vectors(await self._whole_body(dialect, request, deadline))

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; leaving the iterator closes the upstream socket.

        Raises: BackendError("stream-cut") when the stream ends before the protocol says so.
        """
        dialect = self._generating(request)
        if not request.stream:
            request = replace(request, stream=True)
        answer = await self._open(dialect, request, deadline, self._waits)
        async with answer:
            reader, parser = dialect.stream_reader(), sse.Parser()
            finished = False
            async for piece in answer:
                for event in parser.feed(piece):
                    for chunk in reader.feed(event):
                        finished = finished or chunk.finish_reason is not None
                        yield chunk
                if reader.ended:
                    await answer.drain()
                    break
            _check_end(reader, self._url, finished=finished)

    async def models(self) -> list[ModelCard]:
        """List what the endpoint says it serves."""
        answer = await self._http.open(
            "GET", f"{self._url}/v1/models", headers=self._headers, waits=self._waits
        )
        async with answer:
            body = await answer.read()
            if answer.status != 200:
                raise self._error(next(iter(self._dialects.values())), answer, body)
        cards = decode_answer(_CARDS, body).data
        return [ModelCard(id=c.id, created=c.created, owned_by=c.owned_by) for c in cards]

    async def close(self) -> None:
        """Close this loop's connections."""
        await self._http.close()

    def _generating(self, request: GenerateRequest) -> GenerateDialect:
        kind: Kind = "completion" if request.messages is None else "chat"
        found = self._dialects.get(kind)
        if not isinstance(found, GenerateDialect):
            raise BackendError("not-supported", f"{self._url} has no {kind} route here")
        return found

    def _embedding(self) -> EmbedDialect:
        found = self._dialects.get("embedding")
        if not isinstance(found, EmbedDialect):
            raise BackendError("not-supported", f"{self._url} has no embedding route here")
        return found

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
        answer = await self._http.open(
            "POST",
            self._url + dialect.path,
            headers=self._headers,
            body=dialect.write_request(request),
            waits=waits,
            deadline=deadline,
        )
        if answer.status == 200:
            return answer
        async with answer:
            raise self._error(dialect, answer, await answer.read())

    @staticmethod
    def _error(dialect: Dialect, answer: Answer, body: bytes) -> BackendError:
        return dialect.read_error(answer.status, body, answer.headers.get("Retry-After"))


def _check_end(reader: StreamReader, url: str, *, finished: bool) -> None:
    """Refuse a stream without its end: neither an end marker nor a reason to finish, or only one.

    Some vendors leave out the marker, so a finish reason alone is accepted; a marker alone is not.
    """
    if not finished:
        what = "without saying why" if reader.ended else "before its end"
        raise BackendError("stream-cut", f"the stream of {url} stopped {what}")
