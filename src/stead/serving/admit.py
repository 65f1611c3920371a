"""How much at once: a bounded number at work, a bounded queue before it, and a polite refusal.

Knows nothing about requests. What is refused has cost nothing.
"""

import asyncio
from types import TracebackType

from stead.core.errors import ResourceError

_RETRY_AFTER_S = 1


class Admit:
    """`async with admit:` holds one of `limit` places; at most `queue` wait, each at most `wait_s`.

    Raises: ResourceError("overloaded"), status 503, when the queue is full or the wait too long.
    """

    def __init__(self, limit: int, queue: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(limit)
        self._queue = queue
        self._wait_s = wait_s
        self._limit = limit
        self.waiting = 0
        self.active = 0

    async def __aenter__(self) -> None:
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # does not suspend when a place is free
        self.active += 1

    async def _wait(self) -> None:
        if self.waiting >= self._queue:
            raise self._overloaded("the queue is full")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise self._overloaded(f"no place became free in {self._wait_s} s") from error
        finally:
            self.waiting -= 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.active -= 1
        self._free.release()

    def _overloaded(self, why: str) -> ResourceError:
        return ResourceError(
            "overloaded",
            f"{self._limit} requests are at work and {self.waiting} wait: {why}",
            status=503,
            retry_after_s=_RETRY_AFTER_S,
        )
