"""The topics of the socket `/api/live`: runs, jobs, the machine; each read on from the client's last number.

Knows nothing about who may listen (`web/guard`). Nothing is queued for a client: while one message is on its way
no other is read, so a slow client costs no memory.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

from stead.app.platform import Platform
from stead.app.run_reading import follower
from stead.core.errors import ResourceError, SteadError
from stead.web.job_shape import job
from stead.web.live import POLL_S, Closing

Json = dict[str, Any]  # Any: JSON values
Told = list[tuple[int, Json]]
_TOPICS = 32
_MESSAGE_BYTES = 16 * 1024
_JOBS = 50
GOING_AWAY, UNSUPPORTED = (
    1001,
    1003,
)  # RFC 6455 section 7.4.1; who may not listen gets 403 instead of a socket


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends: every topic it wants from now on, and the last number it has of each."""

    subscribe: list[str]
    after: dict[str, int] = {}


@dataclass(slots=True)
class _Followed:
    """One topic of one client, and the last number that it was sent."""

    read: Callable[[int], Told]
    after: int


class Session:
    """One client."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._here: Platform = socket.app.state.platform
        self._closing: Closing = socket.app.state.closing
        self._followed: dict[str, _Followed] = {}
        self._wish = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client leaves or the server ends."""
        await self._socket.accept()
        telling = asyncio.create_task(self._tell())
        hearing = asyncio.create_task(self._hear())
        code = GOING_AWAY
        try:
            done, _ = await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if hearing in done and hearing.exception() is None:
                code = hearing.result()
        finally:
            for task in (telling, hearing):
                task.cancel()
            await asyncio.gather(telling, hearing, return_exceptions=True)
            if self._socket.client_state is WebSocketState.CONNECTED:
                await self._socket.close(code)

    async def _hear(self) -> int:
        """Take wishes; return the code to close with, once there is nothing more to hear."""
        while True:
            try:
                text = await self._socket.receive_text()
                wish = msgspec.json.decode(text[: _MESSAGE_BYTES + 1], type=Wish)
            except WebSocketDisconnect:
                return GOING_AWAY
            except KeyError:  # a message of bytes
                return UNSUPPORTED
            except msgspec.MsgspecError as error:
                await self._send("error", 0, _told("invalid-request", str(error)[:200]))
                continue
            wanted = list(dict.fromkeys(wish.subscribe))[:_TOPICS]
            self._followed = {t: self._wished(t, wish.after.get(t)) for t in wanted}
            self._wish.set()

    async def _tell(self) -> None:
        while not self._closing.now:
            for topic, followed in list(self._followed.items()):
                await self._one(topic, followed)
            with contextlib.suppress(TimeoutError):  # a wish is not kept waiting
                async with asyncio.timeout(POLL_S):
                    await self._wish.wait()
            self._wish.clear()

    def _wished(self, topic: str, after: int | None) -> _Followed:
        known = self._followed.get(topic)
        if known is not None and after is None:
            return known
        return _Followed(self._reader(topic), -1 if after is None else after)

    async def _one(self, topic: str, followed: _Followed) -> None:
        try:
            found = await run_in_threadpool(followed.read, followed.after)
        except ResourceError:
            return  # the database is away: asked again
        except SteadError as error:
            if self._followed.get(topic) is followed:
                del self._followed[topic]
            await self._send(topic, 0, {"error": _told(error.code, error.message)})
            return
        for number, data in found:
            if self._followed.get(topic) is not followed:
                return  # wished for no more, or from another number on
            followed.after = (
                number  # before it is sent: a wish that comes meanwhile goes on after it
            )
            await self._send(topic, number, data)

    async def _send(self, topic: str, number: int, data: Json) -> None:
        await self._socket.send_json({"topic": topic, "id": number, "data": data})

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


def _told(code: str, message: str) -> Json:
    return {"code": code, "message": message}


def _unknown(_: int) -> Told:
    raise SteadError("unknown-topic", "topics are run/ID, jobs and hardware")
