"""Counters kept elsewhere: reserve waits for an answer, settle does not, both in the order they came.

Knows nothing about where the counters are; `SharedSQL` and `SharedRedis` do.
"""

import asyncio
import uuid
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stead.core.errors import ResourceError, SteadError
from stead.core.shared import Actual, Ask, Limit, Reservation, Shared, settled
from stead.store.background import Background


@dataclass(slots=True)
class Reserve:
    """Take all of `asks`, or nothing; `result` is filled in by the thread."""

    asks: tuple[Ask, ...]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Reservation]"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    result: Reservation | SteadError | None = None


@dataclass(slots=True)
class Settle:
    """Give a reservation back; `stays` is what stays counted of each hold."""

    reservation: Reservation
    stays: tuple[int, ...]


@dataclass(slots=True)
class Look:
    """Ask what is used of a limit."""

    limit: Limit
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[int]"
    result: int | SteadError | None = None


Job = Reserve | Settle | Look


class QueuedShared(Shared):
    """The half of a Shared that is the same for every place. Subclasses do the jobs of a batch in `_do`."""

    def __init__(self, name: str, hold_s: float) -> None:
        self._hold_s = hold_s
        self._background: Background[Job] = Background(name, self._batch, failed=self._failed)

    @abstractmethod
    def _do(self, jobs: list[Job]) -> None:
        """Do the jobs in order, all of them in one step, and fill in their results.

        Called again from the start when it raised ResourceError.
        """

    async def reserve(self, asks: Iterable[Ask]) -> Reservation:
        """Take all of `asks`, or nothing. Raises: also ResourceError when the place cannot be reached."""
        loop = asyncio.get_running_loop()
        job = Reserve(tuple(asks), loop, loop.create_future())
        self._background.put(job)
        try:
            return await asyncio.shield(job.future)
        except asyncio.CancelledError:
            job.future.add_done_callback(self._give_back)
            raise

    def settle(self, reservation: Reservation, actual: Actual) -> None:
        """Count what was really used instead of what was reserved."""
        stays = tuple(settled(hold, actual) for hold in reservation.holds)
        self._background.put(Settle(reservation, stays))

    async def used(self, limit: Limit) -> int:
        """Return what is used of a limit now, reservations included."""
        loop = asyncio.get_running_loop()
        job = Look(limit, loop, loop.create_future())
        self._background.put(job)
        return await job.future

    async def flush(self) -> None:
        """Return when what was settled so far is counted, or ten seconds have passed."""
        await asyncio.to_thread(self._background.flush)

    async def close(self) -> None:
        """Settle what is left. What cannot be written frees itself later, uncounted."""
        left = await asyncio.to_thread(self._background.close)
        if left:
            raise ResourceError("unsettled", f"{len(left)} reservations could not be settled")

    def _give_back(self, future: "asyncio.Future[Reservation]") -> None:
        """Nobody waits for this reservation any more."""
        if not future.cancelled() and future.exception() is None:
            self.release(future.result())

    def _batch(self, jobs: list[Job]) -> None:
        self._do(jobs)
        for job in jobs:
            answer(job)

    @staticmethod
    def _failed(jobs: list[Job], error: ResourceError) -> list[Job]:
        """Tell those who wait; what was settled is tried again."""
        for job in jobs:
            if not isinstance(job, Settle):
                job.result = error
                answer(job)
        return [job for job in jobs if isinstance(job, Settle)]


def answer(job: Job) -> None:
    """Tell whoever waits for a job what came of it."""
    if isinstance(job, Settle) or job.result is None or job.loop.is_closed():
        return
    future: asyncio.Future[Any] = job.future  # Any: each job has a result of its own type
    job.loop.call_soon_threadsafe(_fill, future, job.result)


def _fill(future: "asyncio.Future[Any]", result: Any) -> None:  # Any: as above
    if future.done():
        return
    if isinstance(result, SteadError):
        future.set_exception(result)
    else:
        future.set_result(result)
