"""The routes `/v1/batches`: create, list, show, cancel.

Knows nothing about how batches are run. Source: the published OpenAPI description of the OpenAI API,
path /batches.
"""

import asyncio
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import RateLimited
from stead.serving import body, guard, listing
from stead.serving.batch_run import BatchRuns
from stead.serving.exchange import Exchange, no_route
from stead.serving.settings import Settings
from stead.wire import openai_shape

_MOST = 100
_UNFINISHED = 20  # batches of one key at work or waiting


class _Create(Struct, forbid_unknown_fields=True):
    input_file_id: Annotated[str, Meta(min_length=1, max_length=100)]
    endpoint: str
    completion_window: Literal["24h"] = "24h"
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ]
        | None
    ) = None


_CREATE = msgspec.json.Decoder(_Create)


class Batches:
    """The group of routes over the batches at work."""

    def __init__(self, runs: BatchRuns, settings: Settings) -> None:
        self._runs = runs
        self._settings = settings

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer one request below `/v1/batches`."""
        id_, _, tail = rest.partition("/")
        owner = exchange.caller.key
        if not id_:
            exchange.allow("GET", "POST")
            made = (
                await self._create(exchange)
                if exchange.method == "POST"
                else await self._list(exchange)
            )
        elif not tail:
            exchange.allow("GET")
            found = await asyncio.to_thread(self._runs.store.get, owner, id_)
            made = found.wire()
        elif tail == "cancel":
            exchange.allow("POST")
            made = (await self._runs.cancel(owner, id_)).wire()
        else:
            raise no_route(exchange.path)
        await exchange.reply(msgspec.json.encode(made))

    async def _create(self, exchange: Exchange) -> dict[str, object]:
        guard.check_body_head(exchange.head, self._settings)
        data = await body.read(exchange.receive, self._settings)
        asked = openai_shape.decode_request(_CREATE, data)
        if asked.endpoint not in self._runs.dialects:
            known = ", ".join(sorted(self._runs.dialects))
            raise openai_shape.refuse(
                "endpoint", f"endpoint is {asked.endpoint[:100]!r}, not one of {known}"
            )
        owner, store = exchange.caller.key, self._runs.store
        file = await asyncio.to_thread(store.files.get, owner, asked.input_file_id)
        if file.purpose != "batch":
            words = f"the file's purpose is {file.purpose!r}, not 'batch'"
            raise openai_shape.refuse("input_file_id", words)
        waiting = [b for b in await asyncio.to_thread(store.owned, owner) if not b.over]
        if len(waiting) >= _UNFINISHED:
            words = f"{len(waiting)} batches of this key are not over yet; wait or cancel one"
            raise RateLimited("too-many-batches", words)
        made = await asyncio.to_thread(store.create, owner, asked.endpoint, file.id, asked.metadata)
        told = made.wire()
        self._runs.start(made)
        return told

    async def _list(self, exchange: Exchange) -> dict[str, object]:
        query = listing.query_of(exchange.query, ("limit", "after"))
        found = await asyncio.to_thread(self._runs.store.owned, exchange.caller.key)
        query.setdefault("limit", "20")
        return listing.page([b.wire() for b in found], query, _MOST)
