"""The topics of the socket `/api/live`: runs, jobs, the machine; each read on from the client's last number.

Knows nothing about who may listen (`web/guard`). Nothing is queued for a client: while one message is on its way
no other is read, so a slow client costs no memory.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

from stead.app.platform import Platform
from stead.app.run_reading import follower
from stead.core.errors import SteadError
from stead.web.job_shape import job
from stead.web.live import POLL_S, Closing

Json = dict[str, Any]  # Any: JSON values
Told = list[tuple[int, Json]]
_TOPICS = 32
_MESSAGE_BYTES = 16 * 1024
_JOBS = 50


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends: every topic it wants from now on, and the last number it has of each."""

    subscribe: list[str]
    after: dict[str, int] = {}


class Session:
    """One client."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._here: Platform = socket.app.state.platform
        self._closing: Closing = socket.app.state.closing
        self._after: dict[str, int] = {}
        self._readers: dict[str, Callable[[int], Told]] = {}

    async def run(self) -> None:
        """Serve until the client leaves or the server ends."""
        await self._socket.accept()
        telling = asyncio.create_task(self._tell())
        hearing = asyncio.create_task(self._hear())
        try:
            await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, hearing):
                task.cancel()
            await asyncio.gather(telling, hearing, return_exceptions=True)
            if self._socket.client_state is WebSocketState.CONNECTED:
                await self._socket.close(1001)

    async def _hear(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
                wish = msgspec.json.decode(text[: _MESSAGE_BYTES + 1], type=Wish)
            except (WebSocketDisconnect, KeyError):
                return
            except msgspec.MsgspecError as error:
                await self._socket.send_json(
                    {"topic": "error", "id": 0, "data": {"message": str(error)[:200]}}
                )
                continue
            wanted = list(dict.fromkeys(wish.subscribe))[:_TOPICS]
            self._after = {t: wish.after.get(t, self._after.get(t, -1)) for t in wanted}
            self._readers = {t: self._reader(t) for t in wanted}

    async def _tell(self) -> None:
        while not self._closing.now:
            for topic, read in list(self._readers.items()):
                await self._one(topic, read)
            await asyncio.sleep(POLL_S)

    async def _one(self, topic: str, read: Callable[[int], Told]) -> None:
        try:
            found = await run_in_threadpool(read, self._after.get(topic, -1))
        except SteadError as error:
            self._readers.pop(topic, None)
            found = [(0, {"error": {"code": error.code, "message": error.message}})]
        for number, data in found:
            if topic not in self._after:
                return  # unsubscribed meanwhile
            await self._socket.send_json({"topic": topic, "id": number, "data": data})
            self._after[topic] = number

    def _reader(self, topic: str) -> Callable[[int], Told]:
        kind, _, name = topic.partition("/")
        if kind == "run" and name:
            events = follower(self._here.stores, name)
            return lambda after: events(after)[0]
        if topic == "jobs":
            return Changes(self._jobs)
        if topic == "hardware":
            return Changes(self._machine)
        return _unknown

    def _jobs(self) -> Json:
        found = self._here.stores.jobs.list(limit=_JOBS)
        return {"items": [job(row).model_dump() for row in found.items], "total": found.total}

    def _machine(self) -> Json:
        now = self._here.machine.now()
        return {
            "ram_free_bytes": now.hardware.ram_free_bytes, "disk_free_bytes": now.hardware.disk_free_bytes,
            "load": now.load, "process_bytes": now.process_bytes,
            "gpus": [{"name": g.name, "memory_free_bytes": g.free_bytes} for g in now.hardware.gpus],
        }  # fmt: skip


class Changes:
    """Tells a state whenever it is not what was told last; counts on from the client's number."""

    def __init__(self, look: Callable[[], Json]) -> None:
        self._look = look
        self._last: Json | None = None

    def __call__(self, after: int) -> Told:
        """Return the state when it has changed."""
        found = self._look()
        if found == self._last:
            return []
        self._last = found
        return [(after + 1, found)]


def _unknown(_: int) -> Told:
    raise SteadError("unknown-topic", "topics are run/ID, jobs and hardware")
