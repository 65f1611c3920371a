"""The routes `/v1/files`: upload, list, show, content, delete.

Knows nothing about where files are kept. An upload is streamed to disk and never held in memory.
Source: the published OpenAPI description of the OpenAI API, path /files.
"""

import asyncio
from contextlib import ExitStack
from typing import IO, Any

import msgspec

from stead.serving import body, guard, listing, multipart
from stead.serving.exchange import Exchange, no_route
from stead.serving.file_store import UPLOADS, FileFacts, FileStore, wire
from stead.serving.settings import Settings

_FIELD_BYTES = 1024
_WRITE_BYTES = 256 * 1024  # to disk at once; a thread per network piece would cost more
_READ_BYTES = 256 * 1024
_OCTETS = (b"content-type", b"application/octet-stream")
_LIFE_S = (3600, 2_592_000)  # least and most seconds of expires_after
_MOST = 10_000


class Files:
    """The group of routes over one FileStore."""

    def __init__(self, store: FileStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer one request below `/v1/files`."""
        id_, _, tail = rest.partition("/")
        if not id_:
            exchange.allow("GET", "POST")
            if exchange.method == "POST":
                await self._upload(exchange)
            else:
                await self._list(exchange)
        elif tail == "content":
            exchange.allow("GET")
            await self._content(exchange, id_)
        elif tail:
            raise no_route(exchange.path)
        else:
            exchange.allow("GET", "DELETE")
            await self._one(exchange, id_)

    async def _upload(self, exchange: Exchange) -> None:
        boundary = multipart.boundary_of(exchange.head.type)
        limit = self._settings.file_limit_bytes
        if exchange.head.length > limit + body.FORM_BYTES:
            raise guard.too_large(limit)
        parts = body.pieces(
            exchange.receive,
            limit_bytes=limit + body.FORM_BYTES,
            wait_s=self._settings.body_wait_s,
        )
        upload = _Upload(self._store, exchange.caller.key)
        try:
            async for piece in multipart.pieces(parts, boundary):
                await upload.take(piece)
            facts = await upload.finish()
        finally:
            await upload.close()
        await exchange.reply(msgspec.json.encode(wire(facts)))

    async def _list(self, exchange: Exchange) -> None:
        query = listing.query_of(exchange.query, ("purpose", "limit", "after", "order"))
        found = await asyncio.to_thread(self._store.owned, exchange.caller.key)
        if "purpose" in query:
            found = [f for f in found if f.purpose == query["purpose"]]
        made = listing.page([wire(f) for f in found], query, _MOST)
        await exchange.reply(msgspec.json.encode(made))

    async def _one(self, exchange: Exchange, id_: str) -> None:
        owner = exchange.caller.key
        if exchange.method == "GET":
            told: Any = wire(await asyncio.to_thread(self._store.get, owner, id_))
        else:
            await asyncio.to_thread(self._store.delete, owner, id_)
            told = {"id": id_, "object": "file", "deleted": True}
        await exchange.reply(msgspec.json.encode(told))

    async def _content(self, exchange: Exchange, id_: str) -> None:
        path = await asyncio.to_thread(self._store.path, exchange.caller.key, id_)
        size = path.stat().st_size
        with path.open("rb") as file:
            headers = [*exchange.headers(_OCTETS), (b"content-length", str(size).encode())]
            headers.append((b"content-disposition", b"attachment"))
            exchange.status = 200
            await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
            more = True
            while more:
                data = await asyncio.to_thread(file.read, _READ_BYTES)
                size -= len(data)
                more = size > 0 and bool(data)
                await exchange.send({"type": "http.response.body", "body": data, "more_body": more})


class _Upload:
    """One form on its way to disk: plain fields are kept, the file's bytes are written.

    The vendor's clients send the fields before the file; `purpose` after it is understood too.
    """

    def __init__(self, store: FileStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._fields: dict[str, bytes] = {}
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._name = ""
        self._waiting: list[bytes] = []
        self._size = 0

    async def take(self, piece: multipart.Piece) -> None:
        """Take one piece. Raises: RequestRefused 400."""
        if piece.filename is None:
            held = self._fields.get(piece.name, b"") + piece.data
            if len(held) > _FIELD_BYTES:
                raise guard.refused(
                    400, "invalid-value", f"the field {piece.name!r} is too long", param=piece.name
                )
            self._fields[piece.name] = held
            return
        if piece.name != "file" or (self._name and self._name != piece.filename):
            raise guard.refused(400, "bad-form", "the form has one file, in the field 'file'")
        if self._file is None:
            self._name = piece.filename if piece.filename else "upload"
            self._file = await asyncio.to_thread(self._stack.enter_context, self._store.spool())
        self._waiting.append(piece.data)
        self._size += len(piece.data)
        if self._size >= _WRITE_BYTES:
            await self._write()

    async def _write(self) -> None:
        if self._file is not None and self._waiting:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            await asyncio.to_thread(self._file.write, data)

    async def finish(self) -> FileFacts:
        """Keep the file. Raises: RequestRefused 400 for a missing or wrong field."""
        if self._file is None:
            raise guard.refused(
                400, "missing-required-parameter", "missing required parameter: 'file'",
                param="file",
            )  # fmt: skip
        purpose, expires_s = self._purpose(), self._life_s()
        await self._write()
        return await asyncio.to_thread(
            self._store.keep, self._owner, self._file, self._name, purpose, expires_s
        )

    def _purpose(self) -> str:
        given = self._fields.get("purpose", b"").decode("utf-8", "replace")
        if given not in UPLOADS:
            known = ", ".join(UPLOADS)
            words = f"purpose is {given[:100]!r}, not one of {known}"
            raise guard.refused(400, "invalid-value", words, param="purpose")
        return given

    def _life_s(self) -> int | None:
        text = self._fields.get("expires_after[seconds]")
        if text is None:
            return None
        if not text.isdigit() or not _LIFE_S[0] <= int(text[:12]) <= _LIFE_S[1]:
            raise guard.refused(
                400, "invalid-value", f"seconds are not {_LIFE_S[0]} … {_LIFE_S[1]}",
                param="expires_after",
            )  # fmt: skip
        return int(text)

    async def close(self) -> None:
        """Remove what was not kept."""
        await asyncio.to_thread(self._stack.close)
